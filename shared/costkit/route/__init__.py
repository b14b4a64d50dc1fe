"""Model router: the cheapest tier that policy allows and the rules trust, with the reason and the price of each choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from costkit.route.features import Features as Features
    from costkit.route.policy import Policy as Policy
    from costkit.route.policy import allow_data_classes as allow_data_classes
    from costkit.route.router import Decision as Decision
    from costkit.route.router import Router as Router
    from costkit.route.tiers import Tier as Tier
    from costkit.route.tiers import tiers_of as tiers_of

__all__ = ["Decision", "Features", "Policy", "Router", "Tier", "allow_data_classes", "tiers_of"]

_HOMES = {
    "Decision": "costkit.route.router",
    "Features": "costkit.route.features",
    "Policy": "costkit.route.policy",
    "Router": "costkit.route.router",
    "Tier": "costkit.route.tiers",
    "allow_data_classes": "costkit.route.policy",
    "tiers_of": "costkit.route.tiers",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
