"""Drift, simulated: the traffic changes under a running cache; do the audits notice, and is the target met again?

`python -m costkit_evals.cache_drift --first FILE --then FILE` plays the first half of one labelled stream and then
another whole, and prints what the audits did.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from costkit.cache.drift import DriftMonitor
from costkit.cache.equivalence import Equivalence, FittedScore
from costkit.cache.labelled import questions
from costkit.cache.learning import Record, Served, adjust, audits, cluster_of, judge
from costkit.cache.replay import NEIGHBOURS, Replay, strict_to_loose
from costkit.embed import Embedder, default_embedder
from costkit.text import normalise_question

__all__ = ["Drift", "DriftSimulation", "Row", "Switch"]

WINDOW_HITS = 500
GRID_POINTS = 40
GRID_MOST = 0.5

Vectors = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Row:
    """Up to ``WINDOW_HITS`` hits in a row.

    Attributes:
        first: Number of the first hit, counted from 1.
        hits: How many hits.
        changed: Share of them after the change of the traffic.
        wrong_rate: Share of wrong hits.
        requests: Questions asked meanwhile.
        audits: Audits meanwhile.
        threshold: What was served at the end: the least score, or None for exact hits only.
    """

    first: int
    hits: int
    changed: float
    wrong_rate: float
    requests: int
    audits: int
    threshold: float | None


@dataclass(frozen=True, kw_only=True)
class Switch:
    """A change of what is served.

    Attributes:
        audits: Audits since the change of the traffic; 0 or less before it.
        hits: Hits served since then.
        threshold: The new least score, or None for exact hits only.
        next_hits: How many hits followed, at most ``WINDOW_HITS``.
        next_wrong_rate: Share of wrong hits among those, or None without any.
    """

    audits: int
    hits: int
    threshold: float | None
    next_hits: int
    next_wrong_rate: float | None


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What one simulation shows.

    Attributes:
        target: Highest share of wrong hits asked for.
        threshold: Least probability that was served at the start.
        rows: The stream in runs of ``WINDOW_HITS`` hits.
        switches: Every change of what is served.
        hits: Hits after the change of the traffic.
        wrong_rate: Share of wrong ones among them.
        first_wrong_rate: Share of wrong ones among the first ``WINDOW_HITS`` of them.
        audits_to_target: Audits after the change until semantic hits are served at or under the target: 0 if the first
            ``WINDOW_HITS`` hits are, else those until the first switch to a threshold that is followed by such hits,
            None without one.
    """

    target: float
    threshold: float
    rows: tuple[Row, ...]
    switches: tuple[Switch, ...]
    hits: int
    wrong_rate: float | None
    first_wrong_rate: float | None
    audits_to_target: int | None


class DriftSimulation:
    """Two streams, one after the other, that a cache with learning and a drift monitor can be replayed on.

    Args:
        first: The traffic before the change, as (text, group): two questions may share an answer if and only if their
            groups are equal. Groups of different streams never are.
        then: The traffic after it.
        embedder: Turns questions into vectors.
        equivalence: The score.
    """

    def __init__(
        self,
        first: Sequence[tuple[str, str]],
        then: Sequence[tuple[str, str]],
        *,
        embedder: Embedder,
        equivalence: Equivalence,
    ) -> None:
        self.texts = [text for text, _ in (*first, *then)]
        self.groups = [*(f"first {group}" for _, group in first), *(f"then {group}" for _, group in then)]
        self.change = len(first)
        self.vectors: Vectors = np.asarray(embedder.embed(self.texts))
        self.equivalence = equivalence
        self.replay = Replay(self.texts, self.groups, self.vectors, equivalence)
        #: Thresholds, ascending, that would serve evenly growing shares of the first traffic up to half of it.
        self.grid = tuple(
            reversed(strict_to_loose(self.replay, points=GRID_POINTS, most=GRID_MOST, ask=range(self.change)))
        )

    def read_off(self, target: float) -> float:
        """Return the loosest threshold of the grid at which the first traffic meets the target, else the strictest."""
        for threshold in self.grid:
            if self.replay.at(threshold, ask=range(self.change)).wrong_per_hit <= target:
                return threshold
        return self.grid[-1]

    def run(
        self,
        *,
        threshold: float | None = None,
        target: float = 0.05,
        share: float = 0.05,
        seed: int = 0,
    ) -> Drift:
        """Replay both streams.

        Args:
            threshold: Least score that is served at the start. Default: ``read_off(target)``.
            target: Highest share of wrong hits.
            share: Share of the semantic hits that are audited; while only exact hits are served, all would-be hits
                are. The labels judge them, at once.
            seed: Chooses the hits that are audited.
        """
        threshold = self.read_off(target) if threshold is None else threshold
        monitor = DriftMonitor(target=target, grid=self.grid, threshold=threshold)
        cache = _Cache(self, monitor, share=share, seed=seed)
        hits = [hit for request in range(len(self.texts)) if (hit := cache.ask(request)) is not None]
        after = [hit for hit in hits if hit.request >= self.change]
        switches = tuple(_switch(state, hits, after) for state in cache.states[1:])
        return Drift(
            target=target,
            threshold=threshold,
            rows=tuple(_rows(hits, self.change)),
            switches=switches,
            hits=len(after),
            wrong_rate=_wrong_rate(after),
            first_wrong_rate=_wrong_rate(after[:WINDOW_HITS]),
            audits_to_target=_audits_to_target(after, switches, target),
        )


@dataclass(frozen=True, slots=True)
class _Hit:
    """A served hit; ``audits`` and ``threshold`` as they were just before it."""

    request: int
    right: bool
    audits: int
    threshold: float | None


@dataclass(frozen=True, slots=True)
class _State:
    """What is served from a request on: a least score, or None for exact hits only."""

    request: int
    audits: int
    threshold: float | None


class _Cache:
    """Serves the best stored candidate of each question or stores the question, and audits a share of the hits."""

    def __init__(self, simulation: DriftSimulation, monitor: DriftMonitor, *, share: float, seed: int) -> None:
        self.states = [_State(0, 0, monitor.threshold)]
        self._simulation = simulation
        self._monitor = monitor
        self._share, self._seed = share, seed
        self._vectors = np.empty_like(simulation.vectors)
        self._entries: list[int] = []
        self._clusters: dict[int, str] = {}
        self._records: defaultdict[str, Record] = defaultdict(Record)
        self._audits = 0

    def ask(self, request: int) -> _Hit | None:
        cosines = self._vectors[: len(self._entries)] @ self._simulation.vectors[request]
        near = np.argsort(-cosines, kind="stable")[:NEIGHBOURS]
        if not len(near):
            self._store(request, None, 0.0)
            return None
        entry, score = self._best(request, [self._entries[place] for place in near])
        hit = _Hit(request, self._right(request, entry), self._audits, self.states[-1].threshold)
        exact = self._question(request) == self._question(entry)
        served = exact or self._monitor.serves(score)
        if not exact and self._audited(request, score):
            self._audit(request, entry, score)
        if served:
            return hit
        self._store(request, self._clusters[self._entries[near[0]]], float(cosines[near[0]]))
        return None

    def _store(self, request: int, nearest_cluster_id: str | None, cosine: float) -> None:
        name = f"cluster {request}"
        self._clusters[request] = cluster_of(name, nearest_cluster_id=nearest_cluster_id, cosine=cosine)
        self._vectors[len(self._entries)] = self._simulation.vectors[request]
        self._entries.append(request)

    def _best(self, request: int, candidates: Sequence[int]) -> tuple[int, float]:
        """Return the candidate that scores highest with what was learned, and that score."""
        found = []
        for entry in candidates:
            verdict = self._simulation.replay.verdict(request, entry)
            known, cluster = self._records[str(entry)], self._records[self._clusters[entry]]
            learned = adjust(verdict.probability, self._simulation.texts[request], entry=known, cluster=cluster)
            found.append((entry, verdict.score + self._simulation.equivalence.per_log_odds * learned.shift))
        return max(found, key=lambda pair: pair[1])

    def _audited(self, request: int, score: float) -> bool:
        if self._monitor.serves(score):
            return audits(str(request), share=self._share, seed=self._seed)
        return bool(self._share) and self._monitor.wants_shadow_audit(score)

    def _audit(self, request: int, entry: int, score: float) -> None:
        right = self._right(request, entry)
        hit = Served(
            hit_id=str(request),
            entry_id=str(entry),
            cluster_id=self._clusters[entry],
            question=self._simulation.texts[request],
            probability=self._simulation.replay.verdict(request, entry).probability,
        )
        known, cluster = self._records[hit.entry_id], self._records[hit.cluster_id]
        known, cluster = judge(known, cluster, hit, right=right, source="audit")
        self._records[hit.entry_id], self._records[hit.cluster_id] = known, cluster
        self._audits += 1
        self._monitor = self._monitor.audited(score, right=right, at=float(request))
        threshold = None if self._monitor.exact_only else self._monitor.threshold
        if threshold != self.states[-1].threshold:
            self.states.append(_State(request, self._audits, threshold))

    def _right(self, request: int, entry: int) -> bool:
        return self._simulation.groups[request] == self._simulation.groups[entry]

    def _question(self, at: int) -> str:
        return normalise_question(self._simulation.texts[at])


def _rows(hits: Sequence[_Hit], change: int) -> Iterator[Row]:
    for first in range(0, len(hits), WINDOW_HITS):
        run = hits[first : first + WINDOW_HITS]
        yield Row(
            first=first + 1,
            hits=len(run),
            changed=sum(hit.request >= change for hit in run) / len(run),
            wrong_rate=sum(not hit.right for hit in run) / len(run),
            requests=run[-1].request - run[0].request + 1,
            audits=run[-1].audits - run[0].audits,
            threshold=run[-1].threshold,
        )


def _switch(state: _State, hits: Sequence[_Hit], after: Sequence[_Hit]) -> Switch:
    following = [hit for hit in hits if hit.request > state.request][:WINDOW_HITS]
    return Switch(
        audits=state.audits - (after[0].audits if after else 0),
        hits=sum(hit.request <= state.request for hit in after),
        threshold=state.threshold,
        next_hits=len(following),
        next_wrong_rate=_wrong_rate(following),
    )


def _audits_to_target(after: Sequence[_Hit], switches: Sequence[Switch], target: float) -> int | None:
    begun = [(0, after[:WINDOW_HITS])]
    begun += [
        (one.audits, after[one.hits :][:WINDOW_HITS])
        for one in switches
        if one.audits > 0 and one.threshold is not None
    ]
    for audited, hits in begun:
        if len(hits) == WINDOW_HITS and sum(not hit.right for hit in hits) <= target * WINDOW_HITS:
            return audited
    return None


def _wrong_rate(hits: Sequence[_Hit]) -> float | None:
    return sum(not hit.right for hit in hits) / len(hits) if hits else None


@click.command()
@click.option(
    "--first", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Its first half is played."
)
@click.option("--then", type=click.Path(path_type=Path), required=True, metavar="FILE", help="It is played whole.")
@click.option("--shuffle", is_flag=True, help="Play the second in random order.")
@click.option("--threshold", type=float, help="Least score at the start. Default: read off the first at the target.")
@click.option("--target", default=0.05, show_default=True, help="Share of the hits that may be wrong.")
@click.option("--share", default=0.05, show_default=True, help="Share of the hits that are audited.")
@click.option("--seed", default=7, show_default=True, help="Of the audits and of --shuffle.")
def main(
    *, first: Path, then: Path, shuffle: bool, threshold: float | None, target: float, share: float, seed: int
) -> None:
    """Play two labelled streams through one cache; print as JSON what the audits did.

    Example: python -m costkit_evals.cache_drift --first duplicates.jsonl.gz --then near-misses.jsonl.gz --shuffle
    """
    before = [(one.text, one.group) for one in questions(first)]
    after = [(one.text, one.group) for one in questions(then)]
    if shuffle:
        random.Random(seed).shuffle(after)  # noqa: S311  a draw, no secret
    simulation = DriftSimulation(
        before[: len(before) // 2], after, embedder=default_embedder(), equivalence=FittedScore()
    )
    found = simulation.run(threshold=threshold, target=target, share=share, seed=seed)
    click.echo(json.dumps(asdict(found), indent=1))


if __name__ == "__main__":
    main()
