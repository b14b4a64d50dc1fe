"""The fit of the default context reranker, on cases whose needed sentences follow a rule that is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from costkit.context.relevance import FEATURES, Observed
from costkit_evals.context_candidates import held_out
from costkit_evals.context_fit import Case, fit, fit_weights, found_first
from costkit_evals.golden import Question

TOLD_BY = FEATURES.index("sentence_terms")
MISLEADING = FEATURES.index("opening")


def case(number: int, *, answerable: bool = True, set_name: str = "made") -> Case:
    """Twelve units in three documents; the needed one has the most shared terms, an unanswerable question none."""
    values = np.random.default_rng(number).uniform(0, 0.4, size=(12, len(FEATURES) - 1))
    needed = np.zeros(12, dtype=np.bool_)
    if answerable:
        needed[number % 12] = True
        values[number % 12, TOLD_BY] += 0.5
        values[:, 0] += 0.4
        values[number % 12, MISLEADING] = 0.0
    observed = Observed(values=values, ranks=[at // 4 for at in range(12)], links=[set(), set(), set()], terms=5)
    question = Question(id=f"{set_name}-{number}", question="?", answerable=answerable)
    return Case(set_name=set_name, question=question, observed=observed, needed=needed)


CASES = [case(number, answerable=number % 4 > 0) for number in range(80)]


def test_the_fit_finds_what_tells_needed_sentences_and_lets_nothing_lower_a_relevance() -> None:
    weights = fit_weights(CASES)
    assert max(weights, key=lambda name: weights[name]) == "sentence_terms"
    assert weights["opening"] == weights["named"] == 0.0
    assert all(weight >= 0 for weight in weights.values())


def test_a_fitted_relevance_finds_sentences_that_it_never_saw_and_abstains_where_nothing_answers() -> None:
    fitted = fit(CASES)
    unseen = [case(number, answerable=number % 3 > 0) for number in range(200, 260)]
    assert found_first(fitted, unseen) > 0.95
    right = [fitted.scores(one.observed).nothing != one.question.answerable for one in unseen]
    assert np.mean(right) > 0.9


def test_probabilities_are_as_high_as_sentences_are_needed() -> None:
    fitted = fit(CASES)
    unseen = [case(number) for number in range(300, 400)]
    chances = np.concatenate([fitted.scores(one.observed).probabilities for one in unseen])
    needed = np.concatenate([one.needed for one in unseen])
    assert chances.mean() == pytest.approx(needed.mean(), abs=0.03)
    assert chances[needed].mean() > 10 * chances[~needed].mean()


def test_every_set_weighs_the_same_whatever_its_size() -> None:
    small = [case(number, set_name="small") for number in range(8)]
    once = fit_weights([*CASES, *small])
    copied = [replace(one, question=replace(one.question, id=f"{one.question.id}-again")) for one in CASES]
    again = fit_weights([*CASES, *copied, *small])
    assert again == pytest.approx(once, rel=0.02, abs=0.05)


def test_a_sets_own_split_decides_what_is_held_out() -> None:
    assert held_out(Question(id="a", question="?", split="test"))
    assert not held_out(Question(id="a", question="?", split="dev"))
    halves = [held_out(Question(id=f"q{number}", question="?")) for number in range(400)]
    assert 0.4 < np.mean(halves) < 0.6
