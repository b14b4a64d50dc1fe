"""What a look-up in the response cache says, and what it hands on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from costkit.cache.identity import Identity
from costkit.cache.learning import Served
from costkit.ledger.usage import Usage
from costkit.scope import Scope

if TYPE_CHECKING:
    from costkit.cache.flight import Place

__all__ = ["Check", "Evidence", "Fresh", "Lookup", "LookupKind", "Ticket"]

LookupKind = Literal["exact", "semantic", "shadow", "miss", "bypass"]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One text that an answer rests on: a document, or a chunk of one.

    Attributes:
        document_id: The document's id in the user's corpus.
        content_hash: SHA-256 of the text as it was found, or None if unknown.
        supports: True if a number, date, code or name of the answer is known to come from it.
    """

    document_id: str
    content_hash: str | None = None
    supports: bool = False


# Says why an answer with this evidence must not be served, or None.
Check = Callable[[Sequence[Evidence]], str | None]


@dataclass(frozen=True, kw_only=True)
class Fresh:
    """A fresh answer to a question that was served from the cache, made for an audit.

    Attributes:
        text: The answer in words.
        usage: Tokens it took that no other event of the ledger counts.
        cost_nano_usd: What they cost; None is unpriced.
    """

    text: str
    usage: Usage = field(default_factory=Usage)
    cost_nano_usd: int | None = 0


@dataclass(frozen=True, kw_only=True)
class WouldBe:
    """A hit that is not served, to be judged once the fresh answer is there.

    Attributes:
        served: The hit.
        score: What it was decided by.
        words: The stored answer in words.
    """

    served: Served
    score: float
    words: str


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """What a look-up worked out and ``store`` needs again; opaque to callers."""

    identity: Identity
    question: str
    vector: Sequence[float] | None
    read_at: int
    scope: Scope
    run_id: str | None = None
    exact_only: bool = False
    near: bool = True
    would_be: WouldBe | None = None
    check: Check | None = field(default=None, compare=False)
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """What the cache decided about one question.

    As a context manager around the call that follows a miss, it lets go of those who wait for the answer, see
    ``ResponseCache.join``.

    Attributes:
        kind: ``exact`` or ``semantic`` for a hit, ``shadow`` for one that was decided and not served, ``miss``, or
            ``bypass`` where the cache stood aside.
        reason: Why, in one sentence.
        answer: The stored answer of a hit, else None.
        score: What the threshold was compared with for the best entry (1.0 for an exact hit), or None without one.
        cosine: Cosine similarity of that entry's question (1.0 for an exact hit), or None.
        probability: The score's estimate that the entry's answer serves; no bound.
        bound: Certified upper bound on the share of wrong semantic hits, or ``"uncertified"``.
        age_seconds: Age of the served answer.
        hits: How often it was served before.
        entry_id: Id of the served entry.
        matched_question: The question that the served answer was given to.
        evidence: The texts it rests on.
        saved: Tokens that the hit avoided.
        saved_nano_usd: What they cost when the answer was made; None is unpriced.
        audit: True if this hit was drawn for an audit, see ``ResponseCache.audit``.
        unsupported: True if an answer was found and not served, because the check of its evidence failed.
        served: What ``ResponseCache.feedback`` needs of a hit; opaque to callers.
        ticket: Hand it to ``store`` after a miss; None after a bypass.
    """

    kind: LookupKind
    reason: str
    answer: str | None = None
    score: float | None = None
    cosine: float | None = None
    probability: float | None = None
    bound: float | Literal["uncertified"] = "uncertified"
    age_seconds: float | None = None
    hits: int = 0
    entry_id: str | None = None
    matched_question: str | None = None
    evidence: tuple[Evidence, ...] = ()
    saved: Usage = field(default_factory=Usage)
    saved_nano_usd: int | None = 0
    audit: bool = False
    unsupported: bool = False
    served: Served | None = None
    ticket: Ticket | None = None

    def __enter__(self) -> Lookup:
        if self.ticket is not None and self.ticket.place is not None:
            self.ticket.place.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.ticket is not None and self.ticket.place is not None:
            self.ticket.place.leave(failed=kind is not None)

    @property
    def hit(self) -> bool:
        """True if an answer is served."""
        return self.answer is not None

    @property
    def mark(self) -> dict[str, object]:
        """What a user sees of the decision, as plain values that adapters write on an answer."""
        return {
            "part": "cache",
            "decision": "hit" if self.hit else self.kind,
            "kind": self.kind,
            "reason": self.reason,
            "score": self.score,
            "cosine": self.cosine,
            # What judged hits say is asked anew at every judgement: the score's own, where there is one.
            "probability": self.served.probability if self.served else self.probability,
            "bound": self.bound,
            "age_seconds": self.age_seconds,
            "entry_id": self.entry_id,
            "matched_question": self.matched_question,
            "question": self.served.question if self.served else None,
            "cluster_id": self.served.cluster_id if self.served else None,
            "audit": self.audit,
            "documents": list(dict.fromkeys(item.document_id for item in self.evidence)),
            "saved_tokens": self.saved.input_tokens + self.saved.output_tokens,
            "saved_nano_usd": self.saved_nano_usd,
        }
