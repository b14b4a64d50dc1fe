"""The drift simulation: traffic changes under a cache, and audits find it."""

import pytest

from costkit.cache.equivalence import CosineScore
from costkit.testing import HashEmbedder
from costkit_evals.cache_drift import Drift, DriftSimulation

# Each topic has four words of its own, so questions of one topic have a cosine of 0.8 and those of two have none.
TOPICS = [" ".join(f"{fruit}{part}" for part in ("tree", "cake", "juice", "jam")) for fruit in ("fig", "lime", "pear")]
TURNS = [
    f"{one}{two}" for one in ("to", "be", "in", "an", "up", "so", "we") for two in ("day", "fore", "side", "other")
]
# Before the change a topic's questions share an answer; after it each asks something of its own.
BEFORE = [(f"{topic} {turn}", topic) for turn in TURNS for topic in TOPICS]
AFTER = [(f"late {topic} {turn}", f"{topic} {turn}") for turn in TURNS for topic in TOPICS]


@pytest.fixture(scope="module")
def simulation() -> DriftSimulation:
    return DriftSimulation(BEFORE, AFTER, embedder=HashEmbedder(), equivalence=CosineScore())


@pytest.fixture(scope="module")
def drift(simulation: DriftSimulation) -> Drift:
    return simulation.run(share=1.0)


def test_the_threshold_is_the_loosest_at_which_the_first_traffic_meets_the_target(simulation: DriftSimulation) -> None:
    threshold = simulation.read_off(0.05)
    before = range(simulation.change)
    assert simulation.replay.at(threshold, ask=before).wrong_per_hit <= 0.05
    looser = [value for value in simulation.grid if value < threshold]
    assert all(simulation.replay.at(value, ask=before).wrong_per_hit > 0.05 for value in looser)


def test_drift_is_found_within_a_few_audits_and_the_cache_serves_less(drift: Drift) -> None:
    assert drift.switches
    first = drift.switches[0]
    assert 0 < first.audits <= 30
    assert first.threshold is None or first.threshold > drift.threshold
    assert drift.rows[0].threshold == drift.threshold


def test_a_run_is_repeated_by_its_seed_and_needs_audits_to_notice(simulation: DriftSimulation) -> None:
    assert simulation.run(share=0.3, seed=3) == simulation.run(share=0.3, seed=3)
    assert simulation.run(share=0.0).switches == ()
