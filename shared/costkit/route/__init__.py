"""Model router: the cheapest tier that policy allows and the rules trust, with the reason and the price of each choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from costkit.route.features import Features as Features
    from costkit.route.policy import Policy as Policy
    from costkit.route.policy import allow_data_classes as allow_data_classes
    from costkit.route.question import Prompted as Prompted
    from costkit.route.question import question_in as question_in
    from costkit.route.router import Decision as Decision
    from costkit.route.router import Router as Router
    from costkit.route.tiers import Tier as Tier
    from costkit.route.tiers import tiers_of as tiers_of

__all__ = [
    "Decision",
    "Features",
    "Policy",
    "Prompted",
    "Router",
    "Tier",
    "allow_data_classes",
    "question_in",
    "tiers_of",
]

_HOMES = {
    "Decision": "costkit.route.router",
    "Features": "costkit.route.features",
    "Policy": "costkit.route.policy",
    "Prompted": "costkit.route.question",
    "Router": "costkit.route.router",
    "Tier": "costkit.route.tiers",
    "allow_data_classes": "costkit.route.policy",
    "question_in": "costkit.route.question",
    "tiers_of": "costkit.route.tiers",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
