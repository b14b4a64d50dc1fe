"""Quality metrics: their range, their extremes, and where they say nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costkit_evals.golden import Supporting
from costkit_evals.metrics import (
    abstention_accuracy,
    containment,
    exact_match,
    id_precision,
    id_recall,
    span_precision,
    span_recall,
    token_f1,
)

TEXTS = {"a": "One fact.  Another fact.", "b": "Elsewhere."}
FIRST, SECOND = Supporting(doc_id="a", start=0, end=9), Supporting(doc_id="a", start=11, end=24)
IDS = st.lists(st.sampled_from("abcdef"), max_size=6)
WORDS = st.lists(st.sampled_from(["the", "fee", "is", "12.50", "euros", "8%", "Kelmont"]), min_size=1).map(" ".join)


def test_id_recall_counts_gold_documents_and_precision_counts_pieces() -> None:
    assert id_recall(["a", "b"], ["a", "a", "c"]) == 0.5
    assert id_precision(["a", "b"], ["a", "a", "c"]) == pytest.approx(2 / 3)


@given(gold=IDS, context=IDS)
def test_id_metrics_are_shares_or_nothing(gold: list[str], context: list[str]) -> None:
    recall, precision = id_recall(gold, context), id_precision(gold, context)
    assert (recall is None) == (not gold)
    assert (precision is None) == (not gold or not context)
    assert recall is None or 0 <= recall <= 1
    assert precision is None or 0 <= precision <= 1


def test_a_span_counts_only_if_every_visible_character_of_it_is_there() -> None:
    assert span_recall([FIRST, SECOND], [("a", 0, 24)], TEXTS) == 1.0
    assert span_recall([FIRST, SECOND], [("a", 0, 9)], TEXTS) == 0.5
    assert span_recall([FIRST], [("a", 0, 8)], TEXTS) == 0.0
    assert span_recall([FIRST], [("b", 0, 9)], TEXTS) == 0.0


def test_a_span_may_be_pieced_together_and_blanks_may_be_lost() -> None:
    assert span_recall([FIRST], [("a", 4, 9), ("a", 0, 3)], TEXTS) == 1.0


@given(cut=st.integers(0, 24))
def test_more_context_never_lowers_span_recall(cut: int) -> None:
    less = span_recall([FIRST, SECOND], [("a", 0, cut)], TEXTS)
    more = span_recall([FIRST, SECOND], [("a", 0, cut), ("a", cut, 24)], TEXTS)
    assert less is not None
    assert more == 1.0 >= less


def test_span_precision_counts_each_character_once() -> None:
    assert span_precision([FIRST], [("a", 0, 9), ("a", 0, 9)]) == 1.0
    assert span_precision([FIRST], [("a", 0, 18)]) == 0.5
    assert span_precision([FIRST], []) == 0.0


def test_without_labels_nothing_is_said() -> None:
    assert span_recall([], [("a", 0, 9)], TEXTS) is None
    assert span_precision([], [("a", 0, 9)]) is None
    assert token_f1("Paris", []) is exact_match("Paris", []) is containment("Paris", []) is None


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("The fee is 12.50 euros.", "fee is 12.50 euros"),
        ("1,200 euros", "1200 euros."),
        ("Eight days [people-02-leave#120].", "eight days"),
        ("An  answer", "answer"),
    ],
)
def test_case_articles_punctuation_and_citations_do_not_count(answer: str, reference: str) -> None:
    assert exact_match(answer, [reference]) == 1.0
    assert token_f1(answer, [reference]) == 1.0


@pytest.mark.parametrize(("answer", "reference"), [("12.5", "125"), ("8%", "8"), ("2025", "2026")])
def test_what_changes_a_figure_counts(answer: str, reference: str) -> None:
    assert exact_match(answer, [reference]) == 0.0


def test_token_f1_is_the_harmonic_mean_for_the_best_reference() -> None:
    assert token_f1("eight days", ["six weeks", "eight days a year"]) == pytest.approx(2 * 1 * (2 / 3) / (1 + 2 / 3))
    assert token_f1("", ["eight days"]) == 0.0


def test_containment_asks_whether_everything_was_said() -> None:
    assert containment("Up to eight days may be carried over until 31 March.", ["eight days"]) == 1.0
    assert containment("Eight weeks", ["eight days"]) == 0.5


@given(answer=WORDS, reference=WORDS)
def test_answer_metrics_lie_between_their_extremes(answer: str, reference: str) -> None:
    f1, exact, held = (metric(answer, [reference]) for metric in (token_f1, exact_match, containment))
    assert f1 is not None
    assert held is not None
    assert 0 <= f1 <= 1
    assert 0 <= held <= 1
    if exact == 1.0 and f1:
        assert f1 == held == 1.0


@pytest.mark.parametrize(
    ("abstained", "answerable", "value"),
    [(True, False, 1.0), (False, True, 1.0), (True, True, 0.0), (False, False, 0.0)],
)
def test_abstention_is_right_exactly_where_the_corpus_holds_no_answer(
    abstained: bool, answerable: bool, value: float
) -> None:
    assert abstention_accuracy(abstained=abstained, answerable=answerable) == value
