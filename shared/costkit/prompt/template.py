"""A prompt template of any framework, filled: which stretch of its text stays the same for how long."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from costkit.errors import ConfigurationError
from costkit.prompt.breakpoints import Placement, place
from costkit.prompt.request import Ttl
from costkit.prompt.sections import STABILITIES, Stability

__all__ = ["check_stability", "cut", "least_stable", "place_texts", "takes_breakpoints"]


def check_stability(stability: Mapping[str, Stability], variables: Iterable[str]) -> None:
    """Check what a user says about how long the variables of a template stay the same.

    Raises:
        ConfigurationError: A name is no variable of the template, or a value is no stability.
    """
    known = sorted(set(variables))
    for name, value in stability.items():
        if name not in known or value not in STABILITIES:
            raise ConfigurationError(
                f"stability[{name!r}]={value!r}: name a variable of the prompt {known} and one of {STABILITIES}"
            )


def takes_breakpoints(model: str) -> bool:
    """True if a model takes Anthropic's cache breakpoints."""
    return "claude" in model.lower()


def least_stable(variables: Iterable[str], stability: Mapping[str, Stability]) -> Stability:
    """Return how long a text stays the same that these variables fill: ``turn`` for one of which nothing is said."""
    return STABILITIES[max((STABILITIES.index(stability.get(name, "turn")) for name in variables), default=0)]


def cut(parts: Iterable[tuple[str, Stability]], filled: str) -> list[tuple[str, Stability]]:
    """Cut a filled template where it becomes less stable.

    A stretch is as stable as the least stable part up to its end. White space goes with what comes after it, or at
    the end with what stands before: a provider refuses blank blocks.

    Args:
        parts: The template's literals and the values of its variables, in their order.
        filled: The text as the framework filled it.

    Returns:
        The stretches, whose concatenation is ``filled``. One stretch of a ``turn`` where the parts do not add up to
        it: something has rewritten the text, and which part of it is stable cannot be told.
    """
    reached: list[tuple[int, str]] = []
    worst = 0
    for text, stability in parts:
        worst = max(worst, STABILITIES.index(stability))
        reached.append((worst, text))
    if "".join(text for _, text in reached) != filled:
        return [(filled, "turn")]
    stretches: list[tuple[str, Stability]] = []
    blank = ""
    for level, same in groupby(reached, key=lambda part: part[0]):
        text = blank + "".join(text for _, text in same)
        if text.strip():
            stretches.append((text, STABILITIES[level]))
        blank = "" if text.strip() else text
    if blank:
        before, _ = stretches.pop() if stretches else ("", "turn")
        stretches.append((before + blank, STABILITIES[worst]))
    return stretches


def place_texts(
    texts: Sequence[tuple[str, Stability]],
    *,
    model: str | None = None,
    ttl: Mapping[Stability, Ttl | None] | None = None,
) -> tuple[Placement, ...]:
    """Decide where marks stand in texts whose order is given.

    Args:
        texts: Each text with how long it stays the same, in the order they are sent.
        model: The model that will be asked, if known.
        ttl: Lifetime of marks by stability. Default: five minutes.

    Returns:
        One placement for each text.

    Raises:
        ConfigurationError: See ``plan``.
    """
    from costkit.tokens import default_counter  # loads its tables only when a prompt is filled

    counter = default_counter()
    # What comes after text that changes every turn is never marked, so it need not be counted.
    blocks = [(stability, 0 if stability == "turn" else counter.count(text)) for text, stability in texts]
    return place(blocks, model=model, upper_error=counter.upper_error, ttl=ttl)
