"""Our own golden format: what is read, and that every kind of bad input names its file, line, field and value."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from costkit.errors import DataError
from costkit_evals.golden import GoldenSet, Supporting, load

TEXT = "Paris is the capital of France. It lies on the Seine."
DOCUMENT = {"id": "france", "title": "France", "text": TEXT}
SPAN = {"doc_id": "france", "start": 0, "end": 31, "sentence": "Paris is the capital of France."}
QUESTION = {
    "id": "q1",
    "question": "What is the capital of France?",
    "answers": ["Paris"],
    "gold_ids": ["france"],
    "supporting": [SPAN],
    "kind": "single",
    "difficulty": "easy",
    "split": "dev",
}
PARAPHRASES = {"question_id": "q1", "paraphrases": ["France's capital?"]}
NEAR_MISS = {
    "a": "France's capital?",
    "b": "Italy's capital?",
    "answer_a": "Paris",
    "answer_b": "Rome",
    "docs_a": ["france"],
    "docs_b": [],
    "differs": "country",
}
TURN = {
    "question": "And its river?",
    "standalone": "On which river does Paris lie?",
    "self_contained": False,
    "answers": ["Seine"],
    "gold_ids": ["france"],
}
CONVERSATION = {"id": "c1", "turns": [TURN]}
CHANGE = {
    "id": "ch1",
    "date": "2026-12-01",
    "doc_id": "france",
    "old": "Paris is",
    "new": "Lyon is",
    "question_ids": ["q1"],
    "new_answer": "Lyon",
}


def write(folder: Path, name: str, *rows: dict[str, Any]) -> None:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "corpus.jsonl", DOCUMENT)
    write(tmp_path, "questions.jsonl", QUESTION)
    return tmp_path


def whole(folder: Path) -> GoldenSet:
    write(folder, "paraphrases.jsonl", PARAPHRASES)
    write(folder, "near_miss.jsonl", NEAR_MISS)
    write(folder, "conversations.jsonl", CONVERSATION)
    write(folder, "changes.jsonl", CHANGE)
    return load(folder)


def test_every_part_of_a_set_is_read(folder: Path) -> None:
    golden = whole(folder)
    assert golden.name == folder.name
    assert golden.questions[0].supporting == (Supporting(doc_id="france", start=0, end=31),)
    assert golden.paraphrases[0].paraphrases == ("France's capital?",)
    assert golden.near_misses[0].differs == "country"
    assert golden.conversations[0].turns[0].standalone == "On which river does Paris lie?"
    assert golden.changes[0].new_answer == "Lyon"


def test_gzipped_files_give_the_same_set(folder: Path) -> None:
    plain = whole(folder)
    for path in list(folder.iterdir()):
        (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert load(folder) == plain
    assert load(folder).fingerprint == plain.fingerprint


def test_the_fingerprint_follows_the_content(folder: Path) -> None:
    before = load(folder).fingerprint
    write(folder, "questions.jsonl", {**QUESTION, "answers": ["Lutetia"]})
    assert load(folder).fingerprint != before


def test_empty_lines_are_skipped(folder: Path) -> None:
    with (folder / "corpus.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n  \n")
    assert len(load(folder).corpus) == 1


def test_line_separators_inside_a_text_do_not_end_a_line(folder: Path) -> None:
    row = json.dumps({"id": "italy", "text": "Rome\u2028is\u0085old."}, ensure_ascii=False)
    with (folder / "corpus.jsonl").open("a", encoding="utf-8") as file:
        file.write(row + "\n")
    assert load(folder).corpus[1].text == "Rome\u2028is\u0085old."


def test_head_and_split_keep_what_belongs_to_their_questions(folder: Path) -> None:
    write(folder, "questions.jsonl", QUESTION, {**QUESTION, "id": "q2", "split": "test"})
    write(folder, "paraphrases.jsonl", PARAPHRASES, {**PARAPHRASES, "question_id": "q2"})
    golden = load(folder)
    assert [one.question_id for one in golden.head(1).paraphrases] == ["q1"]
    assert [one.question_id for one in golden.only_split("test").paraphrases] == ["q2"]
    assert golden.only_split("test").corpus == golden.corpus


def test_an_unanswerable_question_needs_no_answer(folder: Path) -> None:
    write(folder, "questions.jsonl", {"id": "q1", "question": "Why?", "answers": [], "answerable": False})
    assert load(folder).questions[0].answerable is False


@pytest.mark.parametrize("missing", ["corpus.jsonl", "questions.jsonl"])
def test_a_missing_file_is_named(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(DataError, match=f"lacks {missing}"):
        load(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no golden set folder .*none"):
        load(tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "what"), [("corpus.jsonl", "the corpus is empty"), ("questions.jsonl", "no questions")]
)
def test_an_empty_file_is_named(folder: Path, name: str, what: str) -> None:
    write(folder, name)
    with pytest.raises(DataError, match=what):
        load(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("corpus.jsonl", b'{"id": "a", "text": "b"}\n{"id": ', r"corpus\.jsonl:2: not JSON"),
        ("corpus.jsonl", b"[1, 2]\n", r"corpus\.jsonl:1: a JSON object was expected"),
        ("questions.jsonl", b'{"id": "caf\xe9"}\n', r"questions\.jsonl: not UTF-8 at byte 11: save the file as UTF-8"),
    ],
)
def test_broken_bytes_name_file_and_line(folder: Path, name: str, content: bytes, message: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(folder)


SCRAMBLED = gzip.compress(b"x", mtime=0)[:10] + b"\xff" * 40


@pytest.mark.parametrize(
    "content",
    [
        b"no gzip at all",
        gzip.compress(b"x" * 5000)[:-20],
        pytest.param(SCRAMBLED, id="scrambled"),
    ],
)
def test_a_damaged_gzip_file_is_named(folder: Path, content: bytes) -> None:
    (folder / "corpus.jsonl").unlink()
    (folder / "corpus.jsonl.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"corpus\.jsonl\.gz: cannot be read"):
        load(folder)


def _without(row: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != key}


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("corpus.jsonl", [_without(DOCUMENT, "id")], r"corpus\.jsonl:1: field 'id' is missing"),
        ("corpus.jsonl", [{**DOCUMENT, "id": 7}], "field 'id' must be a string, got 7"),
        ("corpus.jsonl", [{**DOCUMENT, "text": ""}], "field 'text' is missing or empty"),
        ("corpus.jsonl", [DOCUMENT, DOCUMENT], r"corpus\.jsonl:2: id 'france' stands there twice"),
        ("questions.jsonl", [_without(QUESTION, "id")], r"questions\.jsonl:1: field 'id' is missing"),
        ("questions.jsonl", [QUESTION, QUESTION], r"questions\.jsonl:2: id 'q1' stands there twice"),
        ("questions.jsonl", [_without(QUESTION, "answers")], "'q1' is answerable and has no answers"),
        (
            "questions.jsonl",
            [{**QUESTION, "answers": "Paris"}],
            "field 'answers' must be a list of strings, got 'Paris'",
        ),
        ("questions.jsonl", [{**QUESTION, "answerable": "no"}], "'answerable' must be true or false, got 'no'"),
        ("questions.jsonl", [{**QUESTION, "gold_ids": ["italy"]}], "'gold_ids' names document 'italy'"),
        ("questions.jsonl", [{**QUESTION, "supporting": [1]}], "'supporting' must be a list of objects"),
        (
            "questions.jsonl",
            [{**QUESTION, "supporting": [{**SPAN, "end": 999}]}],
            "span 0 to 999 does not lie in document 'france' of 53 characters",
        ),
        ("questions.jsonl", [{**QUESTION, "supporting": [{**SPAN, "start": 31, "end": 31}]}], "span 31 to 31"),
        ("questions.jsonl", [{**QUESTION, "supporting": [{**SPAN, "start": 1}]}], "its sentence says 'Paris is"),
        ("questions.jsonl", [{**QUESTION, "supporting": [{**SPAN, "doc_id": "x"}]}], "names document 'x'"),
        ("paraphrases.jsonl", [{**PARAPHRASES, "question_id": "q9"}], "question id 'q9' is in no row"),
        ("near_miss.jsonl", [_without(NEAR_MISS, "answer_b")], "field 'answer_b' is missing"),
        ("near_miss.jsonl", [{**NEAR_MISS, "docs_b": ["italy"]}], "'docs_b' names document 'italy'"),
        ("conversations.jsonl", [{"id": "c1", "turns": [_without(TURN, "standalone")]}], "'standalone' is missing"),
        (
            "changes.jsonl",
            [{**CHANGE, "old": "Rome"}],
            "'old' must stand exactly once in document 'france', got 'Rome'",
        ),
        ("changes.jsonl", [{**CHANGE, "question_ids": ["q9"]}], "question id 'q9' is in no row"),
    ],
)
def test_a_wrong_row_names_file_line_field_and_value(
    folder: Path, name: str, rows: list[dict[str, Any]], message: str
) -> None:
    write(folder, name, *rows)
    with pytest.raises(DataError, match=message) as caught:
        load(folder)
    assert name in str(caught.value)
    assert caught.value.line == len(rows)
