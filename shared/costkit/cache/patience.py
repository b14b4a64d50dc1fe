"""How long the store may keep one question waiting: one allowance for all calls that the question makes of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from costkit.errors import StoreError

__all__ = ["allow", "left_seconds", "spend"]


@dataclass
class _Allowance:
    seconds: float
    left: float


_in_force: ContextVar[_Allowance | None] = ContextVar("costkit_store_allowance", default=None)


@contextmanager
def allow(seconds: float) -> Iterator[None]:
    """Allow the store calls of the block ``seconds`` altogether; the time between them does not count."""
    token = _in_force.set(_Allowance(seconds, seconds))
    try:
        yield
    finally:
        _in_force.reset(token)


def left_seconds() -> float | None:
    """Return what is left of the allowance, or None where none is in force."""
    allowance = _in_force.get()
    return None if allowance is None else allowance.left


@contextmanager
def spend() -> Iterator[None]:
    """Take the time of the block, one call of a store, from the allowance.

    Raises:
        StoreError: Nothing is left of it.
    """
    allowance = _in_force.get()
    if allowance is None:
        yield
        return
    if allowance.left <= 0:
        raise StoreError(f"its store took longer than store_timeout_seconds={allowance.seconds:g}")
    began = time.monotonic()
    try:
        yield
    finally:
        allowance.left -= time.monotonic() - began
