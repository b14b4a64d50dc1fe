"""Streams that keep the context of the call that made them, and know whether they came to their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TypeVar

from costkit.scope import Scope, current, use
from llamaindex_costkit._calls import Meter, decided, running

T = TypeVar("T")
Around = Callable[[], AbstractContextManager[None]]
Turn = AbstractContextManager[object]


def here(*, mark: Mapping[str, object] | None = None, run_id: str | None = None, meter: Meter | None = None) -> Around:
    """Return a context that puts the scope of this moment, and what else is given, in force again at any time."""
    scope = current() or Scope()

    @contextmanager
    def around() -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(use(scope))
            if mark:
                stack.enter_context(decided(mark))
            if run_id is not None and meter is not None:
                stack.enter_context(running(run_id, meter))
            yield

    return around


def stepwise(
    chunks: Iterator[T],
    around: Around,
    *,
    each: Callable[[T], T] | None = None,
    done: Callable[[list[T]], object] | None = None,
    until: Turn | None = None,
) -> Generator[T, None, None]:
    """Yield ``chunks``, each made inside ``around()``.

    The context is set for one step at a time, because a generator may be closed in another context than it began in.

    Args:
        chunks: The stream.
        around: What is in force while the stream works.
        each: Applied to every chunk.
        done: Called with all chunks when the stream comes to its end, never when it fails or is abandoned.
        until: A context that is left last, however the stream ends.
    """
    seen: list[T] = []
    with until or nullcontext():
        try:
            while True:
                try:
                    with around():
                        chunk = next(chunks)
                except StopIteration:
                    break
                if done is not None:
                    seen.append(chunk)
                yield each(chunk) if each is not None else chunk
            if done is not None:
                done(seen)
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()


async def astepwise(
    chunks: AsyncIterator[T],
    around: Around,
    *,
    each: Callable[[T], T] | None = None,
    done: Callable[[list[T]], object] | None = None,
    until: Turn | None = None,
) -> AsyncGenerator[T, None]:
    """Do what ``stepwise`` does for an async stream; ``done`` is called in a thread, since it may embed and write."""
    seen: list[T] = []
    with until or nullcontext():
        try:
            while True:
                try:
                    with around():
                        chunk = await anext(chunks)
                except StopAsyncIteration:
                    break
                if done is not None:
                    seen.append(chunk)
                yield each(chunk) if each is not None else chunk
            if done is not None:
                await asyncio.to_thread(done, seen)
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()
