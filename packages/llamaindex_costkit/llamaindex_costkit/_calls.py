"""What a model call was billed for, read from LlamaIndex's instrumentation in one place.

One call to a provider may emit several pairs of events: a wrapper emits its own beside those of the model it wraps,
and ``CustomLLM.chat`` emits a chat pair around a completion pair. A call is counted once per tree of spans, where it
is innermost, and a response object that passes through a lazily started outer stream is recognised by identity.
"""

from __future__ import annotations

import inspect
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from llama_index.core.base.llms.types import ChatResponse, CompletionResponse, ToolCallBlock
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # not in its __all__
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.exception import ExceptionEvent
from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMChatInProgressEvent,
    LLMChatStartEvent,
    LLMCompletionEndEvent,
    LLMCompletionInProgressEvent,
    LLMCompletionStartEvent,
)
from llama_index.core.instrumentation.events.span import SpanDropEvent  # type: ignore[attr-defined]
from llama_index.core.instrumentation.span import BaseSpan
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from pydantic import PrivateAttr

from costkit.ledger.calls import ModelCall, Tally, is_refusal, is_unfinished
from costkit.ledger.usage import Usage
from costkit.prices import default_book
from costkit.scope import Scope, current

LLMResponse = ChatResponse | CompletionResponse

# Streams that nobody consumes never end; the oldest are forgotten beyond this number.
MAX_OPEN = 10_000
# An outer event follows its inner one at once, so a short memory of responses is enough even among many threads.
MAX_SEEN = 256


@dataclass(frozen=True, kw_only=True)
class Call(ModelCall):
    """A call that ended.

    Attributes:
        meter: The meter that was running when the call began.
    """

    meter: Meter | None = None


class Meter(Tally):
    """Adds up the model calls of one question, those of questions asked within it included."""

    def __init__(self) -> None:
        super().__init__()
        self._outer = _meter.get()

    def add(self, usage: Usage | None, cost_nano_usd: int | None, *, unfinished: bool = False) -> None:
        super().add(usage, cost_nano_usd, unfinished=unfinished)
        if self._outer is not None:
            self._outer.add(usage, cost_nano_usd, unfinished=unfinished)

    def fail(self) -> None:
        super().fail()
        if self._outer is not None:
            self._outer.fail()


_meter: ContextVar[Meter | None] = ContextVar("costkit_llamaindex_meter", default=None)
_run: ContextVar[str | None] = ContextVar("costkit_llamaindex_run", default=None)
_decision: ContextVar[Mapping[str, object] | None] = ContextVar("costkit_llamaindex_decision", default=None)


@contextmanager
def running(run_id: str, meter: Meter) -> Iterator[None]:
    """Book the model calls of the block under ``run_id`` and add them up in ``meter``."""
    _install(_METERS)
    run, measured = _run.set(run_id), _meter.set(meter)
    try:
        yield
    finally:
        _meter.reset(measured)
        _run.reset(run)


@contextmanager
def decided(mark: Mapping[str, object]) -> Iterator[None]:
    """Let the model calls of the block carry the decision that led to them."""
    token = _decision.set(mark or _decision.get())
    try:
        yield
    finally:
        _decision.reset(token)


def run_id() -> str | None:
    """Return the id of the question under way here, or None."""
    return _run.get()


@dataclass(kw_only=True)
class _Open:
    """A call under way, and whether a call inside it was counted already."""

    id: str
    model: str | None
    parent: str | None
    scope: Scope
    run_id: str | None
    meter: Meter | None
    mark: Mapping[str, object]
    began: float = field(default_factory=time.perf_counter)
    counted: bool = False
    latest: LLMResponse | None = None


class CallWatcher:
    """Turns instrumentation events into one ``Call`` per call to a provider."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._seen: deque[object] = deque(maxlen=MAX_SEEN)
        self._lock = threading.Lock()

    def observe(self, event: BaseEvent) -> Call | None:
        """Take note of ``event``; return the call that it ends, if it ends one that was not counted yet."""
        if event.span_id is None:
            return None
        with self._lock:
            if isinstance(event, (LLMChatStartEvent, LLMCompletionStartEvent)):
                self._start(event, event.span_id)
            elif isinstance(event, (LLMChatInProgressEvent, LLMCompletionInProgressEvent)):
                if event.span_id in self._open:
                    self._open[event.span_id].latest = event.response
            elif isinstance(event, (LLMChatEndEvent, LLMCompletionEndEvent)):
                return self._end(event.span_id, event.response)
            elif isinstance(event, ExceptionEvent):
                return self._end(event.span_id, error=event.exception, failure=repr(event.exception))
            elif isinstance(event, SpanDropEvent):
                # The event holds the error's text alone, and is sent while the error is being handled.
                failure = event.err_str or "the call failed"
                return self._end(event.span_id, failure=failure, refused=is_refusal(sys.exception()))
        return None

    def _start(self, event: LLMChatStartEvent | LLMCompletionStartEvent, span_id: str) -> None:
        _install(_SPANS)
        self._open[span_id] = _Open(
            id=event.id_,  # not the span's: a model without a span of its own reports all its calls in its caller's
            model=name_in(event.model_dict),
            parent=next((above for above in _SPANS.above(span_id) if above in self._open), None),
            scope=current() or Scope(),
            run_id=_run.get(),
            meter=_meter.get(),
            mark=_decision.get() or {},
        )
        if len(self._open) > MAX_OPEN:
            self._open.popitem(last=False)

    def _end(
        self,
        span_id: str,
        response: LLMResponse | None = None,
        *,
        error: BaseException | None = None,
        failure: str = "",
        refused: bool = False,
    ) -> Call | None:
        call = self._open.pop(span_id, None)
        if call is None:
            return None
        if call.parent is not None and call.parent in self._open:
            self._open[call.parent].counted = True
        marks = [one for one in (response, getattr(response, "raw", None), error) if one is not None]
        repeated = call.counted or any(one is seen for one in marks for seen in self._seen)
        self._seen.extend(marks)
        if repeated:
            return None
        last = response if response is not None else call.latest
        return Call(
            id=call.id,
            model=model_of(last) or call.model,
            usage=usage_of(last),
            failure=failure,
            refused=refused or is_refusal(error),
            unfinished=stopped_early(last),
            mark=call.mark,
            scope=call.scope,
            run_id=call.run_id,
            seconds=time.perf_counter() - call.began,
            meter=call.meter,
        )


def name_in(model_dict: Mapping[str, object]) -> str | None:
    """Return the id of the model that an event tells of, or None."""
    name = model_dict.get("model_name")
    return name if isinstance(name, str) and name not in ("", "unknown") else None


def usage_of(response: LLMResponse | None) -> Usage | None:
    """Return the tokens a response was billed for, or None where it does not say.

    The last chunk of a stream carries the totals in ``raw``; a stream that broke off carries what is known so far
    in the message's ``additional_kwargs``.
    """
    usage = _plain(_plain(getattr(response, "raw", None)).get("usage")) or _plain(_extras(response).get("usage"))
    return Usage.from_anthropic(usage) if usage else None


def stopped_early(response: LLMResponse | None) -> bool:
    """True if the provider says that the model was cut short or declined."""
    raw = _plain(getattr(response, "raw", None))
    reasons = (
        raw.get("stop_reason"),
        _plain(raw.get("delta")).get("stop_reason"),
        _extras(response).get("stop_reason"),
    )
    return any(map(is_unfinished, reasons))


def calls_tools(response: LLMResponse) -> bool:
    """True if a response asks for tools."""
    if isinstance(response, CompletionResponse):
        return False
    asks = any(isinstance(block, ToolCallBlock) for block in response.message.blocks)
    return asks or bool(response.message.additional_kwargs.get("tool_calls"))


def model_of(response: LLMResponse | None) -> str | None:
    """Return the model id that a response names, or None."""
    model = _plain(getattr(response, "raw", None)).get("model")
    return model if isinstance(model, str) and model else None


def _extras(response: LLMResponse | None) -> Mapping[str, object]:
    holder = response.message if isinstance(response, ChatResponse) else response
    return getattr(holder, "additional_kwargs", {})


def _plain(value: object) -> Mapping[str, object]:
    """Return a mapping's or a provider object's fields as a mapping; anything else is an empty one."""
    if isinstance(value, Mapping):
        return value
    dump = getattr(value, "model_dump", None)
    return dump() if dump is not None else {}


class _SpanParents(BaseSpanHandler[BaseSpan]):
    """Knows which span was opened in which, for spans that are still open."""

    def above(self, span_id: str) -> Iterator[str]:
        """Yield the spans around ``span_id``, nearest first."""
        span = self.open_spans.get(span_id)
        while span is not None and span.parent_id is not None:
            yield span.parent_id
            span = self.open_spans.get(span.parent_id)

    @classmethod
    def class_name(cls) -> str:
        return "CostkitSpanParents"

    def new_span(
        self,
        id_: str,
        bound_args: inspect.BoundArguments,
        instance: Any | None = None,
        parent_span_id: str | None = None,
        tags: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> BaseSpan:
        return BaseSpan(id_=id_, parent_id=parent_span_id)

    def prepare_to_exit_span(
        self,
        id_: str,
        bound_args: inspect.BoundArguments,
        instance: Any | None = None,
        result: Any | None = None,
        **kwargs: Any,
    ) -> BaseSpan | None:
        return self.open_spans.get(id_)

    def prepare_to_drop_span(
        self,
        id_: str,
        bound_args: inspect.BoundArguments,
        instance: Any | None = None,
        err: BaseException | None = None,
        **kwargs: Any,
    ) -> BaseSpan | None:
        return self.open_spans.get(id_)


class _MeterHandler(BaseEventHandler):
    """Adds each finished call to the meter that was running when it began."""

    _watcher: CallWatcher = PrivateAttr(default_factory=CallWatcher)

    @classmethod
    def class_name(cls) -> str:
        return "CostkitMeterHandler"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        call = self._watcher.observe(event)
        if call is not None and call.meter is not None:
            cost, _ = call.price(default_book())
            call.meter.add(call.usage, cost, unfinished=call.unfinished)
            if call.failure:
                call.meter.fail()


_SPANS = _SpanParents()
_METERS = _MeterHandler()


def _install(handler: _SpanParents | _MeterHandler) -> None:
    """Hand a handler to the root dispatcher on first use, so that importing this package changes nothing."""
    root = get_dispatcher()
    if isinstance(handler, _SpanParents):
        if not any(one is handler for one in root.span_handlers):
            root.add_span_handler(handler)
    elif not any(one is handler for one in root.event_handlers):
        root.add_event_handler(handler)
