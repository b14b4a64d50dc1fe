"""What the cache says in the log, each thing once."""

from __future__ import annotations

import logging

__all__ = ["Notices"]

_log = logging.getLogger("costkit.cache")


class Notices:
    """Logs a message the first time it is told."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def tell(self, message: str, *, about: str | None = None) -> None:
        """Log a message, unless it, or another about the same thing, was told before."""
        if (about or message) not in self._told:
            self._told.add(about or message)
            _log.warning(message)
