"""Static mode: what repeats across documents goes at ingestion, whatever will be asked, so that prompts stay cacheable."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from math import ceil

from costkit.context.assemble import whole
from costkit.context.document import (
    Document,
    Dropped,
    Kept,
    Passage,
    Place,
    Reduction,
    as_context,
    distinct,
    passage_of,
)
from costkit.tokens import TokenCounter, default_counter

__all__ = ["condense"]

# Headers, footers and navigation stand on nearly every page of a source, and at its edges; a fact does not.
_EDGE_LINES = 10
_LEAST_DOCUMENTS = 3
_LEAST_SHARE = 0.8
_SHORTEST_PASSAGE = 20  # words: a shorter paragraph means different things in different documents

_LINE = re.compile(r"\S[^\n]*")
_PARAGRAPH = re.compile(r"\S[^\n]*(?:\n[^\S\n]*\S[^\n]*)*")
_PAGE_NUMBER = re.compile(r"\W*page\W+\d+(?:\W+(?:of\W+)?\d+)?\W*", re.IGNORECASE)
_NUMBERED = "page number"

_Key = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """A line at an edge, or a paragraph; pieces of one key say the same. A key of None is never compared."""

    rank: int
    start: int
    end: int
    key: _Key | None


def condense(documents: Sequence[Document], *, counter: TokenCounter | None = None) -> Reduction:
    """Take boilerplate and repeated passages out of documents. It asks for no question: it is made for ingestion.

    A line that nearly all documents (4 of 5, and at least 3) have among their first or last ten, in an unbroken run
    from the edge, is kept in the first of them alone; page numbers are kept nowhere. A paragraph of 20 words and more
    that an earlier document of the same title has word for word is kept there alone, and ``Kept.also_in`` names the
    other places. All else stays as it is.

    Args:
        documents: The documents of one source, in an order that does not change. Boilerplate shows before they are cut
            into chunks.
        counter: Counts tokens. Default: ``costkit.tokens.default_counter()``.

    Returns:
        What is left, in the order given; a document that only repeats others is absent.

    Raises:
        ConfigurationError: Two different documents have one id.
    """
    started = time.perf_counter()
    counter = default_counter() if counter is None else counter
    given = distinct(documents)
    pieces = [list(found) for found in _pieces(given)]
    first: dict[_Key, _Piece] = {}
    for piece in (piece for found in pieces for piece in found):
        if piece.key is not None:
            first.setdefault(piece.key, piece)
    before = [whole(document, rank) for rank, document in enumerate(given)]
    repeats = [[piece for piece in found if _repeats(piece, first)] for found in pieces]
    cited = _cited(given, repeats, first)
    left = [
        passage if not gone and not any(piece in cited for piece in found) else _left(document, found, set(gone), cited)
        for document, passage, found, gone in zip(given, before, pieces, repeats, strict=True)
    ]
    passages = tuple(passage for passage in left if passage.kept)
    dropped = tuple(_dropped(given[piece.rank], piece, counter) for gone in repeats for piece in gone)
    return Reduction(
        passages=passages,
        dropped=dropped,
        tokens_before=counter.count(as_context(before)),
        tokens_after=counter.count(as_context(passages)),
        seconds=time.perf_counter() - started,
        decision="static" if dropped else "kept",
        reason=f"{len(dropped)} repeated pieces are left out" if dropped else "nothing is repeated",
    )


def _pieces(documents: Sequence[Document]) -> Iterator[Iterator[_Piece]]:
    """Yield the pieces of each document in order: the lines of its common edges, and the paragraphs between."""
    lines = [[(*match.span(), _line_key(match[0])) for match in _LINE.finditer(one.text)] for one in documents]
    on = Counter(key for found in lines for key in {key for *_, key in (*found[:_EDGE_LINES], *found[-_EDGE_LINES:])})
    least = max(_LEAST_DOCUMENTS, ceil(_LEAST_SHARE * len(documents)))

    def common(line: tuple[int, int, _Key]) -> bool:
        return on[line[2]] >= least

    for rank, (document, found) in enumerate(zip(documents, lines, strict=True)):
        top = list(takewhile(common, found[:_EDGE_LINES]))
        foot = list(takewhile(common, found[len(top) :][: -_EDGE_LINES - 1 : -1]))[::-1]
        yield _of_document(document, rank, top, foot)


def _of_document(
    document: Document, rank: int, top: Sequence[tuple[int, int, _Key]], foot: Sequence[tuple[int, int, _Key]]
) -> Iterator[_Piece]:
    begin = top[-1][1] if top else 0
    stop = foot[0][0] if foot else len(document.text)
    yield from (_Piece(rank=rank, start=start, end=end, key=key) for start, end, key in top)
    for match in _PARAGRAPH.finditer(document.text, begin, stop):
        said = match[0].split()
        key = (document.title, *said) if len(said) >= _SHORTEST_PASSAGE else None
        yield _Piece(rank=rank, start=match.start(), end=match.end(), key=key)
    yield from (_Piece(rank=rank, start=start, end=end, key=key) for start, end, key in foot)


def _line_key(line: str) -> _Key:
    return (_NUMBERED,) if _PAGE_NUMBER.fullmatch(line) else (line.strip(),)


def _is_passage(piece: _Piece) -> bool:
    return piece.key is not None and len(piece.key) > 1


def _repeats(piece: _Piece, first: Mapping[_Key, _Piece]) -> bool:
    """True if the piece goes: an earlier document has it, or it is a page number."""
    return piece.key is not None and (piece.key == (_NUMBERED,) or first[piece.key].rank != piece.rank)


def _cited(
    documents: Sequence[Document], repeats: Sequence[Sequence[_Piece]], first: Mapping[_Key, _Piece]
) -> dict[_Piece, list[Place]]:
    """Return where else each passage stood. Boilerplate supports no answer, and would name every document."""
    cited: dict[_Piece, list[Place]] = {}
    for piece in (piece for gone in repeats for piece in gone):
        if piece.key is not None and _is_passage(piece):
            place = Place(document_id=documents[piece.rank].id, start=piece.start, end=piece.end)
            cited.setdefault(first[piece.key], []).append(place)
    return cited


def _left(
    document: Document, pieces: Sequence[_Piece], gone: Collection[_Piece], cited: Mapping[_Piece, Sequence[Place]]
) -> Passage:
    kept = [
        Kept(
            document_id=document.id,
            start=piece.start,
            end=piece.end,
            text=document.text[piece.start : piece.end],
            rank=piece.rank,
            score=None,
            also_in=tuple(cited.get(piece, ())),
        )
        for piece in pieces
        if piece not in gone
    ]
    return passage_of(document, kept)


def _dropped(document: Document, piece: _Piece, counter: TokenCounter) -> Dropped:
    return Dropped(
        document_id=document.id,
        start=piece.start,
        end=piece.end,
        tokens=counter.count(document.text[piece.start : piece.end]),
        reason="duplicate" if _is_passage(piece) else "boilerplate",
    )
