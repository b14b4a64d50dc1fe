"""Policies: which tiers a question may go to at all, before price and difficulty are looked at.

A policy is any callable on one tier and one scope that answers None where the tier is allowed, else the reason why
not. Policies are combined by listing several.
"""

from __future__ import annotations

from collections.abc import Callable

from costkit.route.tiers import Tier
from costkit.scope import Scope

__all__ = ["Policy", "allow_data_classes"]

Policy = Callable[[Tier, Scope], str | None]


def allow_data_classes(tier: Tier, scope: Scope) -> str | None:
    """Refuse a tier whose model may not see the scope's data class.

    A tier that lists its classes refuses a question without one too: unlabelled data may be anything.
    """
    if tier.data_classes is None or scope.data_class in tier.data_classes:
        return None
    return f"{tier.model} may see {sorted(tier.data_classes)}, the data class is {scope.data_class!r}"
