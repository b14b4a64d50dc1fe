"""The store is down or slow: the cache stands aside at once, tries again after a pause, and says so once each way."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock

from costkit.errors import StoreError

__all__ = ["RETRY_SECONDS", "Outage"]

RETRY_SECONDS = 10.0

_log = logging.getLogger("costkit.cache")


class Outage:
    """A circuit breaker: after a failure nobody touches the store for ``RETRY_SECONDS``, then one caller tries it.

    Args:
        clock: Returns the time in seconds.
        always: Why the store can never be used; None if it can.
    """

    def __init__(self, *, clock: Callable[[], float], always: str | None = None) -> None:
        self._clock = clock
        self._always = always
        self._lock = Lock()
        self._since: float | None = None
        self._tried_at = 0.0
        self._trial = False
        self._reason = ""

    def reason(self) -> str | None:
        """Return why the store is to be left alone now, or None if the caller may use it."""
        with self._lock:
            if self._since is None:
                return self._always
            now = self._clock()
            if 0 <= now - self._tried_at < RETRY_SECONDS:
                return self._reason
            self._tried_at = now
            self._trial = True
            return None

    def failed(self, error: StoreError) -> None:
        """Say that the store failed."""
        with self._lock:
            first = self._since is None
            now = self._clock()
            self._since = now if self._since is None else self._since
            self._tried_at, self._trial, self._reason = now, False, str(error)
        if first:
            _log.warning("the cache stands aside: %s; it is tried again every %g seconds", error, RETRY_SECONDS)

    def worked(self) -> None:
        """Say that the store did what it was asked; only a trial, not a call from before the failure, ends an outage."""
        if not self._trial:
            return
        with self._lock:
            since, self._since, self._trial = self._since, None, False
        if since is not None:
            _log.warning("the cache is back: its store works again after %.0f seconds", self._clock() - since)
