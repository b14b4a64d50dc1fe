"""What a model call was billed for, read from LangChain's callbacks in one place."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, Generation, LLMResult

from costkit.errors import ConfigurationError
from costkit.ledger.calls import ModelCall, is_refusal
from costkit.ledger.usage import Usage
from costkit.prices import default_book
from costkit.scope import Scope, current, from_metadata
from langchain_costkit._decided import blamed_in
from langchain_costkit._encoding import stopped_early

_log = logging.getLogger("costkit.ledger")


@dataclass(frozen=True, kw_only=True)
class Started:
    """A model call under way.

    Attributes:
        model: The model that was asked for, if the caller says.
        one_hour: The prompt marks cache breakpoints of one hour.
        root: The run that the call belongs to.
        scope: Who it is for.
        began: Reading of ``time.perf_counter``.
    """

    model: str | None
    one_hour: bool
    root: UUID
    scope: Scope = field(default_factory=Scope)
    began: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True, kw_only=True)
class Call(ModelCall):
    """A model call that ended.

    Attributes:
        replayed: The answer came from a cache, LangChain's or ours: nothing was paid.
    """

    replayed: bool = False


class ModelCallHandler(BaseCallbackHandler):
    """Pairs the start of each model call with its end; subclasses say what to do with a finished call."""

    run_inline = True

    def __init__(self) -> None:
        self._started: dict[UUID, Started] = {}
        self._roots: dict[UUID, UUID] = {}

    def call_ended(self, call: Call) -> None:
        """Take note of a call that returned, raised or was abandoned."""

    def root_of(self, run_id: UUID) -> UUID:
        """Return the outermost run that a run under way belongs to, as far as this handler saw it begin."""
        return self._roots.get(run_id, run_id)

    def on_chain_start(
        self,
        serialized: dict[str, Any],
        inputs: dict[str, Any],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        """Remember which run a nested run belongs to."""
        self._roots[run_id] = self.root_of(parent_run_id or run_id)

    def on_chain_end(self, outputs: dict[str, Any], *, run_id: UUID, **kwargs: Any) -> None:
        """Forget a run that ended."""
        self._roots.pop(run_id, None)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Forget a run that failed."""
        self._roots.pop(run_id, None)

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Note a chat model call."""
        params = kwargs.get("invocation_params") or {}
        marked = [message.content for batch in messages for message in batch] + [params.get("tools"), params]
        self._begin(run_id, parent_run_id, params, metadata or {}, one_hour=_marks_one_hour(marked))

    def on_llm_start(
        self,
        serialized: dict[str, Any],
        prompts: list[str],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Note a text completion call."""
        self._begin(run_id, parent_run_id, kwargs.get("invocation_params") or {}, metadata or {}, one_hour=False)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Pair the end of a call with its start."""
        started = self._started.pop(run_id, None)
        if started is not None:
            self.call_ended(_ended(run_id, started, response))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Pair the failure of a call with its start."""
        started = self._started.pop(run_id, None)
        if started is not None:
            known = kwargs.get("response")
            response = known if isinstance(known, LLMResult) else LLMResult(generations=[])
            self.call_ended(_ended(run_id, started, response, error=error))

    def _begin(
        self,
        run_id: UUID,
        parent_run_id: UUID | None,
        params: Mapping[str, object],
        metadata: Mapping[str, object],
        *,
        one_hour: bool,
    ) -> None:
        names = (params.get("model"), params.get("model_name"), metadata.get("ls_model_name"))
        self._started[run_id] = Started(
            model=next((name for name in names if isinstance(name, str)), None),
            one_hour=one_hour,
            root=self.root_of(parent_run_id or run_id),
            scope=_scope(metadata),
        )


def _scope(metadata: Mapping[str, object]) -> Scope:
    try:
        return from_metadata(metadata, base=current()) or Scope()
    except ConfigurationError as error:
        # An exception in a callback reaches nobody; the cost is still somebody's.
        _log.warning("a model call is booked without the scope in its metadata: %s", error)
        return current() or Scope()


def _ended(run_id: UUID, started: Started, response: LLMResult, *, error: BaseException | None = None) -> Call:
    """Read what a call was billed for; LangChain spreads it over message, result and request.

    Of a call that failed, ``response`` holds what is known by then.
    """
    messages = [batch[0].message for batch in response.generations if batch and isinstance(batch[0], ChatGeneration)]
    answers = [message for message in messages if isinstance(message, AIMessage)]
    usages = [usage for answer in answers if (usage := _usage_of(answer, one_hour=started.one_hour)) is not None]
    output = response.llm_output or {}
    facts = answers[0].response_metadata if answers else {}
    written = facts.get("costkit") or blamed_in(error)
    mark = written if isinstance(written, Mapping) else {}
    said = [source.get(key) for source in (facts, output) for key in ("model_name", "model")]
    names = (*said, mark.get("model"), started.model)
    return Call(
        id=run_id.hex,
        model=next((name for name in names if isinstance(name, str) and name), None),
        usage=sum(usages[1:], usages[0]) if usages else _usage_of_result(output),
        failure="" if error is None else f"{type(error).__name__}: {error}",
        refused=is_refusal(error),
        unfinished=any(stopped_early(answer) for answer in answers),
        mark=mark,
        scope=started.scope,
        run_id=str(started.root),
        seconds=time.perf_counter() - started.began,
        replayed=mark.get("part") == "cache" or any("total_cost" in (one.usage_metadata or {}) for one in answers),
    )


def paid_for(generations: Sequence[Generation]) -> tuple[Usage, int | None]:
    """Return what one call used and cost, read from its generations alone; a cost of None is unpriced."""
    unknown = uuid4()
    started = Started(model=None, one_hour=False, root=unknown)
    call = _ended(unknown, started, LLMResult(generations=[list(generations)]))
    cost, _ = call.price(default_book())
    return call.usage or Usage(), cost


def _usage_of(answer: AIMessage, *, one_hour: bool) -> Usage | None:
    raw = answer.response_metadata.get("usage")
    if isinstance(raw, Mapping) and "cache_read_input_tokens" in raw:
        return Usage.from_anthropic(raw)
    if answer.usage_metadata is None:
        return None
    usage = Usage.from_langchain(answer.usage_metadata)  # a TypedDict is a mapping
    details = answer.usage_metadata.get("input_token_details") or {}
    if one_hour and "ephemeral_5m_input_tokens" not in details:
        # A stream's usage lacks the split of cache writes by lifetime; the request's own marks tell it. With marks
        # of both kinds all writes count as the dearer one.
        return replace(usage, cache_write_5m_tokens=0, cache_write_1h_tokens=usage.cache_write_tokens)
    return usage


def _usage_of_result(output: Mapping[str, object]) -> Usage | None:
    counts = output.get("token_usage") or output.get("usage")
    if not isinstance(counts, Mapping) or not isinstance(counts.get("prompt_tokens"), int):
        return None
    return Usage(uncached_input_tokens=counts["prompt_tokens"], output_tokens=counts.get("completion_tokens") or 0)


def _marks_one_hour(contents: Sequence[object]) -> bool:
    return any(mark.get("ttl") == "1h" for content in contents for mark in _marks(content))


def _marks(content: object) -> Iterator[Mapping[str, object]]:
    blocks = content if isinstance(content, list) else [content]
    for block in blocks:
        mark = block.get("cache_control") if isinstance(block, Mapping) else None
        if isinstance(mark, Mapping):
            yield mark
