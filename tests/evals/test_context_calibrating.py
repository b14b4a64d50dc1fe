"""``costkit context calibrate``: probabilities that hold on questions that were not learned from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from costkit.context import Calibration, ContextReducer, Document, calibrated, from_embedder
from costkit.context.curves import Curves
from costkit.errors import ConfigurationError, CostkitError, DataError
from costkit.testing import HashEmbedder, ListRecorder
from costkit_evals.context_calibrating import calibrate, flashrank_folder
from costkit_evals.context_commands import context
from costkit_evals.context_curves import Scored, balanced_accuracy, calibration_error, fit_curves
from costkit_evals.context_methods import Choice, open_method
from costkit_evals.golden import load

COLOURS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "jetty")
THINGS = [f"{colour}{letter}" for colour in COLOURS for letter in "abcdef"]
UNKNOWN = [f"nothing{letter}{digit}" for letter in "abcdef" for digit in range(6)]


@pytest.fixture(autouse=True)
def hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("costkit.embed.default_embedder", HashEmbedder)


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    return golden_set(tmp_path / "golden", UNKNOWN)


def golden_set(folder: Path, unknown: Sequence[str]) -> Path:
    """Sixty documents of three sentences, one of which a question asks for, and questions that nothing answers."""
    folder.mkdir()
    corpus, questions = [], []
    for at, thing in enumerate(THINGS):
        fact = f"The {thing} plan costs {at + 10} dollars each month."
        text = f"Our founders like {thing} very much. {fact} Articles about it are signed by owners."
        start = text.index(fact)
        corpus.append({"id": thing, "title": "", "text": text})
        questions.append(
            {
                "id": thing,
                "question": f"How many dollars does the {thing} plan cost each month?",
                "answers": [fact],
                "gold_ids": [thing],
                "supporting": [{"doc_id": thing, "start": start, "end": start + len(fact)}],
                "answerable": True,
                "kind": "",
            }
        )
    for thing in unknown:
        question = f"Where was the {thing} painter born?"
        rest = {"answers": [], "gold_ids": [], "supporting": [], "answerable": False, "kind": ""}
        questions.append({"id": thing, "question": question, **rest})
    for name, rows in (("corpus", corpus), ("questions", questions)):
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return folder


def run(*arguments: object) -> Result:
    ran = CliRunner().invoke(context, ["calibrate", *map(str, arguments)])
    if isinstance(ran.exception, CostkitError):
        raise ran.exception
    return ran


def test_what_is_written_gives_probabilities_and_abstention_to_the_reranker(golden: Path, tmp_path: Path) -> None:
    ran = run("--golden", golden, "--out", tmp_path / "ours.json", "--json")
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    found = Calibration.load(tmp_path / "ours.json")
    assert told["reranker"] == found.reranker == "embedding:hash-256"
    assert found.questions + found.held_out > len(THINGS)
    assert found.error < 0.2
    assert found.accuracy is not None
    assert found.accuracy > 0.9

    reranker = calibrated(from_embedder(HashEmbedder()), found)
    reducer = ContextReducer(budget_tokens=40, reranker=reranker, on_nothing="empty", recorder=ListRecorder())
    documents = [Document(id=one.id, text=one.text) for one in load(golden).corpus[:12]]
    reduction = reducer.reduce("How many dollars does the ambera plan cost each month?", documents)
    best = max(reduction.kept, key=lambda span: span.probability or 0.0)
    assert "ambera plan costs" in best.text
    assert reducer.reduce("Where was the nothingz9 painter born?", documents).decision == "nothing"


def test_people_are_told_what_the_figures_mean(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("--golden", golden)
    assert "calibration.json: embedding:hash-256, fitted on" in ran.stdout
    assert "(balanced)" in ran.stdout
    assert Calibration.load("calibration.json").data == "golden"


def test_without_unanswerable_questions_it_never_abstains(tmp_path: Path) -> None:
    ran = run("--golden", golden_set(tmp_path / "golden", []), "--out", tmp_path / "ours.json")
    assert "it never abstains" in ran.stdout
    assert Calibration.load(tmp_path / "ours.json").curves.answerable is None


def test_too_few_questions_are_counted(golden: Path) -> None:
    with pytest.raises(DataError, match=r"5 of 5 questions of one half .* 20 must have"):
        run("--golden", golden, "--limit", "5")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--limit", "0"), "limit must be 1 or more, got 0"),
        (("--reranker", "bm25"), "'bm25' names no reranker"),
        (("--reranker", "flashrank:"), "'flashrank:' names no reranker"),
        (("--reranker", "fastembed:nonsense"), "'nonsense' is no cross-encoder of fastembed"),
    ],
)
def test_a_wrong_option_is_named(golden: Path, options: tuple[str, ...], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        run("--golden", golden, *options)


class Backwards:
    """A reranker that scores the question's words against."""

    name = "backwards"

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        asked = set(question.lower().split())
        return [-float(len(asked.intersection(text.lower().split()))) for text in texts]


def test_a_reranker_that_does_not_rank_is_refused(golden: Path) -> None:
    with pytest.raises(DataError, match="backwards does not score needed sentences above others"):
        calibrate([load(golden)], Backwards(), HashEmbedder())


def test_the_calibration_of_a_folder_lies_in_it_and_the_benchmark_uses_it(tmp_path: Path) -> None:
    folder = tmp_path / "our-reranker"
    folder.mkdir()
    (folder / "model.onnx").touch()
    assert flashrank_folder(f"flashrank:{folder}") == folder
    assert flashrank_folder("flashrank:ms-marco-MiniLM-L-12-v2") is None
    curves = Curves(needed={"level": 1.0, "behind": 0.0, "intercept": 0.0})
    Calibration(
        reranker="another", curves=curves, questions=1, held_out=1, error=0.0, accuracy=None, data="", made=""
    ).save(folder / "calibration.json")
    with pytest.raises(ConfigurationError, match="'another' and says nothing about 'flashrank:our-reranker'"):
        open_method(Choice.parse(f"costkit:{folder}"), HashEmbedder(), None)  # type: ignore[arg-type]


# --- the figures -----------------------------------------------------------------------------------------------------


def scored(seed: int, *, scale: float = 1.0) -> Scored:
    """A question whose units are needed exactly as probably as one curve over their relevance says."""
    draw = np.random.default_rng(seed)
    odds = draw.normal(-2, 2, size=40)
    needed = draw.random(40) < 1 / (1 + np.exp(-odds))
    return Scored(set_name="drawn", answerable=True, terms=4, relevance=odds / scale, needed=needed)


@pytest.mark.parametrize("scale", [1.0, 25.0])
def test_the_error_is_small_where_the_curve_is_the_right_one_and_large_where_it_is_not(scale: float) -> None:
    curves = fit_curves([scored(seed, scale=scale) for seed in range(100)], steepness=scale)
    unseen = [scored(seed, scale=scale) for seed in range(100, 200)]
    sure = Curves(steepness=scale, needed={"level": 3.0, "behind": 0.0, "intercept": 3.0})
    assert curves.needed["level"] == pytest.approx(1.0, abs=0.15)
    assert calibration_error(curves, unseen) < 0.04
    assert calibration_error(sure, unseen) > 0.1


def test_of_questions_that_are_all_answerable_no_accuracy_is_told() -> None:
    given = [scored(seed) for seed in range(30)]
    assert balanced_accuracy(fit_curves(given), given) is None
