"""The naive baseline's index: fixed-size chunks, one embedding each, cosine search over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from costkit.context import Reranker, from_embedder
from costkit.embed import Embedder
from costkit_evals.golden import Document

__all__ = ["CHUNK_CHARACTERS", "OVERLAP_CHARACTERS", "Chunk", "ChunkIndex", "Retrieved", "cut"]

# What LangChain's own RAG tutorial uses, so that the baseline is the chain people really have.
CHUNK_CHARACTERS = 1000
OVERLAP_CHARACTERS = 200


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """One chunk: characters ``start`` to ``start + len(text)`` of a document."""

    id: str
    doc_id: str
    title: str
    start: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Retrieved:
    """A chunk with its cosine similarity to the question."""

    chunk: Chunk
    score: float


def cut(
    corpus: Sequence[Document], *, characters: int = CHUNK_CHARACTERS, overlap: int = OVERLAP_CHARACTERS
) -> list[Chunk]:
    """Cut every document into chunks of at most so many characters with LangChain's recursive splitter."""
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    splitter = RecursiveCharacterTextSplitter(chunk_size=characters, chunk_overlap=overlap, add_start_index=True)
    return [
        Chunk(
            id=f"{document.id}#{piece.metadata['start_index']}",
            doc_id=document.id,
            title=document.title,
            start=piece.metadata["start_index"],
            text=piece.page_content,
        )
        for document in corpus
        for piece in splitter.create_documents([document.text])
    ]


class ChunkIndex:
    """All chunks of a corpus with their vectors, searched exhaustively.

    Args:
        chunks: The chunks.
        embedder: Embeds chunks (title and text) once, and every question.
    """

    def __init__(self, chunks: Sequence[Chunk], embedder: Embedder) -> None:
        self.chunks = tuple(chunks)
        self.embedder = embedder
        self._vectors = embedder.embed([f"{chunk.title}\n{chunk.text}" for chunk in chunks])

    @cached_property
    def reranker(self) -> Reranker:
        """One reranker for all that ask: what it has read of the chunks it need not read again."""
        return from_embedder(self.embedder)

    def search(self, question: str, *, k: int) -> list[Retrieved]:
        """Return the ``k`` nearest chunks, best first; equal scores in corpus order."""
        scores = self._vectors @ self.embedder.embed([question])[0]
        best = np.argsort(-scores, kind="stable")[:k]
        return [Retrieved(chunk=self.chunks[position], score=float(scores[position])) for position in best]
