"""One finished model call of any framework: its price, its row in the ledger, and sums over calls."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costkit.ledger.calls import ModelCall, Tally, is_refusal, is_unfinished
from costkit.ledger.usage import Usage
from costkit.prices import PriceBook, Rates
from costkit.scope import Scope

BOOK = PriceBook(overrides={"mine": Rates(input_usd_per_mtok=Decimal(1), output_usd_per_mtok=Decimal(5))})
PAID = Usage(uncached_input_tokens=10, output_tokens=2)


class StatusError(Exception):
    def __init__(self, status_code: object) -> None:
        self.status_code = status_code


def test_a_call_is_booked_as_billed_with_the_decision_that_led_to_it() -> None:
    call = ModelCall(
        id="1", model="mine", usage=PAID, mark={"tier": "cheap"}, scope=Scope(tenant="acme"), run_id="r", seconds=2.0
    )

    event = call.event(BOOK)

    assert (event.id, event.kind, event.decision, event.status) == ("model-1", "model", "answered", "ok")
    assert (event.model, event.usage, event.cost_nano_usd, event.price_snapshot) == ("mine", PAID, 20_000, "override")
    assert (event.tier, event.scope.tenant, event.run_id, event.seconds) == ("cheap", "acme", "r", 2.0)
    assert event.reason == ""


@pytest.mark.parametrize(
    ("call", "decision", "cost", "reason"),
    [
        (ModelCall(id="1", model="mine", usage=None), "answered", None, "the provider reported no usage"),
        (ModelCall(id="1", model="unheard-of", usage=PAID), "answered", None, ""),
        (ModelCall(id="1", model=None, usage=PAID), "answered", None, ""),
        (ModelCall(id="1", model="mine", usage=PAID, unfinished=True), "answered", 20_000, "cut short or declined"),
        (ModelCall(id="1", model="mine", usage=None, failure="overloaded", refused=True), "failed", 0, "overloaded"),
        (ModelCall(id="1", model="mine", usage=None, failure="it broke off"), "failed", None, "it broke off"),
        (ModelCall(id="1", model="mine", usage=PAID, failure="it broke off"), "failed", 20_000, "it broke off"),
        (ModelCall(id="1", model="mine", usage=None, failure="x" * 900), "failed", None, "x" * 500),
    ],
)
def test_what_is_unknown_is_unpriced_and_only_a_refusal_is_free(
    call: ModelCall, decision: str, cost: int | None, reason: str
) -> None:
    event = call.event(BOOK)

    assert (event.decision, event.cost_nano_usd, event.reason) == (decision, cost, reason)
    assert (event.status == "failed") == (decision == "failed")


def test_vectors_are_booked_as_embeddings_and_counted_tokens_say_so() -> None:
    event = ModelCall(id="1", kind="embedding", model="mine", usage=PAID, counted=True).event(BOOK)

    assert (event.id, event.kind, event.decision) == ("embedding-1", "embedding", "embedded")
    assert "counted" in event.reason


@pytest.mark.parametrize(("status", "refused"), [(529, True), (400, True), (200, False), (None, False), ("529", False)])
def test_an_http_error_answer_is_a_refusal_and_an_error_within_a_stream_is_none(status: object, refused: bool) -> None:
    assert is_refusal(StatusError(status)) is refused


def test_an_error_without_a_status_is_no_refusal() -> None:
    assert not is_refusal(RuntimeError("the line broke"))
    assert not is_refusal(None)


def test_an_answer_that_was_cut_short_or_declined_is_unfinished() -> None:
    assert is_unfinished("max_tokens")
    assert is_unfinished("refusal")
    assert not any(map(is_unfinished, ["end_turn", "stop", "", None, ["max_tokens"]]))


def test_an_empty_tally_knows_no_cost() -> None:
    tally = Tally()

    assert (tally.calls, tally.usage, tally.cost_nano_usd, tally.complete) == (0, Usage(), None, True)


@given(st.lists(st.none() | st.integers(min_value=0, max_value=10**9), min_size=1))
def test_a_sum_is_unpriced_as_soon_as_one_call_is(costs: list[int | None]) -> None:
    tally = Tally()
    for cost in costs:
        tally.add(PAID, cost)

    known = [cost for cost in costs if cost is not None]
    assert tally.cost_nano_usd == (sum(known) if len(known) == len(costs) else None)
    assert tally.usage.input_tokens == 10 * len(costs)


def test_one_unfinished_call_leaves_the_whole_incomplete() -> None:
    tally = Tally()
    tally.add(None, 0, unfinished=True)
    tally.add(PAID, 5)

    assert (tally.complete, tally.cost_nano_usd, tally.usage) == (False, 5, PAID)


def test_a_failed_call_leaves_the_whole_incomplete_until_a_later_one_returns() -> None:
    tally = Tally()

    tally.add(PAID, 5)
    tally.fail()
    assert not tally.complete

    tally.add(PAID, 5)
    assert (tally.complete, tally.calls, tally.cost_nano_usd) == (True, 2, 10)


def test_many_threads_lose_no_call() -> None:
    tally = Tally()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: tally.add(PAID, 1), range(1000)))

    assert (tally.calls, tally.cost_nano_usd, tally.usage.output_tokens) == (1000, 1000, 2000)
