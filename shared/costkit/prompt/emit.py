"""From a plan to what a provider or a framework takes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from costkit.prompt.breakpoints import Plan
from costkit.prompt.request import Ttl
from costkit.prompt.sections import Role

__all__ = ["PromptBlock", "cache_control", "emit_anthropic", "emit_blocks"]


@dataclass(frozen=True, kw_only=True)
class PromptBlock:
    """One text block.

    Attributes:
        text: Its text.
        ttl: Lifetime of the cache breakpoint at its end, or None if there is none.
    """

    text: str
    ttl: Ttl | None = None


def emit_blocks(plan: Plan) -> list[tuple[Role, list[PromptBlock]]]:
    """Return the prompt as roles with their blocks, for any framework: system first, then user."""
    return [
        (role, [PromptBlock(text=part.section.text, ttl=part.placement.ttl) for part in parts])
        for role, parts in groupby(plan.parts, key=lambda part: part.section.role)
    ]


def emit_anthropic(plan: Plan) -> dict[str, list[dict[str, object]]]:
    """Return the prompt as keyword arguments of Anthropic's ``messages.create``.

    Returns:
        ``system`` (left out if no section is for it) and ``messages``, in new lists.
    """
    prompt: dict[str, list[dict[str, object]]] = {"messages": []}
    for role, blocks in emit_blocks(plan):
        written = [_anthropic_block(block) for block in blocks]
        if role == "system":
            prompt["system"] = written
        else:
            prompt["messages"].append({"role": role, "content": written})
    return prompt


def cache_control(ttl: Ttl) -> dict[str, str]:
    """Return Anthropic's mark for a lifetime; five minutes is the provider's default and goes unsaid."""
    return {"type": "ephemeral"} if ttl == "5m" else {"type": "ephemeral", "ttl": ttl}


def _anthropic_block(block: PromptBlock) -> dict[str, object]:
    text: dict[str, object] = {"type": "text", "text": block.text}
    return text if block.ttl is None else {**text, "cache_control": cache_control(block.ttl)}
