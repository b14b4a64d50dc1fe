"""Certificates: exact bounds, a sequence that ends at its first failure, groups as trials, and a file that is checked."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Sequence
from itertools import islice, permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costkit.cache.calibrate import Abstention, certify
from costkit.cache.certificate import Certificate, Tally, fewest_trials, upper_bound
from costkit.cache.equivalence import CosineScore
from costkit.cache.replay import Hit, Outcome, Replay
from costkit.errors import ConfigurationError, DataError
from costkit.testing import HashEmbedder

EMBEDDER = HashEmbedder(dimensions=4096)
COSINE = CosineScore()


def certified(
    texts: Sequence[str], groups: Sequence[str], *, target: float, confidence: float = 0.95, seed: int = 7
) -> Certificate | Abstention:
    return certify(
        Replay(texts, groups, EMBEDDER.embed(texts), COSINE),
        target=target,
        confidence=confidence,
        seed=seed,
        embedder=EMBEDDER.name,
    )


def wordings(group: int) -> list[str]:
    """The words of a group in every order: questions that differ, and whose vectors do not."""
    words = [f"{word}{group}" for word in ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")]
    return [" ".join(order) for order in permutations(words)]


def rewordings(groups: int, *, each: int = 2) -> tuple[list[str], list[str]]:
    """A stream in which every group asks in ``each`` wordings, unlike those of every other group."""
    asked = [(turn, group) for turn in range(each) for group in range(groups)]
    told = [list(islice(wordings(group), each)) for group in range(groups)]
    return [told[group][turn] for turn, group in asked], [f"group{group}" for _, group in asked]


def lookalikes(groups: int) -> tuple[list[str], list[str]]:
    """``rewordings``, and after them one question per group that shares six of its seven words with another group."""
    texts, names = rewordings(groups)
    near = [f"{text} eta{place}" for place, text in enumerate(texts[:groups])]
    return [*texts, *near], [*names, *(f"near{place}" for place in range(groups))]


GRID = (0.9, 0.8, 0.7, 0.6)


class Scripted(Replay):
    """Replays, strict first, in which it is given who is served wrongly; None is not served."""

    def __init__(self, outcomes: Sequence[Sequence[bool | None]], groups: Sequence[str] | None = None) -> None:
        texts = [f"question {index}" for index in range(len(outcomes[0]))]
        super().__init__(texts, groups or texts, np.zeros((len(texts), 2), dtype=np.float32), COSINE)
        self._scripted = dict(zip(GRID, outcomes, strict=True))

    def at(self, threshold: float, *, ask: Sequence[int] | None = None) -> Outcome:
        assert ask is None
        wrong = self._scripted[threshold]
        hits = tuple(
            Hit(asked=index, served=0, score=threshold, wrong=bool(one))
            for index, one in enumerate(wrong)
            if one is not None
        )
        return Outcome(threshold=threshold, questions=len(wrong), hits=hits, stored=0)


def scripted_certificate(
    outcomes: Sequence[Sequence[bool | None]], *, target: float, seed: int = 7
) -> Certificate | Abstention:
    return certify(Scripted(outcomes), target=target, grid=GRID, seed=seed)


# --- the bound ------------------------------------------------------------------------------------------------------


def test_two_in_a_hundred_takes_149_hits_with_none_wrong_or_at_most_12_wrong_in_1000() -> None:
    assert fewest_trials(0, target=0.02) == 149
    assert upper_bound(0, 149) <= 0.02 < upper_bound(0, 148)
    assert upper_bound(12, 1000) <= 0.02 < upper_bound(13, 1000)


@pytest.mark.parametrize(
    ("wrong", "hits", "limit"), [(0, 20, 0.1684), (1, 10, 0.4450), (3, 20, 0.3789), (5, 50, 0.2181)]
)
def test_the_bound_is_the_one_of_published_tables(wrong: int, hits: int, limit: float) -> None:
    """The upper end of a two-sided interval at 95% is the one-sided limit at 97.5%."""
    assert upper_bound(wrong, hits, confidence=0.975) == pytest.approx(limit, abs=5e-5)


def test_without_trials_or_without_a_right_one_nothing_is_known() -> None:
    assert upper_bound(0, 0) == 1.0
    assert upper_bound(7, 7) == 1.0


@given(failures=st.integers(0, 40), more=st.integers(1, 2000), confidence=st.floats(0.5, 0.999))
def test_more_failures_raise_the_bound_and_more_right_trials_lower_it(
    failures: int, more: int, confidence: float
) -> None:
    trials = failures + more

    bound = upper_bound(failures, trials, confidence=confidence)

    assert failures / trials < bound < upper_bound(failures + 1, trials, confidence=confidence) + 1e-9
    assert upper_bound(failures, trials + 1, confidence=confidence) < bound


@given(failures=st.integers(0, 40), target=st.floats(0.005, 0.5))
def test_the_fewest_trials_are_enough_and_one_fewer_is_not(failures: int, target: float) -> None:
    fewest = fewest_trials(failures, target=target)

    assert upper_bound(failures, fewest) <= target + 1e-9
    assert upper_bound(failures, fewest - 1) > target - 1e-9


# --- calibration ----------------------------------------------------------------------------------------------------


def test_a_clean_stream_is_certified_and_names_all_that_the_bound_rests_on() -> None:
    texts, groups = rewordings(400)

    made = certified(texts, groups, target=0.02)

    assert isinstance(made, Certificate)
    assert made.certified.wrong == made.test.wrong == 0
    assert made.certified.hits == made.certified.clusters == 180
    assert made.bound == upper_bound(0, 180)
    assert made.test.questions >= made.certified.questions
    assert (made.entries, made.data.rows, made.score, made.embedder) == (400, 800, "cosine", EMBEDDER.name)


def test_below_the_minimum_calibration_abstains_and_says_how_many_labels_are_missing() -> None:
    texts, groups = rewordings(300)

    made = certified(texts, groups, target=0.02)

    assert isinstance(made, Abstention)
    assert made.threshold is None
    assert "135 groups" in made.reason
    assert "149" in made.reason
    assert made.missing_hits == 149 - 135
    assert f"{made.missing_labels:,} labelled questions" in made.advice
    assert "costkit cache sample --n 300" in made.advice


def test_hits_of_one_group_count_once() -> None:
    texts, groups = rewordings(60, each=30)

    made = certified(texts, groups, target=0.1)

    assert isinstance(made, Abstention)
    assert "27 groups" in made.reason
    assert isinstance(certified(*rewordings(70, each=30), target=0.1), Certificate)


def test_repeats_word_for_word_prove_nothing() -> None:
    """1,200 repeats that are right, and 60 rewordings of another group's question: only these are semantic hits."""
    texts, groups = rewordings(1200)
    texts = [*texts[:1200], *texts[:1200]]
    odd = [next(islice(wordings(group), 3, None)) for group in range(60)]

    for seed in range(20):
        made = certified([*texts, *odd], [*groups, *(f"odd{place}" for place in range(60))], target=0.02, seed=seed)
        assert isinstance(made, Abstention)
        assert made.certified.hits == made.certified.wrong


def test_one_group_that_brings_most_hits_is_not_hidden_wherever_it_falls() -> None:
    """200 groups ask twice, and one asks 400 times what another group asked: one trial in 201, but most hits."""
    texts, groups = rewordings(200)
    texts += wordings(1)[2:402]
    groups += ["stranger"] * 400

    assert not [seed for seed in range(20) if isinstance(certified(texts, groups, target=0.1, seed=seed), Certificate)]


def test_hits_of_one_group_are_worth_fewer_than_as_many_hits_of_several() -> None:
    alone = Tally(questions=900, hits=450, wrong=5, clusters=450, wrong_clusters=5)
    together = dataclasses.replace(alone, clusters=300, wrong_clusters=2, design_effect=2.0)
    assert alone.bound(0.95) == upper_bound(5, 450)
    assert together.bound(0.95) == upper_bound(3, 225) > alone.bound(0.95)


def test_the_threshold_stays_above_lookalikes() -> None:
    texts, groups = lookalikes(400)

    made = certified(texts, groups, target=0.05)

    assert isinstance(made, Certificate)
    assert made.threshold > 6 / (6**0.5 * 7**0.5)  # the cosine of six words and the same six with a seventh
    assert made.test.wrong_per_hit < 0.05


def test_the_first_failure_ends_the_sequence_even_if_a_looser_threshold_would_pass() -> None:
    fine, bad = [False] * 400, [True] * 400

    made = scripted_certificate([fine, fine, bad, fine], target=0.05)

    assert isinstance(made, Certificate)
    assert made.threshold == 0.8


def test_thresholds_with_too_few_hits_to_pass_do_not_end_the_sequence() -> None:
    few = [False if index < 20 else None for index in range(400)]

    made = scripted_certificate([few, few, [False] * 400, [True] * 400], target=0.05)

    assert isinstance(made, Certificate)
    assert made.threshold == 0.7


def test_where_the_first_threshold_errs_too_often_more_labels_alone_do_not_help() -> None:
    made = scripted_certificate([[index % 5 == 0 for index in range(1000)]] * 4, target=0.05)

    assert isinstance(made, Abstention)
    assert made.threshold == 0.9
    assert "train a score" in made.advice


@given(rates=st.lists(st.floats(0, 0.2), min_size=4, max_size=4), seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_a_looser_target_never_gives_a_stricter_threshold(rates: list[float], seed: int) -> None:
    """Where the hits suffice for each target, so that all sequences start at the same threshold."""
    draw = random.Random(seed)
    outcomes = [[draw.random() < rate for _ in range(1000)] for rate in rates]

    made = [scripted_certificate(outcomes, target=target, seed=seed) for target in (0.02, 0.05, 0.1)]

    served = [one.threshold if isinstance(one, Certificate) else 1.0 for one in made]
    assert served == sorted(served, reverse=True)


def test_a_certificate_errs_in_about_one_of_twenty_cases_at_most() -> None:
    """At each threshold 5.5% of the groups are served wrongly; a certificate for 5% would be false."""
    false = 0
    for seed in range(200):
        draw = random.Random(seed)
        outcomes = [[draw.random() < 0.055 for _ in range(600)] for _ in GRID]
        false += isinstance(scripted_certificate(outcomes, target=0.05, seed=seed), Certificate)
    assert false <= 16


def test_a_certificate_errs_as_rarely_where_a_few_groups_bring_many_wrong_hits() -> None:
    """1,000 groups with one right hit, 5 with 15 wrong ones: 7% of the hits are wrong."""
    groups = [*(f"right{place}" for place in range(1000)), *(f"wrong{place % 5}" for place in range(75))]
    replay = Scripted([[name.startswith("wrong") for name in groups]] * len(GRID), groups)

    made = [certify(replay, target=0.05, grid=GRID, seed=seed) for seed in range(200)]

    assert sum(isinstance(one, Certificate) for one in made) <= 16


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": 0.0}, r"target must be a share between 0 and 1.*got 0\.0"),
        ({"target": 2}, "target must be a share between 0 and 1.*got 2"),
        ({"target": 0.1, "confidence": 1.0}, r"confidence must be a share .*got 1\.0"),
        ({"target": 0.1, "grid": ()}, r"grid must hold .*got \(\)"),
        ({"target": 0.1, "grid": (0.5, 0.6)}, r"from strict to loose, got \(0\.5, 0\.6\)"),
    ],
    ids=repr,
)
def test_an_impossible_option_is_named(options: dict[str, float], said: str) -> None:
    texts, groups = rewordings(3)
    with pytest.raises(ConfigurationError, match=said):
        certify(Replay(texts, groups, EMBEDDER.embed(texts), COSINE), **options)  # type: ignore[arg-type]


# --- the certificate ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    made = certified(*rewordings(400), target=0.02)
    assert isinstance(made, Certificate)
    return made


def test_it_covers_the_cache_that_it_was_made_for(certificate: Certificate) -> None:
    assert certificate.covers("cosine", EMBEDDER.name, 400) is None


@pytest.mark.parametrize(
    ("score", "embedder", "entries", "said"),
    [
        ("families-2", EMBEDDER.name, 10, "'families-2'"),
        ("cosine", "minilm", 10, "'minilm'"),
        ("cosine", EMBEDDER.name, 401, "at most 400 entries"),
    ],
)
def test_it_says_why_it_does_not_cover_another(
    certificate: Certificate, score: str, embedder: str, entries: int, said: str
) -> None:
    reason = certificate.covers(score, embedder, entries)
    assert reason is not None
    assert said in reason


def test_a_void_one_covers_nothing(certificate: Certificate) -> None:
    reason = dataclasses.replace(certificate, voided="drift on 2026-11-21").covers("cosine", EMBEDDER.name, 1)
    assert reason == "the certificate is void: drift on 2026-11-21"


@given(data=st.data())
def test_it_survives_its_file(
    certificate: Certificate, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    changed = dataclasses.replace(
        certificate,
        threshold=data.draw(st.floats(allow_nan=False, allow_infinity=False)),
        bound=data.draw(st.floats(0, 1)),
        seed=data.draw(st.integers()),
        score=data.draw(st.text()),
        voided=data.draw(st.text()),
        test=dataclasses.replace(certificate.test, hits=data.draw(st.integers(0))),
    )
    file = tmp_path_factory.getbasetemp() / "deep" / "certificate.json"
    changed.save(file)
    assert Certificate.load(file) == changed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bound": None}, "bound must be of type float, got None"),
        ({"entries": "many"}, "entries must be of type int, got 'many'"),
        ({"threshold": True}, "threshold must be of type float, got True"),
        ({"test": 3}, "an object belongs where 3 stands"),
        ({"colour": "red"}, "'colour' is no field"),
    ],
    ids=repr,
)
def test_a_file_that_was_tampered_with_names_the_field(
    certificate: Certificate, change: dict[str, object], said: str, tmp_path: Path
) -> None:
    file = tmp_path / "certificate.json"
    certificate.save(file)
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(DataError, match=said) as raised:
        Certificate.load(file)
    assert "costkit cache calibrate" in str(raised.value)


@pytest.mark.parametrize("content", [None, "", "[1]", '{"score": "cosine"}'])
def test_no_certificate_is_one_clear_error(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "certificate.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(DataError, match=r"certificate\.json.*costkit cache calibrate"):
        Certificate.load(file)


def test_a_place_that_cannot_be_written_is_named(certificate: Certificate, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        certificate.save(tmp_path / "file" / "certificate.json")
