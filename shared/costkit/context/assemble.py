"""Chosen units put together: joined into passages, in the order asked for, with every place a kept text stands in."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from costkit.context.document import Document, Kept, Passage, Place, passage_of
from costkit.context.sentences import Unit

__all__ = ["Order", "arranged", "best", "joined", "merged_places", "whole", "with_citations"]

Order = Literal["stable", "relevance", "edges"]

_SHORTEST_CITED = 24  # characters: shorter texts stand in other documents by chance


def whole(document: Document, rank: int) -> Passage:
    """Return a document as one span."""
    size = len(document.text)
    span = Kept(document_id=document.id, start=0, end=size, text=document.text, rank=rank, score=None)
    return passage_of(document, [span])


def joined(
    documents: Sequence[Document],
    units: Sequence[Unit],
    chosen: Collection[int],
    *,
    relevance: Sequence[float] | None,
    probabilities: Sequence[float] | None,
) -> tuple[Passage, ...]:
    """Join the chosen units, document by document in the order given."""
    kept: dict[int, list[Kept]] = {}
    for index in sorted(chosen):
        unit = units[index]
        span = Kept(
            document_id=documents[unit.rank].id,
            start=unit.start,
            end=unit.end,
            text=unit.text,
            rank=unit.rank,
            score=None if relevance is None else relevance[index],
            probability=None if probabilities is None else probabilities[index],
        )
        kept.setdefault(unit.rank, []).append(span)
    return tuple(passage_of(documents[rank], spans) for rank, spans in kept.items())


def arranged(passages: Sequence[Passage], order: Order) -> tuple[Passage, ...]:
    """Return the passages in the order asked for; where nothing was scored, the order given is that of relevance."""
    if order == "stable":
        return tuple(passages)
    ranked = _ranked(passages)
    return tuple(ranked) if order == "relevance" else (*ranked[::2], *ranked[1::2][::-1])


def best(passages: Sequence[Passage], k: int) -> set[str]:
    """Return the documents of the best ``k`` passages; where nothing was scored, of the first ``k``."""
    return {passage.document_id for passage in _ranked(passages)[:k]}


def _ranked(passages: Sequence[Passage]) -> list[Passage]:
    return sorted(passages, key=lambda passage: -(passage.score or 0.0))


def merged_places(
    documents: Sequence[Document],
    units: Sequence[Unit],
    chosen: Collection[int],
    copied: Collection[int],
    pairs: Collection[tuple[int, int]],
) -> dict[tuple[int, int], list[Place]]:
    """Return, by rank and start of a chosen unit, where the copies stand that were left out for it.

    Args:
        documents: All documents.
        units: All units.
        chosen: Indexes of those that are kept.
        copied: Indexes of those left out as copies.
        pairs: (a, b) where all that unit ``a`` says stands in unit ``b``, which may be left out for a third in turn.
    """
    stands_in: dict[int, list[int]] = {}
    for a, b in pairs:
        stands_in.setdefault(a, []).append(b)
    merged: dict[tuple[int, int], list[Place]] = {}
    for index in set(copied).difference(chosen):
        copy = units[index]
        place = Place(document_id=documents[copy.rank].id, start=copy.start, end=copy.end)
        for at in _reached(index, stands_in).intersection(chosen):
            if units[at].rank != copy.rank:
                merged.setdefault((units[at].rank, units[at].start), []).append(place)
    return merged


def _reached(index: int, stands_in: Mapping[int, Sequence[int]]) -> set[int]:
    seen, ahead = {index}, [index]
    while ahead:
        for at in stands_in.get(ahead.pop(), ()):
            if at not in seen:
                seen.add(at)
                ahead.append(at)
    return seen


def with_citations(
    passages: Sequence[Passage], documents: Sequence[Document], merged: Mapping[tuple[int, int], Sequence[Place]]
) -> tuple[Passage, ...]:
    """Name for each kept span the other documents it stands in and that do not keep it themselves.

    Args:
        passages: What is kept.
        documents: All documents given.
        merged: By rank and start of a kept span, the places of the copies that were left out for it.
    """
    kept = {passage.document_id: passage.kept for passage in passages}
    others = [document for document in documents if len(document.text) >= _SHORTEST_CITED]

    def cited(span: Kept) -> Kept:
        places = list(merged.get((span.rank, span.start), ()))
        told = {place.document_id for place in places} | {span.document_id}
        if len(span.text) >= _SHORTEST_CITED:
            places += [place for one in others if one.id not in told if (place := _place(span.text, one, kept))]
        return replace(span, also_in=tuple(sorted(places))) if places else span

    return tuple(replace(passage, kept=tuple(map(cited, passage.kept))) for passage in passages)


def _place(text: str, document: Document, kept: Mapping[str, Sequence[Kept]]) -> Place | None:
    """Return where ``text`` first stands in a document, or None if it does not or the document keeps it there."""
    start = document.text.find(text)
    end = start + len(text)
    if start < 0 or any(span.start <= start and end <= span.end for span in kept.get(document.id, ())):
        return None
    return Place(document_id=document.id, start=start, end=end)
