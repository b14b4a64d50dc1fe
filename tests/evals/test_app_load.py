"""The example service under load: every answer is one that the model server gave, and the cache saves calls."""

from __future__ import annotations

from collections import Counter

import pytest
from click.testing import CliRunner

from costkit.embed import Embedder
from costkit_evals import app_load
from costkit_evals.app_load import Asked, expected, measure, mix
from costkit_evals.golden import GoldenSet, load
from costkit_evals.options import handbook


@pytest.fixture(scope="module")
def golden() -> GoldenSet:
    return load(handbook())


def test_the_mix_is_drawn_anew_alike_and_every_request_is_what_it_says(golden: GoldenSet) -> None:
    for requests in (10, 24, app_load.MOST_REQUESTS):
        asked = mix(golden, requests=requests, seed=3)

        kinds = Counter(one.kind for one in asked)
        assert kinds["repeat"] == kinds["paraphrase"] == int(0.3 * requests)
        assert mix(golden, requests=requests, seed=3) == asked != mix(golden, requests=requests, seed=4)
        check_kinds(golden, asked)


def check_kinds(golden: GoldenSet, asked: list[Asked]) -> None:
    answers = expected(golden)
    before: set[str] = set()
    answered: set[str] = set()
    for one in asked:
        assert (one.text in before) == (one.kind == "repeat")
        assert (answers[one.text] in answered) == (one.kind != "new")
        before.add(one.text)
        answered.add(answers[one.text])


def test_with_the_cache_fewer_calls_give_answers_that_the_model_gave(golden: GoldenSet, minilm: Embedder) -> None:
    answers = expected(golden)
    seen: list[str] = []
    asked = mix(golden, requests=24, seed=3)

    (without, plain), (with_cache, served) = measure(
        golden, minilm, asked=asked, clients=4, delay_seconds=0.02, on_reply=seen.append
    )

    assert Counter(seen) == {"without cache": 24, "with cache": 24}
    assert (without.errors, with_cache.errors) == (0, 0)
    assert [one.answer for one in plain] == [answers[one.text] for one in asked]
    assert [one.answer for one in served] == [answers[one.matched_question or one.text] for one in served]
    assert without.model_calls == 24
    assert without.exact_hits == without.semantic_hits == without.wrong == 0
    assert without.hit_whole_p50_ms is None
    assert with_cache.hit_whole_p50_ms is not None
    assert with_cache.model_calls == 24 - with_cache.exact_hits - with_cache.semantic_hits < 24
    assert with_cache.wrong == sum(one.answer != answers[one.text] for one in served)


def test_a_failed_request_is_an_error_and_no_figure_of_it_counts(golden: GoldenSet, minilm: Embedder) -> None:
    """The model server refuses a question that it does not know."""
    known = mix(golden, requests=10, seed=3)
    unknown = Asked(text="What is on the moon?", kind="new")

    (without, plain), (with_cache, served) = measure(
        golden, minilm, asked=[*known, unknown], clients=1, delay_seconds=0.0
    )

    assert (without.errors, with_cache.errors) == (1, 1)
    assert [bool(one.error) for one in plain] == [bool(one.error) for one in served] == [False] * 10 + [True]


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_the_program_states_its_setting_and_both_services(option: list[str], minilm: Embedder) -> None:
    ran = CliRunner().invoke(app_load.main, ["--requests", "10", "--clients", "2", "--delay-ms", "1", *option])

    assert ran.exit_code == 0, ran.output
    for word in ("without cache", "with cache", "model_calls", "requests_per_second", "paraphrase", "model_delay_ms"):
        assert word in ran.stdout
