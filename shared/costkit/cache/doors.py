"""What the doors to the cache share, whatever the framework: which cache, where the question stands, how to replay."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from costkit.errors import ConfigurationError

if TYPE_CHECKING:
    from costkit.cache.response import ResponseCache

__all__ = ["MAX_QUESTION_TOKENS", "cache_for", "pieces", "question_span"]

# A longer message is a filled prompt, not a question: its embedding says little about what is asked.
MAX_QUESTION_TOKENS = 100

_PARAGRAPHS = re.compile(r"\S\s*\n\s*\n\s*\S")
_PIECE = re.compile(r"\s*\S+\s*")


def cache_for(given: ResponseCache | None, *, version: str, require_tenant: bool) -> ResponseCache:
    """Return the cache that the user gave, else the default one under ``version``.

    Raises:
        ConfigurationError: ``require_tenant`` is asked for here and not set on the given cache.
        StoreLockedError: Another process holds the folder of the default cache.
    """
    if given is None:
        from costkit.cache.response import ResponseCache

        return ResponseCache(version=version, require_tenant=require_tenant)
    if require_tenant and not given.require_tenant:
        raise ConfigurationError(
            "require_tenant=True has no effect on a given cache; use ResponseCache(require_tenant=True)"
        )
    return given


def question_span(text: str, question: str | None = None) -> tuple[int, int] | None:
    """Return where the question stands in a user's message, as offsets of its start and end.

    Args:
        text: The message.
        question: The question, where it is known. Default: the whole message is the question, unless it has several
            paragraphs or over ``MAX_QUESTION_TOKENS`` tokens by the default counter: then it is a filled prompt.

    Returns:
        The offsets, or None where they cannot be told: such a message is served word for word only.
    """
    if question is not None:
        at = text.rfind(question) if question.strip() else -1
        return None if at < 0 else (at, at + len(question))
    from costkit.tokens import default_counter

    if _PARAGRAPHS.search(text) or default_counter().count(text) > MAX_QUESTION_TOKENS:
        return None
    return 0, len(text)


def pieces(text: str) -> list[str]:
    """Return a kept answer as a stream's pieces, whose concatenation is the answer."""
    return _PIECE.findall(text) or [text]
