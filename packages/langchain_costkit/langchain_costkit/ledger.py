"""The cost ledger in LangChain: ``config={"callbacks": [CostkitUsageHandler()]}``."""

from __future__ import annotations

import threading
import time
from decimal import Decimal
from uuid import UUID

from costkit.ledger.usage import Event, Recorder, Status, Usage, default_recorder
from costkit.prices import PriceBook, default_book
from langchain_costkit._calls import Billed, ModelCallHandler, Started

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
        self._lock = threading.Lock()
        self._usage = Usage()
        self._cost_nano_usd: int | None = 0

    @property
    def usage(self) -> Usage:
        """Tokens of all calls that this handler has booked as paid."""
        return self._usage

    @property
    def cost_usd(self) -> Decimal | None:
        """Their cost in US dollars; None as soon as one of them is unpriced."""
        return None if self._cost_nano_usd is None else Decimal(self._cost_nano_usd) / NANO_PER_USD

    def call_ended(self, run_id: UUID, started: Started, billed: Billed) -> None:
        """Book a call that returned."""
        if not billed.replayed:
            self._book_paid(run_id, started, billed, "ok", "cut short or declined" if billed.unfinished else "")
        elif billed.mark.get("part") != "cache":  # costkit's own cache has booked its hit
            self._book_replay(run_id, started, billed)

    def call_failed(self, run_id: UUID, started: Started, billed: Billed, error: BaseException) -> None:
        """Book a call that failed; what an abandoned stream cost is unknown where the provider did not say."""
        self._book_paid(run_id, started, billed, "failed", f"{type(error).__name__}: {error}"[:500], error=error)

    def _book_paid(
        self,
        run_id: UUID,
        started: Started,
        billed: Billed,
        status: Status,
        reason: str,
        *,
        error: BaseException | None = None,
    ) -> None:
        usage = billed.usage or Usage()
        cost, snapshot = self._price(billed)
        if billed.usage is None and isinstance(getattr(error, "status_code", None), int):
            cost = 0  # an HTTP error answer is not billed
        tier = billed.mark.get("tier")
        event = Event(
            kind="model",
            part="model",
            decision="answered" if status == "ok" else "failed",
            reason=reason,
            scope=started.scope,
            model=billed.model,
            usage=usage,
            cost_nano_usd=cost,
            price_snapshot=snapshot,
            tier=tier if isinstance(tier, str) else None,
            seconds=time.perf_counter() - started.began,
            status=status,
            run_id=str(started.root),
            id=f"model-{run_id.hex}",
        )
        with self._lock:
            self._usage += usage
            self._cost_nano_usd = None if cost is None or self._cost_nano_usd is None else self._cost_nano_usd + cost
        self._recorder.record(event)

    def _book_replay(self, run_id: UUID, started: Started, billed: Billed) -> None:
        saved, snapshot = self._price(billed)
        event = Event(
            kind="cache",
            part="model",
            decision="hit",
            reason="LangChain's cache replayed an earlier answer",
            scope=started.scope,
            model=billed.model,
            saved=billed.usage or Usage(),
            saved_nano_usd=saved,
            price_snapshot=snapshot,
            tier="cached",
            seconds=time.perf_counter() - started.began,
            run_id=str(started.root),
            id=f"model-{run_id.hex}",
        )
        self._recorder.record(event)

    def _price(self, billed: Billed) -> tuple[int | None, str]:
        if billed.model is None or billed.usage is None:
            return None, ""
        price = self._book.price(billed.model, billed.usage)
        return price.cost_nano_usd, price.snapshot
