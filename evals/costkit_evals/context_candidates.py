"""Questions of golden sets with what retrieval finds for them, and which of its units are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from costkit.context.document import Document
from costkit.context.relevance import titled
from costkit.context.sentences import SUPPORTING, Unit, units_of
from costkit.embed import Embedder
from costkit.text import words
from costkit.tokens import default_counter
from costkit_evals.chunks import Chunk, cut
from costkit_evals.golden import GoldenSet, Question

__all__ = ["Candidates", "candidates", "held_out"]

RETRIEVED = 20
# Half of a corpus of passages is shorter than this.
LONG_CHARACTERS = 1500

Labels = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """One question with what was retrieved for it, in units, and which of those are labelled as needed."""

    set_name: str
    question: Question
    documents: Sequence[Document]
    units: Sequence[Unit]
    needed: Labels


def candidates(golden: GoldenSet, embedder: Embedder) -> Iterator[Candidates]:
    """Retrieve by cosine, question by question.

    A corpus of documents rather than passages is cut into chunks, as the evaluation cuts it.
    """
    passages = {one.id: one for one in _passages(golden)}
    documents = [Document(id=one.id, text=one.text, title=one.title) for one in passages.values()]
    vectors = embedder.embed([titled(one) for one in documents])
    for question in golden.questions:
        order = np.argsort(-(vectors @ embedder.embed([question.question])[0]), kind="stable")[:RETRIEVED]
        found = [documents[index] for index in order]
        units = units_of(found, default_counter())
        yield Candidates(
            set_name=golden.name,
            question=question,
            documents=found,
            units=units,
            needed=np.array([_is_needed(unit, passages[found[unit.rank].id], question) for unit in units], np.bool_),
        )


def _passages(golden: GoldenSet) -> list[Chunk]:
    if median(len(document.text) for document in golden.corpus) > LONG_CHARACTERS:
        return cut(golden.corpus)
    return [Chunk(id=one.id, doc_id=one.id, title=one.title, start=0, text=one.text) for one in golden.corpus]


def _is_needed(unit: Unit, passage: Chunk, question: Question) -> bool:
    """True if the unit is labelled; where nothing is labelled, if it holds an answer in a gold document."""
    if unit.kind in SUPPORTING:
        return False
    start, end = passage.start + unit.start, passage.start + unit.end
    if question.supporting:
        return any(one.doc_id == passage.doc_id and start < one.end and one.start < end for one in question.supporting)
    text = f" {' '.join(words(unit.text))} "
    answers = [f" {' '.join(words(answer))} " for answer in question.answers]
    return passage.doc_id in question.gold_ids and any(answer in text for answer in answers if answer.strip())


def held_out(question: Question) -> bool:
    """True for the half of the questions that is left out of the fit; a set's own split decides where it has one."""
    if question.split:
        return question.split == "test"
    return int(hashlib.sha256(question.id.encode()).hexdigest(), 16) % 2 == 1
