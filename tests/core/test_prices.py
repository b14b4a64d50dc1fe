"""Prices: by kind, by date, by tier, and never zero for a model that nobody knows."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal, localcontext

import pytest
from genai_prices import Usage as Counted
from genai_prices import calc_price, data_snapshot
from hypothesis import given
from hypothesis import strategies as st

from costkit.errors import ConfigurationError
from costkit.ledger.usage import Usage
from costkit.prices import PriceBook, Rates, default_book

NOW = datetime(2026, 11, 1, tzinfo=UTC)
MILLION = 1_000_000
counts = st.integers(min_value=0, max_value=300_000)


def usd(model: str, *, at: datetime = NOW, batch: bool = False, **tokens: int) -> Decimal | None:
    return PriceBook(today=NOW.date).price(model, Usage(**tokens), at=at, batch=batch).usd


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("uncached_input_tokens", "4"),
        ("cache_read_tokens", "0.2"),
        ("cache_write_5m_tokens", "5"),
        ("cache_write_1h_tokens", "8"),
        ("output_tokens", "20"),
    ],
)
def test_every_kind_of_token_has_its_own_list_price(kind: str, expected: str) -> None:
    """Dollars per million tokens of Claude Opus 5.5, from the provider's price table."""
    assert usd("claude-opus-5-5", **{kind: MILLION}) == Decimal(expected)


def test_crossing_the_long_context_tier_reprices_every_token() -> None:
    """Claude Haiku 5.5: 0.10 and 0.50 dollars up to 100,000 input tokens, 0.50 and 2.50 above."""
    assert usd("claude-haiku-5-5", uncached_input_tokens=90_000, output_tokens=1_000) == Decimal("0.0095")
    assert usd("claude-haiku-5-5", uncached_input_tokens=150_000, output_tokens=1_000) == Decimal("0.0775")


def test_cached_tokens_count_towards_the_tier() -> None:
    assert usd("claude-haiku-5-5", cache_read_tokens=100_001) == Decimal(100001) * Decimal("0.05") / MILLION


def test_prices_are_dated() -> None:
    """Claude Sonnet 4.6 with 300,000 input tokens: dearer while it had a long-context tier."""
    february = datetime(2026, 2, 1, tzinfo=UTC)
    tokens = {"uncached_input_tokens": 300_000, "output_tokens": 1_000}

    assert usd("claude-sonnet-4-6", at=february, **tokens) == Decimal("1.8225")
    assert usd("claude-sonnet-4-6", **tokens) == Decimal("0.915")


def test_a_batch_costs_half() -> None:
    assert usd("claude-haiku-4-5", batch=True, uncached_input_tokens=MILLION) == Decimal("0.5")


def test_the_cheapest_cached_token_is_not_rounded_away() -> None:
    price = default_book().price("claude-haiku-5-5", Usage(cache_read_tokens=1), at=NOW)

    assert price.cost_nano_usd == 10


def test_an_unknown_model_is_unpriced_never_free() -> None:
    price = default_book().price("my-own-model", Usage(uncached_input_tokens=1000))

    assert (price.cost_nano_usd, price.usd, price.priced) == (None, None, False)
    assert default_book().rates("my-own-model") is None


@pytest.mark.parametrize(
    "name",
    [
        "anthropic/claude-haiku-4-5",
        "claude-haiku-4-5-20251001",
        "anthropic:claude-haiku-4-5",
        "global.anthropic.claude-haiku-4-5-20251001-v1:0",
        "bedrock_converse:global.anthropic.claude-haiku-4-5-20251001-v1:0",
        "claude-haiku-4-5@20251001",
        "vertex_ai/claude-haiku-4-5@20251001",
        "openrouter/anthropic/claude-haiku-4.5",
    ],
)
def test_gateway_and_cloud_names_are_the_same_model(name: str) -> None:
    assert usd(name, uncached_input_tokens=MILLION) == Decimal(1)


def test_a_regional_endpoint_keeps_its_surcharge() -> None:
    """Amazon Bedrock's regional endpoints cost a tenth more than its global ones."""
    assert usd("us.anthropic.claude-haiku-4-5-20251001-v1:0", uncached_input_tokens=MILLION) == Decimal("1.1")


def test_a_local_model_is_not_taken_for_a_hosted_one_of_like_name() -> None:
    assert default_book().rates("ollama/mistral-large") is None


def test_an_embedding_model_is_priced_by_its_input_alone() -> None:
    assert usd("openai/text-embedding-3-small", uncached_input_tokens=MILLION) == Decimal("0.02")


def test_a_fee_per_request_is_a_part_of_its_own() -> None:
    price = default_book().price("perplexity/sonar-pro", Usage(output_tokens=10), at=NOW)

    assert price.by_kind["request"] > 0
    assert sum(price.by_kind.values()) == price.cost_nano_usd


def test_a_price_that_changes_within_the_hour_changes_on_the_minute() -> None:
    """DeepSeek Chat had cheaper hours from 16:30 UTC."""
    book = default_book()
    usage = Usage(uncached_input_tokens=MILLION)

    dear = book.price("deepseek-chat", usage, at=datetime(2025, 7, 1, 16, 29, tzinfo=UTC))
    cheap = book.price("deepseek-chat", usage, at=datetime(2025, 7, 1, 16, 31, tzinfo=UTC))

    assert (cheap.cost_nano_usd or 0) < (dear.cost_nano_usd or 0)


def test_the_callers_decimal_context_does_not_round_money() -> None:
    with localcontext(prec=3):
        price = default_book().price("claude-opus-5-5", Usage(uncached_input_tokens=1_234_567), at=NOW)

        assert (price.cost_nano_usd, price.usd) == (4_938_268_000, Decimal("4.938268000"))


def test_own_rates_cover_every_spelling_of_a_known_model() -> None:
    book = PriceBook(overrides={"claude-haiku-4-5": Rates(input_usd_per_mtok=Decimal(3))})

    found = book.rates("anthropic/claude-haiku-4-5-20251001")

    assert found is not None
    assert found.input_usd_per_mtok == 3


def test_wrong_overrides_are_named() -> None:
    with pytest.raises(ConfigurationError, match="my-model"):
        PriceBook(overrides={"my-model": Decimal(3)})  # type: ignore[dict-item]


def test_data_that_the_user_let_genai_prices_fetch_is_used_and_named_by_its_day(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bundled = data_snapshot.get_snapshot()
    fetched = data_snapshot.DataSnapshot(
        providers=bundled.providers[:1], from_auto_update=True, timestamp=datetime(2026, 11, 20, 8, tzinfo=UTC)
    )
    book = PriceBook(today=lambda: date(2027, 1, 5))
    data_snapshot.set_custom_snapshot(fetched)
    try:
        price = book.price("claude-haiku-4-5", Usage(output_tokens=1))
        unknown = book.price("gpt-4o", Usage(output_tokens=1))
    finally:
        data_snapshot.set_custom_snapshot(None)

    assert price.snapshot.endswith("fetched 2026-11-20")
    assert "46 days old" in caplog.text
    assert not unknown.priced
    assert book.price("gpt-4o", Usage(output_tokens=1)).priced


def test_own_rates_win_and_say_so() -> None:
    own = Rates(input_usd_per_mtok=Decimal(3), output_usd_per_mtok=Decimal(9))
    book = PriceBook(overrides={"claude-haiku-4-5": own})

    price = book.price("claude-haiku-4-5", Usage(cache_read_tokens=MILLION, output_tokens=MILLION))

    assert (price.usd, price.snapshot) == (Decimal(12), "override")


def test_the_snapshot_is_named() -> None:
    assert default_book().price("claude-haiku-4-5", Usage()).snapshot.startswith("genai-prices ")


@pytest.mark.parametrize(("today", "warnings"), [(date(2026, 12, 11), 0), (date(2099, 1, 1), 1)])
def test_an_old_snapshot_is_warned_of_once(today: date, warnings: int, caplog: pytest.LogCaptureFixture) -> None:
    book = PriceBook(today=lambda: today)

    for _ in range(3):
        book.price("claude-haiku-4-5", Usage(output_tokens=1))

    assert len(caplog.records) == warnings


@pytest.mark.parametrize("value", [Decimal(-1), Decimal("NaN"), 0.5])
def test_a_wrong_rate_is_named(value: object) -> None:
    with pytest.raises(ConfigurationError, match="input_usd_per_mtok"):
        Rates(input_usd_per_mtok=value, output_usd_per_mtok=Decimal(1))  # type: ignore[arg-type]


@given(
    model=st.sampled_from(["claude-haiku-5-5", "claude-opus-5-5", "claude-sonnet-4-6", "gpt-4o-mini"]),
    uncached=counts,
    read=counts,
    write=counts,
    long_write=counts,
    output=counts,
)
def test_the_parts_sum_to_what_genai_prices_says(
    model: str, uncached: int, read: int, write: int, long_write: int, output: int
) -> None:
    usage = Usage(
        uncached_input_tokens=uncached,
        cache_read_tokens=read,
        cache_write_5m_tokens=write,
        cache_write_1h_tokens=long_write,
        output_tokens=output,
    )
    price = default_book().price(model, usage, at=NOW)
    theirs = calc_price(
        Counted(
            input_tokens=usage.input_tokens,
            cache_read_tokens=read,
            cache_write_tokens=write + long_write,
            cache_write_1h_tokens=long_write,
            output_tokens=output,
        ),
        model,
        genai_request_timestamp=NOW,
    ).total_price

    assert price.cost_nano_usd == sum(price.by_kind.values())
    # Each of five parts is rounded to a billionth on its own.
    assert abs((price.usd or 0) - theirs) <= Decimal("2.5e-9")
