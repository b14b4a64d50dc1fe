"""What judged hits have taught a cache, kept beside its entries: records of entries and clusters, and the drift monitor.

Each is a point of its own without a vector. A judgement is a read and a write. Within a process one follows the other;
of two processes that judge the same entry at the same moment, the last write stands.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass, replace

from costkit.cache.agreement import agreement
from costkit.cache.drift import DriftMonitor
from costkit.cache.equivalence import Candidate, Equivalence, Verdict
from costkit.cache.index import CacheIndex, Found, Payload, lock_of
from costkit.cache.learning import Adjusted, Record, Served, Source, adjust, judge
from costkit.cache.replay import LEAST_COSINE
from costkit.errors import StoreError

__all__ = ["Choice", "Judgements", "ReAsked", "choose", "cluster_id", "re_asked"]

_NAMESPACE = uuid.UUID("0d3b6c1e-8f5f-4a52-9b55-0b7a1f6d7c1a")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The candidate that comes nearest to being served.

    Attributes:
        found: The entry.
        verdict: What the score says of it.
        adjusted: What judged hits make of that.
        score: The score with the judged hits' shift, to be held against the threshold.
    """

    found: Found
    verdict: Verdict
    adjusted: Adjusted
    score: float

    @property
    def reason(self) -> str:
        """Why, in one clause for people."""
        return "; ".join(filter(None, (self.verdict.reason, self.adjusted.reason)))


def choose(
    question: str,
    found: Sequence[Found],
    equivalence: Equivalence,
    judgements: Judgements,
    *,
    threshold: float,
    answers: bool = False,
) -> Choice | None:
    """Return the candidate with the highest score, or None without candidates.

    Args:
        question: The question asked.
        found: The candidates.
        equivalence: The score.
        judgements: What is known of them.
        threshold: Least score that is served.
        answers: True lets their answers vote, as far as it is known which are the same.
    """
    found = [one for one in found if one.score >= LEAST_COSINE]
    if not found:
        return None
    candidates = [Candidate(question=str(one.payload["question"]), cosine=one.score) for one in found]
    # Where candidates vote, each one's score counts, however far it lies from the threshold.
    verdicts = equivalence.score(question, candidates, threshold=None if answers else threshold)
    records = judgements.records([(one.id, cluster_id(one)) for one in found])
    if answers:
        verdicts = _voted(verdicts, [entry.answer for entry, _ in records], equivalence.per_log_odds)
    choices = []
    for one, verdict, (entry, cluster) in zip(found, verdicts, records, strict=True):
        adjusted = adjust(verdict.probability, question, entry=entry, cluster=cluster)
        score = verdict.score + equivalence.per_log_odds * adjusted.shift
        choices.append(Choice(found=one, verdict=verdict, adjusted=adjusted, score=score))
    return max(choices, key=lambda choice: choice.score)


def _voted(verdicts: Sequence[Verdict], answers: Sequence[str | None], unit: float) -> list[Verdict]:
    """Shift the verdicts by what the other candidates' answers say; ``unit`` is the score's worth of one log odds."""
    shifts = agreement([verdict.score / unit for verdict in verdicts], answers)
    return [verdict.shifted(shift, unit) for verdict, shift in zip(verdicts, shifts, strict=True)]


def cluster_id(found: Found) -> str:
    """Return the cluster that an entry belongs to."""
    return str(found.payload.get("cluster") or found.id)


class Judgements:
    """Reads and writes what judged hits have taught.

    Args:
        index: The store of the cache.
        monitor: The drift monitor to begin with; None watches nothing.
        name: Tells the monitors of different caches in one store apart.
    """

    def __init__(self, index: CacheIndex, *, monitor: DriftMonitor | None, name: str) -> None:
        self._index = index
        self._first = monitor
        # Another target, grid or certificate is another monitor: a new calibration begins anew.
        self._monitor_id = _point_id(f"drift\n{name}\n{monitor and monitor.to_json()}")

    def records(self, ids: Sequence[tuple[str, str]]) -> list[tuple[Record, Record]]:
        """Return the records of entries and of their clusters, for pairs of an entry's id and its cluster's."""
        points = [(_point_id(f"entry\n{entry}"), _point_id(f"cluster\n{cluster}")) for entry, cluster in ids]
        payloads = self._index.retrieve(list({point for pair in points for point in pair}))
        return [(_record(payloads.get(entry)), _record(payloads.get(cluster))) for entry, cluster in points]

    def judged(self, hit: Served, *, right: bool, source: Source) -> None:
        """Add one judgement."""
        with lock_of(self._index):
            [(entry, cluster)] = self.records([(hit.entry_id, hit.cluster_id)])
            entry, cluster = judge(entry, cluster, hit, right=right, source=source)
            self._put("entry", hit.entry_id, entry)
            self._put("cluster", hit.cluster_id, cluster)

    def renewed(self, entry_id: str, cluster_id: str, question: str) -> None:
        """Forget what was judged of an entry whose answer is replaced, in its cluster too."""
        with lock_of(self._index):
            [(entry, cluster)] = self.records([(entry_id, cluster_id)])
            if entry != Record():
                self._put("cluster", cluster_id, cluster.without(entry))
                self._put("entry", entry_id, entry.renewed(question))

    def answered(self, entry_id: str, cluster_id: str, answer: str) -> None:
        """Name the answer of an entry."""
        with lock_of(self._index):
            [(entry, _)] = self.records([(entry_id, cluster_id)])
            self._put("entry", entry_id, replace(entry, answer=answer))

    def forget(self, entry_ids: Collection[str]) -> None:
        """Delete the records of entries, but for those that refuse a question."""
        self._delete([_point_id(f"entry\n{entry}") for entry in entry_ids])

    def forget_all_but(self, named: Container[str]) -> int:
        """Delete the records of entries and clusters that are not named, but for those that refuse a question.

        Returns:
            How many there were.
        """
        return sum(
            self._delete([point.id for point in points if point.payload["of"] not in named])
            for kind in ("entry", "cluster")
            for points in self._index.scan(kind=f"{kind} record")
        )

    def _delete(self, point_ids: Sequence[str]) -> int:
        """Delete those of the records that refuse no question; return how many there were."""
        with lock_of(self._index):
            records = self._index.retrieve(point_ids) if point_ids else {}
            gone = [point_id for point_id, payload in records.items() if not _record(payload).refused]
            if gone:
                self._index.delete(gone)
        return len(gone)

    def monitor(self) -> DriftMonitor | None:
        """Return the drift monitor's present state."""
        if self._first is None:
            return None
        payload = self._index.retrieve([self._monitor_id]).get(self._monitor_id)
        return self._first if payload is None else DriftMonitor.from_json(_dict(payload["monitor"]))

    def audited(self, score: float, *, right: bool, at: float) -> None:
        """Tell the drift monitor the outcome of one audit."""
        with lock_of(self._index):
            monitor = self.monitor()
            if monitor is not None:
                state = monitor.audited(score, right=right, at=at).to_json()
                self._index.upsert(self._monitor_id, {"kind": "drift", "monitor": state})

    def _put(self, kind: str, of: str, record: Record) -> None:
        self._index.upsert(_point_id(f"{kind}\n{of}"), {"kind": f"{kind} record", "of": of, "record": record.to_json()})


@dataclass(frozen=True, kw_only=True)
class ReAsked:
    """A cluster of entries whose hits users asked again.

    Attributes:
        question: The question of one of its entries.
        hits: Hits of its entries.
        re_asks: Those after which the same user asked nearly the same.
        rate: ``re_asks / hits``, at most 1.
    """

    question: str
    hits: int
    re_asks: int
    rate: float


def re_asked(index: CacheIndex, *, most: int = 5) -> list[ReAsked]:
    """Return the clusters that were asked again most, the highest rate first; it goes through the whole store."""
    again: dict[str, int] = {}
    for points in index.scan(kind="cluster record"):
        again |= {str(one.payload["of"]): count for one in points if (count := _record(one.payload).re_asks)}
    hits: Counter[str] = Counter()
    questions: dict[str, str] = {}
    for points in index.scan(kind="entry") if again else ():
        for one in points:
            cluster = str(one.payload.get("cluster") or one.id)
            if cluster in again:
                hits[cluster] += int(str(one.payload.get("hits", 0)))
                questions.setdefault(cluster, str(one.payload["question"]))
    found = [
        ReAsked(
            question=question,
            hits=hits[cluster],
            re_asks=again[cluster],
            rate=min(again[cluster] / max(hits[cluster], 1), 1.0),
        )
        for cluster, question in questions.items()
    ]
    return sorted(found, key=lambda one: (-one.rate, -one.re_asks, one.question))[:most]


def _record(payload: Payload | None) -> Record:
    return Record() if payload is None else Record.from_json(_dict(payload["record"]))


def _point_id(name: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, name))


def _dict(value: object) -> dict[str, object]:
    if isinstance(value, dict):
        return value
    raise StoreError(f"a judged hit holds {value!r} where an object belongs; the store was written by another program")
