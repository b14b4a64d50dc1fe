"""What judged hits have taught a cache, kept beside its entries: records of entries and clusters, and the drift monitor.

Each is a point of its own without a vector. Two processes that judge the same entry at the same moment may lose one of
the two counts: a judgement is a read and a write, and the last write stands.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from costkit.cache.drift import DriftMonitor
from costkit.cache.equivalence import Candidate, Equivalence, Verdict
from costkit.cache.index import CacheIndex, Found, Payload
from costkit.cache.learning import Adjusted, Record, Served, Source, adjust, judge
from costkit.errors import StoreError

__all__ = ["Choice", "Judgements", "choose"]

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


def choose(question: str, found: Sequence[Found], equivalence: Equivalence, judgements: Judgements) -> Choice | None:
    """Return the candidate with the highest score, or None without candidates."""
    if not found:
        return None
    candidates = [Candidate(question=str(one.payload["question"]), cosine=one.score) for one in found]
    verdicts = equivalence.score(question, candidates)
    records = judgements.records([(one.id, cluster_id(one)) for one in found])
    choices = []
    for one, verdict, (entry, cluster) in zip(found, verdicts, records, strict=True):
        adjusted = adjust(verdict.probability, question, entry=entry, cluster=cluster)
        score = verdict.score + equivalence.per_log_odds * adjusted.shift
        choices.append(Choice(found=one, verdict=verdict, adjusted=adjusted, score=score))
    return max(choices, key=lambda choice: choice.score)


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
        self._monitor_id = _point_id(f"drift\n{name}")

    def records(self, ids: Sequence[tuple[str, str]]) -> list[tuple[Record, Record]]:
        """Return the records of entries and of their clusters, for pairs of an entry's id and its cluster's."""
        points = [(_point_id(f"entry\n{entry}"), _point_id(f"cluster\n{cluster}")) for entry, cluster in ids]
        payloads = self._index.retrieve(list({point for pair in points for point in pair}))
        return [(_record(payloads.get(entry)), _record(payloads.get(cluster))) for entry, cluster in points]

    def served(self, hit: Served) -> None:
        """Count one hit."""
        [(entry, cluster)] = self.records([(hit.entry_id, hit.cluster_id)])
        self._write(hit, entry.served(), cluster.served())

    def judged(self, hit: Served, *, right: bool, source: Source) -> None:
        """Add one judgement."""
        [(entry, cluster)] = self.records([(hit.entry_id, hit.cluster_id)])
        self._write(hit, *judge(entry, cluster, hit, right=right, source=source))

    def renewed(self, entry_id: str, cluster_id: str, question: str) -> None:
        """Forget what was judged of an entry whose answer is replaced."""
        [(entry, _)] = self.records([(entry_id, cluster_id)])
        if entry != Record():
            self._put("entry", entry_id, entry.renewed(question))

    def monitor(self) -> DriftMonitor | None:
        """Return the drift monitor's present state."""
        if self._first is None:
            return None
        payload = self._index.retrieve([self._monitor_id]).get(self._monitor_id)
        return self._first if payload is None else DriftMonitor.from_json(_dict(payload["monitor"]))

    def audited(self, score: float, *, right: bool, at: float) -> None:
        """Tell the drift monitor the outcome of one audit."""
        monitor = self.monitor()
        if monitor is not None:
            state = monitor.audited(score, right=right, at=at).to_json()
            self._index.upsert(self._monitor_id, {"kind": "drift", "monitor": state})

    def _write(self, hit: Served, entry: Record, cluster: Record) -> None:
        self._put("entry", hit.entry_id, entry)
        self._put("cluster", hit.cluster_id, cluster)

    def _put(self, kind: str, of: str, record: Record) -> None:
        self._index.upsert(_point_id(f"{kind}\n{of}"), {"kind": f"{kind} record", "of": of, "record": record.to_json()})


def _record(payload: Payload | None) -> Record:
    return Record() if payload is None else Record.from_json(_dict(payload["record"]))


def _point_id(name: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, name))


def _dict(value: object) -> dict[str, object]:
    if isinstance(value, dict):
        return value
    raise StoreError(f"a judged hit holds {value!r} where an object belongs; the store was written by another program")
