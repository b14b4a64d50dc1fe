"""Near questions with the same answer speak for it, those with another against it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costkit.cache import FittedScore, ResponseCache, same_text
from costkit.cache.agreement import agreement, decision_name
from costkit.cache.replay import Replay
from costkit.testing import HashEmbedder, ListRecorder

SCORES = st.lists(st.floats(-8, 8), min_size=1, max_size=5)


@given(SCORES, st.data())
def test_an_answer_gains_by_company_and_loses_by_rivals(scores: list[float], data: st.DataObject) -> None:
    answers = data.draw(st.lists(st.sampled_from("ab"), min_size=len(scores), max_size=len(scores)))
    alone = agreement(scores, ["a"] * len(scores))
    mixed = agreement(scores, answers)
    assert all(shift >= 0 for shift in alone)
    assert all(one <= other for one, other in zip(mixed, alone, strict=True))


@given(SCORES)
def test_answers_that_nobody_compared_say_nothing(scores: list[float]) -> None:
    assert agreement(scores, [None] * len(scores)) == [0.0] * len(scores)


def test_a_rival_counts_by_how_near_it_comes() -> None:
    near, far = agreement([1.0, 0.9], ["a", "b"])[0], agreement([1.0, -3.0], ["a", "b"])[0]
    assert near < far < 0 or math.isclose(far, 0, abs_tol=1e-6)
    assert near < -0.1


def test_a_candidate_that_is_ruled_out_has_no_vote() -> None:
    assert agreement([1.0, -math.inf], ["a", "b"]) == [0.0, agreement([-math.inf], ["b"])[0]]


def test_the_same_words_are_the_same_answer() -> None:
    assert same_text("Within  14 days.\n", "within 14 days.")
    assert not same_text("Within 14 days.", "Within 40 days.")


def test_a_replay_knows_the_answers_that_are_stored_and_not_what_is_asked() -> None:
    texts = ["red apple pie", "red apple tart", "green pear cake", "red apple pie tart"]
    vectors, score = HashEmbedder().embed(texts), FittedScore()
    one_answer = Replay(texts, ["a", "a", "b", "c"], vectors, score, answers=True)
    two_answers = Replay(texts, ["a", "c", "b", "c"], vectors, score, answers=True)
    blind = Replay(texts, ["a", "c", "b", "c"], vectors, score)

    surest = [max(hit.score for hit in replay.best() if hit.asked == 3) for replay in (one_answer, two_answers, blind)]

    assert surest[0] > surest[2] > surest[1]


def _cache(path: Path, **options: object) -> ResponseCache:
    return ResponseCache(version="t", embedder=HashEmbedder(), path=path, recorder=ListRecorder(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("answers", "sign"), [(("Blue.", "blue. "), 1), (("Blue.", "Green."), -1)])
def test_stored_answers_vote_in_a_look_up(tmp_path: Path, answers: tuple[str, str], sign: int) -> None:
    scores = []
    for name, options in (("alone", {}), ("voting", {"same_answer": same_text})):
        cache = _cache(tmp_path / name, threshold=1.5, **options)
        for question, answer in zip(("colour of the sky today", "colour of the sky tonight"), answers, strict=True):
            cache.store(cache.lookup(question).ticket, answer)
        cache.close()
        cache = _cache(tmp_path / name, threshold=1.5, **options)
        scores.append(cache.lookup("colour of the sky now").score)
        cache.close()
    assert scores[0] is not None
    assert scores[1] is not None
    assert (scores[1] - scores[0]) * sign > 0


def test_a_comparison_that_raises_loses_neither_answer_nor_cache(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_a: str, _b: str) -> bool:
        raise RuntimeError("no judge at hand")

    cache = _cache(tmp_path, threshold=0.99, same_answer=broken)
    questions = ("colour of the sky today", "colour of the sky tonight")
    for question in questions:
        cache.store(cache.lookup(question).ticket, "Blue.")
    cache.close()
    assert "no judge at hand" in caplog.text
    cache = _cache(tmp_path, threshold=0.99)
    assert [cache.lookup(question).answer for question in questions] == ["Blue.", "Blue."]
    cache.close()


def test_a_certificate_for_one_way_to_decide_covers_no_other() -> None:
    assert decision_name(FittedScore(), answers=True) != decision_name(FittedScore(), answers=False)
