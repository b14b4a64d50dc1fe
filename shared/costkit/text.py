"""Units of text with exact character offsets, tokens for lexical scoring, and keys for exact matching.

Everything here is a pure function of its text: no state, no cache, no model, no language setting.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

from costkit.errors import ConfigurationError

__all__ = ["Span", "SpanKind", "normalise_question", "split_sentences", "words"]

SpanKind = Literal["sentence", "heading", "item", "header", "row", "code"]


@dataclass(frozen=True)
class Span:
    """A piece of a text by its character offsets, ``text[start:end]``.

    Attributes:
        start: Offset of the first character.
        end: Offset after the last character.
        kind: What the piece is: a prose sentence, a heading, a sentence of a list item, a table's header row with the
            rule below it, a table row, or a fenced code block. It takes no part in comparison.
    """

    start: int
    end: int
    kind: SpanKind = field(default="sentence", compare=False, kw_only=True)

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise ConfigurationError(f"Span.start must lie between 0 and end ({self.end!r}), got {self.start!r}")
        if self.kind not in get_args(SpanKind):
            raise ConfigurationError(f"Span.kind must be one of {get_args(SpanKind)}, got {self.kind!r}")


def split_sentences(text: str) -> list[Span]:
    """Split prose and Markdown into the smallest units that still make sense alone.

    Prose and list items are split into sentences; an item's marker stays with its first sentence. A heading, a table
    row, a table's header row together with the rule below it, and a fenced code block are one unit each.

    Args:
        text: Any text. The language need not be named: common abbreviations of English, German, French, Spanish and
            Dutch are known, and the full stops of Chinese, Japanese, Hindi and Arabic.

    Returns:
        Ordered spans that do not overlap. Together they cover every character that is not white space, and none
        begins or ends with white space.
    """
    return [span for block in _blocks(text) for span in _units(text, block)]


# --- blocks: what the lines of a text are ----------------------------------------------------------------------------

_LINE = re.compile(r"[^\n\r\u2028\u2029]*(?:\r\n|[\n\r\u2028\u2029])|[^\n\r\u2028\u2029]+")
_FENCE = re.compile(r"[ \t>]*(`{3,}|~{3,})")
_HEADING = re.compile(r"[ >]{0,3}#{1,6}(?:[ \t]|$)")
_UNDERLINE = re.compile(r" {0,3}(?:={2,}|-{2,})$")
_BREAK = re.compile(r" {0,3}(?:(?:- ?){3,}|(?:\* ?){3,}|(?:_ ?){3,}|={3,})$")
_TABLE_RULE = re.compile(r"[ \t>]*(?:\|[ \t]*:?-+:?[ \t]*|:?-+:?[ \t]*\|)[-:| \t]*$")
_ITEM = re.compile(r"[ \t>]*(?:[-*+\u2022\u25aa]|(\d{1,3})[.)]|\(?[a-z]\))[ \t]+(?=\S)")
_FIELD = re.compile(r"[ \t>]*\*{0,2}[A-Z][\w /()-]{0,30}\*{0,2}:\*{0,2}[ \t]")
_SHORT_LINE = 0.6  # a line below this share of its paragraph's longest line was ended on purpose

_LineKind = Literal["sentence", "heading", "item", "header", "row", "code", "break", "blank"]


@dataclass(slots=True)
class _Block:
    """Consecutive lines that no unit crosses the edge of."""

    kind: _LineKind
    lines: list[tuple[int, int]]


def _blocks(text: str) -> Iterator[_Block]:
    lines = [match.span() for match in _LINE.finditer(text)]
    current = _Block("blank", [])
    at = 0
    while at < len(lines):
        kind, taken = _classify(text, lines, at, current.kind)
        chunk = lines[at : at + taken]
        at += taken
        if kind == "sentence" and current.kind in ("sentence", "item"):
            current.lines += chunk
            continue
        yield current
        current = _Block(kind, chunk)
    yield current


def _classify(text: str, lines: list[tuple[int, int]], at: int, before: _LineKind) -> tuple[_LineKind, int]:
    """Tell what the line at index ``at`` is, and how many lines belong to it."""
    start, end = lines[at]
    line = text[start:end].rstrip()
    if not line:
        return "blank", 1
    following = text[slice(*lines[at + 1])].rstrip() if at + 1 < len(lines) else ""
    if fence := _FENCE.match(line):
        return "code", _fenced(text, lines, at, fence[1])
    if _HEADING.match(line):
        return "heading", 1
    if "|" in line or "\t" in line:
        if _TABLE_RULE.match(following) and not _TABLE_RULE.match(line):
            return "header", 2
        if line.lstrip(" >").startswith("|") or line.strip().count("\t") > 1 or before in ("header", "row"):
            return "row", 1
    if _BREAK.match(line):
        return "break", 1
    if item := _ITEM.match(line):
        # As in Markdown, a number that happens to begin a wrapped line starts no list.
        return ("sentence" if before == "sentence" and item[1] not in (None, "1") else "item"), 1
    if before not in ("sentence", "item") and _UNDERLINE.match(following):
        return "heading", 2
    return "sentence", 1


def _fenced(text: str, lines: list[tuple[int, int]], at: int, fence: str) -> int:
    """Count the lines of the code block that ``fence`` opens; one that is never closed runs to the end."""
    for index in range(at + 1, len(lines)):
        closing = _FENCE.match(text, *lines[index])
        if closing and closing[1].startswith(fence) and not text[closing.end() : lines[index][1]].strip():
            return index + 1 - at
    return len(lines) - at


def _units(text: str, block: _Block) -> Iterator[Span]:
    """Cut one block into its units."""
    if block.kind == "blank":
        return
    start, end = block.lines[0][0], block.lines[-1][1]
    kind: SpanKind = "sentence" if block.kind == "break" else block.kind
    for cut in [*_cuts(text, block), end]:
        if cut < end and not (_has_word(text, start, cut) and _has_word(text, cut, end)):
            continue  # punctuation alone is no unit: it stays with its neighbour
        piece = text[start:cut]
        left = start + len(piece) - len(piece.lstrip())
        if left < cut:
            yield Span(left, start + len(piece.rstrip()), kind=kind)
        start = cut


def _cuts(text: str, block: _Block) -> list[int]:
    if block.kind not in ("sentence", "item"):
        return []
    start, end = block.lines[0][0], block.lines[-1][1]
    marker = _ITEM.match(text, start, end) if block.kind == "item" else None
    return sorted({*_line_cuts(text, block.lines), *_sentence_cuts(text, marker.end() if marker else start, end)})


_WORD_CHARACTER = re.compile(r"[^\W_]")


def _has_word(text: str, start: int, end: int) -> bool:
    return _WORD_CHARACTER.search(text, start, end) is not None


def _line_cuts(text: str, lines: list[tuple[int, int]]) -> Iterator[int]:
    """Yield the line ends inside a paragraph that end a unit; the others only wrap a sentence."""
    if len(lines) < 2:
        return
    shown = [text[start:end].rstrip("\r\n\u2028\u2029") for start, end in lines]
    longest = max(map(len, shown))
    for (_, end), line, following in zip(lines, shown, shown[1:], strict=False):
        hard_break = line.endswith(("  ", "\\"))
        first = following.lstrip(" \t>*_\"'(")[:1]
        ended_early = len(line) < _SHORT_LINE * longest and not line.rstrip().endswith((",", "-"))
        if hard_break or (ended_early and (first.isupper() or first.isdigit())) or _FIELD.match(following):
            yield end


# --- sentences within a block ----------------------------------------------------------------------------------------


def _set(words_: str) -> frozenset[str]:
    return frozenset(words_.split())


_OPENERS = "\"'\u201c\u2018\u201e\u201a\u00ab\u2039([{*_`\u00bf\u00a1"
_CLOSERS = "\"'\u201d\u2019\u201c\u2018\u00bb\u203a)\\]}*_`"
_MARK = ".!?\u2026\u203d\u061f\u06d4\u0964\u0965"
# Words that begin a sentence far more often than they follow an abbreviation inside one.
_STARTERS = _set(
    "The A An It He She They We You I This That These Those There Here But And Or So If In On At For To From With "
    "When While Where What Why Who How His Her Its Their Our My Your Then Later After Before As By Since However Also "
    "Because Although Not No All Some Each Every Both Most Many Such Is Are Was Were Do Does Did Can Could Will Would "
    "Please Nobody Neither Nothing Today Yesterday "
    "Der Die Das Ein Eine Er Sie Es Wir Ich Dann Danach Dort Hier Und Aber Im Am Auch Nach Bei Mit Wenn Wer Wie "
    "Le La Les Un Une Il Elle Ils Elles Nous Vous Ce Cette Dans Pour Mais Et El Los Las En Pero Het De Een"
)
_STOP = re.compile(
    rf"(?P<wide>[\u3002\uff01\uff1f\uff61]+[\u201d\u2019\u300d\u300f\uff09\u3011\u300b{_CLOSERS}]*)"
    # The look-behind and the possessive quantifiers keep a long run of dots linear.
    rf"|(?<![{_MARK}])(?P<mark>[{_MARK}]++)"
    rf"(?P<close>(?:[{_CLOSERS}]|\[\d{{1,3}}\]|[\u00b9\u00b2\u00b3\u2070-\u2079]|[ \u00a0\u202f]\u00bb)*+)(?=\s)"
    rf"|(?<=[a-z]{{3}})[.!?](?=(?:{'|'.join(w for w in sorted(_STARTERS) if len(w) > 1)})\s)"
)
_NEXT = re.compile(rf"[\s>]*[{re.escape(_OPENERS)}]*(?P<word>[^\W\d_]+|\S|)")

# Never the last word of a sentence.
_NEVER = _set(
    "e.g i.e eg ie cf vs viz approx ca circa bzw ggf evtl inkl exkl zzgl abzgl sog vgl z.b d.h u.a i.d.r env bijv o.a "
    "d.w.z p.ej resp incl excl dept mr mrs ms messrs mme mlle sra srta"
)
# The last word of a sentence only if what follows is a word that begins sentences.
_SELDOM = _set(
    "dr prof st sr jr rev hon gen sen rep gov capt lt col sgt cmdr maj adm pres supt insp inc ltd corp co bros plc "
    "gmbh al mt ft blvd rd ave univ assn govt max min avg temp est dipl ing hr fr tel ext ph.d m.sc b.sc"
)
# Followed by a number, these do not end a sentence; by a word, they may.
_BEFORE_NUMBER = _set(
    "no nos nr num fig figs eq eqs sec sect ch chap vol pp p art abs abb tab kap bd str apt rm lit ver v rev fol op "
    "jan feb mar apr jun jul aug sep sept oct nov dec"
)
_UNITS = _set("in ft lb lbs oz yd mi sq cu min hr hrs sec std tsp tbsp gal")
_AFTER_CLOCK = _set("monday tuesday wednesday thursday friday saturday sunday est pst cet gmt utc eastern")
_MONTHS = _set(
    "januar jänner februar märz april mai juni juli august september oktober november dezember quartal jahrhundert"
)
# After these a single capital letter is a name of its own ("exit B."), not an initial.
_LABELS = _set(
    "exit plan vitamin grade type class group option appendix annex section phase zone gate room hall unit part point "
    "column row team category schedule exhibit figure table hepatitis step building terminal"
)
_DOTTED = re.compile(r"(?:[^\W\d_]{1,2}\.)+[^\W\d_]{1,3}$")
_VOWEL = re.compile("[aeiouyäöüéèêáíóúåøæ]")
_SIGNS = "$€£¥+-\u2212~<"
_WINDOW = 60  # characters looked at on either side of a stop


def _sentence_cuts(text: str, start: int, end: int) -> Iterator[int]:
    """Yield the offsets just after the stops that end a sentence."""
    begin = start
    for stop in _STOP.finditer(text, start, end):
        if _ends_sentence(text, begin, stop, end):
            begin = stop.end()
            yield begin


def _ends_sentence(text: str, begin: int, stop: re.Match[str], end: int) -> bool:
    mark = stop["mark"]
    if mark is None:
        return True  # a full-width stop, or one glued to a word that begins sentences
    following = _NEXT.match(text, stop.end(), end)
    word = following["word"] if following else ""
    if not word:
        return False
    if not stop["close"] and _inside_quotation(text, begin, stop.start(), end):
        return False
    left = text[max(begin, stop.start() - _WINDOW) : stop.start()]
    before = left.split() if left and not left[-1].isspace() else [*left.split(), ""]
    if word[0].islower():
        return _ends_before_lower_case(mark, stop["close"], before)
    if mark != ".":
        return True
    # "J. A. Smith": a letter that itself carries a full stop begins no sentence.
    initial = following is not None and len(word) == 1 and text[following.end() : following.end() + 1] == "."
    return _full_stop_ends(_bare(before[-1]), _bare(before[-2]) if len(before) > 1 else "", word, initial=initial)


def _bare(word: str) -> str:
    return word.strip(_OPENERS + ">")


def _ends_before_lower_case(mark: str, close: str, before: list[str]) -> bool:
    """Decide where the next word is in lower case, as in hurried writing, or the stop was no end at all."""
    word = _bare(before[-1])
    lower = word.lower()
    if close or mark.startswith(("..", "\u2026")):
        return False
    if mark == "!":
        return not word[:1].isupper()  # "Yahoo! was founded"
    if mark != ".":
        return True
    short = len(word) < 2 or word[-1].isdigit() or _DOTTED.match(word) is not None
    unit = lower in _UNITS and len(before) > 1 and before[-2][-1:].isdigit()
    listed = lower in _NEVER or lower in _SELDOM or (lower in _BEFORE_NUMBER and lower != "no") or unit
    consonants = word.isalpha() and word.isascii() and not word.isupper() and not _VOWEL.search(lower)
    return not (short or listed or consonants or lower in ("etc", "usw", "usf"))


def _full_stop_ends(word: str, previous: str, following: str, *, initial: bool) -> bool:
    """Decide for one full stop that a capital, a number or a caseless letter follows."""
    lower = word.lower()
    starts = following in _STARTERS and not initial
    if lower in _NEVER:
        return False
    if following[0].isdigit() or following[0] in _SIGNS:
        abbreviated = lower in _BEFORE_NUMBER or lower in _SELDOM or (len(word) == 1 and word.islower())
        return not (abbreviated or (len(word) == 1 and len(previous) == 2 and previous[1] == "."))
    if lower in ("a.m", "p.m"):
        return following.lower() not in _AFTER_CLOCK
    if len(word) == 1 and word.isalpha():
        return _letter_ends(word, previous, starts=starts)
    if lower in _SELDOM or _DOTTED.match(word):
        return starts
    if lower in _BEFORE_NUMBER and len(following) == 1 and not starts:
        return False  # "Fig. A"
    return not (word.isdigit() and len(word) < 3 and following.lower() in _MONTHS)  # "3. Mai"


def _letter_ends(letter: str, previous: str, *, starts: bool) -> bool:
    """Decide for a single letter: an initial goes on, a label or a variable ends."""
    if len(previous) == 2 and previous[1] == "." and letter.isupper():
        return starts and previous[0].isupper()
    if starts or letter == "I":
        return True
    return letter.isupper() and previous.lower() in _LABELS


def _inside_quotation(text: str, begin: int, stop: int, end: int) -> bool:
    """Say whether a quotation that opened in this sentence closes soon: a short quotation is not torn apart."""
    left, right = max(begin, stop - 4 * _WINDOW), min(end, stop + _WINDOW)
    if text.rfind("\u201c", left, stop) > text.rfind("\u201d", left, stop):
        return text.find("\u201d", stop, right) >= 0
    if text.count('"', left, stop) % 2:
        closing = text.find('"', stop, right)
        return closing > 0 and not text[closing - 1].isspace()
    return False


# --- tokens for lexical scoring --------------------------------------------------------------------------------------

_MARKS = "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0963\u0966-\u0dff\u0e31-\u0e4e"
_GLUED_UNIT = r"(?:[kmgt]b|[kcm]m|[km]g|ml|min|ms|kwh?|[kmg]?hz|[ap]m|eur|usd)\b"
_TOKEN = re.compile(
    rf"(?P<code>[^\W\d_]+-\d[\w{_MARKS}]*(?:[.-]\d+)*)"  # E-104, COVID-19, UTF-8
    rf"|(?P<number>(?<![\w.])-?v?\d+(?:(?:[.,:]\d+)+(?:-(?:rc|alpha|beta)[.\d]*)?|(?={_GLUED_UNIT}|\W|$))%?)"  # 4%, v2.1
    rf"|(?P<wide>[\u2e80-\u2fdf\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])"
    rf"|(?P<word>[\w{_MARKS}]+(?:'[\w{_MARKS}]+)*)"
)
_THOUSANDS = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?%?")
_SAME = str.maketrans({"\u2019": "'", "\u2018": "'", "\u2212": "-", "\u00ad": None})


def words(text: str) -> list[str]:
    """Return the lower-cased tokens of ``text`` for lexical scoring.

    Numbers with their sign and percent sign, versions (``v2.4.1``) and codes (``E-104``) are one token each; commas
    that group thousands are left out and a possessive ``'s`` is cut off. A Chinese or Japanese character is a token.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_SAME))
    return [_token(match) for match in _TOKEN.finditer(text.lower())]


def _token(match: re.Match[str]) -> str:
    token = match[0]
    if match.lastgroup == "number" and "," in token and _THOUSANDS.fullmatch(token):
        return token.replace(",", "")
    return token.removesuffix("'s") if match.lastgroup == "word" else token


# --- keys for exact matching -----------------------------------------------------------------------------------------

# Acronyms whose lower-case form is another word: "does IT support it" keeps them apart.
_ACRONYMS = re.compile(r"\b(?:IT|US|WHO|CAN|AIDS|RAM|PIN|ACT|MS|ERA)\b")
_UNIT_AFTER_NUMBER = re.compile(r"(?<=\d)(\s?)([^\W\d_]{1,3})\b")
_FOLDED_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: " "}
_FOLDED = str.maketrans(
    {"\u2019": "'", "\u2018": "'", "\u2212": "-", "\u2013": "-", "\u2010": "-", "\u2011": "-"}
    | {"\u00ad": None, "\u200b": None, "\ufeff": None, "\u3002": ".", "\u2026": "..."}
)
_QUOTES = re.compile(r"(?<!\d)[\"\u201c\u201d\u201e\u00ab\u00bb](?!\d)")
_PAUSE = re.compile(r"(?<=[^\W\d_])[,;:]+(?=\s)|(?<![,;:])[,;:]+(?=\s+[^\W\d_])")
_FULL_STOP = re.compile(r"(?<=[^\W\d_]{2})[.!?;]+(?=\s|$)")
_CLOSING = " .?;"  # Greek asks with ";"


def normalise_question(text: str) -> str:
    """Fold the ways of typing one question into one key for exact matching.

    Case, white space, quotation marks, pauses, the closing punctuation, typographic dashes and apostrophes, and
    full-width letters are folded. What can change an answer stays: every digit, superscript, sign, decimal point,
    unit and word, the case of a unit behind a number (``5 mW``), and acronyms that are words in lower case (``IT``).

    Returns:
        The key. Equal keys mean the same question; the same question may well have two keys.
    """
    folded = unicodedata.normalize("NFC", text).translate(_FOLDED_WIDTH).translate(_FOLDED)
    for pattern in (_QUOTES, _PAUSE, _FULL_STOP):
        folded = pattern.sub("", folded)
    folded = " ".join(folded.split()).rstrip(_CLOSING)
    return unicodedata.normalize("NFC", _fold_case(folded)) or text.strip()


def _fold_case(text: str) -> str:
    kept = [match.span(2) for match in _UNIT_AFTER_NUMBER.finditer(text)]
    if any(character.islower() for character in text):
        kept += [match.span() for match in _ACRONYMS.finditer(text)]
    folded, at = [], 0
    for start, end in sorted(kept):
        if start >= at:
            folded += [text[at:start].casefold(), text[start:end]]
            at = end
    return "".join(folded) + text[at:].casefold()
