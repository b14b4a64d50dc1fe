"""What kind of thing a question asks for, and whether a sentence holds one: a name, a date, a place, a number."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from costkit.context.lexical import Terms, term_counts
from costkit.text import words

__all__ = ["Kind", "asked_for", "holds"]

Kind = Literal["number", "time", "name"]

_ASKED: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    (
        "number",
        re.compile(
            r"\bhow (?:many|much|long|old|far|tall|high|big|large|fast|deep|often|few)\b"
            r"|\b(?:what|which) (?:number|percent|percentage|amount|population|age)\b"
        ),
    ),
    ("time", re.compile(r"\bwhen\b|\b(?:what|which) (?:year|date|day|month|century|decade|time)\b")),
    (
        "name",
        re.compile(
            r"\b(?:who|whose|whom|where)\b"
            r"|\b(?:what|which) (?:country|city|state|place|county|town|continent|region|location|nation|province|"
            r"island)\b"
        ),
    ),
)
_DIGIT = re.compile(r"\d")
_NUMBER_WORDS = frozenset(
    "one two three four five six seven eight nine ten eleven twelve thirteen fifteen twenty thirty forty fifty sixty "
    "hundred thousand million billion half third quarter once twice first second dozen several".split()
)
_MONTHS = frozenset("january february march april may june july august september october november december".split())
_NAME = re.compile(r"[A-Z][\w'\u2019.-]*(?:\s+(?:(?:of|the|and|de|van|von|for|in|&)\s+)?[A-Z0-9][\w'\u2019.-]*)*")


def asked_for(question: str) -> Kind | None:
    """Return the kind of thing that an English ``question`` asks for, or None where its words do not tell."""
    lowered = question.lower()
    return next((kind for kind, pattern in _ASKED if pattern.search(lowered)), None)


def holds(kind: Kind, text: str, known: Terms) -> bool:
    """Return whether ``text`` holds a thing of ``kind``; a name counts if it says more than ``known`` words do."""
    if kind == "name":
        return any(set(term_counts(name)) - set(known) for name in _names(text))
    return _holds_number(kind, text)


@lru_cache(maxsize=32_768)
def _holds_number(kind: Literal["number", "time"], text: str) -> bool:
    if _DIGIT.search(text):
        return True
    return not (_NUMBER_WORDS if kind == "number" else _MONTHS).isdisjoint(words(text))


@lru_cache(maxsize=32_768)
def _names(text: str) -> tuple[str, ...]:
    """Return the capitalised names in ``text``, but not a word that is capitalised because a sentence begins."""
    return tuple(match.group() for match in _NAME.finditer(text) if match.start() > 0 or " " in match.group())
