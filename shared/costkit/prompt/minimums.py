"""How long a prefix must be before a model caches it: the provider's published minima, dated.

Source: "Cache limitations" on https://platform.claude.com/docs/en/build-with-claude/prompt-caching as it read on the
dates below, and the model pages it links. The provider lowers minima from time to time and prints no history, so each
row carries the day on which it was seen; a shorter prefix is processed without caching and without an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date

from costkit.errors import ConfigurationError

__all__ = ["LARGEST_MINIMUM", "SMALLEST_MINIMUM", "base_model", "check_minimums", "minimum_tokens"]

LARGEST_MINIMUM = 4096
SMALLEST_MINIMUM = 512

_MAY = date(2026, 5, 4)
_JULY = date(2026, 7, 28)
_OCTOBER = date(2026, 10, 1)

# Model id without its date -> (seen on, tokens), oldest first.
_PUBLISHED: Mapping[str, tuple[tuple[date, int], ...]] = {
    "claude-fable-5-1": ((_OCTOBER, 512),),
    "claude-mythos-5-1": ((_OCTOBER, 512),),
    "claude-fable-5": ((_JULY, 512),),
    "claude-mythos-5": ((_JULY, 512),),
    "claude-mythos-preview": ((_MAY, 4096), (_JULY, 2048)),
    "claude-opus-5-5": ((_OCTOBER, 512),),
    "claude-opus-5": ((_JULY, 512),),
    "claude-opus-4-8": ((_JULY, 1024),),
    "claude-opus-4-7": ((_MAY, 4096), (_JULY, 2048)),
    "claude-opus-4-6": ((_MAY, 4096),),
    "claude-opus-4-5": ((_MAY, 4096),),
    "claude-opus-4-1": ((_MAY, 1024),),
    "claude-opus-4": ((_MAY, 1024),),
    "claude-sonnet-5-5": ((_OCTOBER, 512),),
    "claude-sonnet-5": ((_JULY, 1024),),
    "claude-sonnet-4-6": ((_MAY, 2048), (_JULY, 1024)),
    "claude-sonnet-4-5": ((_MAY, 1024),),
    "claude-sonnet-4": ((_MAY, 1024),),
    "claude-3-7-sonnet": ((_MAY, 1024),),
    "claude-haiku-5-5": ((_OCTOBER, 512),),
    "claude-haiku-4-5": ((_MAY, 4096),),
    "claude-3-5-haiku": ((_MAY, 2048),),
}

# What clouds and snapshots put around a model id: "us.anthropic.", "@20250929", "-20250929-v1:0", "-latest".
_VENDOR = re.compile(r"^(?:[a-z]{2,6}\.)?anthropic[./]")
_SNAPSHOT = re.compile(r"(?:[-@](?:\d{8}|latest|default))?(?:-v\d+(?::\d+)?)?$")


def base_model(model: str) -> str:
    """Return ``model`` without a cloud's prefix and without its snapshot date."""
    return _SNAPSHOT.sub("", _VENDOR.sub("", model.strip().lower()))


def minimum_tokens(model: str, *, overrides: Mapping[str, int] | None = None, as_of: date | None = None) -> int | None:
    """Return the shortest prefix, in tokens, that ``model`` caches, or None if no figure is published for it.

    Args:
        model: Model id, with or without a cloud's prefix and snapshot date.
        overrides: Minima of your own by model id; they win over the table.
        as_of: The day to answer for. Default: the newest row. A day before the first row gets the first row.
    """
    if overrides:
        known = overrides.get(model, overrides.get(base_model(model)))
        if known is not None:
            return known
    rows = _PUBLISHED.get(base_model(model))
    if rows is None:
        return None
    seen = [tokens for day, tokens in rows if as_of is None or day <= as_of]
    return seen[-1] if seen else rows[0][1]


def check_minimums(minimums: Mapping[str, int]) -> None:
    """Check a mapping of minima of the caller's own.

    Raises:
        ConfigurationError: A minimum is not a whole number of 0 or more.
    """
    for model, tokens in minimums.items():
        if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 0:
            raise ConfigurationError(
                f"minimums[{model!r}] must be a whole number of tokens of 0 or more, got {tokens!r}"
            )
