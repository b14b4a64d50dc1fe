"""The handbook keeps its promises, and the validator sees when one is broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from costkit.embed import Embedder, remember
from costkit.errors import DataError
from costkit_evals.golden import Document, GoldenSet, load
from costkit_evals.validate import Finding, NearIdentical, main, read_near_identical, validate

HANDBOOK = Path(__file__).parents[2] / "evals" / "golden" / "handbook"


@pytest.fixture(scope="module")
def golden() -> GoldenSet:
    return load(HANDBOOK)


@pytest.fixture(scope="module")
def listed(golden: GoldenSet) -> list[NearIdentical]:
    return read_near_identical(HANDBOOK / "near_identical.json", golden.corpus)


@pytest.fixture(scope="module")
def embedder(minilm: Embedder) -> Embedder:
    return remember(minilm)


@pytest.fixture(scope="module")
def findings(golden: GoldenSet, listed: list[NearIdentical], embedder: Embedder) -> list[Finding]:
    return validate(golden, listed, embedder)


def test_every_promise_is_kept(findings: list[Finding]) -> None:
    assert [finding for finding in findings if not finding.passed] == []


def test_findings_say_what_was_found_and_what_must_be(findings: list[Finding]) -> None:
    by_name = {finding.name: finding for finding in findings}
    assert by_name["documents"].value == 96
    assert by_name["documents"].limit == "at least 70"
    assert 0.70 <= by_name["naive top-5 span recall"].value <= 0.90


def _short_document(golden: GoldenSet) -> GoldenSet:
    return replace(golden, corpus=(*golden.corpus, Document(id="memo-1", text="Too short.")))


def _copied_document(golden: GoldenSet) -> GoldenSet:
    return replace(golden, corpus=(*golden.corpus, replace(golden.corpus[-1], id="copy-1")))


def _few_documents(golden: GoldenSet) -> GoldenSet:
    used = {span.doc_id for question in golden.questions[:30] for span in question.supporting}
    return replace(
        golden.head(30), corpus=tuple(one for one in golden.corpus if one.id in used), near_misses=(), changes=()
    )


def _cut_quote(golden: GoldenSet) -> GoldenSet:
    first = golden.questions[0]
    span = first.supporting[0]
    cut = replace(first, supporting=(replace(span, end=span.end - 3), *first.supporting[1:]))
    return replace(golden, questions=(cut, *golden.questions[1:]))


def _crossed_split(golden: GoldenSet) -> GoldenSet:
    first = golden.questions[0]
    return replace(golden, questions=(replace(first, split="test"), *golden.questions[1:]))


def _one_document_for_many(golden: GoldenSet) -> GoldenSet:
    return replace(
        golden,
        questions=tuple(
            replace(one, gold_ids=one.gold_ids[:1]) if one.kind == "multi" else one for one in golden.questions
        ),
    )


def _repeated_question(golden: GoldenSet) -> GoldenSet:
    return replace(golden, questions=(*golden.questions, replace(golden.questions[0], id="people-q99")))


def _idle_change(golden: GoldenSet) -> GoldenSet:
    first = golden.changes[0]
    asked = next(one for one in golden.questions if one.id == first.question_ids[0])
    return replace(golden, changes=(replace(first, new_answer=asked.answers[0]), *golden.changes[1:]))


def _change_elsewhere(golden: GoldenSet) -> GoldenSet:
    first = golden.changes[0]
    other = next(one for one in golden.questions if one.gold_ids and first.doc_id not in one.gold_ids)
    return replace(golden, changes=(replace(first, question_ids=(other.id,)), *golden.changes[1:]))


def _undated_change(golden: GoldenSet) -> GoldenSet:
    return replace(golden, changes=(replace(golden.changes[0], date="next spring"), *golden.changes[1:]))


def _mixed_up_questions(golden: GoldenSet) -> GoldenSet:
    pairs = zip(golden.questions, golden.questions[::-1], strict=True)
    return replace(golden, questions=tuple(replace(one, question=other.question) for one, other in pairs))


def _distant_near_misses(golden: GoldenSet) -> GoldenSet:
    pairs = golden.near_misses
    return replace(
        golden, near_misses=tuple(replace(one, b=other.b) for one, other in zip(pairs, pairs[::-1], strict=True))
    )


@pytest.mark.parametrize(
    ("break_it", "promise"),
    [
        (_short_document, "documents outside 250 to 900 words"),
        (_copied_document, "largest share of 5-grams that two documents have in common"),
        (_few_documents, "documents"),
        (_few_documents, "questions"),
        (_few_documents, "near-miss pairs"),
        (_few_documents, "groups of two or more paraphrases"),
        (_cut_quote, "passages that begin or end inside a word"),
        (_crossed_split, "document families in two splits"),
        (_one_document_for_many, "multi-document questions with one document"),
        (_repeated_question, "questions asked twice"),
        (_idle_change, "changes that leave the answer as it was"),
        (_change_elsewhere, "changes beside their question's passages"),
        (_undated_change, "changes without a date"),
        (_mixed_up_questions, "naive top-5 span recall"),
        (_distant_near_misses, "near-miss pairs with a cosine of 0.85 or more"),
    ],
)
def test_a_broken_promise_is_found(
    golden: GoldenSet, embedder: Embedder, break_it: Callable[[GoldenSet], GoldenSet], promise: str
) -> None:
    broken = {finding.name for finding in validate(break_it(golden), [], embedder) if not finding.passed}
    assert promise in broken


def test_listed_passages_must_be_alike_and_differ(
    golden: GoldenSet, listed: list[NearIdentical], embedder: Embedder
) -> None:
    first, second = listed[0], listed[-1]
    wrong = [replace(first, b=first.a), replace(first, b=second.b), *listed[2:]]
    broken = {finding.name for finding in validate(golden, wrong, embedder) if not finding.passed}
    assert broken == {"listed passages that share under 80% of their words", "listed passages without a difference"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "cannot be read as JSON"),
        ('[{"a": {}}]', "each row needs a, b"),
        (
            json.dumps([{"a": (span := {"doc_id": "none", "start": 0, "end": 9}), "b": span, "differs_in": "year"}]),
            "does not lie in a document",
        ),
    ],
)
def test_a_bad_list_of_passages_is_an_error(golden: GoldenSet, tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "near_identical.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_near_identical(path, golden.corpus)


@pytest.mark.usefixtures("minilm")
def test_the_command_fails_on_a_set_that_breaks_promises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"id": "a-1", "text": "The answer is 42."}\n', encoding="utf-8")
    question = {"id": "a-q1", "question": "What is the answer?", "answers": ["42"], "gold_ids": ["a-1"]}
    (tmp_path / "questions.jsonl").write_text(json.dumps(question) + "\n", encoding="utf-8")
    (tmp_path / "near_identical.json").write_text("[]", encoding="utf-8")
    assert main([str(tmp_path)]) == 1
    assert "FAIL" in capsys.readouterr().out


def test_the_command_names_what_it_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert "corpus.jsonl" in capsys.readouterr().out
    assert main([]) == 2
    assert "usage" in capsys.readouterr().out
