"""Bounds on the answer: a hard limit, stop sequences and a length directive, by tier.

Output tokens cost about five times input tokens. The directive keeps answers short; the limit only guards against a
runaway, and lies so far above the directive that an answer which follows it is not cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from costkit.errors import ConfigurationError
from costkit.prompt.sections import Section

__all__ = ["DEFAULT_BOUNDS", "LENGTH_DIRECTIVE", "OutputBounds", "bounds_for", "length_section"]

LENGTH_DIRECTIVE = (
    "Answer in at most {max_words} words. Begin with the answer itself: no introduction, no summary, and do not repeat "
    "the question."
)


@dataclass(frozen=True, kw_only=True)
class OutputBounds:
    """How long an answer may be.

    Attributes:
        max_words: What the directive asks for.
        max_tokens: Where the provider cuts. It must be twice ``max_words`` or more: English takes about 1.3 tokens per
            word, tables and other languages more.
        stop_sequences: Texts that end the answer.
    """

    max_words: int
    max_tokens: int
    stop_sequences: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_words < 1:
            raise ConfigurationError(f"OutputBounds.max_words must be 1 or more, got {self.max_words!r}")
        if self.max_tokens < 2 * self.max_words:
            raise ConfigurationError(
                f"OutputBounds.max_tokens must be at least twice max_words ({self.max_words}), got {self.max_tokens!r}: "
                "answers that keep to the directive would be cut"
            )
        if not isinstance(self.stop_sequences, tuple) or not all(one.strip() for one in self.stop_sequences):
            raise ConfigurationError(
                f"OutputBounds.stop_sequences must be a tuple of texts that are not blank, got {self.stop_sequences!r}"
            )

    def anthropic(self) -> dict[str, object]:
        """Return the bounds as keyword arguments of Anthropic's ``messages.create``."""
        stops = {"stop_sequences": list(self.stop_sequences)} if self.stop_sequences else {}
        return {"max_tokens": self.max_tokens, **stops}


# A cheap tier gets the plain questions, which short answers settle.
DEFAULT_BOUNDS: Mapping[str, OutputBounds] = {
    "cheap": OutputBounds(max_words=80, max_tokens=256),
    "middle": OutputBounds(max_words=150, max_tokens=512),
    "strong": OutputBounds(max_words=250, max_tokens=1024),
}


def bounds_for(tier: str, *, bounds: Mapping[str, OutputBounds] = DEFAULT_BOUNDS) -> OutputBounds:
    """Return the bounds of ``tier``; a tier that has none gets the widest, which cuts nothing that another would not.

    Args:
        tier: The tier's name.
        bounds: Bounds by tier.

    Raises:
        ConfigurationError: ``bounds`` is empty.
    """
    if not bounds:
        raise ConfigurationError("bounds must name at least one tier, got an empty mapping")
    return bounds.get(tier) or max(bounds.values(), key=lambda one: one.max_tokens)


def length_section(bounds: OutputBounds, *, template: str = LENGTH_DIRECTIVE) -> Section:
    """Return the length directive as a static section of the system prompt.

    Args:
        bounds: Whose ``max_words`` it states. Tiers differ in it and so in their prefix; they are different models,
            which share no cache anyway.
        template: The directive, with ``{max_words}`` in it.

    Raises:
        ConfigurationError: The template has no ``{max_words}``.
    """
    if "{max_words}" not in template:
        raise ConfigurationError(f"template must contain '{{max_words}}', got {template!r}")
    text = template.replace("{max_words}", str(bounds.max_words))
    return Section(name="length", text=text, stability="static", role="system")
