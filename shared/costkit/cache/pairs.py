"""The pairs that a pair model is trained on: enough of them, and split so that no question stands on both sides."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from costkit.cache.labelled import Pair, linked, pairs
from costkit.errors import ConfigurationError, DataError
from costkit.text import normalise_question

__all__ = ["FEWEST_PAIRS", "read_pairs", "split_pairs"]

FEWEST_PAIRS = 50
_HELD_OUT = 0.05
# A group of linked pairs that would lift the held-out part above this stays with those that are learned from.
_LARGEST_HELD_OUT = 0.2


def read_pairs(files: Sequence[Path | str], *, limit: int | None = None, seed: int = 7) -> list[Pair]:
    """Read the pairs of all ``files``.

    Args:
        files: See ``costkit.cache.labelled.pairs``.
        limit: At most so many, drawn at random; by default all, in the order of the files.
        seed: Of that draw.

    Raises:
        ConfigurationError: ``files`` is empty.
        DataError: A file or a row is wrong, there are fewer than 50 pairs, or all have one label.
    """
    if not files:
        raise ConfigurationError("no pairs file given: name at least one JSON-lines file with a, b and same")
    found = pairs([Path(file) for file in files])
    if limit is not None and limit < len(found):
        found = random.Random(seed).sample(found, limit)  # noqa: S311 - a draw, no secret
    names = ", ".join(str(file) for file in files)
    if len(found) < FEWEST_PAIRS:
        raise DataError(f"{len(found)} pairs in all: at least {FEWEST_PAIRS} are needed", path=names)
    if len({pair.same for pair in found}) == 1:
        raise DataError(f"every pair has same={found[0].same}: pairs of both labels are needed", path=names)
    return found


def split_pairs(found: Sequence[Pair], *, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Hold out about one pair in twenty.

    Pairs that share a question, as ``normalise_question`` reads it, directly or through other pairs, stay together.

    Returns:
        The pairs to learn from and those held out.

    Raises:
        DataError: No part can be held out that has both labels.
    """
    linked = _linked(found)
    random.Random(seed).shuffle(linked)  # noqa: S311 - a draw, no secret
    learned: list[Pair] = []
    held: list[Pair] = []
    for group in linked:
        wanted = len(held) < _HELD_OUT * len(found) or len({pair.same for pair in held}) == 1
        fits = len(held) + len(group) <= _LARGEST_HELD_OUT * len(found)
        (held if wanted and fits else learned).extend(group)
    for name, part in (("held out", held), ("left to learn from", learned)):
        if len({pair.same for pair in part}) < 2:
            raise DataError(
                f"the {len(found)} pairs are linked by questions that they share, so that none of both labels can be "
                f"{name}: add pairs of other questions"
            )
    return learned, held


def _linked(found: Sequence[Pair]) -> list[list[Pair]]:
    """Group the pairs by union-find over their questions; the groups in the order of their first pair."""
    keys = [(normalise_question(pair.a), normalise_question(pair.b)) for pair in found]
    group = linked(keys)
    groups: defaultdict[str, list[Pair]] = defaultdict(list)
    for pair, (a, _) in zip(found, keys, strict=True):
        groups[group(a)].append(pair)
    return list(groups.values())
