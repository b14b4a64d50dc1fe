"""The router: which tier a question goes to, and that the choice is explained, priced and within policy."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costkit.errors import ConfigurationError
from costkit.route import Router, Tier, tiers_of
from costkit.scope import Scope
from costkit.testing import ListRecorder

CHEAP, STRONG = "claude-haiku-4-5", "claude-opus-4-6"


@pytest.fixture
def recorder() -> ListRecorder:
    return ListRecorder()


@pytest.fixture
def router(recorder: ListRecorder) -> Router:
    return Router(tiers_of([CHEAP, STRONG]), recorder=recorder)


@pytest.mark.parametrize("question", ["What is the price of the L2?", "When does the trial end?"])
def test_one_short_question_for_one_fact_goes_to_the_cheap_tier(router: Router, question: str) -> None:
    assert router.decide(question).tier.model == CHEAP


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("How does the Team plan differ from the Plant plan?", "compare"),
        ("Why was the intake delayed in March?", "reasoning"),
        ("What do two gateways and a licence cost altogether?", "calculation"),
        ("What does `def f(x): return x` do, is it a function?", "code"),
        ("What is the limit? Who approves it?", "several things"),
        ("And for it?", "outside itself"),
        ("word " * 41, "longer than"),
    ],
)
def test_a_harder_question_goes_up_and_the_reason_says_why(router: Router, question: str, reason: str) -> None:
    decision = router.decide(question)

    assert decision.tier.model == STRONG
    assert reason in decision.reason


def test_weak_support_in_the_context_sends_a_question_up(router: Router) -> None:
    question = "What is the price of the ultrasonic humidifier?"

    assert (
        router.decide(question, passages=["The price of the ultrasonic humidifier is 90 euros."]).tier.name == "cheap"
    )
    assert router.decide(question, passages=["Leave is 25 days a year."]).tier.name == "strong"


def test_a_decision_prices_every_allowed_tier_and_books_what_it_saves(router: Router, recorder: ListRecorder) -> None:
    decision = router.decide("What is the price of the L2?", input_tokens=1_000_000)

    # List prices per million input tokens: 1 and 5 dollars; 150 output tokens at 5 and 25 dollars per million.
    assert decision.cost_nano_usd == {"cheap": 1_000_750_000, "strong": 5_003_750_000}
    assert decision.saved_nano_usd == 4_003_000_000
    assert recorder.events[-1].saved_nano_usd == 4_003_000_000
    assert recorder.events[-1].decision == "cheap"


def test_an_unpriced_model_is_unpriced_never_free(recorder: ListRecorder) -> None:
    router = Router(tiers_of(["my-own-model", STRONG]), recorder=recorder)

    decision = router.decide("What is the price of the L2?")

    assert decision.cost_nano_usd["cheap"] is None
    assert decision.saved_nano_usd is None


def test_policy_rules_a_tier_out_whatever_it_costs(recorder: ListRecorder) -> None:
    tiers = [
        Tier(name="cheap", model=CHEAP, data_classes=frozenset({"public"})),
        Tier(name="strong", model=STRONG),
    ]
    router = Router(tiers, recorder=recorder)

    assert router.decide("What is the price?", scope=Scope(data_class="public")).tier.name == "cheap"
    restricted = router.decide("What is the price?", scope=Scope(data_class="restricted"))
    assert restricted.tier.name == "strong"
    assert "restricted" in restricted.refused["cheap"]
    assert router.decide("What is the price?").tier.name == "strong", "unlabelled data may be anything"


def test_a_decision_shows_as_plain_values(recorder: ListRecorder) -> None:
    router = Router(
        [Tier(name="public", model=CHEAP, data_classes=frozenset({"public"})), Tier(name="strong", model=STRONG)],
        recorder=recorder,
    )

    decision = router.decide("What is the price?", input_tokens=1000)

    assert json.loads(json.dumps(decision.mark)) == decision.mark
    assert decision.mark["part"] == "route"
    assert decision.mark["decision"] == decision.mark["tier"] == "strong"
    assert (decision.mark["model"], decision.mark["reason"]) == (STRONG, decision.reason)
    assert decision.mark["refused"] == {"public": decision.refused["public"]}
    assert decision.mark["expected_nano_usd"] == decision.cost_nano_usd["strong"]
    assert decision.mark["saved_nano_usd"] == 0


def test_where_policy_rules_everything_out_the_error_says_so(recorder: ListRecorder) -> None:
    router = Router([Tier(name="only", model=CHEAP, data_classes=frozenset({"public"}))], recorder=recorder)

    with pytest.raises(ConfigurationError, match="data class is 'restricted'"):
        router.decide("What is the price?", scope=Scope(data_class="restricted"))


@pytest.mark.parametrize(
    ("models", "message"),
    [([], "at least one"), ([CHEAP, CHEAP], "different models"), ([STRONG, CHEAP], "cheapest first")],
)
def test_a_wrong_list_of_models_is_refused(models: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        tiers_of(models)


def test_tiers_are_named_by_their_rung() -> None:
    assert [tier.name for tier in tiers_of([CHEAP, STRONG])] == ["cheap", "strong"]
    assert [tier.name for tier in tiers_of([STRONG])] == ["strong"]
    assert [tier.name for tier in tiers_of(["a", "b", "c", "d"])] == ["tier-1", "tier-2", "tier-3", "tier-4"]


@given(st.text())
def test_any_question_gets_an_explained_decision(question: str) -> None:
    router = Router(tiers_of([CHEAP, STRONG]), recorder=ListRecorder())

    decision = router.decide(question)

    assert decision.tier in router.tiers
    assert decision.reason
