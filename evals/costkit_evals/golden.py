"""Golden sets: a corpus, questions with reference answers and supporting spans, and what else a set may carry.

A golden set is a folder. ``corpus.jsonl`` and ``questions.jsonl`` are required; ``paraphrases.jsonl``,
``near_miss.jsonl``, ``conversations.jsonl`` and ``changes.jsonl`` are optional. Any file may be gzipped (``.gz``).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from costkit.errors import DataError

__all__ = [
    "Change",
    "Conversation",
    "Document",
    "GoldenSet",
    "NearMiss",
    "Paraphrases",
    "Question",
    "Supporting",
    "Turn",
    "load",
]


@dataclass(frozen=True, kw_only=True)
class Document:
    """One document of the corpus."""

    id: str
    text: str
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Supporting:
    """One passage that an answer rests on: characters ``start`` to ``end`` of a document's text."""

    doc_id: str
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question with what a right answer is.

    Attributes:
        answers: Accepted reference answers; empty where the corpus holds no answer.
        gold_ids: Documents that hold the answer.
        supporting: The passages in them, where the set labels them.
        split: ``dev`` to tune on, ``test`` to report on; empty where the set has no split.
    """

    id: str
    question: str
    answers: tuple[str, ...] = ()
    gold_ids: tuple[str, ...] = ()
    supporting: tuple[Supporting, ...] = ()
    answerable: bool = True
    kind: str = ""
    difficulty: str = ""
    split: str = ""


@dataclass(frozen=True, kw_only=True)
class Paraphrases:
    """Other wordings of one question; each has that question's answer."""

    question_id: str
    paraphrases: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class NearMiss:
    """Two questions of nearly the same words with different answers."""

    a: str
    b: str
    answer_a: str
    answer_b: str
    docs_a: tuple[str, ...]
    docs_b: tuple[str, ...]
    differs: str = ""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One question of a conversation; ``standalone`` says it in full."""

    question: str
    standalone: str
    self_contained: bool
    answers: tuple[str, ...] = ()
    gold_ids: tuple[str, ...] = ()
    supporting: tuple[Supporting, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Questions of one user, in order."""

    id: str
    turns: tuple[Turn, ...]


@dataclass(frozen=True, kw_only=True)
class Change:
    """A dated change of one passage that alters the answers of some questions."""

    id: str
    date: str
    doc_id: str
    old: str
    new: str
    question_ids: tuple[str, ...]
    new_answer: str


@dataclass(frozen=True, kw_only=True)
class GoldenSet:
    """A whole golden set, checked."""

    name: str
    corpus: tuple[Document, ...]
    questions: tuple[Question, ...]
    paraphrases: tuple[Paraphrases, ...] = ()
    near_misses: tuple[NearMiss, ...] = ()
    conversations: tuple[Conversation, ...] = ()
    changes: tuple[Change, ...] = ()

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of a SHA-256 over everything in the set."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]

    def head(self, limit: int) -> GoldenSet:
        """Return the set with its first ``limit`` questions, and what belongs to them."""
        return self._with(self.questions[:limit])

    def only_split(self, split: str) -> GoldenSet:
        """Return the set with the questions of one split, and what belongs to them."""
        return self._with(tuple(question for question in self.questions if question.split == split))

    def _with(self, questions: tuple[Question, ...]) -> GoldenSet:
        """Return the set with some of its questions; the corpus stays whole.

        Near misses and conversations stay where all their documents are documents of these questions.
        """
        kept = {question.id for question in questions}
        known = {doc_id for question in questions for doc_id in question.gold_ids}
        return replace(
            self,
            questions=questions,
            paraphrases=tuple(one for one in self.paraphrases if one.question_id in kept),
            near_misses=tuple(one for one in self.near_misses if {*one.docs_a, *one.docs_b} <= known),
            conversations=tuple(
                one for one in self.conversations if {doc_id for turn in one.turns for doc_id in turn.gold_ids} <= known
            ),
        )


Row = TypeVar("Row")
Identified = TypeVar("Identified", Document, Question)


def load(folder: Path | str) -> GoldenSet:
    """Read and check a golden set.

    Args:
        folder: The folder, with ``corpus.jsonl`` and ``questions.jsonl``, plain or gzipped.

    Raises:
        DataError: A file is missing, a line is broken, an id is missing or doubled, a reference leads nowhere.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"no golden set folder {str(root)!r}; name a folder with corpus.jsonl and questions.jsonl")
    corpus = _rows(root, "corpus.jsonl", _document, required=True)
    if not corpus:
        raise DataError("the corpus is empty; it needs at least one document", path=root / "corpus.jsonl")
    documents = _unique(corpus, root / "corpus.jsonl")
    check = _Check(documents)
    questions = _rows(root, "questions.jsonl", check.question, required=True)
    if not questions:
        raise DataError("there are no questions; the set needs at least one", path=root / "questions.jsonl")
    check.questions = _unique(questions, root / "questions.jsonl")
    return GoldenSet(
        name=root.resolve().name,
        corpus=tuple(document for document, _ in corpus),
        questions=tuple(question for question, _ in questions),
        paraphrases=tuple(row for row, _ in _rows(root, "paraphrases.jsonl", check.paraphrases)),
        near_misses=tuple(row for row, _ in _rows(root, "near_miss.jsonl", check.near_miss)),
        conversations=tuple(row for row, _ in _rows(root, "conversations.jsonl", check.conversation)),
        changes=tuple(row for row, _ in _rows(root, "changes.jsonl", check.change)),
    )


def read_json_lines(path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Yield line number and object of every non-empty line of a JSON-lines file, plain or gzipped.

    Raises:
        DataError: The file is not UTF-8, or a line is not a JSON object.
    """
    try:
        text = (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 at byte {error.start}: save the file as UTF-8", path=path) from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot be read: {error}", path=path) from None
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"not JSON ({error.msg} at column {error.colno}): {line[:60]!r}", path=path, line=number
            ) from None
        if not isinstance(row, dict):
            raise DataError(f"a JSON object was expected, got {line[:60]!r}", path=path, line=number)
        yield number, row


def find(root: Path, name: str) -> Path | None:
    """Return the plain or gzipped file of that name in ``root``, or None."""
    return next((path for path in (root / name, root / f"{name}.gz") if path.is_file()), None)


def _rows(
    root: Path, name: str, build: Callable[[Mapping[str, object]], Row], *, required: bool = False
) -> list[tuple[Row, int]]:
    path = find(root, name)
    if path is None:
        if required:
            raise DataError(f"the golden set lacks {name} (or {name}.gz)", path=root)
        return []
    built = []
    for number, row in read_json_lines(path):
        try:
            built.append((build(row), number))
        except DataError as error:
            raise DataError(str(error), path=path, line=number) from None
    return built


def _unique(rows: Sequence[tuple[Identified, int]], path: Path) -> dict[str, Identified]:
    seen: dict[str, Identified] = {}
    for row, number in rows:
        if row.id in seen:
            raise DataError(f"id {row.id!r} stands there twice; ids must differ", path=path, line=number)
        seen[row.id] = row
    return seen


def _document(row: Mapping[str, object]) -> Document:
    return Document(id=_text(row, "id"), text=_text(row, "text"), title=_text(row, "title", default=""))


@dataclass
class _Check:
    """Builds rows and checks what they refer to."""

    documents: Mapping[str, Document]
    questions: Mapping[str, Question] | None = None

    def question(self, row: Mapping[str, object]) -> Question:
        answers = _texts(row, "answers")
        answerable = row.get("answerable", True)
        if not isinstance(answerable, bool):
            raise DataError(f"field 'answerable' must be true or false, got {answerable!r}")
        if answerable and not answers:
            raise DataError(
                f"question {row.get('id')!r} is answerable and has no answers; add one, or set answerable to false"
            )
        return Question(
            id=_text(row, "id"),
            question=_text(row, "question"),
            answers=answers,
            gold_ids=self._known(_texts(row, "gold_ids"), "gold_ids"),
            supporting=self._supporting(row),
            answerable=answerable,
            kind=_text(row, "kind", default=""),
            difficulty=_text(row, "difficulty", default=""),
            split=_text(row, "split", default=""),
        )

    def paraphrases(self, row: Mapping[str, object]) -> Paraphrases:
        return Paraphrases(
            question_id=self._question_id(row.get("question_id")), paraphrases=_texts(row, "paraphrases")
        )

    def near_miss(self, row: Mapping[str, object]) -> NearMiss:
        return NearMiss(
            a=_text(row, "a"),
            b=_text(row, "b"),
            answer_a=_text(row, "answer_a"),
            answer_b=_text(row, "answer_b"),
            docs_a=self._known(_texts(row, "docs_a"), "docs_a"),
            docs_b=self._known(_texts(row, "docs_b"), "docs_b"),
            differs=_text(row, "differs", default=""),
        )

    def conversation(self, row: Mapping[str, object]) -> Conversation:
        return Conversation(id=_text(row, "id"), turns=tuple(self._turn(turn) for turn in _objects(row, "turns")))

    def change(self, row: Mapping[str, object]) -> Change:
        (doc_id,) = self._known((_text(row, "doc_id"),), "doc_id")
        old = _text(row, "old")
        if self.documents[doc_id].text.count(old) != 1:
            raise DataError(f"field 'old' must stand exactly once in document {doc_id!r}, got {old[:60]!r}")
        return Change(
            id=_text(row, "id"),
            date=_text(row, "date"),
            doc_id=doc_id,
            old=old,
            new=_text(row, "new"),
            question_ids=tuple(self._question_id(one) for one in _texts(row, "question_ids")),
            new_answer=_text(row, "new_answer"),
        )

    def _turn(self, row: Mapping[str, object]) -> Turn:
        return Turn(
            question=_text(row, "question"),
            standalone=_text(row, "standalone"),
            self_contained=bool(row.get("self_contained")),
            answers=_texts(row, "answers"),
            gold_ids=self._known(_texts(row, "gold_ids"), "gold_ids"),
            supporting=self._supporting(row),
        )

    def _supporting(self, row: Mapping[str, object]) -> tuple[Supporting, ...]:
        return tuple(self._span(item) for item in _objects(row, "supporting"))

    def _span(self, item: Mapping[str, object]) -> Supporting:
        (doc_id,) = self._known((_text(item, "doc_id"),), "supporting.doc_id")
        start, end = item.get("start"), item.get("end")
        length = len(self.documents[doc_id].text)
        if not (isinstance(start, int) and isinstance(end, int) and 0 <= start < end <= length):
            raise DataError(
                f"supporting span {start!r} to {end!r} does not lie in document {doc_id!r} of {length} characters"
            )
        sentence = item.get("sentence")
        if sentence is not None and self.documents[doc_id].text[start:end] != sentence:
            found = self.documents[doc_id].text[start:end]
            raise DataError(
                f"supporting span of {doc_id!r} reads {found[:60]!r}, its sentence says {str(sentence)[:60]!r}"
            )
        return Supporting(doc_id=doc_id, start=start, end=end)

    def _known(self, ids: tuple[str, ...], field: str) -> tuple[str, ...]:
        unknown = next((one for one in ids if one not in self.documents), None)
        if unknown is not None:
            raise DataError(f"field {field!r} names document {unknown!r}, which the corpus does not hold")
        return ids

    def _question_id(self, value: object) -> str:
        if not isinstance(value, str) or value not in (self.questions or {}):
            raise DataError(f"question id {value!r} is in no row of questions.jsonl")
        return value


def _text(row: Mapping[str, object], field: str, *, default: str | None = None) -> str:
    value = row.get(field, default)
    if value is None or (value == "" and default is None):
        raise DataError(f"field {field!r} is missing or empty in {str(dict(row))[:80]!r}")
    if not isinstance(value, str):
        raise DataError(f"field {field!r} must be a string, got {value!r}")
    return value


def _texts(row: Mapping[str, object], field: str) -> tuple[str, ...]:
    value = row.get(field, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise DataError(f"field {field!r} must be a list of strings, got {value!r}")
    return tuple(value)


def _objects(row: Mapping[str, object], field: str) -> list[Mapping[str, object]]:
    value = row.get(field, [])
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise DataError(f"field {field!r} must be a list of objects, got {value!r}")
    return value
