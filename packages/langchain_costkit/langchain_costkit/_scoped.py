"""Whose call it is: scope and question are read when a call is made, and kept for its whole life, streams included."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from typing import Any, Literal, TypeVar
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager, CallbackManagerForChainRun
from langchain_core.callbacks.manager import AsyncCallbackManagerForChainRun, BaseRunManager
from langchain_core.runnables import Runnable, RunnableConfig, ensure_config
from langchain_core.runnables.schema import StreamEvent
from langchain_core.runnables.utils import Input, Output

from costkit.scope import Scope, current, from_metadata, use
from langchain_costkit.ledger import CostkitUsageHandler

T = TypeVar("T")


def scope_of(config: RunnableConfig | None) -> Scope:
    """Return the scope of a call: what the config's metadata names, and for the rest the scope in force.

    Raises:
        ConfigurationError: A metadata key starts with ``costkit_`` and names no field of ``Scope``, or its value is
            wrong: an answer filed under a mistyped tenant would be everybody's.
    """
    return from_metadata(ensure_config(config).get("metadata"), base=current()) or Scope()


def group_of(run_manager: BaseRunManager) -> str:
    """Return the id that groups the events of one question.

    It is the outermost run, under which the usage handler books the model calls; where none is at work, the run around
    this one, if there is one.
    """
    return _group(run_manager.parent_run_id or run_manager.run_id, run_manager.handlers)


def group_here() -> str | None:
    """Return the id that groups the events of the question under way here, where LangChain knows of one."""
    callbacks = ensure_config().get("callbacks")
    if not isinstance(callbacks, BaseCallbackManager) or callbacks.parent_run_id is None:
        return None
    return _group(callbacks.parent_run_id, callbacks.handlers)


def _group(run_id: UUID, handlers: Iterable[BaseCallbackHandler]) -> str:
    booking = next((one for one in handlers if isinstance(one, CostkitUsageHandler)), None)
    return str(run_id if booking is None else booking.root_of(run_id))


def in_scope(chunks: Iterator[T], scope: Scope) -> Iterator[T]:
    """Yield ``chunks``, each made with ``scope`` in force, however late and wherever they are consumed."""
    try:
        while True:
            try:
                # The scope is set for one step only: a stream may be closed in another context than it was begun in.
                with use(scope):
                    chunk = next(chunks)
            except StopIteration:
                return
            yield chunk
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()


async def ain_scope(chunks: AsyncIterator[T], scope: Scope) -> AsyncIterator[T]:
    """Do what ``in_scope`` does for an async iterator."""
    try:
        while True:
            try:
                with use(scope):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            yield chunk
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()


class ScopedEvents:
    """Gives a runnable an event stream that keeps the scope of its call; stands before LangChain's class."""

    def astream_events(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        *,
        version: Literal["v1", "v2"] = "v2",
        **kwargs: Any,
    ) -> AsyncIterator[StreamEvent]:
        """Stream the events of the run, with the scope of this call."""
        config = ensure_config(config)
        events = super().astream_events(input, config, version=version, **kwargs)  # type: ignore[misc]
        return ain_scope(events, scope_of(config))


class ScopedCalls(ScopedEvents, Runnable[Input, Output]):  # type: ignore[misc]  # its overload v3 returns no stream
    """Runs what a subclass does in each way of calling it, with the scope of the call in force throughout."""

    @abstractmethod
    def _invoke(
        self, value: Input, run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Output: ...

    @abstractmethod
    async def _ainvoke(
        self, value: Input, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Output: ...

    @abstractmethod
    def _stream(
        self, values: Iterator[Input], run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Iterator[Output]: ...

    @abstractmethod
    def _astream(
        self,
        values: AsyncIterator[Input],
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> AsyncIterator[Output]: ...

    def invoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Output:  # noqa: A002
        """Return the answer to one input."""
        with use(scope_of(config)):
            return self._call_with_config(self._invoke, input, config, **kwargs)

    async def ainvoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Output:  # noqa: A002
        """Do what ``invoke`` does, without blocking."""
        with use(scope_of(config)):
            return await self._acall_with_config(self._ainvoke, input, config, **kwargs)

    def stream(
        self,
        input: Input,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any | None,
    ) -> Iterator[Output]:
        """Stream the answer to one input, with the scope of this call."""
        config = ensure_config(config)
        chunks = self._transform_stream_with_config(iter([input]), self._stream, config, **kwargs)
        return in_scope(chunks, scope_of(config))

    def astream(
        self,
        input: Input,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any | None,
    ) -> AsyncIterator[Output]:
        """Do what ``stream`` does, without blocking."""
        config = ensure_config(config)
        chunks = self._atransform_stream_with_config(_alone(input), self._astream, config, **kwargs)
        return ain_scope(chunks, scope_of(config))


async def _alone(value: T) -> AsyncIterator[T]:
    """Yield one value."""
    yield value
