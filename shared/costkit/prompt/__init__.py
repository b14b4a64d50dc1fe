"""Prompt planning: sections by stability, cache breakpoints where reuse pays, and bounds on the answer.

``plan`` orders sections and places breakpoints, ``emit_anthropic`` writes the request, ``PromptCache`` says what the
provider would bill for it, and ``bounds_for`` limits what comes back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from costkit.prompt.bounds import DEFAULT_BOUNDS as DEFAULT_BOUNDS
    from costkit.prompt.bounds import LENGTH_DIRECTIVE as LENGTH_DIRECTIVE
    from costkit.prompt.bounds import OutputBounds as OutputBounds
    from costkit.prompt.bounds import bounds_for as bounds_for
    from costkit.prompt.bounds import length_section as length_section
    from costkit.prompt.breakpoints import DEFAULT_TTL as DEFAULT_TTL
    from costkit.prompt.breakpoints import Placement as Placement
    from costkit.prompt.breakpoints import Plan as Plan
    from costkit.prompt.breakpoints import PlannedSection as PlannedSection
    from costkit.prompt.breakpoints import place as place
    from costkit.prompt.breakpoints import plan as plan
    from costkit.prompt.breakpoints import ttl_for_gap as ttl_for_gap
    from costkit.prompt.emit import PromptBlock as PromptBlock
    from costkit.prompt.emit import cache_control as cache_control
    from costkit.prompt.emit import emit_anthropic as emit_anthropic
    from costkit.prompt.emit import emit_blocks as emit_blocks
    from costkit.prompt.minimums import minimum_tokens as minimum_tokens
    from costkit.prompt.request import Ttl as Ttl
    from costkit.prompt.sections import Role as Role
    from costkit.prompt.sections import Section as Section
    from costkit.prompt.sections import Stability as Stability
    from costkit.prompt.simulate import Charge as Charge
    from costkit.prompt.simulate import MarkReport as MarkReport
    from costkit.prompt.simulate import PromptCache as PromptCache

_HOMES = {
    "Charge": "costkit.prompt.simulate",
    "DEFAULT_BOUNDS": "costkit.prompt.bounds",
    "DEFAULT_TTL": "costkit.prompt.breakpoints",
    "LENGTH_DIRECTIVE": "costkit.prompt.bounds",
    "MarkReport": "costkit.prompt.simulate",
    "OutputBounds": "costkit.prompt.bounds",
    "Placement": "costkit.prompt.breakpoints",
    "Plan": "costkit.prompt.breakpoints",
    "PlannedSection": "costkit.prompt.breakpoints",
    "PromptBlock": "costkit.prompt.emit",
    "PromptCache": "costkit.prompt.simulate",
    "Role": "costkit.prompt.sections",
    "Section": "costkit.prompt.sections",
    "Stability": "costkit.prompt.sections",
    "Ttl": "costkit.prompt.request",
    "bounds_for": "costkit.prompt.bounds",
    "cache_control": "costkit.prompt.emit",
    "emit_anthropic": "costkit.prompt.emit",
    "emit_blocks": "costkit.prompt.emit",
    "length_section": "costkit.prompt.bounds",
    "minimum_tokens": "costkit.prompt.minimums",
    "place": "costkit.prompt.breakpoints",
    "plan": "costkit.prompt.breakpoints",
    "ttl_for_gap": "costkit.prompt.breakpoints",
}

__all__ = [
    "DEFAULT_BOUNDS",
    "DEFAULT_TTL",
    "LENGTH_DIRECTIVE",
    "Charge",
    "MarkReport",
    "OutputBounds",
    "Placement",
    "Plan",
    "PlannedSection",
    "PromptBlock",
    "PromptCache",
    "Role",
    "Section",
    "Stability",
    "Ttl",
    "bounds_for",
    "cache_control",
    "emit_anthropic",
    "emit_blocks",
    "length_section",
    "minimum_tokens",
    "place",
    "plan",
    "ttl_for_gap",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
