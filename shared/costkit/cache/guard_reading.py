"""What one question says, read once: numbers, dates, codes, names, polarity, what it asks and for whom."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from costkit.cache import guard_words as lists
from costkit.cache.guard_words import lemma
from costkit.text import words

_LONGEST = 2_000  # characters read of one question: guards are for questions, not for documents


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number of a question.

    Attributes:
        value: The number as said.
        unit: The unit's name, empty where none is said.
        dimension: What the unit measures, such as ``"time"``; empty without a unit.
        base: ``value`` in the base unit of its dimension.
        ordinal: Whether it says a place in an order ("second").
    """

    value: float
    unit: str = ""
    dimension: str = ""
    base: float = 0.0
    ordinal: bool = False

    def __str__(self) -> str:
        shown = f"{self.value:,.10g}"
        return f"{shown} {self.unit}" if self.unit else f"number {shown}" if self.ordinal else shown


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything the guards read from one question; see `read`."""

    language: str
    words: tuple[str, ...]
    spelling: dict[str, str]  # lemma -> the word as written, lower case
    content: tuple[str, ...]  # lemmas that carry meaning, in order
    topic: frozenset[str]  # the same without order
    squeezed: str  # letters and digits alone, lower case
    quantities: frozenset[Quantity]
    units: dict[str, frozenset[str]]  # dimension -> units that stand without a number
    dates: dict[str, frozenset[str]]  # "year", "month", ... -> values
    codes: dict[str, str]  # squeezed -> as written
    names: tuple[tuple[str, ...], ...]  # runs of words that name something, canonical
    has_case: bool  # whether capitals tell names apart here
    negated: bool
    softened: bool
    bounds: frozenset[str]
    edges: frozenset[tuple[str, str, str]]  # content word, preposition, content word
    passive: bool
    scope: frozenset[str]
    asks: frozenset[str]
    audience: frozenset[str]


# --- folding ---------------------------------------------------------------------------------------------------------

_REWRITES = {
    "won't": "will not", "wont": "will not", "can't": "can not", "cant": "can not", "cannot": "can not",
    "shan't": "shall not", "at least": "atleast", "at the least": "atleast", "at most": "atmost",
    "at the most": "atmost", "no more than": "atmost", "not more than": "atmost", "no less than": "atleast",
    "not less than": "atleast", "no fewer than": "atleast", "up to": "atmost", "no later than": "before",
    "no earlier than": "after", "most expensive": "dearest", "priciest": "dearest", "costliest": "dearest",
    "least expensive": "cheapest", "more expensive": "dearer", "pricier": "dearer", "costlier": "dearer",
    "less expensive": "cheaper", "per cent": "percent", "no longer": "not", "no matter": "whatever",
    "not only": "and", "whether or not": "whether", "or not": " ", "why not": "why", "wanna": "want to",
    "gonna": "going to", "how come": "why", "for what reason": "why", "how to": "how do", "hows": "how is",
    "whats": "what is", "wheres": "where is", "whos": "who is",
    "the us": "the usa",
    "nyc": "new york",
    "wwii": "world war 2", "ww2": "world war 2", "wwi": "world war 1", "ww1": "world war 1", "ww3": "world war 3",
    "wwiii": "world war 3", "o'clock": "oclock", "a half": "half", "half a": "0.5", "half an": "0.5",
    "sign in": "log ~in", "sign out": "log ~out", "login": "log ~in", "logout": "log ~out", "signin": "log ~in",
    "signout": "log ~out", "c++": "cplusplus", "c#": "csharp", "f#": "fsharp", ".net": "dotnet",
    "nothing but": "only", "don't know": "wonder", "dont know": "wonder", "do not know": "wonder",
    "don't understand": "wonder", "do not understand": "wonder", "dont understand": "wonder", "not sure": "wonder",
    "don't remember": "wonder", "can't figure out": "wonder", "cannot figure out": "wonder", "don't forget": "remember",
    "other than": "except", "aside from": "except", "all but": "except", "a few": "few",
    "get rid of": "remove", "instead of": "instead", "rather than": "instead", "can't remember": "forgot", "cannot remember": "forgot", "can not remember": "forgot", "opposed to": "vs", "compared to": "vs", "compared with": "vs", "in comparison to": "vs",
}  # fmt: skip
_CONTRACTED = "do|does|did|is|are|was|were|could|would|should|have|has|had"
_REWRITE = re.compile(
    rf"(?<![\w.-])(?:(?P<fixed>{'|'.join(re.escape(text) for text in sorted(_REWRITES, key=len, reverse=True))})"
    rf"|(?P<not>(?:{_CONTRACTED}|might|must|need|ai)n'?t)"
    rf"|(?P<is>what|who|where|when|how|why|it|that|there|here)'s)(?![\w+#])"
    r"|(?P<iso>(?<![\w.-])(?:19|20)\d\d-[01]\d-[0-3]\d(?!\d))"
    r"|(?P<money>[$€£₹¥]\s?(?=\d)[\d.,]*\d(?:\s?(?:k|m|mn|bn|b|million|billion|thousand)\b)?)|(?P<sign>(?<=\d)\s?[€£₹])"
    r"|(?P<clitic>(?<=\w)'(?:re|ve|ll|d|m)\b)|(?P<other>&)"
)
_TYPOGRAPHIC = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\u2013": "-", "\u2011": "-", "\u00a0": " "})


_SPELLINGS = (
    (re.compile(r"\bunited states(?: of america)?\b|\bU\.S\.(?:A\.)?|\bthe states\b", re.IGNORECASE), "USA"),
    (re.compile(r"\bunited kingdom\b|\bgreat britain\b|\bU\.K\.", re.IGNORECASE), "UK"),
    (re.compile(r"\b(node|vue|next|nuxt|express|react|three|d3|angular)\.js\b", re.IGNORECASE), r"\1"),
    (re.compile(r"\bk8s\b", re.IGNORECASE), "Kubernetes"),
    (re.compile(r"\b(?:2fa|mfa|(?:2|two|multi)[- ](?:factor|step))\b", re.IGNORECASE), "twofactor"),
    (re.compile(r"\bwin(?=\s?\d)", re.IGNORECASE), "Windows"),
    (re.compile(r"\bmt\.?(?=\s)", re.IGNORECASE), "mount"),
    (re.compile(r"\bno\.\s?(?=\d)", re.IGNORECASE), "number "),
    (re.compile(r"\bminus\s(?=\d)", re.IGNORECASE), "-"),
    (re.compile(r"\bxmas\b", re.IGNORECASE), "Christmas"),
    (re.compile(r"\s(?:->|>|→|=>)\s"), " to "),
    (re.compile(r"\b([a-z]{3,})v(?=\d)", re.IGNORECASE), r"\1 v"),  # TLSv1.3
    (re.compile(r"\b((?!covid)[a-z]{4,})-(?=\d)", re.IGNORECASE), r"\1 "),  # carbon-14, under-18
    (re.compile(r"(?<=\d)\s?°?C\b|\s?°\s?C\b", re.IGNORECASE), " celsius"),
    (re.compile(r"(?<=\d)\s?°?F\b|\s?°\s?F\b", re.IGNORECASE), " fahrenheit"),
    (re.compile(r"\bm[²2]\b"), "square meters"),
    (re.compile(r"\b((?:19|20)\d\d)/\d\d\b"), r"\1"),  # a fiscal year goes by the year it begins in
    (re.compile(r"\b([a-z]+)-(?=free\b)", re.IGNORECASE), r"\1 "),
)


_ANY_SPELLING = re.compile("|".join(f"(?:{pattern.pattern})" for pattern, _ in _SPELLINGS), re.IGNORECASE)


def _rewrite(match: re.Match[str]) -> str:
    text, kind = match[0], match.lastgroup
    if kind == "not":
        return text.removesuffix("'t").removesuffix("t").removesuffix("n") + " not"
    if kind == "is":
        return text.removesuffix("'s") + " is"
    if kind == "fixed":
        return _REWRITES[text]
    if kind == "iso":
        year, month, day = text.split("-")
        index = int(month)
        return f"{int(day)} {lists.MONTH_NAMES[index - 1]} {year}" if 0 < index < 13 else text
    if kind == "money":
        return f"{text[1:].strip()} {lists.CURRENCY_SIGNS[text[0]]}"
    if kind == "sign":
        return f" {lists.CURRENCY_SIGNS[text.strip()]}"
    return " and " if kind == "other" else " "


# --- language --------------------------------------------------------------------------------------------------------


def _language(text: str, tokens: list[str]) -> str:
    """Name the script, or for Latin letters the language; empty where nothing tells."""
    if not text.isascii() and (script := _script(text)):
        return script
    seen = set(tokens)
    scores = {language: len(seen & known) for language, known in lists.LANGUAGES.items()}
    best = max(scores, key=lambda language: (scores[language], language == "en"))
    rest = max(score for language, score in scores.items() if language not in (best, "en"))
    if best == "en":
        return "en" if scores["en"] else ""
    foreign = scores[best] >= 2 and scores[best] > scores["en"] + 1 and 3 * scores[best] >= len(seen)
    return best if foreign and (scores[best] > rest or scores[best] >= 2) else "en" if scores["en"] else ""


def _script(text: str) -> str:
    counts: dict[str, int] = {}
    for code in map(ord, text):
        if code < 0x370:
            continue
        for script, low, high in lists.SCRIPTS:
            if low <= code <= high:
                counts[script] = counts.get(script, 0) + 1
    if "kana" in counts:
        counts["kana"] += counts.pop("han", 0)
    letters = sum(character.isalpha() for character in text)
    script = max(counts, key=counts.__getitem__, default="")
    return script if script and 3 * counts[script] >= letters else ""


# --- numbers, units, dates, codes ------------------------------------------------------------------------------------

_PLAIN = re.compile(r"-?\d+(?:\.\d+)?")
_GLUED = re.compile(r"(\d+(?:\.\d+)?)([a-z]+)")
_CLOCK = re.compile(r"([01]?\d|2[0-3])[:.]([0-5]\d)")
_HOUR = re.compile(r"([0-9]{1,2})([ap]m)?")
_YEAR = re.compile(r"(?:1[5-9]|20)\d\d")


def _number(tokens: list[str], at: int, *, english: bool) -> tuple[float, int, bool] | None:
    """Return the number that starts at a token, how many tokens it takes, and whether it is an ordinal."""
    token = tokens[at]
    plain = token.removesuffix("%").replace(",", "") if token[:1].isdigit() or token[:1] == "-" else ""
    if plain and len(plain) < 25 and plain.isascii() and _PLAIN.fullmatch(plain):
        value, used = float(plain), 1
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


_CLOCK_WORDS = frozenset({"second"})  # also a unit: "per second"


def _spelt(tokens: list[str], at: int) -> tuple[float, int, bool] | None:
    token = tokens[at]
    before = tokens[at - 1] if at else ""
    if token in lists.ORDINALS and not (token in _CLOCK_WORDS and before in ("per", "every", "each", "a", "split")):
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


class _Figures:
    """Collects what the numbers, dates and codes of one question say while its tokens are walked."""

    def __init__(self, tokens: list[str], *, english: bool) -> None:
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
            return self._glued(token, glued)
        if token in ("q1", "q2", "q3", "q4"):
            self._date("quarter", token)
            return 1
        if any(character.isdigit() for character in token):
            self.codes.setdefault(_squeeze(token.removeprefix("v")) or token, token)
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
        skip = 1 if end < len(tokens) and tokens[end] in lists.BETWEEN_NUMBER_AND_UNIT else 0
        unit = lists.UNITS.get(tokens[end + skip]) if end + skip < len(tokens) and not ordinal else None
        if unit:
            name, dimension, factor = unit
            self.quantities.add(Quantity(value, name, dimension, round(value * factor, 6)))
            self.used.add(end + skip)
            return used + skip + 1
        self.quantities.add(Quantity(value, base=value, ordinal=ordinal))
        return used

    def _glued(self, token: str, glued: re.Match[str]) -> int:
        value, suffix = float(glued[1]), glued[2]
        if suffix == "s" and len(glued[1]) in (2, 4):
            self._date("decade", glued[1][-2:])
        elif suffix in lists.UNITS:
            name, dimension, factor = lists.UNITS[suffix]
            self.quantities.add(Quantity(value, name, dimension, round(value * factor, 6)))
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
        elif (
            token in lists.PERIODS
            and (side := before if before != "calendar" else tokens[at - 2]) in lists.PERIOD_SIDES
        ):
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


def _as_written(code: str, text: str) -> str:
    at = text.lower().find(code)
    return text[at : at + len(code)] if at >= 0 and len(text) == len(text.lower()) else code


def _squeeze(text: str) -> str:
    return "".join(filter(str.isalnum, text))


# --- names -----------------------------------------------------------------------------------------------------------

_WORD = re.compile(r"[^\W_](?:[\w&'’.-]*[^\W_])?")
_STARTS = re.compile(r"(?:^|[.?!:;\"“”()\[\]•*]|\s[-–])\s*[\"'“‘(]*$")


def _names(text: str) -> tuple[tuple[tuple[str, ...], ...], bool]:
    """Return the runs of words that name something, and whether capitals tell names apart in this text."""
    found = [(match[0], match.start(), match.end()) for match in _WORD.finditer(text)]
    inside = [
        word
        for word, start, _ in found
        if start and word[0].isalpha() and not _STARTS.search(text, max(0, start - 4), start)
    ]
    capitals = [word for word in inside if word[0].isupper()]
    letters = [word for word in inside if len(word) > 3]
    title = len(letters) > 2 and sum(word[0].isupper() for word in letters) > 0.7 * len(letters)
    shouted = not any(character.islower() for character in text)
    has_case = bool(capitals) and not title and not shouted
    runs: list[list[str]] = []
    last = -9
    for word, start, end in found:
        name = _name(word, text, start, has_case=has_case)
        if name and runs and text[last:start] in (" ", " of ", " & ", "-"):
            runs[-1].append(name)
        elif name:
            runs.append([name])
        last = end if name else -9
    return tuple(tuple(run) for run in runs), has_case


def _name(word: str, text: str, start: int, *, has_case: bool) -> str:
    """Return the canonical name a word is, or nothing."""
    if word[:2] == "I'":
        return ""
    bare = re.sub(r"'s$|['.]", "", word)
    low = bare.lower()
    capital = bare[:1].isupper()
    if (
        low in lists.NAMES
        and (low not in lists.CASED_NAMES or (has_case and capital))
        and (low != "us" or bare.isupper())
    ):
        return lists.NAMES[low]
    if (
        not has_case
        or not capital
        or low in lists.NOT_NAMES
        or low in lists.UNITS
        or low in lists.ROMAN
        or any(map(str.isdigit, bare))
    ):
        return ""
    first = not start or _STARTS.search(text, max(0, start - 4), start) is not None
    if first and not (len(bare) > 1 and bare.isupper()) and not any(map(str.isupper, bare[1:])):
        return ""
    return low if len(bare) > 1 else ""


# --- what is asked ---------------------------------------------------------------------------------------------------

_CLAUSES = re.compile(r"[?!;:,]\s+|\.\s+|\s-\s")
_POLITE = frozenset(
    "hi hello hey please pls so ok okay and but well also then quick question sorry thanks exactly".split()
)
_DEGREES = frozenset("good best well really like too very".split())
_BEFORE_HEAD = frozenset(
    "is are was were the a an s best easiest right correct current average main proper some of simplest quickest most "
    "exact typical maximum minimum total possible different good easy would be your opening closing normal usual".split()
)


def _asks(clauses: list[list[str]]) -> frozenset[str]:
    asked: set[str] = set()
    for clause in clauses:
        at = 0
        while at < len(clause) and clause[at] in _POLITE:
            at += 1
        asked |= _asked(clause[at:])
    if "can" in asked:
        asked.discard("can")
        asked |= {"yesno", "how", "where"}
    return frozenset(asked)


def _asked(clause: list[str]) -> set[str]:
    """Return the kinds of question one clause asks."""
    for at, word in enumerate(clause[:12]):
        fronted = at < 2 and (
            not at or clause[at - 1] in ("in", "on", "at", "by", "from", "until", "since", "for", "to", "till")
        )
        if word in ("how", "why", "when", "where", "who", "whom", "whose", "what", "which"):
            if fronted or clause[at - 1] in lists.EMBEDDING or (word in ("how", "why", "what") and at < 5):
                more = clause[at + 2 : at + 4]
                also = (
                    {more[0]}
                    if clause[at + 1 : at + 2] == ["and"] and more and more[0] in ("how", "why", "when", "where")
                    else set()
                )
                return _kind(word, clause[at + 1 :]) | also
        elif word in ("whether", "if") and at and clause[at - 1] in lists.EMBEDDING:
            return {"yesno", "how"}
    return _yes_or_no(clause)


_SUBJECTS = frozenset("i we you they he she it there the my your our anyone somebody".split())


def _yes_or_no(clause: list[str]) -> set[str]:
    if len(clause) < 3 or clause[0] not in lists.AUXILIARIES:
        return set()
    first, second = clause[0], clause[1]
    if second == "there" and any(lists.HEADS.get(lemma(word)) == "how" for word in clause[2:6]):
        return {"how", "yesno"}
    if first in ("can", "could", "may", "should", "would", "will") and second in (
        "i",
        "we",
        "you",
        "one",
        "someone",
        "somebody",
    ):
        return set() if second == "you" and first in ("could", "would", "will") else {"can"}
    if (first in ("do", "have") and second == "you") or (first in ("have", "has", "had") and second not in _SUBJECTS):
        return set()
    if clause[1:3] == ["it", "possible"] or clause[1:4] == ["it", "not", "possible"]:
        return {"can"}
    return {"yesno"}


def _kind(word: str, rest: list[str]) -> set[str]:
    following = rest[0] if rest else ""
    if word == "how":
        return _how(following, rest)
    if word in ("why", "when", "where"):
        return {word}
    if word in ("who", "whom", "whose"):
        return {"who"}
    return _what(word, rest)


def _how(following: str, rest: list[str]) -> set[str]:
    then = rest[1] if len(rest) > 1 else ""
    if following == "much":
        return {"duration", "amount"} if then in ("time", "longer", "notice") else {"amount", "count"}
    if following == "many":
        unit = lists.UNITS.get(then)
        if then == "times":
            return {"count", "frequency"}
        return (
            {"count", "duration", "amount", "when", "age"}
            if unit and unit[1] in ("time", "months")
            else {"count", "amount"}
        )
    fixed = {"long": "duration when count", "old": "age", "often": "frequency count", "frequently": "frequency count",
             "far": "distance count", "soon": "when duration", "late": "when", "early": "when",
             "quickly": "duration when", "about": ""}  # fmt: skip
    if following in fixed:
        return set(fixed[following].split())
    if following in ("is", "are", "was", "were", "has", "have", "would", "will"):
        return {"state"}
    manner = not following or following in lists.STOPWORDS or following in lists.AUXILIARIES
    return {"how"} if manner and following not in _DEGREES else {"degree"}


def _what(word: str, rest: list[str]) -> set[str]:
    following = rest[0] if rest else ""
    if following in ("makes", "causes", "caused", "made", "led", "triggers"):
        return {"why", "what"}
    if following == "if" or rest[:2] in (["does", "it"], ["should", "i"], ["can", "i"], ["do", "i"], ["happens", "if"]):
        return {"what"}
    for token in rest[:7]:
        if asked := lists.HEADS.get(lemma(token)):
            return (
                {asked, "amount", "count", "what"}
                if asked in ("amount", "count", "age", "distance")
                else {asked, "what"}
                if word == "which" or asked in ("why", "where")
                else {asked, "duration"}
                if asked == "when"
                else {asked}
            )
        if token not in _BEFORE_HEAD and token not in lists.ORDINALS:
            break
    if word == "what" and following in ("is", "are") and rest[1:2] != ["the"]:
        left = [token for token in rest[1:] if token not in ("a", "an", "the")]
        if (
            0 < len(left) < 4
            and left[0] not in ("wrong", "up")
            and not any(token in lists.STOPWORDS for token in left)
            and not any(lists.HEADS.get(lemma(token)) for token in left)
        ):
            return {"def"}
    return {"what"}


# --- the whole -------------------------------------------------------------------------------------------------------

_PHRASAL = frozenset(
    lemma(verb)
    for verb in "turn switch log sign check opt zoom clock put power move go come set step phase get tune".split()
)
_PARTICLES = frozenset("on off in out up down".split())
_ASYMMETRIC = frozenset("instead to into than from by over after before onto towards".split())


def _spelling(tokens: list[str]) -> dict[str, str]:
    found = {lemma(token): token for token in reversed(tokens)}
    verbs = [at for at, token in enumerate(tokens) if lemma(token) in _PHRASAL]
    for at in verbs:
        for token in tokens[at + 1 : at + 5]:
            if token in _PARTICLES:
                found.setdefault(f"+{token}", f"{tokens[at]} {token}")
                break
            if token.startswith("~"):
                break
    for at, token in enumerate(tokens):
        if token in ("in", "out") and at and tokens[at - 1] == "log":
            found.setdefault(f"+{token}", f"log {token}")
    return found


def _edges(tokens: list[str]) -> frozenset[tuple[str, str, str]]:
    """Return what stands on the two sides of each preposition that is not symmetric."""
    kept = [lemma(token) if token not in lists.STOPWORDS else f" {token}" for token in tokens]
    edges = set()
    sides = [at for at, token in enumerate(kept) if token[0] != " "]
    for left, right in pairwise(sides):
        between = {token[1:] for token in kept[left + 1 : right]}
        if pivots := between & _ASYMMETRIC:
            pivot = "to" if pivots & {"to", "into", "onto", "towards"} else min(pivots)
            lefts = [kept[left], *kept[max(0, left - 1) : left]]
            rights = [kept[right], *kept[right + 1 : right + 2]]
            edges |= {(one, pivot, other) for one in lefts for other in rights if one[0] != " " != other[0]}
    if len(sides) > 1 and tokens[sides[0] - 1 : sides[0]] == ["from"]:
        edges.add((kept[sides[0]], "to", kept[sides[1]]))
    return frozenset(edges)


def _negated(clauses: list[list[str]]) -> bool:
    """Say whether an odd number of negators stands in the question; "isn't it ...?" asks like "is it ...?"."""
    count = 0
    for clause in clauses:
        hits = [at for at, token in enumerate(clause) if token in lists.NEGATORS]
        if hits and clause[0] in lists.AUXILIARIES and hits[0] == 1 and clause[0] != "do":
            hits = hits[1:]
        if hits and clause[:3] in (["why", "do", "not"], ["why", "can", "not"]) and clause[3:4] in (["we"], ["you"]):
            hits = hits if clause[3:4] == ["we"] else hits[1:]
        hits = [at for at in hits if at and "or" not in clause[max(0, at - 3) : at]]  # "..., not chewy", "or isn't it"
        hits = [at for at in hits if not (clause[at] == "no" and at + 1 < len(clause) and clause[at + 1].isdigit())]
        count += len(hits)
    return count % 2 == 1


def _scope(tokens: list[str], spelling: dict[str, str]) -> frozenset[str]:
    found = {
        token for token in tokens if token in lists.UNIVERSAL or token in lists.PARTIAL or token in lists.EXCEPTIONS
    }
    if "list" in spelling and "of" in tokens:
        found.add("list of")
    return frozenset(found)


def _audience(spelling: dict[str, str]) -> frozenset[str]:
    return frozenset(lists.AUDIENCES[word] for word in spelling if word in lists.AUDIENCES)


@lru_cache(maxsize=4096)
def read(question: str) -> Reading:
    """Read what the guards compare from one question.

    Pure and remembered: the readings of the last few thousand questions are kept. Only the first 2,000 characters
    are read.

    Args:
        question: The question as asked, in any language; English says most.

    Returns:
        The reading, to be given to `costkit.cache.guards.compare`.
    """
    text = " ".join(question[:_LONGEST].translate(_TYPOGRAPHIC).split())
    if _ANY_SPELLING.search(text):
        for pattern, written in _SPELLINGS:
            text = pattern.sub(written, text)
    low = _REWRITE.sub(_rewrite, text.lower())
    clauses = [found for part in _CLAUSES.split(low) if (found := words(part))]
    tokens = [token for clause in clauses for token in clause]
    language = _language(text, tokens)
    english = language in ("", "en")
    figures = _Figures(tokens, english=english)
    codes = {_squeeze(match[0]): match[0] for match in _CODE.finditer(text.lower())} | figures.codes
    spelling = _spelling(tokens) if english else {}
    content = (
        tuple(
            lemma(token) for at, token in enumerate(tokens) if token not in lists.STOPWORDS and at not in figures.used
        )
        if english
        else ()
    )
    names, has_case = _names(text) if english else ((), False)
    seen = set(tokens)
    return Reading(
        language=language,
        words=tuple(tokens),
        spelling=spelling,
        content=content,
        topic=frozenset(content),
        squeezed=_squeeze(low),
        quantities=frozenset(figures.quantities),
        units={dimension: frozenset(found) for dimension, found in figures.units.items()},
        dates={kind: frozenset(found) for kind, found in figures.dates.items()},
        codes={squeezed: _as_written(code, text) for squeezed, code in codes.items() if squeezed},
        names=names,
        has_case=has_case,
        negated=english and _negated(clauses),
        softened=not spelling.keys().isdisjoint(_soft()) or any(map(_says_lack, seen)),
        bounds=frozenset(seen & _bounds()),
        edges=_edges(tokens) if english else frozenset(),
        passive="by" in seen and not seen.isdisjoint(("is", "are", "was", "were", "been", "be", "being")),
        scope=_scope(tokens, spelling) if english else frozenset(),
        asks=_asks(clauses) if english else frozenset(),
        audience=_audience(spelling) if english else frozenset(),
    )


def _says_lack(word: str) -> bool:
    """Say whether a word is like "bagless" or "unused"."""
    return len(word) > 5 and (word.endswith("less") or (word[:2] == "un" and word[:3] not in ("uni", "und", "unt")))


@lru_cache(maxsize=1)
def _soft() -> frozenset[str]:
    return frozenset(lemma(word) for word in lists.SOFT_NEGATIVES)


@lru_cache(maxsize=1)
def _bounds() -> frozenset[str]:
    return frozenset(word for pair in lists.COMPARATORS for side in pair for word in side)
