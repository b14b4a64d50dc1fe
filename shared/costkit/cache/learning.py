"""Learning: what judged hits teach about an entry and its neighbourhood, on top of the score's probability.

Three levels, each shrunk towards the one above: the score's probability p, a cluster of entries that lie
close together, and the entry. In log odds,

    log odds of "the stored answer serves" = logit(p) + shift of the entry,
    shift of the entry ~ Normal(shift of its cluster, ENTRY_SD), shift of the cluster ~ Normal(0, CLUSTER_SD),

a logistic model with nested random intercepts. Each shift is its posterior mode: the one root d of

    (d - prior) / sd^2 + sum of w_i * sigmoid(logit(p_i) + d) = number of right observations,

over the observations i with probability p_i at the time and weight w_i (Breslow and Clayton, "Approximate inference in
generalized linear mixed models", JASA 1993, fit the same mode). The cluster's shift is taken from its other entries, so
that nothing counts twice. The left side rises in d and in every further observation: a wrong observation can only lower
the probability, and a right one can only raise it. Without observations p stays as it is.

A score that is right more often than it says would make every right hit a surprise, so p_i is taken for at least
``SERVED_PROBABILITY``: what is served at all was held for right. And a shift above 0 moves the probability that is
reported, but not what is served: thresholds and certificates are measured without learning, so learning may only take
hits away from them.
"""

from __future__ import annotations

import math
import time
from array import array
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from threading import Lock
from typing import Literal

from costkit.errors import ConfigurationError, StoreError
from costkit.text import normalise_question

__all__ = ["Adjusted", "ReAsks", "Record", "Served", "Source", "adjust", "audits", "cluster_of", "judge"]

Source = Literal["explicit", "audit", "edit", "re-ask"]

# How far entries stray from their cluster, and clusters from the score, in log odds.
ENTRY_SD = 1.0
CLUSTER_SD = 1.0
SERVED_PROBABILITY = 0.95
# A user who asks again may only want to know more, so a re-ask counts as a part of a wrong observation.
RE_ASK_WEIGHT = 0.25
CLUSTER_COSINE = 0.75
RE_ASK_COSINE = 0.8
RE_ASK_SECONDS = 120.0

REFUSED_MOST = 64
USERS_MOST = 1000
HITS_PER_USER_MOST = 4


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of one entry, or of all entries of one cluster together: a value that has a JSON form.

    Attributes:
        right: Judged right: explicitly or by an audit.
        wrong: Judged wrong: explicitly, by an audit or by an edit of the answer.
        re_asks: Hits after which the user asked nearly the same again.
        seen: Weight of the observations by the score's log odds at the time, in half units.
        refused: Keys of the questions that this entry must not answer; of a cluster, empty.
        answer: Names the entry's answer: entries with equal names hold the same one. None is not known.
    """

    right: int = 0
    wrong: int = 0
    re_asks: int = 0
    seen: Mapping[int, float] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    answer: str | None = None

    def refuses(self, question: str) -> bool:
        """True if this entry answered this question wrongly before.

        An entry that was wrong for ``REFUSED_MOST`` questions refuses every question, so that none is ever forgotten.
        """
        return len(self.refused) >= REFUSED_MOST or (bool(self.refused) and _key(question) in self.refused)

    def renewed(self, question: str) -> Record:
        """Return what is still true when the entry of ``question`` gets a new answer.

        What was judged was the old answer. That other questions ask something else than this one stays true.
        """
        return Record(refused=tuple(key for key in self.refused if key != _key(question)))

    def without(self, entry: Record) -> Record:
        """Return what the other entries of a cluster add up to, where this is the cluster's record."""
        left = {place: weight - entry.seen.get(place, 0.0) for place, weight in self.seen.items()}
        return Record(
            right=max(self.right - entry.right, 0),
            wrong=max(self.wrong - entry.wrong, 0),
            re_asks=max(self.re_asks - entry.re_asks, 0),
            seen={place: weight for place, weight in left.items() if weight > 0},
        )

    def to_json(self) -> dict[str, object]:
        """Return the record as plain JSON values."""
        return {**asdict(self), "seen": [[place, weight] for place, weight in self.seen.items()]}

    @classmethod
    def from_json(cls, payload: Mapping[str, object]) -> Record:
        """Return the record that ``to_json`` wrote.

        Raises:
            StoreError: The payload is not such a record.
        """
        try:
            fields = {name: value for name, value in payload.items() if name != "hits"}  # entries count them now
            fields["seen"] = {int(place): float(weight) for place, weight in fields["seen"]}  # type: ignore[attr-defined]
            fields["refused"] = tuple(map(str, fields["refused"]))  # type: ignore[call-overload]
            return cls(**fields)  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"a record of judged hits cannot be read ({error!r}); delete it") from error


@dataclass(frozen=True, kw_only=True)
class Served:
    """A hit that may be judged later.

    Attributes:
        hit_id: Names the hit, such as its run id.
        entry_id: The entry that was served.
        cluster_id: The entry's cluster.
        question: The question asked.
        probability: The score's own probability for the pair, not the adjusted one.
    """

    hit_id: str
    entry_id: str
    cluster_id: str
    question: str
    probability: float


@dataclass(frozen=True, kw_only=True)
class Adjusted:
    """What judged hits make of a candidate.

    Attributes:
        probability: That the stored answer serves; 0 if the entry refuses the question.
        shift: What to add to the score's log odds before it meets the threshold, never above 0; minus infinity if the
            entry refuses the question.
        reason: Why, in one clause for people; empty without observations.
    """

    probability: float
    shift: float
    reason: str


def adjust(probability: float, question: str, *, entry: Record, cluster: Record) -> Adjusted:
    """Move a candidate's probability by what is known of its entry and of the rest of its cluster.

    Args:
        probability: The score's own probability (0 to 1) that the stored answer serves.
        question: The question asked.
        entry: The entry's record; ``Record()`` if nothing is known.
        cluster: The record of its cluster, which includes this entry.
    """
    if entry.refuses(question):
        return Adjusted(probability=0.0, shift=-math.inf, reason="this entry answered this question wrongly before")
    others = cluster.without(entry)
    if not entry.seen and not others.seen:
        return Adjusted(probability=probability, shift=0.0, reason="")
    shift = _shift(entry, prior=_shift(others, prior=0.0, sd=CLUSTER_SD), sd=ENTRY_SD)
    moved = _sigmoid(_log_odds(probability) + shift)
    told = [_told(record, whose) for record, whose in ((entry, "of this entry"), (others, "near it")) if record.seen]
    return Adjusted(probability=moved, shift=min(shift, 0.0), reason="; ".join(told))


def judge(entry: Record, cluster: Record, hit: Served, *, right: bool, source: Source) -> tuple[Record, Record]:
    """Add one judgement to the records of the hit's entry and of its cluster.

    An answer found wrong in any way but a re-ask is never served for this question again.

    Args:
        entry: The entry's record.
        cluster: Its cluster's record.
        hit: The hit that is judged.
        right: Whether the stored answer served.
        source: Who says so: the user (``explicit``), an audit, the user's code that replaced the answer (``edit``, a
            full observation like the former two), or a ``re-ask``, which counts ``RE_ASK_WEIGHT``. The last two can
            only say that the answer was wrong.

    Returns:
        The new records of the entry and of the cluster.

    Raises:
        ConfigurationError: ``right`` does not go with the source.
    """
    if right and source in ("edit", "re-ask"):
        raise ConfigurationError(
            f"right must be False where source is {source!r}: it only says that an answer was wrong"
        )
    judged = _judged(entry, hit.probability, right=right, source=source)
    if not right and source != "re-ask" and not entry.refuses(hit.question):
        judged = replace(judged, refused=(*judged.refused, _key(hit.question)))
    return judged, _judged(cluster, hit.probability, right=right, source=source)


def cluster_of(entry_id: str, *, nearest_cluster_id: str | None, cosine: float) -> str:
    """Return the cluster of a new entry: that of its nearest stored entry if it lies close, else one of its own.

    This is leader clustering, online and in one pass (Hartigan, "Clustering Algorithms", 1975).

    Args:
        entry_id: The new entry.
        nearest_cluster_id: The cluster of the nearest stored entry of the same identity, or None if there is none.
        cosine: The cosine similarity of the two questions.
    """
    return nearest_cluster_id if nearest_cluster_id is not None and cosine >= CLUSTER_COSINE else entry_id


def audits(hit_id: str, *, share: float, seed: int = 0) -> bool:
    """Return whether a hit belongs to the random share that is audited; the same for the same hit and seed.

    Args:
        hit_id: Names the hit, such as its run id.
        share: Share of the hits, 0 to 1.
        seed: Another seed chooses other hits.
    """
    if not 0 <= share <= 1:
        raise ConfigurationError(f"share must be a share of hits from 0 to 1, got {share!r}")
    drawn = int.from_bytes(blake2b(f"{seed}\n{hit_id}".encode(), digest_size=8).digest())
    return drawn < share * 2**64


class ReAsks:
    """Notices that a user asks nearly the same again soon after a hit.

    It remembers the last ``HITS_PER_USER_MOST`` hits of the last ``USERS_MOST`` users, and may be shared by threads.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._hits: OrderedDict[tuple[str, str], tuple[_Remembered, ...]] = OrderedDict()
        self._lock = Lock()

    def served(self, hit: Served, *, user: str | None, identity: str, vector: Sequence[float] | None = None) -> None:
        """Remember a hit. Users without a name are not tracked.

        Args:
            hit: The hit.
            user: Who asked.
            identity: The cache identity of the question; it names the tenant.
            vector: Of the question; None where it was not embedded.
        """
        if user is not None:
            kept = None if vector is None else array("f", vector)
            self._remember((user, identity), (_Remembered(at=self._clock(), hit=hit, vector=kept),))

    def asked(
        self,
        *,
        user: str | None,
        identity: str,
        vector: Sequence[float],
        embed: Callable[[str], Sequence[float]],
    ) -> tuple[Served, ...]:
        """Return the hits that a new question asks again; each hit is returned once. Call it before ``served``.

        Args:
            user: Who asks.
            identity: The cache identity of the question.
            vector: Of the new question, of unit length.
            embed: Gives the vector of a question that was served without one.
        """
        if user is None:
            return ()
        with self._lock:
            remembered = self._hits.pop((user, identity), ())
        now = self._clock()
        fresh = [
            one if one.vector is not None else replace(one, vector=embed(one.hit.question))
            for one in remembered
            if now - one.at <= RE_ASK_SECONDS
        ]
        again = [one for one in fresh if _dot(one.vector or (), vector) >= RE_ASK_COSINE]
        self._remember((user, identity), [one for one in fresh if one not in again])
        return tuple(one.hit for one in again)

    def _remember(self, key: tuple[str, str], hits: Sequence[_Remembered]) -> None:
        if not hits:
            return
        with self._lock:
            self._hits[key] = (*self._hits.pop(key, ()), *hits)[-HITS_PER_USER_MOST:]
            while len(self._hits) > USERS_MOST:
                self._hits.popitem(last=False)


@dataclass(frozen=True, kw_only=True)
class _Remembered:
    at: float
    hit: Served
    vector: Sequence[float] | None


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def _judged(record: Record, probability: float, *, right: bool, source: Source) -> Record:
    again = source == "re-ask"
    place = round(2 * _log_odds(min(max(probability, SERVED_PROBABILITY), 0.999)))
    weight = RE_ASK_WEIGHT if again else 1.0
    return replace(
        record,
        right=record.right + right,
        wrong=record.wrong + (not right and not again),
        re_asks=record.re_asks + again,
        seen={**record.seen, place: record.seen.get(place, 0.0) + weight},
    )


def _shift(record: Record, *, prior: float, sd: float) -> float:
    """Return the root of the module's equation by Newton's method, kept within a bracket that holds the root."""
    low = prior - sd**2 * max(sum(record.seen.values()) - record.right, 0.0)
    high = prior + sd**2 * record.right
    at = prior
    for _ in range(50):
        places = [(weight, _sigmoid(place / 2 + at)) for place, weight in record.seen.items()]
        gap = (at - prior) / sd**2 + sum(weight * right for weight, right in places) - record.right
        slope = 1 / sd**2 + sum(weight * right * (1 - right) for weight, right in places)
        low, high = (low, at) if gap > 0 else (at, high)
        following = at - gap / slope
        if not low <= following <= high:
            following = (low + high) / 2
        if abs(following - at) < 1e-12:
            break
        at = following
    return at


def _told(record: Record, whose: str) -> str:
    judged = record.right + record.wrong
    told = [f"{record.right} of {judged} judged hits {whose} were right"] if judged else []
    return " and ".join(told + ([f"{record.re_asks} hits {whose} were asked again"] if record.re_asks else []))


def _key(question: str) -> str:
    return blake2b(normalise_question(question).encode(), digest_size=8).hexdigest()


def _sigmoid(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds)) if log_odds >= 0 else math.exp(log_odds) / (1 + math.exp(log_odds))


def _log_odds(probability: float) -> float:
    bounded = min(max(probability, 1e-6), 1 - 1e-6)
    return math.log(bounded / (1 - bounded))
