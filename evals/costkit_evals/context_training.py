"""What a reranker learns from: the passages of golden sets, judged by where the answers stand."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from costkit.context.train import Judged
from costkit.embed import Embedder
from costkit.errors import DataError
from costkit_evals.chunks import Chunk, ChunkIndex, cut
from costkit_evals.golden import GoldenSet, Question, load, read_json_lines

__all__ = ["judged_pairs", "judged_passages"]

# What retrieval finds and is of no use teaches most; a few far ones keep the scores of the rest apart.
_NEAREST = 20
_NEAR = 6
_FAR = 2


def judged_passages(folders: Sequence[Path], embedder: Embedder, *, seed: int) -> list[Judged]:
    """Return the passages that answer each question, and some of those that do not, the nearest first.

    Questions of the split ``test`` are left out: they are for reporting.

    Args:
        folders: Golden sets.
        embedder: Finds the passages that look as if they answered.
        seed: Of the draw of further passages.

    Raises:
        DataError: A golden set is wrong.
    """
    return [one for folder in folders for one in _of(load(folder), embedder, seed)]


def _of(golden: GoldenSet, embedder: Embedder, seed: int) -> Iterator[Judged]:
    chunks = cut(golden.corpus)
    index = ChunkIndex(chunks, embedder)
    draw = random.Random(seed)  # noqa: S311 - a draw, no secret
    for question in golden.questions:
        if question.split == "test" or not question.answerable:
            continue
        relevant = {chunk.id for chunk in chunks if _answers(chunk, question)}
        near = [found.chunk for found in index.search(question.question, k=_NEAREST)]
        others = [chunk for chunk in near if chunk.id not in relevant and chunk.doc_id not in question.gold_ids]
        others = [*others[:_NEAR], *draw.sample(others[_NEAR:], min(_FAR, len(others[_NEAR:])))]
        for chunk in [chunk for chunk in chunks if chunk.id in relevant] + others:
            text = f"{chunk.title}\n{chunk.text}" if chunk.title else chunk.text
            yield Judged(question=question.question, text=text, relevant=chunk.id in relevant)


def _answers(chunk: Chunk, question: Question) -> bool:
    """True if a chunk holds a supporting passage, or belongs to a gold document where no passages are labelled."""
    if not question.supporting:
        return chunk.doc_id in question.gold_ids
    end = chunk.start + len(chunk.text)
    return any(
        span.doc_id == chunk.doc_id and chunk.start <= span.start and span.end <= end for span in question.supporting
    )


def judged_pairs(files: Sequence[Path]) -> list[Judged]:
    """Read judged passages, {question, text, relevant} a line.

    Raises:
        DataError: A file cannot be read, or a line lacks a field.
    """
    return [_judged(row, f"{file}, line {line}") for file in files for line, row in read_json_lines(file)]


def _judged(row: Mapping[str, object], where: str) -> Judged:
    question, text, relevant = row.get("question"), row.get("text"), row.get("relevant")
    if not isinstance(question, str) or not isinstance(text, str) or not isinstance(relevant, bool):
        raise DataError(f"{where}: question and text must be strings and relevant true or false, got {dict(row)!r}")
    return Judged(question=question, text=text, relevant=relevant)
