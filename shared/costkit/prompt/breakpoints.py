"""Where the cache breakpoints go: sections ordered by stability, and a mark at the end of each stable run that pays.

A mark pays only where later requests repeat the whole prefix up to it, so one stands at the last section before
something less stable begins, never on what changes every turn. A mark on a prefix that the model turns out not to cache
costs nothing but one of the four slots; a prefix is therefore skipped only if even the upper error of the token count
leaves it below the model's minimum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING

from costkit.errors import ConfigurationError
from costkit.prompt.minimums import SMALLEST_MINIMUM, check_minimums, minimum_tokens
from costkit.prompt.request import MAX_MARKS, Ttl
from costkit.prompt.sections import STABILITIES, Section, Stability

if TYPE_CHECKING:
    from costkit.tokens import TokenCounter

__all__ = ["DEFAULT_TTL", "Placement", "Plan", "PlannedSection", "place", "plan", "ttl_for_gap"]

# Five minutes wherever requests follow one another: each read renews them for nothing, and an hour costs 2 / 1.25 as
# much to write. Text of one turn is never marked.
DEFAULT_TTL: Mapping[Stability, Ttl | None] = {"static": "5m", "daily": "5m", "session": "5m"}

_SPAN: Mapping[Stability, str] = {
    "static": "until the program changes",
    "daily": "for hours",
    "session": "within one conversation",
}


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Whether a mark stands at the end of one section, and why.

    Attributes:
        ttl: The lifetime to ask for, or None for no mark.
        prefix_tokens: Tokens, as counted, of the prompt up to the end of the section.
        reason: Why, in one sentence.
    """

    ttl: Ttl | None
    prefix_tokens: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class PlannedSection:
    """One section in its place.

    Attributes:
        section: The section.
        tokens: Its tokens, as counted.
        placement: Whether a mark stands at its end, and why.
    """

    section: Section
    tokens: int
    placement: Placement


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A prompt ready to be emitted.

    Attributes:
        model: The model it was planned for, or None.
        parts: The sections in the order to send them: system before user, and stable before changing within each.
        left_out: Names of the sections whose text is blank; the provider refuses empty blocks.
    """

    model: str | None
    parts: tuple[PlannedSection, ...]
    left_out: tuple[str, ...] = ()

    @property
    def breakpoints(self) -> tuple[PlannedSection, ...]:
        """The sections that end with a mark."""
        return tuple(part for part in self.parts if part.placement.ttl)

    @property
    def total_tokens(self) -> int:
        """Tokens of all sections, as counted."""
        return sum(part.tokens for part in self.parts)


def plan(
    sections: Sequence[Section],
    *,
    model: str | None = None,
    counter: TokenCounter | None = None,
    max_breakpoints: int = MAX_MARKS,
    ttl: Mapping[Stability, Ttl | None] | None = None,
    minimums: Mapping[str, int] | None = None,
    tokens_before: int = 0,
) -> Plan:
    """Order ``sections`` by stability and decide where the cache breakpoints stand.

    Args:
        sections: The pieces of the prompt. Sections of one role and one stability keep their order.
        model: The model that will be asked. None, or a model without a published minimum, counts as one with the
            smallest.
        counter: Counts tokens. Default: ``costkit.tokens.default_counter()``.
        max_breakpoints: How many marks may be placed: 4 less those that the request carries already.
        ttl: Lifetime by stability where the default, five minutes, is not right; None for "do not mark".
            ``ttl_for_gap`` gives the lifetime for a known gap between requests.
        minimums: Shortest cached prefix in tokens by model id, over the published table.
        tokens_before: Tokens of what the provider renders ahead of the sections: the tool definitions.

    Raises:
        ConfigurationError: Two sections share a name, ``max_breakpoints`` is not between 0 and 4, or a less stable
            section is to live longer than a more stable one, an order that the provider refuses.
    """
    names = [section.name for section in sections]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigurationError(f"section names must differ, got {twice[0]!r} more than once")
    if counter is None:
        from costkit.tokens import default_counter  # loads its tables only when nothing else counts

        counter = default_counter()
    written = [section for section in sections if section.text.strip()]
    ordered = sorted(written, key=lambda one: (one.role != "system", STABILITIES.index(one.stability)))
    tokens = [counter.count(section.text) for section in ordered]
    placements = place(
        [(section.stability, count) for section, count in zip(ordered, tokens, strict=True)],
        model=model,
        upper_error=counter.upper_error,
        max_breakpoints=max_breakpoints,
        ttl=ttl,
        minimums=minimums,
        tokens_before=tokens_before,
    )
    parts = zip(ordered, tokens, placements, strict=True)
    return Plan(
        model=model,
        parts=tuple(PlannedSection(section=one, tokens=count, placement=where) for one, count, where in parts),
        left_out=tuple(section.name for section in sections if not section.text.strip()),
    )


def place(
    blocks: Sequence[tuple[Stability, int]],
    *,
    model: str | None = None,
    upper_error: float = 0.0,
    max_breakpoints: int = MAX_MARKS,
    ttl: Mapping[Stability, Ttl | None] | None = None,
    minimums: Mapping[str, int] | None = None,
    tokens_before: int = 0,
) -> tuple[Placement, ...]:
    """Decide where marks stand in blocks whose order is given, such as the messages of a conversation.

    Args:
        blocks: Stability and tokens of each block, in the order they are sent.
        model: See ``plan``.
        upper_error: Share by which the true counts may exceed the given ones.
        max_breakpoints: See ``plan``.
        ttl: See ``plan``.
        minimums: See ``plan``.
        tokens_before: See ``plan``.

    Returns:
        One placement for each block.

    Raises:
        ConfigurationError: See ``plan``.
    """
    if isinstance(max_breakpoints, bool) or not 0 <= max_breakpoints <= MAX_MARKS:
        raise ConfigurationError(f"max_breakpoints must be between 0 and {MAX_MARKS}, got {max_breakpoints!r}")
    check_minimums(minimums or {})
    lifetimes = _lifetimes(ttl)
    reached = _reached([stability for stability, _ in blocks])
    placements: list[Placement] = []
    used, prefix = 0, tokens_before
    for index, (stability, tokens) in enumerate(blocks):
        prefix += tokens
        run_goes_on = index + 1 < len(blocks) and reached[index + 1] == reached[index]
        refusal = (
            _not_worth_a_mark(reached[index], stability, run_goes_on=run_goes_on, lifetimes=lifetimes)
            or _too_short(ceil(prefix * (1 + upper_error)), model, minimums)
            or (
                f"more stable sections use the {max_breakpoints} breakpoints there are"
                if used == max_breakpoints
                else ""
            )
        )
        used += not refusal
        placements.append(
            Placement(
                ttl=None if refusal else lifetimes[reached[index]],
                prefix_tokens=prefix,
                reason=refusal or f"the {prefix} tokens up to here stay the same {_SPAN[reached[index]]}",
            )
        )
    return tuple(placements)


def ttl_for_gap(seconds: float) -> Ttl | None:
    """Return the lifetime that suits requests ``seconds`` apart, start to start, or None if neither outlasts the gap.

    Under five minutes each read renews a five-minute entry for nothing, so an hour buys only a dearer write.

    Raises:
        ConfigurationError: ``seconds`` is negative.
    """
    if not seconds >= 0:
        raise ConfigurationError(f"seconds must be 0 or more, got {seconds!r}")
    return "5m" if seconds < 300 else "1h" if seconds < 3600 else None


def _reached(stabilities: Sequence[Stability]) -> list[Stability]:
    """Return the stability of the whole prefix at each block: that of the least stable block so far."""
    reached: list[Stability] = []
    worst = 0
    for stability in stabilities:
        worst = max(worst, STABILITIES.index(stability))
        reached.append(STABILITIES[worst])
    return reached


def _not_worth_a_mark(
    reached: Stability, own: Stability, *, run_goes_on: bool, lifetimes: Mapping[Stability, Ttl | None]
) -> str:
    if own == "turn":
        return "it changes every turn, so an entry that ends here would never be read"
    if reached == "turn":
        return "a section that changes every turn stands before it"
    if run_goes_on:
        return f"the next section is as stable ({reached}), and a mark after that covers both"
    return "" if lifetimes[reached] else f"ttl[{reached!r}] is None: no reuse is expected while an entry lives"


def _too_short(most_tokens: int, model: str | None, minimums: Mapping[str, int] | None) -> str:
    known = minimum_tokens(model, overrides=minimums) if model else None
    if most_tokens >= (SMALLEST_MINIMUM if known is None else known):
        return ""
    limit = f"no model caches less than {SMALLEST_MINIMUM}" if known is None else f"{model} caches no less than {known}"
    return f"the prefix has at most {most_tokens} tokens and {limit}"


def _lifetimes(ttl: Mapping[Stability, Ttl | None] | None) -> dict[Stability, Ttl | None]:
    for stability, value in (ttl or {}).items():
        if stability not in DEFAULT_TTL or value not in ("5m", "1h", None):
            raise ConfigurationError(
                f"ttl maps {tuple(DEFAULT_TTL)} to '5m', '1h' or None, got ttl[{stability!r}] = {value!r}"
            )
    lifetimes = {**DEFAULT_TTL, **(ttl or {})}
    asked = [lifetimes[stability] for stability in DEFAULT_TTL if lifetimes[stability] is not None]
    if ("5m", "1h") in pairwise(asked):
        raise ConfigurationError(
            f"a one-hour mark must not follow a five-minute one, got ttl={lifetimes!r}: raise the earlier"
        )
    return lifetimes
