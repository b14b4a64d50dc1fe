"""Drift: audited hits tighten what is served, and void a certificate."""

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costkit.cache.drift import FALSE_ALARM, HORIZON, DriftMonitor
from costkit.errors import ConfigurationError, StoreError

GRID = (0.5, 0.7, 0.9)


def begun(**options: Any) -> DriftMonitor:
    return DriftMonitor(**{"target": 0.05, "grid": GRID, "threshold": 0.5, **options})


def fed(monitor: DriftMonitor, *audits: tuple[float, bool], at: float = 0.0) -> DriftMonitor:
    for score, right in audits:
        monitor = monitor.audited(score, right=right, at=at)
    return monitor


def wrong_at_a_fifth(score: float, audits: int) -> list[tuple[float, bool]]:
    return [(score, number % 5 != 0) for number in range(audits)]


def test_a_cache_that_errs_at_its_target_alarms_in_at_most_the_stated_share_of_runs() -> None:
    runs, alarms = 500, 0
    for seed in range(runs):
        draw = random.Random(seed)
        alarms += bool(fed(begun(), *((0.6, draw.random() >= 0.05) for _ in range(HORIZON))).voided)
    assert alarms <= FALSE_ALARM * runs


def test_a_cache_that_errs_at_its_target_seldom_alarms_over_many_horizons() -> None:
    runs, alarms, horizons = 100, 0, 10
    for seed in range(runs):
        draw = random.Random(seed)
        alarms += bool(fed(begun(), *((0.6, draw.random() >= 0.05) for _ in range(horizons * HORIZON))).voided)
    assert alarms <= horizons * FALSE_ALARM * runs


def test_drift_after_a_long_quiet_time_is_found_within_a_hundred_audits() -> None:
    quiet = fed(begun(), *[(0.6, True)] * 1000)
    assert not quiet.voided
    drifted = fed(quiet, *wrong_at_a_fifth(0.6, 100), at=7.0)
    assert drifted.voided is not None
    assert drifted.voided.at == 7.0
    assert "the target is 5.0%" in drifted.voided.reason


def test_the_loosest_threshold_that_recent_audits_speak_for_is_served() -> None:
    """Wrong hits lie below 0.7 alone, so 0.7 is served as soon as the alarm sounds."""
    mixed = [one for _ in range(100) for one in ((0.6, False), (0.8, True), (0.95, True), (0.75, True), (0.8, True))]
    monitor = begun()
    for audit in mixed:
        monitor = fed(monitor, audit)
        if monitor.threshold > 0.5 and not monitor.exact_only:
            break
    assert monitor.threshold == 0.7
    assert monitor.voided
    assert monitor.serves(0.7)
    assert not monitor.serves(0.69)


def test_without_such_a_threshold_only_exact_hits_are_served_until_shadow_audits_speak_for_one() -> None:
    stopped = fed(begun(), *wrong_at_a_fifth(0.95, 100))
    assert stopped.exact_only
    assert not stopped.serves(0.99)
    assert stopped.wants_shadow_audit(0.7)
    assert not stopped.wants_shadow_audit(0.6)  # below the stricter threshold that may come back
    assert fed(stopped, *[(0.95, True)] * 50).exact_only
    back = fed(stopped, *[(0.95, True)] * 300)
    assert back.serves(0.95)
    assert back.threshold > 0.5
    assert back.voided == stopped.voided


def test_audits_before_the_drift_do_not_vouch_for_a_threshold_after_it() -> None:
    stopped = fed(begun(), *[(0.95, True)] * 250, *wrong_at_a_fifth(0.95, 100))
    assert stopped.exact_only


def test_a_hit_judged_after_the_threshold_rose_is_no_evidence_against_it() -> None:
    monitor = begun(threshold=0.9)
    assert fed(monitor, *[(0.6, False)] * 50).stakes == monitor.stakes


@given(st.lists(st.tuples(st.sampled_from((0.5, 0.6, 0.8, 0.95)), st.booleans()), max_size=400), st.floats(0.02, 0.6))
@settings(max_examples=60)
def test_the_threshold_never_falls_and_a_voided_certificate_stays_void(
    audits: list[tuple[float, bool]], target: float
) -> None:
    monitor = begun(target=target)
    for audit in audits:
        following = fed(monitor, audit)
        assert following.threshold >= monitor.threshold
        assert monitor.voided in (None, following.voided)
        assert len(following.recent) <= 300
        monitor = following


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=80))
def test_a_monitor_survives_json(audits: list[tuple[float, bool]]) -> None:
    monitor = fed(begun(target=0.2), *audits)
    assert DriftMonitor.from_json(json.loads(json.dumps(monitor.to_json()))) == monitor


@pytest.mark.parametrize(
    "broken", [{"target": "much"}, {"grid": 3}, {"stakes": [0.0]}, {"voided": {"why": "rain"}}, {"colour": "red"}]
)
def test_a_state_of_another_program_is_refused(broken: dict[str, object]) -> None:
    with pytest.raises(StoreError, match="calibrate anew"):
        DriftMonitor.from_json({**begun().to_json(), **broken})


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"target": 5}, "target"),
        ({"grid": ()}, "grid"),
        ({"grid": (0.9, 0.5)}, "grid"),
        ({"threshold": float("nan")}, "threshold"),
    ],
)
def test_options_that_cannot_work_are_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        begun(**options)
