"""A reranker's calibration: probabilities, abstention and worth from its own scores, and a file that is checked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costkit.context import Calibration, ContextReducer, Document, calibrated, from_embedder
from costkit.context.calibration import CALIBRATION_FILE
from costkit.context.curves import Curves
from costkit.errors import ConfigurationError, DataError
from costkit.testing import HashEmbedder, ListRecorder

HOTELS = "A hotel room may cost 120 euros a night. Breakfast is paid by the guest. Rooms are booked through the portal."
LEAVE = "Everybody has 28 days of annual leave. Five days can be carried over. Sick days are none of these."
DOCUMENTS = [Document(id="hotels", text=HOTELS), Document(id="leave", text=LEAVE)]
NEEDED = {"level": 0.8, "behind": 0.5, "intercept": -4.0}
CURVES = Curves(
    steepness=4.0,
    needed=NEEDED,
    answerable={"best": 1.0, "terms": 0.0, "intercept": -4.0},
    abstain_below=0.5,
)


class SharedWords:
    """A reranker that counts the question's longer words in a text."""

    name = "shared-words"

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        asked = {word for word in question.lower().strip("?").split() if len(word) > 3}
        return [float(sum(word in text.lower() for word in asked)) for text in texts]


def calibration(reranker: str = "shared-words", curves: Curves = CURVES) -> Calibration:
    return Calibration(
        reranker=reranker,
        curves=curves,
        questions=40,
        held_out=41,
        error=0.02,
        skill=0.5,
        accuracy=0.9,
        data="d",
        made="2026-01-01",
    )


def reducer(**options: object) -> ContextReducer:
    return ContextReducer(
        budget_tokens=30,
        reranker=calibrated(SharedWords(), calibration()),
        recorder=ListRecorder(),
        **options,  # type: ignore[arg-type]
    )


def test_a_calibrated_reranker_tells_probabilities_that_rise_with_its_scores() -> None:
    reduction = reducer().reduce("How many days of annual leave can be carried over?", DOCUMENTS)
    by_score = sorted((span.score, span.probability) for span in reduction.kept)
    assert reduction.decision == "reduced"
    assert len(by_score) >= 2
    assert [chance for _, chance in by_score] == sorted(chance for _, chance in by_score if chance is not None)
    assert all(0 < chance < 1 for _, chance in by_score if chance is not None)


def test_it_abstains_where_no_score_is_high_enough() -> None:
    found = [
        reducer(on_nothing="empty").reduce(question, DOCUMENTS).decision
        for question in ("How many days of annual leave?", "Who painted Guernica?")
    ]
    assert found == ["reduced", "nothing"]


def test_what_is_worth_most_does_not_depend_on_curves() -> None:
    """A steeper scale changes how much further sentences are worth, not which is best."""
    question = "What may a hotel room cost?"
    for steepness in (0.5, 40.0):
        curves = Curves(steepness=steepness, needed=CURVES.needed)
        reranker = calibrated(SharedWords(), calibration(curves=curves))
        kept = ContextReducer(budget_tokens=14, reranker=reranker, recorder=ListRecorder()).reduce(question, DOCUMENTS)
        assert "120 euros" in kept.context


def test_its_own_scores_are_left_alone() -> None:
    texts = ["A hotel.", "Leave."]
    assert calibrated(SharedWords(), calibration()).score("hotel", texts) == SharedWords().score("hotel", texts)


def test_the_embedding_reranker_of_any_embedder_can_be_calibrated() -> None:
    embedder = HashEmbedder()
    reranker = calibrated(from_embedder(embedder), calibration(f"embedding:{embedder.name}"))
    reduction = ContextReducer(budget_tokens=30, reranker=reranker, recorder=ListRecorder()).reduce(
        "How many days of annual leave?", DOCUMENTS
    )
    assert all(span.probability is not None for span in reduction.kept)


def test_no_reranker_means_the_default_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("costkit.context.calibration.default_embedder", HashEmbedder)
    assert calibrated(None, calibration("embedding:hash-256")).name == "embedding:hash-256, calibrated"


def test_the_calibration_of_another_reranker_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"is of 'other' and says nothing about 'shared-words'"):
        calibrated(SharedWords(), calibration("other"))


def test_what_is_calibrated_is_not_calibrated_again() -> None:
    with pytest.raises(ConfigurationError, match="says nothing about 'shared-words, calibrated'"):
        calibrated(calibrated(SharedWords(), calibration()), calibration())


def test_a_default_embedder_that_is_not_chosen_yet_is_told_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match="pass None for the default reranker"):
        calibrated(from_embedder(), calibration("embedding:minilm"))


# --- the curves ------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=20), st.integers(0, 30))
def test_a_unit_that_bears_more_on_the_question_is_never_less_probable(odds: list[float], terms: int) -> None:
    chances = CURVES.chances_needed(odds)
    assert [chances[at] for at in sorted(range(len(odds)), key=odds.__getitem__)] == sorted(chances)
    answerable = CURVES.chance_answerable(odds, terms)
    assert answerable is not None
    assert answerable <= (CURVES.chance_answerable([*odds, max(odds) + 1], terms) or 0.0)


def test_of_no_units_nothing_is_said() -> None:
    assert CURVES.chances_needed([]) == []
    assert CURVES.chance_answerable([], 5) is None
    assert Curves(needed=CURVES.needed).chance_answerable([1.0], 5) is None


# --- the file --------------------------------------------------------------------------------------------------------


def test_what_is_saved_is_loaded_again(tmp_path: Path) -> None:
    for one in (calibration(), calibration(curves=Curves(needed=CURVES.needed))):
        one.save(tmp_path / CALIBRATION_FILE)
        assert Calibration.load(tmp_path / CALIBRATION_FILE) == one
    assert calibrated(SharedWords(), tmp_path / CALIBRATION_FILE).name == "shared-words, calibrated"


def test_a_folder_that_is_not_there_cannot_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"out=.*nowhere.* cannot be written"):
        calibration().save(tmp_path / "nowhere" / CALIBRATION_FILE)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": 9}, "no calibration of this release"),
        ({"reranker": 7}, "reranker must be of type str, got 7"),
        ({"questions": 1.5}, "questions must be of type int, got 1.5"),
        ({"error": "0.1"}, "error must be of type float, got '0.1'"),
        ({"accuracy": True}, "accuracy must be of type"),
        ({"made": None}, "made must be of type str, got None"),
        ({"curves": "none"}, "curves='none'"),
        ({"curves": {"needed": {"level": 1.0}}}, "Curves.needed must map level, behind, intercept"),
        ({"curves": {"needed": NEEDED | {"behind": "x"}}}, "Curves.needed"),
        ({"curves": {"needed": NEEDED | {"behind": True}}}, "Curves.needed"),
        ({"curves": {"needed": NEEDED | {"level": -1.0}}}, "Curves.needed"),
        ({"curves": {"needed": NEEDED | {"intercept": float("nan")}}}, "Curves.needed"),
        ({"curves": {"needed": NEEDED | {"intercept": 10**400}}}, "Curves.needed"),
        ({"curves": {"needed": NEEDED, "answerable": {}}}, "Curves.answerable"),
        ({"curves": {"needed": NEEDED, "steepness": 0}}, "Curves.steepness must be a number"),
        ({"curves": {"needed": NEEDED, "steepness": -1.0}}, "Curves.steepness"),
        (
            {"curves": {"needed": NEEDED, "abstain_below": 7}},
            "Curves.abstain_below must be a number from 0 to 1, got 7",
        ),
        ({"curves": {"needed": NEEDED, "else": 7}}, "curves="),
    ],
)
def test_a_damaged_file_is_named_with_its_field(tmp_path: Path, change: dict[str, object], told: str) -> None:
    file = tmp_path / CALIBRATION_FILE
    calibration().save(file)
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(DataError, match=told) as raised:
        Calibration.load(file)
    assert CALIBRATION_FILE in str(raised.value)


@pytest.mark.parametrize("content", [None, "{", "[]", 100_000 * "["])
def test_what_is_no_calibration_is_refused(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / CALIBRATION_FILE
    if content is not None:
        file.write_text(content)
    with pytest.raises(DataError, match="costkit context calibrate"):
        Calibration.load(file)
