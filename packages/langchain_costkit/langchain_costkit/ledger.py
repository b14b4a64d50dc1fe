"""The cost ledger in LangChain: ``config={"callbacks": [CostkitUsageHandler()]}``."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from costkit.ledger.calls import Tally
from costkit.ledger.usage import Event, Recorder, Usage, default_recorder
from costkit.prices import PriceBook, default_book
from langchain_costkit._calls import Call, ModelCallHandler

__all__ = ["CostkitUsageHandler"]

NANO_PER_USD = 10**9


class CostkitUsageHandler(ModelCallHandler):
    """Books one event per model call: tokens as billed, priced at the time, for whom, failed calls too.

    Pass it in ``config={"callbacks": [...]}`` or to a model's constructor; one handler may serve many calls at once.
    The scope is the one in force at the call, refined by metadata keys such as ``costkit_tenant``. Answers that a
    LangChain cache replays are booked as saved, not as paid.

    Args:
        recorder: Where events go. Default: the process-wide ledger.
        book: Prices. Default: ``costkit.prices.default_book()``.
    """

    # Writing to a database must not hold up an event loop; LangChain then runs the handler in a thread.
    run_inline = False

    def __init__(self, *, recorder: Recorder | None = None, book: PriceBook | None = None) -> None:
        super().__init__()
        self._recorder = recorder if recorder is not None else default_recorder()
        self._book = book or default_book()
        self._tally = Tally()

    @property
    def usage(self) -> Usage:
        """Tokens of all calls that this handler has booked as paid."""
        return self._tally.usage

    @property
    def cost_usd(self) -> Decimal | None:
        """Their cost in US dollars; None as soon as one of them is unpriced."""
        cost = self._tally.cost_nano_usd if self._tally.calls else 0
        return None if cost is None else Decimal(cost) / NANO_PER_USD

    def call_ended(self, call: Call) -> None:
        """Book a call that returned, failed or was abandoned."""
        event = call.event(self._book)
        if call.replayed:
            if call.mark.get("part") != "cache":  # costkit's own cache has booked its hit
                self._recorder.record(_replay(event))
            return
        self._tally.add(call.usage, event.cost_nano_usd)
        self._recorder.record(event)


def _replay(paid: Event) -> Event:
    """Return the event of an answer that LangChain's cache replayed: what it was paid for once is saved."""
    return replace(
        paid,
        kind="cache",
        decision="hit",
        reason="LangChain's cache replayed an earlier answer",
        usage=Usage(),
        cost_nano_usd=0,
        saved=paid.usage,
        saved_nano_usd=paid.cost_nano_usd,
        tier="cached",
    )
