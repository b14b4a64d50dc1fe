"""How long, and on how many threads, a reducer works: scoring within a time limit, and the async doors."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar
from weakref import WeakKeyDictionary

from costkit._onnxruntime import batch_threads

__all__ = ["Patience", "in_thread"]

T = TypeVar("T")


class Patience:
    """Runs work for at most so many seconds. Work that goes on after its time holds its thread; there are few of them.

    Args:
        seconds: How long the caller waits.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._free = threading.BoundedSemaphore(batch_threads())

    def call(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns, or raise what it raises.

        Raises:
            TimeoutError: It took too long, or earlier work that did still holds all threads.
        """
        until = time.monotonic() + self._seconds
        if not self._free.acquire(timeout=self._seconds):
            raise TimeoutError(f"earlier scoring still runs after {self._seconds:g} seconds")
        done: Future[T] = Future()
        context = copy_context()
        # A daemon, because a thread of a pool that hangs keeps the process from ending.
        threading.Thread(target=self._run, args=(lambda: context.run(work), done), daemon=True).start()
        try:
            return done.result(timeout=max(until - time.monotonic(), 0))
        except TimeoutError:
            if done.done():
                raise
            raise TimeoutError(f"scoring took longer than {self._seconds:g} seconds") from None

    def _run(self, work: Callable[[], T], done: Future[T]) -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 it is raised where the result is waited for
            done.set_exception(error)
        finally:
            self._free.release()


# A pool per event loop: a forked worker has a loop of its own, and would wait for threads that were left behind.
_pools: WeakKeyDictionary[asyncio.AbstractEventLoop, ThreadPoolExecutor] = WeakKeyDictionary()
_pools_lock = threading.Lock()


async def in_thread(work: Callable[[], T]) -> T:
    """Run ``work`` in one of a few threads of the running loop, with the caller's context variables.

    The loop's own pool stays free for the application, and no crowd of questions scores all at once.
    """
    loop = asyncio.get_running_loop()
    with _pools_lock:
        pool = _pools.get(loop)
        if pool is None:
            pool = _pools[loop] = ThreadPoolExecutor(batch_threads(), thread_name_prefix="costkit-context")
    context = copy_context()
    return await loop.run_in_executor(pool, lambda: context.run(work))
