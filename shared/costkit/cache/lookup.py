"""What a look-up in the response cache says, and what it hands on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from costkit.cache.identity import Identity
from costkit.cache.learning import Served
from costkit.ledger.usage import Usage
from costkit.scope import Scope

__all__ = ["Evidence", "Fresh", "Lookup", "LookupKind", "Ticket"]

LookupKind = Literal["exact", "semantic", "shadow", "miss", "bypass"]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One document that an answer rests on.

    Attributes:
        document_id: Its id in the user's corpus.
        content_hash: SHA-256 of its text when it was read, or None if unknown.
    """

    document_id: str
    content_hash: str | None = None


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
class Ticket:
    """What a look-up worked out and ``store`` needs again; opaque to callers."""

    identity: Identity
    question: str
    vector: Sequence[float] | None
    read_at: float
    scope: Scope
    run_id: str | None = None
    exact_only: bool = False


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """What the cache decided about one question.

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
        entry_id: Id of the served entry.
        matched_question: The question that the served answer was given to.
        evidence: The documents it rests on.
        saved: Tokens that the hit avoided.
        saved_nano_usd: What they cost when the answer was made; None is unpriced.
        audit: True if this hit was drawn for an audit, see ``ResponseCache.audit``.
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
    entry_id: str | None = None
    matched_question: str | None = None
    evidence: tuple[Evidence, ...] = ()
    saved: Usage = field(default_factory=Usage)
    saved_nano_usd: int | None = 0
    audit: bool = False
    served: Served | None = None
    ticket: Ticket | None = None

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
            "probability": self.probability,
            "bound": self.bound,
            "age_seconds": self.age_seconds,
            "entry_id": self.entry_id,
            "matched_question": self.matched_question,
            "question": self.served.question if self.served else None,
            "cluster_id": self.served.cluster_id if self.served else None,
            "audit": self.audit,
            "documents": [item.document_id for item in self.evidence],
            "saved_tokens": self.saved.input_tokens + self.saved.output_tokens,
            "saved_nano_usd": self.saved_nano_usd,
        }
