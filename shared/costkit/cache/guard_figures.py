"""The numbers, units, dates and codes of one question."""

from __future__ import annotations

import re
from dataclasses import dataclass

from costkit.cache import guard_words as lists


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number of a question.

    Attributes:
        value: The number as said.
        unit: The unit's name, empty where none is said.
        dimension: What the unit measures, such as ``"time"``; empty without a unit.
        base: ``value`` in the base unit of its dimension.
        ordinal: Whether it says a place in an order ("second").
        written: The digits as written; empty where words or letters say part of the number.
        version: Whether it may be a version, of which 1.10 is another than 1.1.
    """

    value: float
    unit: str = ""
    dimension: str = ""
    base: float = 0.0
    ordinal: bool = False
    written: str = ""
    version: bool = False

    @property
    def digits(self) -> str:
        """The digits that tell a version: those written, without a closing ".0"."""
        return _CLOSING_ZEROS.sub("", self.written or f"{self.value:.10g}")

    @property
    def fraction(self) -> bool:
        """Whether it is written like 3/4, which may be a date."""
        return "/" in self.written

    @property
    def parts(self) -> frozenset[float]:
        """The two numbers of a fraction, which may be a list: 500/1000 notes."""
        return frozenset(map(float, re.findall(r"\d+", self.written))) if self.fraction else frozenset()

    def __str__(self) -> str:
        shown = self.written if self.version or self.fraction else f"{self.value:,.10g}"
        return f"{shown} {self.unit}" if self.unit else f"number {shown}" if self.ordinal else shown


_PLAIN = re.compile(r"-?\d+(?:\.\d+)?")
_CLOSING_ZEROS = re.compile(r"(?:\.0)+$")
_FRACTION = re.compile(r"(\d{1,4})over([1-9]\d{0,3})")  # what reading makes of 3/4
_NETWORK = re.compile(r"[2-6]g")  # of phones, unless something is weighed: 5g of salt
_GLUED = re.compile(r"(\d+(?:\.\d+)?)([a-z]+)")
_CLOCK = re.compile(r"([01]?\d|2[0-3])[:.]([0-5]\d)")
_HOUR = re.compile(r"([0-9]{1,2})([ap]m)?")
_YEAR = re.compile(r"(?:1[5-9]|20)\d\d")


def _number(tokens: list[str], at: int, *, english: bool) -> tuple[float, int, bool] | None:
    """Return the number that starts at a token, how many tokens it takes, and whether it is an ordinal."""
    token = tokens[at]
    value = _value(token)
    if value is not None:
        used = 1
        if token.isdigit() and _FRACTION.fullmatch("".join(tokens[at + 1 : at + 2])):  # 1 1/2
            value, used = value + (_value(tokens[at + 1]) or 0.0), 2
        while english and at + used < len(tokens) and tokens[at + used] in lists.SCALES:
            value *= lists.SCALES[tokens[at + used]]
            used += 1
        return value, used, False
    glued = _GLUED.fullmatch(token) if len(token) < 20 else None
    if glued and glued[2] in ("st", "nd", "rd", "th"):
        return float(glued[1]), 1, True
    if glued and glued[2] in lists.SUFFIXES:
        return float(glued[1]) * lists.SUFFIXES[glued[2]], 1, False
    return _spelt(tokens, at) if english else None


def _value(token: str) -> float | None:
    """Return the value of a number in digits."""
    if not (token[:1].isdigit() or token[:1] == "-"):
        return None
    if fraction := _FRACTION.fullmatch(token):
        return int(fraction[1]) / int(fraction[2])
    plain = token.removesuffix("%").replace(",", "")
    return float(plain) if len(plain) < 25 and plain.isascii() and _PLAIN.fullmatch(plain) else None


def _spelt(tokens: list[str], at: int) -> tuple[float, int, bool] | None:
    token = tokens[at]
    before = tokens[at - 1] if at else ""
    counted = token in lists.UNITS and before in ("per", "every", "each", "a", "split")  # "per second"
    if token in lists.ORDINALS and not counted:
        return lists.ORDINALS[token], 1, True
    if token in lists.TIMES or token in lists.ROMAN:
        return (lists.TIMES.get(token) or lists.ROMAN[token]), 1, token in lists.TIMES
    total = group = 0.0
    used = 0
    for word in tokens[at : at + 9]:
        if word in lists.ONES and group % 10 == 0 and group % 100 != 10 and (group % 100 == 0 or lists.ONES[word] < 10):
            group += lists.ONES[word]
        elif word in lists.TENS and group % 100 == 0:
            group += lists.TENS[word]
        elif word in lists.SCALES and (used or word != "k"):
            group = (group or 1) * lists.SCALES[word]
            if group >= 1_000:
                total, group = total + group, 0.0
        elif not (word == "and" and used and tokens[at + used - 1] in lists.SCALES):
            break
        used += 1
    while used and tokens[at + used - 1] == "and":
        used -= 1
    return (total + group, used, False) if used else None


class Figures:
    """Collects what the numbers, dates and codes of one question say while its tokens are walked.

    Args:
        tokens: The words of the question.
        english: Whether numbers in words and dates are read as well.
        named: Whether something is named, which a number may be the version of.
    """

    def __init__(self, tokens: list[str], *, english: bool, named: bool) -> None:
        self._named = named
        self.quantities: set[Quantity] = set()
        self.units: dict[str, set[str]] = {}
        self.dates: dict[str, set[str]] = {}
        self.codes: dict[str, str] = {}
        self.used: set[int] = set()
        at = 0
        while at < len(tokens):
            at += self._take(tokens, at, english=english)

    def _take(self, tokens: list[str], at: int, *, english: bool) -> int:
        token = tokens[at]
        following = tokens[at + 1] if at + 1 < len(tokens) else ""
        if taken := self._clock(tokens, at, following):
            return taken
        if _YEAR.fullmatch(token) and following not in lists.UNITS and following not in lists.SCALES:
            self._date("year", token)
            return 1
        if found := _number(tokens, at, english=english):
            return self._quantity(tokens, at, found)
        if glued := (_GLUED.fullmatch(token) if len(token) < 20 else None):
            return self._glued(token, glued, following)
        if token in ("q1", "q2", "q3", "q4"):
            self._date("quarter", token)
            return 1
        if any(character.isdigit() for character in token):
            self.codes.setdefault(squeeze(token.removeprefix("v")) or token, token)
            return 1
        if english:
            self._word(tokens, at, following)
        return 1

    def _clock(self, tokens: list[str], at: int, following: str) -> int:
        token = tokens[at]
        clock, glued = _CLOCK.fullmatch(token), _HOUR.fullmatch(token)
        half = following if following in ("am", "pm") else (glued[2] or "") if glued else ""
        if glued and not glued[2] and not half and following != "oclock":
            return 0
        if not glued and not (clock and (":" in token or half)):
            return 0
        hour = int(clock[1]) if clock else int(token.removesuffix(half))
        self._date("clock", f"{hour % 12}:{clock[2] if clock else '00'}")
        if half or hour > 12:
            self._date("half", half or "pm")
        return 2 if following in ("am", "pm", "oclock") else 1

    def _quantity(self, tokens: list[str], at: int, found: tuple[float, int, bool]) -> int:
        value, used, ordinal = found
        self.used.update(range(at, at + used))
        end = at + used
        if tokens[at].endswith("%"):
            self.quantities.add(Quantity(value, "percent", "percent", value))
            return used
        if ordinal and tokens[end : end + 1] == ["quarter"] and value < 5:
            self._date("quarter", f"q{value:.0f}")
            return used + 1
        plain = all(_value(token) is not None for token in tokens[at:end])
        written = " ".join(tokens[at:end]).replace("over", "/") if plain else ""
        skip = 1 if end < len(tokens) and tokens[end] in lists.BETWEEN_NUMBER_AND_UNIT else 0
        unit = lists.UNITS.get(tokens[end + skip]) if end + skip < len(tokens) and not ordinal else None
        if unit:
            name, dimension, factor = unit
            self.quantities.add(Quantity(value, name, dimension, _base(value, factor), written=written))
            self.used.add(end + skip)
            return used + skip + 1
        version = "." in written and self._versioned(tokens, at)
        self.quantities.add(Quantity(value, base=value, ordinal=ordinal, written=written, version=version))
        return used

    def _versioned(self, tokens: list[str], at: int) -> bool:
        """Say whether a number without a unit may be a version: something is named, or a noun stands before it."""
        return self._named or (at > 0 and tokens[at - 1] not in lists.STOPWORDS)

    def _glued(self, token: str, glued: re.Match[str], following: str) -> int:
        value, suffix = float(glued[1]), glued[2]
        if suffix == "s" and len(glued[1]) in (2, 4):
            self._date("decade", glued[1][-2:])
        elif suffix in lists.UNITS and (following == "of" or not _NETWORK.fullmatch(token)):
            name, dimension, factor = lists.UNITS[suffix]
            self.quantities.add(Quantity(value, name, dimension, _base(value, factor), written=glued[1]))
        elif suffix == "x":
            self.quantities.add(Quantity(value, base=value))
        else:
            self.codes.setdefault(token, token)
        return 1

    def _word(self, tokens: list[str], at: int, following: str) -> None:
        token = tokens[at]
        before = tokens[at - 1] if at else ""
        if token in lists.MONTHS:
            near = (
                before in lists.BEFORE_MONTH
                or following[:1].isdigit()
                or (before[:1].isdigit() and len(before) < 5 and not _YEAR.fullmatch(before))
                or before in lists.ORDINALS
            )
            if token not in lists.AMBIGUOUS_MONTHS or near:
                self._date("month", lists.MONTHS[token])
        elif token in lists.WEEKDAYS:
            self._date("weekday", lists.WEEKDAYS[token])
        elif token in lists.RELATIVE_DAYS:
            self._date("day", lists.RELATIVE_DAYS[token])
        elif token in lists.PERIODS and (side := _before_period(tokens, at)) in lists.PERIOD_SIDES:
            if token in lists.UNITS:
                self.units.setdefault(lists.UNITS[token][1], set()).add(lists.UNITS[token][0])
            self._date("period", f"{lists.PERIOD_SIDES[side]} {token}")
        elif before in lists.LABELS and _is_label(token, following):
            self.codes[before + token] = f"{before} {token.upper()}"
        elif token in lists.UNITS and len(token) > 2:
            name, dimension, _ = lists.UNITS[token]
            self.units.setdefault(dimension, set()).add(name)

    def _date(self, kind: str, value: str) -> None:
        self.dates.setdefault(kind, set()).add(value)


def _base(value: float, factor: float) -> float:
    """Return a value in the base unit, so rounded that equal amounts in two units are equal."""
    return float(f"{value * factor:.12g}")


def _before_period(tokens: list[str], at: int) -> str:
    """Return the word that says which period is meant: "last" of "last month" and "last calendar month"."""
    before = [word for word in tokens[max(0, at - 2) : at] if word != "calendar"]
    return before[-1] if before else ""


def _is_label(letter: str, following: str) -> bool:
    """Say whether a letter is the B of "part B", not the article of "plan a trip"."""
    if letter == "a":
        return not following or following in lists.STOPWORDS
    return len(letter) == 1 and letter != "i"


_CODE = re.compile(
    r"(?<![\w-])--?[a-z][\w-]*(?:=\S+)?"  # --force, -v
    r"|\b[\w-]+\.(?:py|js|ts|csv|json|ya?ml|toml|txt|pdf|docx?|xlsx?|pptx?|png|jpe?g|gif|mp[34]|zip|exe|dll|html?|xml|md|sh|sql|log)\b"
    r"|\b[a-z0-9]+(?:_[a-z0-9]+)+\b"  # snake_case
    r"|\b[a-z]+:[a-z]+\b",  # a scope such as devices:read
    re.ASCII,
)


def codes_in(text: str, known: dict[str, str]) -> dict[str, str]:
    """Return the known codes and those that the signs in them give away, as written: squeezed -> as written."""
    codes = {squeeze(match[0]): match[0] for match in _CODE.finditer(text.lower())} | known
    return {squeezed: _as_written(code, text) for squeezed, code in codes.items() if squeezed}


def _as_written(code: str, text: str) -> str:
    at = text.lower().find(code)
    return text[at : at + len(code)] if at >= 0 and len(text) == len(text.lower()) else code


def squeeze(text: str) -> str:
    """Return the letters and digits alone."""
    return "".join(filter(str.isalnum, text))
