"""What an embedding model was asked for, read from LlamaIndex's instrumentation in one place.

LlamaIndex says which texts were embedded and by which model, never how many tokens were billed, nor which of the texts
an embedding's own cache served.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.embedding import (
    EmbeddingEndEvent,
    EmbeddingStartEvent,
    SparseEmbeddingEndEvent,
)
from llama_index.core.instrumentation.events.span import SpanDropEvent  # type: ignore[attr-defined]

from costkit.ledger.calls import ModelCall, is_refusal
from costkit.ledger.usage import Usage
from costkit.scope import Scope, current
from costkit.tokens import default_counter
from llamaindex_costkit._calls import MAX_OPEN, name_in, run_id


@dataclass(kw_only=True)
class _Open:
    id: str
    model: str | None
    scope: Scope
    run_id: str | None
    began: float = field(default_factory=time.perf_counter)


class EmbeddingWatcher:
    """Turns instrumentation events into one ``ModelCall`` per batch of embedded texts."""

    def __init__(self) -> None:
        # One span may have several batches under way, which end in the order they began.
        self._open: OrderedDict[str, deque[_Open]] = OrderedDict()
        self._lock = threading.Lock()

    def observe(self, event: BaseEvent) -> list[ModelCall]:
        """Take note of ``event``; return the calls that it ends."""
        if event.span_id is None:
            return []
        if isinstance(event, EmbeddingStartEvent):
            self._start(event, event.span_id)
        elif isinstance(event, (EmbeddingEndEvent, SparseEmbeddingEndEvent)):
            return [_ended(call, texts=event.chunks) for call in self._take(event.span_id, 1)]
        elif isinstance(event, SpanDropEvent):
            failure = event.err_str or "the call failed"
            return [_ended(call, failure=failure) for call in self._take(event.span_id, None)]
        return []

    def _start(self, event: EmbeddingStartEvent, span_id: str) -> None:
        call = _Open(id=event.id_, model=name_in(event.model_dict), scope=current() or Scope(), run_id=run_id())
        with self._lock:
            self._open.setdefault(span_id, deque()).append(call)
            if len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)

    def _take(self, span_id: str, most: int | None) -> list[_Open]:
        with self._lock:
            calls = self._open.pop(span_id, deque())
            taken = [calls.popleft() for _ in range(len(calls) if most is None else min(most, len(calls)))]
            if calls:
                self._open[span_id] = calls
            return taken


def _ended(call: _Open, *, texts: list[str] | None = None, failure: str = "") -> ModelCall:
    counter = default_counter()
    usage = None if texts is None else Usage(uncached_input_tokens=sum(map(counter.count, texts)))
    return ModelCall(
        id=call.id,
        kind="embedding",
        model=call.model,
        usage=usage,
        counted=usage is not None,
        failure=failure,
        refused=bool(failure) and is_refusal(sys.exception()),  # a span is dropped while its error is being handled
        scope=call.scope,
        run_id=call.run_id,
        seconds=time.perf_counter() - call.began,
    )
