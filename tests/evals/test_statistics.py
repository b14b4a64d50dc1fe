"""Bootstrap intervals over clusters: repeatable, paired, and honest about clustered data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costkit_evals.statistics import Difference, detectable_drop, estimate, paired_difference, ratio

SHARES = st.floats(0, 1, allow_nan=False, width=32)
ROWS = st.lists(st.tuples(SHARES, st.sampled_from("abcdef")), min_size=1, max_size=40)
SEEDS = st.integers(0, 2**31)


@settings(max_examples=40)
@given(rows=ROWS, seed=SEEDS)
def test_the_interval_lies_within_the_data(rows: list[tuple[float, str]], seed: int) -> None:
    values, clusters = [value for value, _ in rows], [cluster for _, cluster in rows]
    found = estimate(values, clusters, seed=seed)
    assert found is not None
    assert found.n == len(values)
    assert found.value == pytest.approx(float(np.mean(values)))
    slack = 1e-9
    assert min(values) - slack <= found.low <= found.high <= max(values) + slack


@settings(max_examples=25)
@given(values=st.lists(SHARES, min_size=30, max_size=60), seed=SEEDS)
def test_the_interval_contains_the_value(values: list[float], seed: int) -> None:
    found = estimate(values, [str(place) for place in range(len(values))], seed=seed)
    assert found is not None
    assert found.low - 1e-9 <= found.value <= found.high + 1e-9


@settings(max_examples=25)
@given(rows=ROWS, seed=SEEDS)
def test_the_same_seed_gives_the_same_result(rows: list[tuple[float, str]], seed: int) -> None:
    values, clusters = [value for value, _ in rows], [cluster for _, cluster in rows]
    assert estimate(values, clusters, seed=seed) == estimate(values, clusters, seed=seed)
    assert paired_difference(values, values[::-1], clusters, seed=seed) == paired_difference(
        values, values[::-1], clusters, seed=seed
    )


def _clustered() -> tuple[list[float], list[str]]:
    """Ten documents whose twelve questions all succeed or all fail together."""
    values = [float(document % 2) for document in range(10) for _ in range(12)]
    return values, [f"document-{document}" for document in range(10) for _ in range(12)]


def test_clustered_data_have_a_wider_interval_than_if_their_questions_were_independent() -> None:
    values, clusters = _clustered()
    together = estimate(values, clusters, seed=7)
    apart = estimate(values, [str(place) for place in range(len(values))], seed=7)
    assert together is not None
    assert apart is not None
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_pairing_takes_out_what_both_runs_share() -> None:
    generator = np.random.default_rng(3)
    hardness = generator.uniform(0, 1, 200)
    ours, theirs = (hardness - 0.05).tolist(), hardness.tolist()
    clusters = [str(place) for place in range(200)]
    paired = paired_difference(ours, theirs, clusters, seed=7)
    single = estimate(ours, clusters, seed=7)
    assert paired is not None
    assert single is not None
    assert paired.value == pytest.approx(-0.05)
    assert paired.high - paired.low < 1e-6 < single.high - single.low


def test_a_difference_of_a_run_with_itself_is_nothing() -> None:
    values, clusters = _clustered()
    assert paired_difference(values, values, clusters, seed=1) == Difference(
        value=0.0, low=0.0, high=0.0, lower_bound=0.0, n=len(values)
    )


@settings(max_examples=25)
@given(rows=ROWS, seed=SEEDS)
def test_the_one_sided_bound_lies_within_the_interval(rows: list[tuple[float, str]], seed: int) -> None:
    values, clusters = [value for value, _ in rows], [cluster for _, cluster in rows]
    found = paired_difference(values, [0.5] * len(values), clusters, seed=seed)
    assert found is not None
    assert found.low <= found.lower_bound <= found.high


def test_rows_of_different_runs_must_pair_up() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired_difference([1.0, 0.0], [1.0], ["a", "b"], seed=1)


def test_a_ratio_is_of_sums_not_a_mean_of_ratios() -> None:
    found = ratio([1.0, 9.0], [1.0, 3.0], ["a", "b"], seed=1)
    assert found is not None
    assert found.value == 2.5
    assert 1.0 <= found.low <= found.high <= 3.0


def test_nothing_is_estimated_from_nothing() -> None:
    assert estimate([], [], seed=1) is None
    assert ratio([1.0], [0.0], ["a"], seed=1) is None
    assert paired_difference([], [], [], seed=1) is None


def test_a_larger_set_sees_smaller_drops() -> None:
    generator = np.random.default_rng(5)

    def drop(size: int) -> float:
        gaps = generator.normal(0, 0.25, size).tolist()
        found = paired_difference(gaps, [0.0] * size, [str(place) for place in range(size)], seed=7)
        assert found is not None
        return detectable_drop(found)

    assert drop(800) < drop(100)
    assert drop(430) == pytest.approx(0.03, abs=0.006)
