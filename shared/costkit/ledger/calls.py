"""One call to a model as it ended, whatever the framework: its price, its row in the ledger, and sums over calls."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from costkit.ledger.usage import Event, Usage
from costkit.prices import PriceBook
from costkit.scope import Scope

__all__ = ["ModelCall", "Tally", "is_refusal", "is_unfinished"]

MAX_REASON_CHARACTERS = 500

# What providers say of an answer that is not whole. Anthropic's stop reasons: "Handling stop reasons" on
# https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons; then OpenAI's finish reasons, those of
# Bedrock's Converse, and Gemini's, which are in capitals there.
_UNFINISHED = {"max_tokens", "refusal", "model_context_window_exceeded", "pause_turn"}
_UNFINISHED |= {"length", "content_filter"}
_UNFINISHED |= {"content_filtered", "guardrail_intervened"}
_UNFINISHED |= {"safety", "recitation", "blocklist", "prohibited_content", "spii"}

_DONE = {"model": "answered", "embedding": "embedded"}


def is_unfinished(stop_reason: object) -> bool:
    """True if a provider's stop or finish reason says that the model was cut short or declined."""
    return isinstance(stop_reason, str) and stop_reason.lower() in _UNFINISHED


def is_refusal(error: BaseException | None) -> bool:
    """True for an error that stands for an HTTP error answer, which a provider does not bill.

    An error within a stream carries the stream's own status, which is none of these: its tokens are billed.
    """
    status = getattr(error, "status_code", None)
    return isinstance(status, int) and status >= 400


@dataclass(frozen=True, kw_only=True)
class ModelCall:
    """One finished or failed call to a model.

    Attributes:
        id: The same for every watcher of the call, and for no other call.
        kind: ``model`` for an answer, ``embedding`` for vectors.
        model: Model id as the provider names it, else as it was asked for, or None.
        usage: Tokens as billed; None where the provider did not say.
        counted: The tokens were counted by costkit, since nobody reported them.
        failure: What went wrong; empty for a call that returned.
        refused: The provider gave an HTTP error for an answer, which it does not bill.
        unfinished: The model was cut short or declined.
        mark: The decision of a costkit part that led to the call.
        scope: Who it was for.
        run_id: The question it belongs to, if one is known.
        seconds: Time from the call to its end.
    """

    id: str
    kind: Literal["model", "embedding"] = "model"
    model: str | None
    usage: Usage | None
    counted: bool = False
    failure: str = ""
    refused: bool = False
    unfinished: bool = False
    mark: Mapping[str, object] = field(default_factory=dict)
    scope: Scope = field(default_factory=Scope)
    run_id: str | None = None
    seconds: float = 0.0

    def price(self, book: PriceBook) -> tuple[int | None, str]:
        """Return the cost in billionths of a US dollar, None being unpriced, and the price snapshot it rests on."""
        if self.usage is None and self.refused:
            return 0, ""
        if self.model is None or self.usage is None:
            return None, ""
        price = book.price(self.model, self.usage)
        return price.cost_nano_usd, price.snapshot

    def event(self, book: PriceBook) -> Event:
        """Return the call as a row of the ledger, priced by ``book``."""
        cost, snapshot = self.price(book)
        tier = self.mark.get("tier")
        return Event(
            kind=self.kind,
            part="model",
            decision="failed" if self.failure else _DONE[self.kind],
            reason=self._reason(),
            scope=self.scope,
            model=self.model,
            usage=self.usage or Usage(),
            cost_nano_usd=cost,
            price_snapshot=snapshot,
            tier=tier if isinstance(tier, str) else None,
            seconds=self.seconds,
            status="failed" if self.failure else "ok",
            run_id=self.run_id,
            id=f"{self.kind}-{self.id}",
        )

    def _reason(self) -> str:
        if self.failure:
            return self.failure[:MAX_REASON_CHARACTERS]
        if self.unfinished:
            return "cut short or declined"
        if self.usage is None:
            return "the provider reported no usage"
        return "tokens as counted by costkit: nobody reported them" if self.counted else ""


class Tally:
    """Adds up model calls; safe among threads.

    Attributes:
        calls: How many were added.
        usage: Their tokens.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.usage = Usage()
        self._whole = True
        self._failed = False
        self._cost_nano_usd: int | None = 0
        self._lock = threading.Lock()

    @property
    def complete(self) -> bool:
        """False once a model was cut short or declined, and while the last call to end is one that failed.

        What a chain says after such a call ("Sorry, try again later") stands for an answer and is none.
        """
        return self._whole and not self._failed

    @property
    def cost_nano_usd(self) -> int | None:
        """Their cost in billionths of a US dollar; None if one is unpriced, or if no call was seen at all.

        Work of which no call was seen is not free: a model may have been called past the callbacks.
        """
        return self._cost_nano_usd if self.calls else None

    def add(self, usage: Usage | None, cost_nano_usd: int | None, *, unfinished: bool = False) -> None:
        """Count one call; a cost of None is unpriced."""
        with self._lock:
            self.calls += 1
            self.usage += usage or Usage()
            known = cost_nano_usd is not None and self._cost_nano_usd is not None
            self._cost_nano_usd = (self._cost_nano_usd or 0) + (cost_nano_usd or 0) if known else None
            self._whole = self._whole and not unfinished
            self._failed = False

    def fail(self) -> None:
        """Note a call that failed; one that returns later makes up for it."""
        with self._lock:
            self._failed = True
