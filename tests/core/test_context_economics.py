"""When compressing a context pays: hand-worked break-evens, and what a reducer makes of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costkit.context import ContextReducer, Document, Economics, Worth, worth_compressing
from costkit.errors import ConfigurationError
from costkit.prices import Rates, default_book
from costkit.prompt import PromptCache
from costkit.testing import HashEmbedder, ListRecorder, WordCounter

# A read at a tenth of the input price, a write at a quarter above it.
RATES = Rates(
    input_usd_per_mtok=Decimal(4),
    output_usd_per_mtok=Decimal(20),
    cache_read_usd_per_mtok=Decimal("0.4"),
    cache_write_5m_usd_per_mtok=Decimal(5),
    cache_write_1h_usd_per_mtok=Decimal(8),
)


def economics(**options: Any) -> Economics:
    return Economics(**({"model": "mine", "rates": RATES, "seconds": 0.0} | options))


def worth(after: int, **options: Any) -> Worth:
    return worth_compressing(economics(**options), tokens_before=1000, tokens_after=after)


# --- the break-even --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chance", "share"), [(0.9, 0.1 * 0.9 + 1.25 * 0.1), (0.5, 0.1 * 0.5 + 1.25 * 0.5), (0.0, 1.25), (1.0, 0.1)]
)
def test_ahead_of_a_breakpoint_the_break_even_is_what_reads_and_writes_cost_on_average(
    chance: float, share: float
) -> None:
    found = worth(100, cache_hit_chance=chance)

    assert found.break_even_share == pytest.approx(share)
    edge = int(share * 1000)
    assert worth(edge - 1, cache_hit_chance=chance).pays
    assert not worth(edge + 1, cache_hit_chance=chance).pays


def test_an_entry_of_an_hour_costs_more_to_write_so_compressing_pays_sooner() -> None:
    assert not worth(300, cache_hit_chance=0.9).pays
    assert worth(280, cache_hit_chance=0.9, ttl="1h").break_even_share == pytest.approx(0.1 * 0.9 + 2 * 0.1)


def test_behind_the_last_breakpoint_every_token_saved_pays() -> None:
    found = worth(999)

    assert found.pays
    assert (found.whole_nano_usd, found.compressed_nano_usd) == (4_000_000, 3_996_000)
    assert found.saved_nano_usd == 4_000


def test_the_time_it_takes_and_the_longer_answer_count() -> None:
    assert not worth(999, seconds=1.0, cpu_usd_per_hour=Decimal(36)).pays
    assert worth(999, seconds=1.0, cpu_usd_per_hour=Decimal(36)).cpu_nano_usd == 10_000_000
    assert not worth(500, extra_output_tokens=101).pays
    assert worth(500, extra_output_tokens=99).pays


def test_a_known_model_is_priced_from_the_book_and_says_from_which() -> None:
    rates = default_book().rates("claude-haiku-4-5")
    assert rates is not None

    found = worth_compressing(Economics(model="claude-haiku-4-5"), tokens_before=10**6, tokens_after=0)

    assert found.whole_nano_usd == rates.input_usd_per_mtok * 10**9
    assert found.price_snapshot == default_book().snapshot


def test_an_unknown_model_is_unpriced_and_never_free() -> None:
    behind, ahead = (
        worth_compressing(
            Economics(model="no-such-model", cache_hit_chance=chance), tokens_before=1000, tokens_after=100
        )
        for chance in (None, 0.5)
    )

    assert (behind.whole_nano_usd, behind.saved_nano_usd, behind.break_even_share) == (None, None, None)
    assert (behind.pays, ahead.pays) == (True, False)
    assert "no price of no-such-model" in behind.reason


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.floats(0, 1))
def test_without_time_and_output_the_dollars_agree_with_the_break_even(before: int, after: int, chance: float) -> None:
    found = worth_compressing(economics(cache_hit_chance=chance), tokens_before=before, tokens_after=after)

    assert found.break_even_share is not None
    if abs(found.kept_share - found.break_even_share) * before > 1:
        assert found.pays is (found.kept_share < found.break_even_share)


def test_the_expected_price_is_what_the_simulated_prompt_cache_bills() -> None:
    rates = default_book().rates("claude-haiku-4-5")
    assert rates is not None
    cache = PromptCache(counter=WordCounter())
    block = {"type": "text", "text": "word " * 5000, "cache_control": {"type": "ephemeral"}}
    question = {"role": "user", "content": [{"type": "text", "text": "Why?"}]}
    request = {"model": "claude-haiku-4-5", "max_tokens": 9, "system": [block], "messages": [question]}

    first, *later = (cache.send(request, at=float(at)).usage for at in range(10))

    sent = [first, *later]
    billed = sum(
        usage.cache_read_tokens * rates.by_kind()["cache_read"]
        + usage.cache_write_5m_tokens * rates.by_kind()["cache_write_5m"]
        for usage in sent
    )
    whole = worth_compressing(
        Economics(model="claude-haiku-4-5", cache_hit_chance=0.9),
        tokens_before=first.cache_write_5m_tokens,
        tokens_after=0,
    ).whole_nano_usd
    assert whole == pytest.approx(float(billed) * 1000 / len(sent))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("model", ""),
        ("cache_hit_chance", 1.5),
        ("ttl", "2h"),
        ("seconds", -1.0),
        ("seconds", float("nan")),
        ("cpu_usd_per_hour", 0.05),
        ("extra_output_tokens", -1),
    ],
)
def test_a_value_out_of_range_is_named(option: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"Economics\.{option} must .* got {value!r}"):
        economics(**{option: value})


def test_tokens_are_whole_numbers() -> None:
    with pytest.raises(ConfigurationError, match="tokens_after must be an integer of 0 or more, got -1"):
        worth(-1)


# --- in the reducer --------------------------------------------------------------------------------------------------

TEXTS = (
    "Refunds are paid within 14 days. They go to the card that was charged.",
    "Parcels are shipped on Monday. Islands take three days more.",
    "Cats sleep all day long. Dogs bark at the postman every morning.",
)


def documents() -> list[Document]:
    return [Document(id=f"d{at}", text=text) for at, text in enumerate(TEXTS)]


def reducer(recorder: ListRecorder | None = None, *, budget_tokens: int = 16, **options: Any) -> ContextReducer:
    return ContextReducer(
        budget_tokens=budget_tokens,
        embedder=HashEmbedder(),
        counter=WordCounter(),
        recorder=recorder or ListRecorder(),
        economics=economics(**options),
    )


QUESTIONS = ("what do cats and dogs do", "when are parcels shipped to islands", "refunds paid")


def test_ahead_of_a_breakpoint_every_question_gets_the_same_bytes_within_the_budget() -> None:
    ahead = reducer(cache_hit_chance=0.9)

    found = [ahead.reduce(question, documents()) for question in QUESTIONS]

    assert len({one.context for one in found}) == 1
    assert {one.decision for one in found} == {"static"}
    assert 0 < WordCounter().count(found[0].context) <= 16
    behind = [reducer().reduce(question, documents()) for question in QUESTIONS]
    assert len({one.context for one in behind}) == len(QUESTIONS)


def test_ahead_of_a_breakpoint_what_fits_stays_whole() -> None:
    found = reducer(budget_tokens=900, cache_hit_chance=0.9).reduce(QUESTIONS[0], documents())

    assert (found.decision, found.dropped) == ("kept", ())
    assert found.economics is not None
    assert not found.economics.pays


def test_ahead_of_a_breakpoint_duplicates_are_left_out() -> None:
    copy = Document(id="copy", text=TEXTS[0])
    found = reducer(budget_tokens=34, cache_hit_chance=0.5).reduce(QUESTIONS[0], [documents()[0], copy, documents()[1]])

    assert [passage.document_id for passage in found.passages] == ["d0", "d1"]
    assert {place.document_id for span in found.kept for place in span.also_in} == {"copy"}
    assert {one.reason for one in found.dropped} == {"duplicate"}


def test_where_choosing_sentences_does_not_pay_nothing_is_scored() -> None:
    class Counting(HashEmbedder):
        asked = 0

        def embed(self, texts: Any) -> Any:
            self.asked += len(texts)
            return super().embed(texts)

    embedder = Counting()
    dear = economics(seconds=10.0, cpu_usd_per_hour=Decimal(50))
    shared = ContextReducer(
        budget_tokens=16, embedder=embedder, counter=WordCounter(), recorder=ListRecorder(), economics=dear
    )

    found = shared.reduce(QUESTIONS[0], documents())

    assert (found.decision, embedder.asked) == ("static", 0)
    assert "does not pay" in found.reason


def test_the_decision_and_its_numbers_are_in_the_result_and_the_ledger() -> None:
    recorder = ListRecorder()

    found = reducer(recorder).reduce(QUESTIONS[0], documents())

    assert found.economics is not None
    assert found.economics.kept_share == pytest.approx(found.tokens_after / found.tokens_before)
    (event,) = recorder.events
    figures = {name: event.details[name] for name in found.economics.figures()}
    assert figures == found.economics.figures()
    assert figures["pays"] is True
    assert event.saved_nano_usd == found.economics.saved_nano_usd == 4000 * found.saved_tokens
    assert event.price_snapshot == "own rates"


def test_without_economics_nothing_is_said_of_the_bill() -> None:
    recorder = ListRecorder()
    plain = ContextReducer(budget_tokens=16, embedder=HashEmbedder(), counter=WordCounter(), recorder=recorder)

    assert plain.reduce(QUESTIONS[0], documents()).economics is None
    assert recorder.events[0].saved_nano_usd is None
    assert "pays" not in recorder.events[0].details


def test_wrong_economics_are_named() -> None:
    with pytest.raises(ConfigurationError, match="economics must be an Economics"):
        ContextReducer(economics="claude-haiku-4-5")  # type: ignore[arg-type]
