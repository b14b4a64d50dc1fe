"""What kinds of thing a question asks for, and whether a sentence holds one: a number, a time, a person, a place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from costkit.context.lexical import term_counts
from costkit.text import words

__all__ = ["Kind", "asked_for", "holds", "may_hold"]

Kind = Literal["number", "time", "person", "place", "reason"]

_ASKED: dict[Kind, re.Pattern[str]] = {
    "number": re.compile(
        r"\bhow (?:many|much|long|old|far|tall|high|big|large|fast|deep|often|few)\b"
        r"|\b(?:what|which) (?:number|percent|percentage|amount|population|age)\b"
    ),
    "time": re.compile(r"\bwhen\b|\b(?:what|which) (?:year|date|day|month|century|decade|time)\b"),
    "person": re.compile(r"\b(?:who|whose|whom)\b"),
    "place": re.compile(
        r"\bwhere\b"
        r"|\b(?:what|which) (?:country|city|state|place|county|town|continent|region|location|nation|province|island)\b"
    ),
    "reason": re.compile(r"\bwhy\b|\breasons?\b|\bcause[sd]?\b"),
}
_DIGIT = re.compile(r"\d")
_NUMBER = re.compile(r"(?<![\w.,-])\d[\d.,]*")
_YEAR = re.compile(r"(?:1[0-9]{3}|20[0-9]{2})")
_YEAR_OR_DECADE = re.compile(rf"\b{_YEAR.pattern}s?\b")
_NUMBER_WORDS = frozenset(
    "one two three four five six seven eight nine ten eleven twelve thirteen fifteen twenty thirty forty fifty sixty "
    "hundred thousand million billion half third quarter once twice first second dozen several".split()
)
# With their capitals: employees may carry days over, and people march.
_MONTH = re.compile(r"\b(?:January|February|March|April|May|June|July|August|September|October|November|December)\b")
_DAY = re.compile(r"\b(?:(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day|[Ss]pring|[Ss]ummer|[Aa]utumn|[Ww]inter)\b")
_NAME = re.compile(r"[A-Z][\w'\u2019.-]*(?:\s+(?:(?:of|the|and|de|van|von|for|in|&)\s+)?[A-Z0-9][\w'\u2019.-]*)*")
_PLACED = re.compile(
    r"\b(?i:in|at|near|from|to|of|on|into|throughout|between|across)\s+(?:the\s+)?"
    r"([A-Z][\w'\u2019.-]*(?:\s+[A-Z][\w'\u2019.-]*)*)"
)
_REASON = re.compile(
    r"\b(?:because|due to|so that|in order to|reasons?|caused?|since|therefore|owing|led to|result(?:s|ed)?)\b",
    re.IGNORECASE,
)


def asked_for(question: str) -> frozenset[Kind]:
    """Return the kinds of thing that an English ``question`` asks for; none where its words do not tell."""
    lowered = question.lower()
    return frozenset(kind for kind, pattern in _ASKED.items() if pattern.search(lowered))


def may_hold(kinds: Set[Kind], text: str, known: Set[str]) -> bool:
    """Return whether ``text`` may hold a thing of one of ``kinds``: any digit or number word, or any name.

    Args:
        kinds: What is asked for.
        text: A sentence.
        known: Terms of the question: a name that says no more is no answer.
    """
    if not kinds:
        return False
    said = _said(text)
    return (
        ("number" in kinds and (said.digit or said.number_word))
        or ("time" in kinds and (said.digit or said.month))
        or (bool(kinds & {"person", "place"}) and _any_new(said.names, known))
    )


def holds(kinds: Set[Kind], text: str, known: Set[str]) -> bool:
    """Return whether ``text`` has the form of an answer: a number that is no year, a date, a full name, a place, why.

    Args:
        kinds: What is asked for.
        text: A sentence.
        known: Terms of the question and the title: a name that says no more is no answer.
    """
    if not kinds:
        return False
    said = _said(text)
    return (
        ("number" in kinds and (said.amount or said.number_word))
        or ("time" in kinds and said.date)
        or ("person" in kinds and _any_new([name for name in said.names if len(name.split()) > 1], known))
        or ("place" in kinds and _any_new(said.places, known))
        or ("reason" in kinds and said.reason)
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Said:
    """What stands in a sentence, whatever is asked."""

    digit: bool
    amount: bool
    number_word: bool
    month: bool
    date: bool
    names: tuple[str, ...]
    places: tuple[str, ...]
    reason: bool


@lru_cache(maxsize=32_768)
def _said(text: str) -> _Said:
    those = set(words(text))
    month = _MONTH.search(text) is not None
    return _Said(
        digit=_DIGIT.search(text) is not None,
        amount=any(not _YEAR.fullmatch(number.strip(".,")) for number in _NUMBER.findall(text)),
        number_word=not _NUMBER_WORDS.isdisjoint(those),
        month=month,
        date=month or _DAY.search(text) is not None or _YEAR_OR_DECADE.search(text) is not None,
        # But not a word that is capitalised because a sentence begins.
        names=tuple(one.group() for one in _NAME.finditer(text) if one.start() > 0 or len(one.group().split()) > 1),
        places=tuple(name for name in _PLACED.findall(text) if not _MONTH.match(name) and not _DAY.match(name)),
        reason=_REASON.search(text) is not None,
    )


def _any_new(names: Iterable[str], known: Set[str]) -> bool:
    return any(not term_counts(name).keys() <= known for name in names)
