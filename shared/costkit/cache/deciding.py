"""Which kept answer may be served for a question: the same question's, else that of the best of the nearest ones."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from costkit.cache.auditing import Auditing, hit_to_judge
from costkit.cache.documents import LATEST, latest_in
from costkit.cache.entries import Entry, entry_id
from costkit.cache.equivalence import Equivalence
from costkit.cache.index import CacheIndex, Found
from costkit.cache.judgements import Choice, Judgements, choose, cluster_id
from costkit.cache.learning import Served
from costkit.cache.lifetime import Lifetime
from costkit.cache.lookup import Lookup, Ticket
from costkit.cache.notices import Notices
from costkit.cache.replay import NEIGHBOURS
from costkit.errors import DataError

if TYPE_CHECKING:
    from costkit.cache.certificate import Certificate
    from costkit.cache.drift import DriftMonitor

__all__ = ["Deciding"]

# Where entries that have ended stand in the way, this many are looked at instead.
NEIGHBOURS_BEHIND = 50


class Deciding:
    """Finds the answer that serves a question.

    Args:
        index: The store.
        equivalence: Scores earlier questions.
        decision_name: Names the score and whether answers vote; what a certificate must have been made for.
        threshold: Least score of a semantic hit.
        certificate: What its hits are bound by, if any.
        judgements: What judged hits have taught.
        auditing: Draws the hits to judge.
        lifetime: When entries end.
        embedder: Name of the embedding model.
        answers_vote: Whether it is known which stored answers say the same.
        shadow: Whether nothing is served, so that a fresh answer comes to every drawn hit.
        notices: Where it is told what cannot be read or is not covered.
        clock: Returns the time in seconds since 1970.
    """

    def __init__(
        self,
        index: CacheIndex,
        *,
        equivalence: Equivalence,
        decision_name: str,
        threshold: float,
        certificate: Certificate | None,
        judgements: Judgements,
        auditing: Auditing,
        lifetime: Lifetime,
        embedder: str,
        answers_vote: bool,
        shadow: bool,
        notices: Notices,
        clock: Callable[[], float],
    ) -> None:
        self._index = index
        self._equivalence = equivalence
        self._decision_name = decision_name
        self.threshold = threshold
        self._certificate = certificate
        self._judgements = judgements
        self._auditing = auditing
        self._lifetime = lifetime
        self._embedder = embedder
        self._answers_vote = answers_vote
        self._shadow = shadow
        self._notices = notices
        self._clock = clock

    def opened(self, ticket: Ticket) -> tuple[Ticket, Found | None]:
        """Return the ticket with the latest change that the store knows of, and the question's own entry."""
        own_id = entry_id(ticket)
        there = self._index.retrieve([own_id, LATEST])
        own = Found(id=own_id, payload=there[own_id], score=1.0) if own_id in there else None
        return replace(ticket, read_at=latest_in(there)), own

    def exact(self, ticket: Ticket, own: Found | None) -> Lookup | None:
        """Return the hit of the question's own entry, or None if it may not be served."""
        if own is None or not self._usable_of([own], ticket):
            return None
        [(record, _)] = self._judgements.records([(own.id, cluster_id(own))])
        if record.refuses(ticket.question):
            return None
        return self._hit(
            "exact", own, ticket, probability=1.0, score=1.0, reason="the same question was answered before"
        )

    def nearest(self, ticket: Ticket) -> Lookup:
        """Return the hit or the miss of a question that has a vector."""
        monitor = self._judgements.monitor()
        threshold = self._threshold_under(monitor)
        choice = choose(
            ticket.question,
            self._usable(ticket),
            self._equivalence,
            self._judgements,
            threshold=threshold,
            answers=self._answers_vote,
        )
        if choice is None:
            return Lookup(kind="miss", reason="no earlier question of this identity is near", ticket=ticket)
        if choice.score >= threshold and not (monitor and monitor.exact_only):
            return self._semantic_hit(choice, threshold, monitor, ticket)
        reason = f"the nearest question scores {choice.score:.3f}, below {threshold:.3f} ({choice.reason})"
        if monitor and monitor.exact_only:
            reason = f"only exact questions are served: {monitor.voided.reason if monitor.voided else 'drift'}"
            if self._auditing.has_judge and monitor.wants_shadow_audit(choice.score):
                ticket = replace(ticket, would_be=hit_to_judge(choice, ticket))
        return Lookup(
            kind="miss",
            reason=reason,
            score=choice.score,
            cosine=choice.found.score,
            probability=choice.adjusted.probability,
            ticket=ticket,
        )

    def in_flight(self, ticket: Ticket, in_flight: Sequence[Found]) -> str | None:
        """Return the id of the question in flight whose answer would be served, or None.

        Only whether to wait hangs on it: what comes of the wait is decided by ``nearest``, with the votes of answers.
        """
        monitor = self._judgements.monitor()
        if monitor and monitor.exact_only:
            return None
        threshold = self._threshold_under(monitor)
        choice = choose(ticket.question, in_flight, self._equivalence, self._judgements, threshold=threshold)
        return choice.found.id if choice is not None and choice.score >= threshold else None

    def _threshold_under(self, monitor: DriftMonitor | None) -> float:
        return self.threshold if monitor is None else max(self.threshold, monitor.threshold)

    def _semantic_hit(self, choice: Choice, threshold: float, monitor: DriftMonitor | None, ticket: Ticket) -> Lookup:
        hit = self._hit(
            "semantic",
            choice.found,
            ticket,
            score=choice.score,
            probability=choice.adjusted.probability,
            reason=f"a near question was answered before: score {choice.score:.3f} reaches {threshold:.3f}, "
            f"cosine {choice.found.score:.3f} ({choice.reason})",
        )
        assert hit.served is not None  # noqa: S101  every hit has it
        drawn = self._auditing.drawn(hit.served)
        return replace(
            hit,
            # In shadow mode a fresh answer comes anyway: it is judged when it is kept.
            ticket=replace(ticket, would_be=hit_to_judge(choice, ticket)) if drawn and self._shadow else ticket,
            bound=self._bound(monitor, threshold, ticket),
            # Judgements move the score's own probability, not one that they have moved already.
            served=replace(hit.served, probability=choice.verdict.probability),
            audit=drawn and not self._shadow,
        )

    def _bound(self, monitor: DriftMonitor | None, threshold: float, ticket: Ticket) -> float | Literal["uncertified"]:
        certificate = self._certificate
        # A stricter threshold is another one: the sequence of tests begins where there are hits enough.
        if certificate is None or (monitor and monitor.voided) or threshold != certificate.threshold:
            return "uncertified"
        uncovered = certificate.covers(
            self._decision_name, self._embedder, self._index.count(identity=ticket.identity.key)
        )
        if uncovered is not None:
            self._notices.tell(f"hits are uncertified: {uncovered}")
            return "uncertified"
        return certificate.bound

    def _usable(self, ticket: Ticket) -> list[Found]:
        """Return the nearest entries that may be served."""
        assert ticket.vector is not None  # noqa: S101  set before a near answer is looked for
        for limit in (NEIGHBOURS, NEIGHBOURS_BEHIND):
            found = self._index.nearest(ticket.vector, identity=ticket.identity.key, limit=limit)
            usable = self._usable_of(found, ticket)[:NEIGHBOURS]
            if len(usable) == min(len(found), NEIGHBOURS) or len(found) < limit:
                break
        return usable

    def _usable_of(self, found: Sequence[Found], ticket: Ticket) -> list[Found]:
        """Leave out what cannot be read, has ended, or rests on a document that changed after it was read."""
        entries = [(one, self._entry(one)) for one in found]
        alive = [(one, entry) for one, entry in entries if entry is not None and not self._ended(one.id, entry, ticket)]
        keys = {key for _, entry in alive for key in entry.documents}
        documents = self._index.retrieve(list(keys)) if keys else {}
        return [one for one, entry in alive if not entry.stale(documents)]

    def _entry(self, found: Found) -> Entry | None:
        try:
            return Entry.from_payload(found.payload)
        except DataError as error:
            self._notices.tell(str(error))
            return None

    def _ended(self, own_id: str, entry: Entry, ticket: Ticket) -> bool:
        """True if an entry's time is over, or would be if the feature that asks now had asked for it."""
        ends = self._lifetime.ends(own_id, created_at=entry.created_at, feature=ticket.scope.feature)
        return self._clock() >= min(entry.expires_at, ends)

    def _hit(
        self,
        kind: Literal["exact", "semantic"],
        found: Found,
        ticket: Ticket,
        *,
        score: float,
        probability: float,
        reason: str,
    ) -> Lookup:
        entry = Entry.from_payload(found.payload)
        return Lookup(
            kind=kind,
            reason=reason,
            answer=entry.answer,
            score=score,
            cosine=found.score,
            probability=probability,
            age_seconds=max(self._clock() - entry.created_at, 0.0),
            hits=entry.hits,
            entry_id=found.id,
            matched_question=entry.question,
            evidence=entry.evidence,
            saved=entry.usage,
            saved_nano_usd=entry.cost_nano_usd,
            served=Served(
                hit_id=ticket.run_id or uuid.uuid4().hex,
                entry_id=found.id,
                cluster_id=cluster_id(found),
                question=ticket.question,
                probability=probability,
            ),
            ticket=ticket,
        )
