"""Chooses the pairs of a log that are most worth judging: those near the threshold, evenly over the scores."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

from costkit.cache.equivalence import Equivalence
from costkit.cache.labelled import Pair
from costkit.cache.replay import Hit, Replay
from costkit.errors import ConfigurationError
from costkit.text import normalise_question

if TYPE_CHECKING:
    from costkit.cache.replay import Vectors

__all__ = ["Unjudged", "sample"]

# Width of a stratum: in log odds, and for the cosine, whose range is narrow.
BAND = 0.5
COSINE_BAND = 0.02
# Strata on each side of the threshold that are drawn from evenly, before any further away.
BANDS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Unjudged:
    """A pair for people to judge: does the answer to ``b`` serve ``a``?

    Attributes:
        a: A question of the log.
        b: The earlier one whose answer it would get.
        cosine: Their cosine similarity.
        score: Their score.
        same: None until it is judged.
    """

    a: str
    b: str
    cosine: float
    score: float
    same: None = None


def sample(
    texts: Sequence[str],
    vectors: Vectors,
    equivalence: Equivalence,
    *,
    count: int,
    judged: Iterable[Pair] = (),
    seed: int = 7,
) -> list[Unjudged]:
    """Draw pairs of a log, each question with the earlier one that scores best.

    The scores around the default threshold are cut into strata, and as many pairs come from each; where these do not
    suffice, further ones follow, the nearest first. Pairs that are the same but for their typing are left out.

    Args:
        texts: Questions in the order asked.
        vectors: Their embeddings, of unit length, of shape (questions, dimensions).
        equivalence: The score.
        count: How many pairs, at most.
        judged: Pairs that need no second look.
        seed: Of the draw.

    Returns:
        The pairs, surest first.

    Raises:
        ConfigurationError: ``count`` is below 1.
    """
    if count < 1:
        raise ConfigurationError(f"n must be 1 or more, got {count!r}")
    replay = Replay(texts, texts, vectors, equivalence)
    known = {_key(pair.a, pair.b) for pair in judged}
    width = COSINE_BAND if equivalence.name == "cosine" else BAND
    strata: defaultdict[int, list[Hit]] = defaultdict(list)
    for hit in replay.best():
        key = _key(texts[hit.asked], texts[hit.served])
        if len(key) == 2 and key not in known and hit.score > -math.inf:
            known.add(key)
            strata[math.floor((hit.score - equivalence.threshold) / width)].append(hit)
    chosen = sorted(_drawn(strata, seed)[:count], key=lambda hit: -hit.score)
    return [
        Unjudged(
            a=texts[hit.asked],
            b=texts[hit.served],
            cosine=round(float(vectors[hit.asked] @ vectors[hit.served]), 4),
            score=round(hit.score, 4),
        )
        for hit in chosen
    ]


def _drawn(strata: Mapping[int, list[Hit]], seed: int) -> list[Hit]:
    """Take one of each near stratum in turn, then the far ones, each in an order drawn at random."""
    draw = random.Random(seed)  # noqa: S311  a draw, no secret
    order = sorted(strata, key=lambda place: (abs(place + 0.5), place))
    shuffled = {place: draw.sample(strata[place], len(strata[place])) for place in order}
    near = [shuffled[place] for place in order if -BANDS <= place < BANDS]
    far = [shuffled[place] for place in order if not -BANDS <= place < BANDS]
    in_turn = (hit for turn in zip_longest(*near) for hit in turn if hit is not None)
    return list(chain(in_turn, *far))


def _key(a: str, b: str) -> frozenset[str]:
    return frozenset((normalise_question(a), normalise_question(b)))
