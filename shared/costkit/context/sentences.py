"""Documents cut into units: each with what a reranker should see of its surroundings, and what it cannot do without."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import permutations
from typing import NamedTuple

from costkit.context.document import Document
from costkit.text import Span, SpanKind, split_sentences, words
from costkit.tokens import TokenCounter

__all__ = ["SUPPORTING", "Unit", "copies", "units_of", "without_dear_antecedents"]

# A sentence that begins with one of these refers to the sentence before it.
_REFERRING = frozenset(
    "it its they them their theirs this that these those he she him his her hers such both neither either "
    "however but so therefore thus hence then otherwise instead also and or nor yet still moreover furthermore "
    "consequently nevertheless nonetheless similarly likewise conversely accordingly afterwards meanwhile".split()
)
# Kinds of unit that are worth nothing without what stands under them.
SUPPORTING: tuple[SpanKind, ...] = ("heading", "header")
_PROSE = ("sentence", "item")
_SHORTEST_OVERLAP = 24  # characters: a shorter agreement of two documents happens by chance
_SHORTEST_COPY = 8  # words: shorter sentences ("None.") mean different things in different documents
# Words, and all signs but punctuation: $5 is not 5 euro, nor -5 degrees 5, nor 5" five feet, nor C# C++.
_TOKEN = re.compile(r"""\w+|(?<=\d)['"]|[^\w\s.,;:!'"\u2018-\u201f\u2026\u00ab\u00bb]|(?<=\d)[.,](?=\d)""")

Claim = tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """The smallest piece that is kept or dropped as a whole.

    Attributes:
        rank: Place of its document in the order given.
        start: Offset of its first character in the document.
        end: Offset after its last character.
        kind: Sentence, heading, list item, table header, table row or code.
        text: ``document.text[start:end]``.
        view: The text behind its title, heading and table header: what a reranker scores.
        tokens: Tokens of ``text``.
        needs: Index of the unit that comes along when this one is kept: its table header or its antecedent.
        heading: Index of the heading it stands under.
    """

    rank: int
    start: int
    end: int
    kind: SpanKind
    text: str
    view: str
    tokens: int
    needs: int | None = None
    heading: int | None = None


def units_of(documents: Sequence[Document], counter: TokenCounter) -> list[Unit]:
    """Cut ``documents`` into units, in order; ``needs`` and ``heading`` are indexes into the returned list."""
    units: list[Unit] = []
    for rank, document in enumerate(documents):
        first = len(units)
        units.extend(
            Unit(
                rank=rank,
                start=piece.span.start,
                end=piece.span.end,
                kind=piece.span.kind,
                text=piece.text,
                view=piece.view,
                tokens=counter.count(piece.text),
                needs=None if piece.needs is None else first + piece.needs,
                heading=None if piece.heading is None else first + piece.heading,
            )
            for piece in _pieces(document.title, document.text)
        )
    return units


class _Piece(NamedTuple):
    """A unit as it stands in its document, whatever was retrieved beside it; indexes count from the document's first."""

    span: Span
    text: str
    view: str
    needs: int | None
    heading: int | None


# The same documents are retrieved again and again, and cutting them is most of the work on a question.
@lru_cache(maxsize=4096)
def _pieces(title: str, document: str) -> tuple[_Piece, ...]:
    return tuple(_cut(title, document))


def _cut(title: str, document: str) -> Iterator[_Piece]:
    heading: tuple[int, str] | None = None
    header: tuple[int, str] | None = None
    previous: Span | None = None
    for index, span in enumerate(split_sentences(document)):
        text = document[span.start : span.end]
        if span.kind == "heading":
            heading = None
        if span.kind != "row":
            header = None
        above = [title, heading[1] if heading else ""]
        yield _Piece(
            span=span,
            text=text,
            view=". ".join([*filter(None, above), f"{header[1]}\n{text}" if header else text]),
            needs=header[0] if header else _antecedent(document, previous, span, index),
            heading=heading[0] if heading else None,
        )
        if span.kind == "heading":
            heading = (index, text.strip("#=- \t\n"))
        if span.kind == "header":
            header = (index, text.partition("\n")[0])
        previous = span


def _antecedent(text: str, previous: Span | None, span: Span, index: int) -> int | None:
    """Return the index of the sentence before, if ``span`` refers to it and it stands in the same paragraph."""
    if previous is None or span.kind not in _PROSE or previous.kind not in _PROSE:
        return None
    gap = text[previous.end : span.start]
    if gap.count("\n") > 1:
        return None
    opening = words(text[span.start : span.start + 40])[:1]
    return index - 1 if opening and opening[0] in _REFERRING else None


def without_dear_antecedents(units: Sequence[Unit], documents: Sequence[Document], most_tokens: int) -> list[Unit]:
    """Return the units with no antecedent of more than ``most_tokens`` where the title says what they are about."""

    def is_dear(unit: Unit) -> bool:
        return unit.needs is not None and unit.kind in _PROSE and units[unit.needs].tokens > most_tokens

    return [replace(unit, needs=None) if is_dear(unit) and documents[unit.rank].title else unit for unit in units]


def copies(documents: Sequence[Document], units: Sequence[Unit]) -> set[tuple[int, int]]:
    """Find text that would be paid for twice.

    Chunkers repeat the end of one chunk at the beginning of the next: such overlaps are found by their characters, so
    that a half sentence counts as a copy of the whole one. Elsewhere only a long sentence under the same title is a
    copy, if it says the same word for word, "the" and punctuation apart: those that differ in a number or sign are none.

    Returns:
        Pairs (a, b) of indexes, where all the text of unit ``a`` stands in unit ``b``. Equal units give two pairs.
    """
    by_rank: dict[int, list[int]] = {}
    for index, unit in enumerate(units):
        by_rank.setdefault(unit.rank, []).append(index)
    pairs = _repeated(documents, units)
    for left, right, shift in _overlaps(documents):
        pairs |= _aligned(units, by_rank.get(left, []), by_rank.get(right, []), shift)
    return pairs


def _overlaps(documents: Sequence[Document]) -> Iterator[tuple[int, int, int]]:
    """Yield (a, b, shift) where document b begins, at offset ``shift`` of document a, as a goes on to its end."""
    for right, later in enumerate(documents):
        seed = later.text[:_SHORTEST_OVERLAP]
        if len(seed) < _SHORTEST_OVERLAP:
            continue
        for left, earlier in enumerate(documents):
            at = earlier.text.find(seed) if left != right else -1
            while at >= 0:
                shared = min(len(earlier.text) - at, len(later.text))
                if earlier.text.startswith(later.text[:shared], at):
                    yield left, right, at
                    break
                at = earlier.text.find(seed, at + 1)


def _aligned(units: Sequence[Unit], left: Sequence[int], right: Sequence[int], shift: int) -> set[tuple[int, int]]:
    """Pair units of two overlapping documents of which one holds the other's characters."""
    pairs: set[tuple[int, int]] = set()
    for a in left:
        for b in right:
            start, end = units[b].start + shift, units[b].end + shift
            if start <= units[a].start and units[a].end <= end:
                pairs.add((a, b))
            if units[a].start <= start and end <= units[a].end:
                pairs.add((b, a))
    return pairs


def _repeated(documents: Sequence[Document], units: Sequence[Unit]) -> set[tuple[int, int]]:
    """Pair long sentences that say the same in documents of one title."""
    alike: dict[tuple[str, Claim], list[int]] = {}
    for index, unit in enumerate(units):
        if unit.kind in _PROSE and (claim := _claim(unit.text)):
            alike.setdefault((documents[unit.rank].title, claim), []).append(index)
    return {pair for same in alike.values() for pair in permutations(same, 2)}


@lru_cache(maxsize=32_768)
def _claim(text: str) -> Claim | None:
    """Return the words and signs of a long sentence, but "the" and punctuation; None of a short one."""
    if len(words(text)) < _SHORTEST_COPY:
        return None
    said = [token for token in _TOKEN.findall(text) if token.lower() != "the"]  # not "a", which may be plan A
    return (said[0].lower(), *said[1:]) if said else None
