"""The cost ledger in LlamaIndex: every call to a model, once, as the provider billed it, and every embedding."""

from __future__ import annotations

from typing import Any

from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from pydantic import PrivateAttr

from costkit.ledger.usage import Recorder, default_recorder
from costkit.prices import PriceBook, default_book
from llamaindex_costkit._calls import CallWatcher
from llamaindex_costkit._embeddings import EmbeddingWatcher

__all__ = ["CostkitEventHandler"]


class CostkitEventHandler(BaseEventHandler):
    """Books every model call: ``get_dispatcher().add_event_handler(CostkitEventHandler())``.

    Wrappers and ``CustomLLM`` emit events of their own around those of the model: a call is booked once per tree of
    spans. Cached tokens are read from ``response.raw["usage"]``; in a stream LlamaIndex's Anthropic class hands on
    the totals without the split of cache writes by lifetime, so these count as 5-minute ones. A call that failed or
    was abandoned is booked as failed with the tokens known by then; an HTTP error answer costs nothing. The scope is
    the one in force when the call began.

    Embeddings, of questions and at indexing, are booked as ``embedding`` with the tokens that costkit counts, since
    LlamaIndex reports none; texts that an embedding's own cache served are among them.

    Args:
        recorder: Where events go. Default: the process-wide ledger, opened at the first call.
        book: Prices. Default: ``costkit.prices.default_book()``.
    """

    _recorder: Recorder | None = PrivateAttr()
    _book: PriceBook = PrivateAttr()
    _watcher: CallWatcher = PrivateAttr(default_factory=CallWatcher)
    _embeddings: EmbeddingWatcher = PrivateAttr(default_factory=EmbeddingWatcher)

    def __init__(self, *, recorder: Recorder | None = None, book: PriceBook | None = None) -> None:
        super().__init__()
        self._recorder = recorder
        self._book = book or default_book()

    @classmethod
    def class_name(cls) -> str:
        """Return the serialisation id."""
        return "CostkitEventHandler"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        """Take note of one instrumentation event."""
        answered = self._watcher.observe(event)
        for call in [*([] if answered is None else [answered]), *self._embeddings.observe(event)]:
            if self._recorder is None:
                self._recorder = default_recorder()
            self._recorder.record(call.event(self._book))
