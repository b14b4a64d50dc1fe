"""How long an answer lives, by the product feature that asked for it."""

from __future__ import annotations

import math
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from costkit.errors import ConfigurationError

__all__ = ["DEFAULT_TTL_SECONDS", "Lifetime"]

DEFAULT_TTL_SECONDS = 24 * 3600.0
# Answers written together would otherwise end together, and all be asked for anew at once.
JITTER = 0.1


@dataclass(frozen=True, kw_only=True)
class Lifetime:
    """When answers end, and which questions are too short-lived to share an answer with a near one.

    Attributes:
        ttl_seconds: Time to live, or one for each ``Scope.feature``; None stands for every feature not named.
        volatile: Features whose answers change so often that only the same question is served.
    """

    ttl_seconds: float | Mapping[str | None, float] = DEFAULT_TTL_SECONDS
    volatile: Collection[str] = ()

    def __post_init__(self) -> None:
        given = self.ttl_seconds if isinstance(self.ttl_seconds, Mapping) else {None: self.ttl_seconds}
        for feature, seconds in given.items():
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
                where = "ttl_seconds" if feature is None else f"ttl_seconds[{feature!r}]"
                raise ConfigurationError(f"{where} must be a number of seconds above 0, got {seconds!r}")
        if isinstance(self.volatile, str):
            raise ConfigurationError(
                f"volatile must be a collection of features such as ['prices'], got {self.volatile!r}"
            )

    def ends(self, entry_id: str, *, created_at: float, feature: str | None) -> float:
        """Return when an entry ends: its time to live after its creation, or up to a tenth of that sooner.

        The time does not move when the entry is served: an answer that many ask for would else never be renewed.

        Args:
            entry_id: Its UUID; it says how much sooner.
            created_at: Seconds since 1970.
            feature: The ``Scope.feature`` that asked.
        """
        ttl = self.ttl_seconds
        if isinstance(ttl, Mapping):
            ttl = ttl.get(feature, ttl.get(None, DEFAULT_TTL_SECONDS))
        sooner = JITTER * uuid.UUID(entry_id).int / 2**128
        return created_at + ttl * (1 - sooner)

    def exact_only(self, feature: str | None) -> bool:
        """True if only the same question may be served."""
        return feature in self.volatile
