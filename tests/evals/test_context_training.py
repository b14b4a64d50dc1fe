"""What a reranker learns from, and ``costkit context train`` as far as it goes without torch."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from costkit.context.train import HeldOut, TrainedReranker
from costkit.errors import ConfigurationError, CostkitError, DataError, MissingExtraError
from costkit.testing import HashEmbedder
from costkit_evals.context_commands import context
from costkit_evals.context_training import judged_pairs, judged_passages

CORPUS = [
    {
        "id": "plans",
        "title": "Plans",
        "text": "The Solo plan costs 12 dollars. " + "It has one seat and no more. " * 60,
    },
    {"id": "lamps", "title": "Lamps", "text": "A lamp plan costs nothing."},
    {"id": "boats", "title": "Boats", "text": "Boats float."},
]
FIRST = {"doc_id": "plans", "start": 0, "end": 31}
ASKED = [
    {"id": "q1", "question": "What does Solo cost?", "gold_ids": ["plans"], "supporting": [FIRST], "split": "dev"},
    {"id": "q2", "question": "What do boats do?", "gold_ids": ["boats"], "supporting": []},
    {"id": "q3", "question": "Do lamps cost?", "gold_ids": ["lamps"], "supporting": [], "split": "test"},
    {"id": "q4", "question": "Who is the king?", "gold_ids": [], "supporting": [], "answerable": False},
]


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    folder = tmp_path / "golden"
    folder.mkdir()
    lines(folder / "corpus.jsonl", CORPUS)
    lines(
        folder / "questions.jsonl",
        [{"answers": ["12 dollars"], "answerable": True, "kind": "", **row} for row in ASKED],
    )
    return folder


def lines(file: Path, rows: list[dict[str, object]]) -> Path:
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return file


def run(*arguments: object) -> Result:
    ran = CliRunner().invoke(context, ["train", *map(str, arguments)])
    if isinstance(ran.exception, CostkitError):
        raise ran.exception
    return ran


def test_only_the_chunk_that_holds_the_supporting_passage_is_relevant(golden: Path) -> None:
    judged = [
        one for one in judged_passages([golden], HashEmbedder(), seed=7) if one.question == "What does Solo cost?"
    ]

    relevant = [one.text for one in judged if one.relevant]
    assert len(relevant) == 1
    assert relevant[0].startswith("Plans\nThe Solo plan costs 12 dollars.")


def test_other_chunks_of_a_gold_document_are_neither_right_nor_wrong(golden: Path) -> None:
    judged = [
        one for one in judged_passages([golden], HashEmbedder(), seed=7) if one.question == "What does Solo cost?"
    ]

    assert {one.text.partition("\n")[0] for one in judged if not one.relevant} == {"Lamps", "Boats"}


def test_where_no_passage_is_labelled_the_gold_document_is_relevant(golden: Path) -> None:
    judged = [one for one in judged_passages([golden], HashEmbedder(), seed=7) if one.question == "What do boats do?"]

    assert [one.text for one in judged if one.relevant] == ["Boats\nBoats float."]


def test_questions_to_report_on_and_unanswerable_ones_teach_nothing(golden: Path) -> None:
    asked = {one.question for one in judged_passages([golden], HashEmbedder(), seed=7)}

    assert asked == {"What does Solo cost?", "What do boats do?"}


def test_a_broken_row_of_judged_passages_is_named(tmp_path: Path) -> None:
    file = lines(tmp_path / "judged.jsonl", [{"question": "a", "text": "b", "relevant": "yes"}])
    with pytest.raises(DataError, match=r"judged.jsonl, line 1: .* relevant true or false"):
        judged_pairs([file])


def test_train_says_what_to_learn_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nothing to learn from"):
        run("--out", tmp_path / "out")


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed")
def test_without_torch_the_extra_is_named(tmp_path: Path) -> None:
    file = lines(tmp_path / "judged.jsonl", [{"question": "a", "text": "b", "relevant": True}])
    with pytest.raises(MissingExtraError, match=r"training a reranker.*costkit\[train\]"):
        run("--passages", file, "--out", tmp_path / "out")


@pytest.mark.parametrize(("first", "worse"), [(0.8, True), (0.95, False)])
def test_a_model_that_is_worse_than_what_it_began_as_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: float, worse: bool
) -> None:
    """The training itself is tested with torch; here it has happened, with these figures."""
    held_out = HeldOut(
        questions=40, passages=361, auc=0.94, float_auc=0.94, cosine_auc=0.93, first=first, cosine_first=0.9, drift=0.0
    )
    done = TrainedReranker(folder=tmp_path / "ours", passages=3267, minutes=11.0, held_out=held_out)
    monkeypatch.setattr("costkit.context.train.train", lambda *_, **__: done)
    file = lines(tmp_path / "judged.jsonl", [{"question": "a", "text": "b", "relevant": True}])

    ran = run("--passages", file, "--out", tmp_path / "ours")

    assert f"{first:.1%} (cosine 90.0%)" in ran.stdout
    assert ("worse than the model it began as" in ran.stdout) == worse
