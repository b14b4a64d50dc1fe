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
from costkit_evals.context_curves import Scored, balanced_accuracy, calibration_error, fit_curves, skill
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
    assert found.error < 0.1
    assert found.skill > 0.5
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


@pytest.mark.parametrize("number", [1, 6, 12])
def test_with_few_unanswerable_questions_it_never_abstains_and_says_so(tmp_path: Path, number: int) -> None:
    ran = run("--golden", golden_set(tmp_path / "golden", UNKNOWN[:number]), "--out", tmp_path / "ours.json")
    assert "it never abstains" in ran.stdout
    assert Calibration.load(tmp_path / "ours.json").curves.answerable is None


def test_a_folder_that_is_not_there_is_told_before_the_work(golden: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no folder"):
        run("--golden", golden, "--out", tmp_path / "nowhere" / "ours.json")


def test_too_few_questions_are_counted(golden: Path) -> None:
    with pytest.raises(DataError, match=r"^5 of the 5 questions to fit on have .* 20 must have"):
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


class SharedWords:
    """A reranker that counts the question's words in a text, times a factor."""

    name = "shared-words"

    def __init__(self, factor: float) -> None:
        self._factor = factor

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        asked = set(question.lower().split())
        return [self._factor * len(asked.intersection(text.lower().split())) for text in texts]


def test_a_reranker_that_does_not_rank_is_refused(golden: Path) -> None:
    with pytest.raises(DataError, match="shared-words does not score needed sentences above others"):
        calibrate([load(golden)], SharedWords(-1.0), HashEmbedder())


def test_a_reranker_that_gives_no_numbers_is_named(golden: Path) -> None:
    with pytest.raises(DataError, match=r"shared-words cannot be calibrated: .* no finite number"):
        calibrate([load(golden)], SharedWords(float("nan")), HashEmbedder())


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_scale_of_the_scores_does_not_matter(golden: Path, factor: float) -> None:
    usual, scaled = (calibrate([load(golden)], SharedWords(one), HashEmbedder()) for one in (1.0, factor))
    assert scaled.curves.steepness * factor == pytest.approx(usual.curves.steepness, rel=1e-3)
    assert scaled.skill == pytest.approx(usual.skill, abs=0.01)
    assert scaled.skill > 0.3


def test_the_calibration_of_a_folder_lies_in_it_and_the_benchmark_uses_it(tmp_path: Path) -> None:
    folder = tmp_path / "our-reranker"
    folder.mkdir()
    (folder / "model.onnx").touch()
    assert flashrank_folder(f"flashrank:{folder}") == folder
    assert flashrank_folder("flashrank:ms-marco-MiniLM-L-12-v2") is None
    curves = Curves(needed={"level": 1.0, "behind": 0.0, "intercept": 0.0})
    Calibration(
        reranker="another",
        curves=curves,
        questions=1,
        held_out=1,
        error=0.0,
        skill=0.0,
        accuracy=None,
        data="",
        made="",
    ).save(folder / "calibration.json")
    with pytest.raises(ConfigurationError, match="'another' and says nothing about 'flashrank:our-reranker'"):
        open_method(Choice.parse(f"costkit:{folder}"), HashEmbedder(), None)  # type: ignore[arg-type]


# --- the figures -----------------------------------------------------------------------------------------------------


def scored(seed: int, *, scale: float = 1.0, mean: float = -2.0, set_name: str = "drawn") -> Scored:
    """A question whose units are needed exactly as probably as one curve over their relevance says."""
    draw = np.random.default_rng(seed)
    odds = draw.normal(mean, 2.5, size=100)
    needed = draw.random(100) < 1 / (1 + np.exp(-odds))
    return Scored(set_name=set_name, answerable=True, terms=4, relevance=odds / scale, needed=needed)


@pytest.mark.parametrize("mean", [-2.0, -7.0])
@pytest.mark.parametrize("scale", [1.0, 25.0])
def test_the_curve_is_found_though_hardly_any_unit_is_needed(scale: float, mean: float) -> None:
    curves = fit_curves([scored(seed, scale=scale, mean=mean) for seed in range(600)], steepness=scale)
    unseen = [scored(seed, scale=scale, mean=mean) for seed in range(600, 1200)]
    sure = Curves(steepness=scale, needed={"level": 3.0, "behind": 0.0, "intercept": 3.0})
    blind = Curves(steepness=scale, needed={"level": 0.0, "behind": 0.0, "intercept": -3.0})
    assert curves.needed["level"] == pytest.approx(1.0, abs=0.15)
    assert calibration_error(curves, unseen) < 0.05 < calibration_error(sure, unseen)
    assert skill(curves, unseen) > 0.2 > 0.01 > skill(blind, unseen)


def test_equal_probabilities_stay_together_and_sets_weigh_the_same() -> None:
    """Of the small set no unit is needed, of the large one a share: a tenth is said of all."""
    curves = Curves(needed={"level": 0.0, "behind": 0.0, "intercept": float(np.log(1 / 9))})
    none = Scored(
        set_name="small", answerable=True, terms=4, relevance=np.zeros(100), needed=np.zeros(100, dtype=np.bool_)
    )
    large = [scored(seed, set_name="large") for seed in range(40)]
    share = float(np.concatenate([one.needed for one in large]).mean())
    assert calibration_error(curves, [none, *large]) == pytest.approx(abs(share / 2 - 0.1), abs=1e-6)
    assert calibration_error(curves, [*large, none]) == pytest.approx(abs(share / 2 - 0.1), abs=1e-6)


def test_the_threshold_lies_between_the_kinds_of_question_and_not_at_one_of_them() -> None:
    draw = np.random.default_rng(0)

    def asked(at: int) -> Scored:
        answerable = at % 2 == 0
        relevance = draw.normal(5 if answerable else -5, 0.5, size=8)
        return Scored(
            set_name="drawn",
            answerable=answerable,
            terms=4,
            relevance=relevance,
            needed=(relevance == relevance.max()) & answerable,
        )

    given = [asked(at) for at in range(60)]
    curves = fit_curves(given)
    assert 0.1 < curves.abstain_below < 0.9
    assert balanced_accuracy(curves, given) == 1.0


def test_of_questions_that_are_all_answerable_no_accuracy_is_told() -> None:
    given = [scored(seed) for seed in range(30)]
    assert balanced_accuracy(fit_curves(given), given) is None
