"""What one question says, read once: numbers, dates, codes, names, polarity, what it asks and for whom."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import dropwhile, islice, pairwise, product, takewhile

from costkit.cache import guard_words as lists
from costkit.cache.guard_asks import asks
from costkit.cache.guard_figures import Figures, Quantity, codes_in, squeeze
from costkit.cache.guard_lemmas import lemma
from costkit.text import words

_LONGEST = 2_000  # characters read of one question: guards are for questions, not for documents


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything the guards read from one question; see `read`."""

    language: str  # a script where it is not Latin; empty where nothing tells
    words: tuple[str, ...]
    unread: str  # letters of other scripts than Latin, and pictures; see `_unread`
    squeezed: str  # letters and digits alone, lower case
    quantities: frozenset[Quantity]
    units: dict[str, frozenset[str]]  # dimension -> units that stand without a number
    dates: dict[str, frozenset[str]]  # "year", "month", ... -> values
    codes: dict[str, str]  # squeezed -> as written
    # English alone:
    spelling: dict[str, str] = field(default_factory=dict)  # lemma -> the word as written, lower case
    content: tuple[str, ...] = ()  # lemmas that carry meaning, in order
    topic: frozenset[str] = frozenset()  # the same without order
    names: tuple[tuple[str, ...], ...] = ()  # runs of words that name something, canonical
    has_case: bool = False  # whether capitals tell names apart here
    negated: bool = False
    denied: frozenset[str] = frozenset()  # what stands beside the negators
    soft: tuple[tuple[frozenset[str], frozenset[str]], ...] = ()  # a clause's words like "unable", and its content
    bounds: frozenset[str] = frozenset()
    edges: frozenset[tuple[str, str, str]] = frozenset()  # content word, preposition, content word
    passive: bool = False
    scope: frozenset[str] = frozenset()
    asks: frozenset[str] = frozenset()
    audience: frozenset[str] = frozenset()


# --- folding ---------------------------------------------------------------------------------------------------------

_CLAUSES = re.compile(r"[?!;:,]\s+|\.\s+|\s-\s")
_CONTRACTED = "do|does|did|is|are|was|were|could|would|should|have|has|had"
_REWRITE = re.compile(
    rf"(?<![\w.-])(?:(?P<fixed>{'|'.join(re.escape(text) for text in sorted(lists.REWRITES, key=len, reverse=True))})"
    rf"|(?P<not>(?:{_CONTRACTED}|might|must|need|ai)n'?t)"
    rf"|(?P<is>what|who|where|when|how|why|it|that|there|here)'s)(?![\w+#])"
    r"|(?P<iso>(?<![\w.-])(?:19|20)\d\d-[01]\d-[0-3]\d(?!\d))"
    r"|(?P<money>[$€£₹¥]\s?(?=\d)[\d.,]*\d(?:\s?(?:k|m|mn|bn|b|million|billion|thousand)\b)?)|(?P<sign>(?<=\d)\s?[€£₹])"
    r"|(?P<clitic>(?<=\w)'(?:re|ve|ll|d|m)\b)|(?P<other>&)"
)
_TYPOGRAPHIC = str.maketrans(
    {"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\u2013": "-", "\u2011": "-", "\u00a0": " "}
    | {"\u00bc": " 1/4 ", "\u00bd": " 1/2 ", "\u00be": " 3/4 ", "\u2153": " 1/3 ", "\u2154": " 2/3 ", "\u2044": "/"}
    | {"\u00b5": "\u03bc"}
)
# What a comparing sign stands before: a number, or a letter if there is another before it (a > b).
_AMOUNT = r"(?=\s?[$€£₹¥]?\d|\s-\d)"
_LETTER = r"(?=\s?\w\b)"

_SPELLINGS = (
    (re.compile(r">=|[≥≧⩾]"), " atleast "),
    (re.compile(r"<=|[≤≦⩽]"), " atmost "),
    (re.compile(r"!==?|<>|≠"), " otherthan "),
    (re.compile(r"={2,3}(?!>)|=(?<=\s=)(?=\s)|=(?<=[^\w-]\w=)(?=\d)"), " equalto "),
    (re.compile(rf">(?<![-=<>]>)(?:{_AMOUNT}|{_LETTER}(?:(?<=\b\w>)|(?<=\b\w\s>)))"), " greaterthan "),
    (re.compile(rf"<(?<![<>]<)(?:{_AMOUNT}|{_LETTER}(?:(?<=\b\w<)|(?<=\b\w\s<)))"), " lessthan "),
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
    (re.compile(r"\bm[²2]\b|\bsqm\b", re.IGNORECASE), "square meters"),
    (re.compile(r"\bsqft\b|\bsq\.\s?ft\b|\bft[²2]\b", re.IGNORECASE), "square feet"),
    (re.compile(r"(?<=\d)\s?μ(?=(?:g|m|l|mol)\b)"), " u"),
    (re.compile(r"(?<=\d)\s?μs\b"), " usec"),
    (re.compile(r"\bkm/hr?\b", re.IGNORECASE), "kmh"),
    (re.compile(r"\bm/s\b"), "mps"),
    (re.compile(r"\b((?:19|20)\d\d)/([01]\d)/([0-3]\d)\b"), r"\1-\2-\3"),
    (re.compile(r"\b((?:19|20)\d\d)/\d\d\b"), r"\1"),  # a fiscal year goes by the year it begins in
    (re.compile(r"(?<![\w/.-])0?(\d{1,2})/0?([1-9]\d?)/((?:19|20)?\d\d)(?![\w/])"), r"\1over\2 \3"),
    (re.compile(r"(?<![\w/.$€£₹¥-])(?!\d\d?/(?:19|20)\d\d\b)0*(\d{1,4})/0*([1-9]\d{0,3})(?![\w/]|\.\d)"), r"\1over\2"),
    (re.compile(r"\b([a-z]+)-(?=free\b)", re.IGNORECASE), r"\1 "),
)
_ANY_SPELLING = re.compile("|".join(f"(?:{pattern.pattern})" for pattern, _ in _SPELLINGS), re.IGNORECASE)


def _respelt(text: str) -> str:
    """Fold typographic signs, white space and names that are written in several ways."""
    text = " ".join(text.translate(_TYPOGRAPHIC).split())
    if _ANY_SPELLING.search(text):
        for pattern, written in _SPELLINGS:
            text = pattern.sub(written, text)
    return text


def _rewrite(match: re.Match[str]) -> str:
    text, kind = match[0], match.lastgroup
    if kind == "not":
        return text.removesuffix("'t").removesuffix("t").removesuffix("n") + " not"
    if kind == "is":
        return text.removesuffix("'s") + " is"
    if kind == "fixed":
        return lists.REWRITES[text]
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


def _language(tokens: list[str]) -> str:
    """Name the language of words in Latin letters; empty where nothing tells."""
    seen = set(tokens)
    scores = {language: len(seen & known) for language, known in lists.LANGUAGES.items()}
    best = max(scores, key=lambda language: (scores[language], language == "en"))
    rest = max(score for language, score in scores.items() if language not in (best, "en"))
    if best == "en":
        return "en" if scores["en"] else ""
    foreign = scores[best] >= 2 and scores[best] > scores["en"] + 1 and 3 * scores[best] >= len(seen)
    return best if foreign and (scores[best] > rest or scores[best] >= 2) else "en" if scores["en"] else ""


def _script(text: str) -> str:
    """Return the script that a good share of the letters stands in, other than Latin; else nothing."""
    letters = [character for character in text if unicodedata.category(character)[0] in "LM"]
    counts = Counter(filter(None, map(_script_of, letters)))
    if counts["kana"]:
        counts["kana"] += counts.pop("han", 0)
    [(script, count)] = counts.most_common(1) or [("", 0)]
    return script if 3 * count >= len(letters) else ""


@lru_cache(maxsize=4_096)
def _script_of(character: str) -> str:
    """Return the script of a letter or mark, nothing for Latin; a picture is of a script of its own."""
    first = unicodedata.name(character, "").partition(" ")[0]
    return lists.SCRIPTS.get(first, first.lower() or "unnamed")


def _unread(text: str, script: str) -> str:
    """Return, in order, what neither these guards nor an embedder made for English tells apart.

    That is letters, marks and digits of other scripts than Latin, and pictures; of a question that a good share of
    stands in another script, all letters and digits.
    """
    if text.isascii():
        return ""
    folded = unicodedata.normalize("NFKC", text.casefold())
    return "".join(filter(_all_told if script else _foreign, folded))


def _all_told(character: str) -> bool:
    return character.isalnum() or _foreign(character)


def _foreign(character: str) -> bool:
    kind = unicodedata.category(character)
    told = kind[0] in "LMN" or kind in ("So", "Co", "Cn")
    return told and character > "\u024f" and bool(_script_of(character))


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
    written_so = (has_case and capital) or low not in lists.CASED_NAMES
    if low in lists.NAMES and written_so and (low != "us" or bare.isupper()):  # "us" is a pronoun
        return lists.NAMES[low]
    if not has_case or not capital or any(map(str.isdigit, bare)):
        return ""
    if low in lists.NOT_NAMES or low in lists.UNITS or low in lists.ROMAN:
        return ""
    first = not start or _STARTS.search(text, max(0, start - 4), start) is not None
    if first and not (len(bare) > 1 and bare.isupper()) and not any(map(str.isupper, bare[1:])):
        return ""
    return low if len(bare) > 1 else ""


# --- the whole -------------------------------------------------------------------------------------------------------


def _spelling(tokens: list[str]) -> dict[str, str]:
    found = {lemma(token): token for token in reversed(tokens)}
    for at in (at for at, token in enumerate(tokens) if lemma(token) in lists.PHRASAL):
        for token in tokens[at + 1 : at + 5]:
            if token in lists.PARTICLES:
                found.setdefault(f"+{token}", f"{tokens[at]} {token}")
                break
    return found


def _edges(tokens: list[str]) -> frozenset[tuple[str, str, str]]:
    """Return what stands on the two sides of each preposition that is not symmetric."""
    kept = [lemma(token) if token not in lists.STOPWORDS else f" {token}" for token in tokens]
    edges = set()
    sides = [at for at, token in enumerate(kept) if token[0] != " "]
    for left, right in pairwise(sides):
        between = {token[1:] for token in kept[left + 1 : right]}
        if pivots := between & lists.ASYMMETRIC:
            pivot = "to" if pivots & {"to", "into", "onto", "towards"} else min(pivots)
            lefts = [kept[left], *kept[max(0, left - 1) : left]]
            rights = [kept[right], *kept[right + 1 : right + 2]]
            edges |= {(one, pivot, other) for one in lefts for other in rights if one[0] != " " != other[0]}
    if len(sides) > 1 and tokens[sides[0] - 1 : sides[0]] == ["from"]:
        edges.add((kept[sides[0]], "to", kept[sides[1]]))
    ways = product(_behind("from", tokens, kept), _behind("to", tokens, kept))  # "to Paris from Rome"
    return frozenset(edges | {(start, "→", end) for start, end in ways if start != end})


def _behind(preposition: str, tokens: list[str], kept: list[str]) -> Iterator[str]:
    """Yield the content words, at most two, that stand behind each place of a preposition."""
    for at, token in enumerate(tokens):
        if token == preposition:
            named = dropwhile(lambda word: word in (" the", " a", " an", " my"), kept[at + 1 : at + 5])
            yield from islice(takewhile(lambda word: word[0] != " ", named), 2)


def _negators(clause: list[str]) -> int:
    """Count the negators that turn the clause round; "isn't it ...?" asks like "is it ...?"."""
    hits = [at for at, token in enumerate(clause) if token in lists.NEGATORS]
    if hits and clause[0] in lists.AUXILIARIES and hits[0] == 1 and clause[0] != "do":
        hits = hits[1:]
    if hits and clause[:4] in (["why", "do", "not", "you"], ["why", "can", "not", "you"]):
        hits = hits[1:]
    hits = [at for at in hits if at and "or" not in clause[max(0, at - 3) : at]]  # "..., not chewy", "or isn't it"
    return sum(not (clause[at] == "no" and at + 1 < len(clause) and clause[at + 1].isdigit()) for at in hits)


def _soft(clause: list[str]) -> frozenset[str]:
    """Return the words that say without a negator that something does not happen."""
    return frozenset(lemma(word) for word in clause if lemma(word) in lists.SOFT_NEGATIVES or _says_lack(word))


def _content(clause: list[str]) -> frozenset[str]:
    return frozenset(lemma(token) for token in clause if token not in lists.STOPWORDS)


def _scope(tokens: list[str], spelling: dict[str, str]) -> frozenset[str]:
    found = {
        token for token in tokens if token in lists.UNIVERSAL or token in lists.PARTIAL or token in lists.EXCEPTIONS
    }
    if "list" in spelling and "of" in tokens:
        found.add("list of")
    return frozenset(found)


def _audience(spelling: dict[str, str]) -> frozenset[str]:
    return frozenset(lists.AUDIENCES[word] for word in spelling if word in lists.AUDIENCES)


def read(question: str) -> Reading:
    """Read what the guards compare from one question; only its first 2,000 characters are read.

    Args:
        question: The question as asked, in any language; English says most.

    Returns:
        The reading, to be given to `costkit.cache.guards.compare`.
    """
    text = _respelt(question[:_LONGEST])
    low = _REWRITE.sub(_rewrite, text.lower())
    clauses = [found for part in _CLAUSES.split(low) if (found := words(part))]
    tokens = [token for clause in clauses for token in clause]
    script = "" if text.isascii() else _script(text)
    language = script or _language(tokens)
    english = language in ("", "en")
    names, has_case = _names(text) if english else ((), False)
    named = bool(names) or not lists.VERSIONED.isdisjoint(tokens)
    figures = Figures(tokens, english=english, named=named)
    reading = Reading(
        language=language,
        words=tuple(tokens),
        unread=_unread(text, script),
        squeezed=squeeze(low),
        quantities=frozenset(figures.quantities),
        units={dimension: frozenset(found) for dimension, found in figures.units.items()},
        dates={kind: frozenset(found) for kind, found in figures.dates.items()},
        codes=codes_in(text, figures.codes),
        names=names,
        has_case=has_case,
    )
    return _read_english(reading, clauses, figures.used) if english else reading


def _read_english(reading: Reading, clauses: list[list[str]], used: set[int]) -> Reading:
    """Add what is read from English alone; ``used`` holds the places of words that belong to a number."""
    tokens, seen = list(reading.words), set(reading.words)
    spelling = _spelling(tokens)
    content = tuple(lemma(token) for at, token in enumerate(tokens) if token not in lists.STOPWORDS and at not in used)
    return replace(
        reading,
        spelling=spelling,
        content=content,
        topic=frozenset(content),
        negated=sum(map(_negators, clauses)) % 2 == 1,
        denied=frozenset().union(*(_content(clause) for clause in clauses if _negators(clause))),
        soft=tuple((soft, _content(clause)) for clause in clauses if (soft := _soft(clause))),
        bounds=frozenset(seen & lists.BOUNDS),
        edges=_edges(tokens),
        passive="by" in seen and not seen.isdisjoint(("is", "are", "was", "were", "been", "be", "being")),
        scope=_scope(tokens, spelling),
        asks=asks(clauses),
        audience=_audience(spelling),
    )


def read_all(text: str) -> list[Reading]:
    """Read a text of any length, in pieces that end between words; nothing is remembered."""
    found, at = [], 0
    while at < len(text):
        end = at + _LONGEST
        if end < len(text):
            end = text.rfind(" ", at + 1, end) + 1 or end
        found.append(read(text[at:end]))
        at = end
    return found


def _says_lack(word: str) -> bool:
    """Say whether a word is like "bagless" or "unused"."""
    return len(word) > 5 and (word.endswith("less") or (word[:2] == "un" and word[:3] not in ("uni", "und", "unt")))
