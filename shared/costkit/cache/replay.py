"""Replays labelled traffic through the cache's decision: what would have been served, and how much of it wrongly.

Whether a question finds an answer depends on which earlier ones were served and so not stored: a threshold can only be
judged by a replay of its own. Scores of pairs are remembered between replays, so that a grid of thresholds costs
little more than one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from costkit.cache.agreement import agreement, decision_name
from costkit.cache.equivalence import Candidate, Equivalence, Verdict
from costkit.text import normalise_question

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

__all__ = ["LEAST_COSINE", "NEIGHBOURS", "Hit", "Outcome", "Replay", "strict_to_loose"]

# How many stored questions are weighed for one asked, here and in ResponseCache.
NEIGHBOURS = 5
# Below this cosine no pair is worth a look, here and in ResponseCache.
LEAST_COSINE = 0.5
# Earlier questions listed for each; where fewer than NEIGHBOURS of them are stored, all stored ones are searched.
_LISTED = 256
_BLOCK = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """One question that was served from the cache.

    Attributes:
        asked: Index of the question.
        served: Index of the question whose answer it got.
        score: The score of the pair; infinite for a repeat word for word.
        wrong: Whether the two differ in group.
        exact: Whether the two are the same but for their typing: such a question is served at every threshold.
    """

    asked: int
    served: int
    score: float
    wrong: bool
    exact: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a threshold did to a stream.

    Attributes:
        threshold: The least score that was served.
        questions: How many were asked.
        hits: Those that were served, in order.
        stored: Questions in the cache at the end.
    """

    threshold: float
    questions: int
    hits: tuple[Hit, ...]
    stored: int

    @property
    def wrong(self) -> int:
        """Hits that got the answer of another group."""
        return sum(hit.wrong for hit in self.hits)

    @property
    def hit_rate(self) -> float:
        """Share of all questions that were served."""
        return len(self.hits) / self.questions if self.questions else 0.0

    @property
    def wrong_per_hit(self) -> float:
        """Share of hits that were wrong, 0 without a hit."""
        return self.wrong / len(self.hits) if self.hits else 0.0

    @property
    def wrong_per_request(self) -> float:
        """Share of all questions that were served wrongly."""
        return self.wrong / self.questions if self.questions else 0.0


class Replay:
    """A labelled stream, ready to be replayed at any threshold.

    As in the cache, a repeat word for word is served whatever the threshold, a question that is served is not stored, and
    one that is not served is. Outcomes are remembered.

    Args:
        texts: The questions in the order asked.
        groups: Two questions may share an answer if and only if their groups are equal.
        vectors: Their embeddings, of unit length, of shape (questions, dimensions).
        equivalence: The score.
        answers: True replays a cache that knows which of its answers are the same, see ``costkit.cache.agreement``:
            stored questions of one group have one answer. What is asked is not known, as ever.
    """

    def __init__(
        self,
        texts: Sequence[str],
        groups: Sequence[str],
        vectors: Vectors,
        equivalence: Equivalence,
        *,
        answers: bool = False,
    ) -> None:
        if not len(texts) == len(groups) == len(vectors):
            raise ValueError(f"{len(texts)} texts, {len(groups)} groups and {len(vectors)} vectors")
        self.texts = texts
        self.groups = groups
        self.equivalence = equivalence
        self._answers = answers
        self._words = [normalise_question(text) for text in texts]
        self._vectors = vectors
        self._listed, self._cosines = _earlier(vectors)
        self._verdicts: dict[tuple[int, int], Verdict] = {}
        self._outcomes: dict[float, Outcome] = {}

    @property
    def decision_name(self) -> str:
        """What tells thresholds of different decisions apart."""
        return decision_name(self.equivalence, answers=self._answers)

    def at(self, threshold: float, *, ask: Sequence[int] | None = None) -> Outcome:
        """Replay the stream, or the questions at the indexes ``ask`` alone, at one threshold."""
        if ask is None and threshold in self._outcomes:
            return self._outcomes[threshold]
        asked = range(len(self.texts)) if ask is None else ask
        hits = tuple(hit for hit in self._walk(asked, threshold) if hit.exact or hit.score >= threshold)
        made = Outcome(threshold=threshold, questions=len(asked), hits=hits, stored=len(asked) - len(hits))
        if ask is None:
            self._outcomes[threshold] = made
        return made

    def best(self, *, ask: Sequence[int] | None = None) -> list[Hit]:
        """Return the best candidate of each new question where only repeats word for word are served, surest first."""
        asked = range(len(self.texts)) if ask is None else ask
        return sorted((hit for hit in self._walk(asked, math.inf) if not hit.exact), key=lambda hit: -hit.score)

    def scores(self, *, ask: Sequence[int] | None = None) -> list[float]:
        """Return the scores of ``best``: a grid's raw material."""
        return [hit.score for hit in self.best(ask=ask)]

    def _walk(self, asked: Sequence[int], threshold: float) -> Iterator[Hit]:
        """Yield the best candidate of each question that has one; store what is not served."""
        import numpy as np

        stored = np.zeros(len(self.texts), dtype=bool)
        kept: list[int] = []
        known: dict[str, int] = {}
        for index in asked:
            exact = known.get(self._words[index])
            best, score = (exact, math.inf) if exact is not None else self._best(index, stored, kept)
            if best is not None:
                wrong = self.groups[best] != self.groups[index]
                yield Hit(asked=index, served=best, score=score, wrong=wrong, exact=exact is not None)
            if exact is None and (best is None or score < threshold):
                stored[index] = True
                kept.append(index)
                known[self._words[index]] = index

    def verdict(self, asked: int, served: int) -> Verdict:
        """Return what the score says of two questions of the stream."""
        known = self._verdicts.get((asked, served))
        if known is None:
            cosine = float(self._vectors[asked] @ self._vectors[served])
            candidate = Candidate(question=self.texts[served], cosine=cosine)
            known = self._verdicts[asked, served] = self.equivalence.score(self.texts[asked], [candidate])[0]
        return known

    def _best(self, index: int, stored: NDArray[np.bool_], kept: Sequence[int]) -> tuple[int | None, float]:
        near = self._nearest(index, stored, kept)
        if not near:
            return None, -math.inf
        scores = [self.verdict(index, one).score for one in near]
        if self._answers:
            unit = self.equivalence.per_log_odds
            shifts = agreement([score / unit for score in scores], [self.groups[one] for one in near])
            scores = [score + unit * shift for score, shift in zip(scores, shifts, strict=True)]
        place = max(range(len(near)), key=scores.__getitem__)
        return near[place], scores[place]

    def _nearest(self, index: int, stored: NDArray[np.bool_], kept: Sequence[int]) -> list[int]:
        """Return the stored questions nearest to one, best first."""
        listed, cosines = self._listed[index], self._cosines[index]
        usable = listed[(listed >= 0) & stored[listed] & (cosines >= LEAST_COSINE)]
        # A full list that ends above the least cosine may have hidden stored questions behind served ones.
        if len(usable) < NEIGHBOURS and listed[-1] >= 0 and cosines[-1] >= LEAST_COSINE:
            return self._search(index, kept)
        return [int(one) for one in usable[:NEIGHBOURS]]

    def _search(self, index: int, kept: Sequence[int]) -> list[int]:
        import numpy as np

        cosines = self._vectors[list(kept)] @ self._vectors[index]
        order = np.argsort(-cosines, kind="stable")[:NEIGHBOURS]
        return [kept[int(place)] for place in order if cosines[place] >= LEAST_COSINE]


def strict_to_loose(replay: Replay, *, points: int, most: float = 1.0, ask: Sequence[int] | None = None) -> list[float]:
    """Return thresholds that would serve evenly growing shares of the questions, up to the share ``most``."""
    scores = replay.scores(ask=ask)
    if not scores:
        return []
    places = {min(round(len(scores) * most * step / points), len(scores) - 1) for step in range(1, points + 1)}
    return sorted({scores[place] for place in places}, reverse=True)


def _earlier(vectors: Vectors) -> tuple[NDArray[np.int64], Vectors]:
    """Return, per question, the nearest earlier ones and their cosines, best first; -1 where there are fewer."""
    import numpy as np

    count = len(vectors)
    listed = np.full((count, _LISTED), -1, dtype=np.int64)
    cosines = np.full((count, _LISTED), -1.0, dtype=np.float32)
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        block = vectors[start:stop] @ vectors[:stop].T
        for row in range(start, stop):
            own = block[row - start, :row]
            if not row:
                continue
            width = min(_LISTED, row)
            top = np.argpartition(-own, width - 1)[:width]
            top = top[np.lexsort((top, -own[top]))]
            listed[row, :width], cosines[row, :width] = top, own[top]
    return listed, cosines
