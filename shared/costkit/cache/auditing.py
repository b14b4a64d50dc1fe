"""Audits: some served answers are compared with fresh ones, off the path, and the cache learns from the outcome."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping

from costkit.cache.entries import Entry
from costkit.cache.judgements import Choice, Judgements, cluster_id
from costkit.cache.learning import Served, Source, audits
from costkit.cache.lookup import Fresh, Lookup, Ticket, WouldBe
from costkit.cache.notices import Notices
from costkit.errors import ConfigurationError
from costkit.ledger.usage import Event, Recorder

__all__ = ["Auditing", "Judge", "hit_to_judge", "served_by"]

Judge = Callable[[str, str, str], bool]


class Auditing:
    """Draws hits, has them judged, and hands on what was learnt.

    Args:
        judgements: Where it is kept.
        judge: Takes the question, the served answer and a fresh one, in words; None draws nothing.
        share: Share of the semantic hits that are drawn, 0 to 1.
        recorder: Where judgements are booked.
        notices: Where a failed audit is told.
        clock: Returns the time in seconds since 1970.
    """

    def __init__(
        self,
        judgements: Judgements,
        *,
        judge: Judge | None,
        share: float,
        recorder: Recorder,
        notices: Notices,
        clock: Callable[[], float],
    ) -> None:
        self._judgements = judgements
        self._judge = judge
        self._share = share
        self._recorder = recorder
        self._notices = notices
        self._clock = clock

    @property
    def has_judge(self) -> bool:
        """Whether answers can be judged at all."""
        return self._judge is not None

    def drawn(self, hit: Served) -> bool:
        """Return whether a hit is audited; the same hit always gets the same answer."""
        return bool(self._share) and audits(hit.hit_id, share=self._share)

    def learn(self, hit: Served, *, right: bool, source: Source, score: float | None) -> None:
        """Keep a judgement; ``score`` is given for audits only, which the drift monitor watches."""
        self._judgements.judged(hit, right=right, source=source)
        if score is not None:
            self._judgements.audited(score, right=right, at=self._clock())

    def compare(self, hit: WouldBe, ticket: Ticket, fresh: Callable[[], Fresh], reason: str) -> None:
        """Compare a stored answer with a fresh one, learn from it and book it."""
        began = time.perf_counter()
        try:
            assert self._judge is not None  # noqa: S101  checked where audits are drawn
            made = fresh()
            right = self._judge(hit.served.question, hit.words, made.text)
            self.learn(hit.served, right=right, source="audit", score=hit.score)
        except Exception as error:  # noqa: BLE001  an audit that fails says nothing
            self._notices.tell(f"an audit failed: {error!r}")
            return
        self._recorder.record(
            Event(
                kind="judge",
                part="cache",
                decision="right" if right else "wrong",
                reason=reason,
                scope=ticket.scope,
                usage=made.usage,
                cost_nano_usd=made.cost_nano_usd,
                seconds=time.perf_counter() - began,
                run_id=ticket.run_id,
                details={"entry_id": hit.served.entry_id, "score": hit.score},
            )
        )


def hit_to_judge(choice: Choice, ticket: Ticket) -> WouldBe:
    """Return what judging a hit takes that is not served."""
    served = Served(
        hit_id=ticket.run_id or uuid.uuid4().hex,
        entry_id=choice.found.id,
        cluster_id=cluster_id(choice.found),
        question=ticket.question,
        probability=choice.verdict.probability,
    )
    return WouldBe(served=served, score=choice.score, words=Entry.from_payload(choice.found.payload).in_words)


def served_by(hit: Lookup | Mapping[str, object]) -> Served:
    """Return what feedback needs of a hit or of its mark.

    Raises:
        ConfigurationError: It is no hit, or the mark was changed.
    """
    if isinstance(hit, Lookup):
        if hit.served is None:
            raise ConfigurationError(f"hit is a {hit.kind}, which served nothing: give feedback on hits")
        return hit.served
    missing = [key for key in ("entry_id", "cluster_id", "question", "probability") if hit.get(key) is None]
    if missing:
        raise ConfigurationError(
            f"hit lacks {missing[0]!r}: give a look-up or the whole mark of a hit, got {dict(hit)!r}"
        )
    probability = hit["probability"]
    if not isinstance(probability, int | float):
        raise ConfigurationError(f"hit['probability'] must be a number, got {probability!r}: give the mark unchanged")
    return Served(
        hit_id="",
        entry_id=str(hit["entry_id"]),
        cluster_id=str(hit["cluster_id"]),
        question=str(hit["question"]),
        probability=probability,
    )
