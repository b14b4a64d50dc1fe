"""Whose call it is: the scope is read when a call is made and kept for its whole life, streams included."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any, Literal, TypeVar

from langchain_core.runnables import RunnableConfig, ensure_config
from langchain_core.runnables.schema import StreamEvent

from costkit.scope import Scope, current, from_metadata, use

T = TypeVar("T")


def scope_of(config: RunnableConfig | None) -> Scope:
    """Return the scope of a call: what the config's metadata names, and for the rest the scope in force.

    Raises:
        ConfigurationError: A metadata key starts with ``costkit_`` and names no field of ``Scope``, or its value is
            wrong: an answer filed under a mistyped tenant would be everybody's.
    """
    return from_metadata(ensure_config(config).get("metadata"), base=current()) or Scope()


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


async def alone(value: T) -> AsyncIterator[T]:
    """Yield one value."""
    yield value
