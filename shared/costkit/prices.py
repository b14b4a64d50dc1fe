"""Prices over genai-prices: what a model call costs, by kind of token, at a date, or that nobody knows.

The bundled snapshot of genai-prices is used and never updated behind the user's back: its automatic updates have once
overwritten a right price with a wrong one (genai-prices issue 703). Its version is stored with every priced event.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cache, lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from costkit.errors import ConfigurationError
from costkit.ledger.usage import Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice, TieredPrices

__all__ = ["Price", "PriceBook", "Rates", "default_book"]

NANO_PER_USD = 10**9
MAX_SNAPSHOT_AGE = timedelta(days=31)

# Release dates of snapshots; the bundled data itself carries none.
_RELEASED = {"0.2.3": date(2026, 11, 10)}

# Prefixes that gateways and clouds put before the provider's own model id.
_PREFIX = re.compile(r"^(?:[a-z]{2,6}\.)?(?:anthropic|openai|google|vertex_ai|bedrock|azure)[./:]")
_CLOUD_VERSION = re.compile(r"(-v\d+:\d+|@\d{8})$")

_log = logging.getLogger("costkit.prices")


@dataclass(frozen=True, kw_only=True)
class Rates:
    """List prices of one model in US dollars per million tokens.

    Without a price of its own, a cached token costs what an input token costs, and a 1-hour write what a 5-minute one.
    """

    input_usd_per_mtok: Decimal
    output_usd_per_mtok: Decimal
    cache_read_usd_per_mtok: Decimal | None = None
    cache_write_5m_usd_per_mtok: Decimal | None = None
    cache_write_1h_usd_per_mtok: Decimal | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not (isinstance(value, Decimal) and value.is_finite() and value >= 0):
                raise ConfigurationError(f"Rates.{name} must be a Decimal of 0 or more, got {value!r}")

    def by_kind(self) -> dict[str, Decimal]:
        """Return the price of every kind of token, named as in ``Price.by_kind``."""
        write = self.cache_write_5m_usd_per_mtok
        write = self.input_usd_per_mtok if write is None else write
        read, long_write = self.cache_read_usd_per_mtok, self.cache_write_1h_usd_per_mtok
        return {
            "uncached_input": self.input_usd_per_mtok,
            "cache_read": self.input_usd_per_mtok if read is None else read,
            "cache_write_5m": write,
            "cache_write_1h": write if long_write is None else long_write,
            "output": self.output_usd_per_mtok,
        }


@dataclass(frozen=True, kw_only=True)
class Price:
    """What one call costs.

    Attributes:
        cost_nano_usd: Billionths of a US dollar; None means unpriced, which is not the same as free.
        by_kind: The same by kind of token (``uncached_input``, ``cache_read``, ``cache_write_5m``, ``cache_write_1h``,
            ``output``); the parts sum to the whole. Empty where unpriced.
        snapshot: Which price data said so.
    """

    cost_nano_usd: int | None
    by_kind: Mapping[str, int] = field(default_factory=dict)
    snapshot: str

    @property
    def priced(self) -> bool:
        """True if a price is known."""
        return self.cost_nano_usd is not None

    @property
    def usd(self) -> Decimal | None:
        """The cost in US dollars, or None where unpriced."""
        return None if self.cost_nano_usd is None else Decimal(self.cost_nano_usd) / NANO_PER_USD


class PriceBook:
    """Prices calls from the bundled snapshot and the user's own rates.

    Args:
        overrides: Own rates by model id; they win over the snapshot.
        today: Returns today's date, to tell an old snapshot; a snapshot older than 31 days is warned of once.
    """

    def __init__(
        self,
        *,
        overrides: Mapping[str, Rates] | None = None,
        today: Callable[[], date] = lambda: datetime.now(UTC).date(),
    ) -> None:
        self._overrides = dict(overrides or {})
        self._today = today
        self._aged = False

    @property
    def snapshot(self) -> str:
        """Name and version of the price data."""
        return _snapshot()

    def price(self, model: str, usage: Usage, *, at: datetime | None = None, batch: bool = False) -> Price:
        """Price one call.

        Args:
            model: Model id as the provider bills it; a gateway's prefix and a cloud's version suffix are ignored.
            usage: The tokens used. Their inclusive input total decides the long-context tier.
            at: When the call was made. Default: now.
            batch: True for batch prices.
        """
        rates = self.rates(model, at=at, batch=batch, input_tokens=usage.input_tokens)
        if rates is None:
            return Price(cost_nano_usd=None, snapshot=self.snapshot)
        tokens = {
            "uncached_input": usage.uncached_input_tokens,
            "cache_read": usage.cache_read_tokens,
            "cache_write_5m": usage.cache_write_5m_tokens,
            "cache_write_1h": usage.cache_write_1h_tokens,
            "output": usage.output_tokens,
        }
        by_kind = {kind: _nano(rate * tokens[kind]) for kind, rate in rates.by_kind().items()}
        source = "override" if model in self._overrides else self.snapshot
        return Price(cost_nano_usd=sum(by_kind.values()), by_kind=by_kind, snapshot=source)

    def rates(
        self, model: str, *, at: datetime | None = None, batch: bool = False, input_tokens: int = 0
    ) -> Rates | None:
        """Return a model's list prices, or None where it is unknown.

        Args:
            model: Model id as the provider bills it.
            at: When. Default: now.
            batch: True for batch prices.
            input_tokens: Inclusive input tokens of the call, which decide the long-context tier.
        """
        if model in self._overrides:
            return self._overrides[model]
        self._warn_if_old()
        # Prices change by the day, or by the hour of day where a provider has an off-peak price.
        hour = (at or datetime.now(UTC)).replace(minute=0, second=0, microsecond=0)
        found = _model_price(_plain(model), hour, batch)
        return None if found is None else _rates(found, input_tokens)

    def _warn_if_old(self) -> None:
        if self._aged:
            return
        self._aged = True
        age = self._today() - _snapshot_date()
        if age > MAX_SNAPSHOT_AGE:
            _log.warning("the price data %s is %d days old; pip install --upgrade genai-prices", _snapshot(), age.days)


@cache
def default_book() -> PriceBook:
    """Return the process-wide price book, without overrides."""
    return PriceBook()


@cache
def _snapshot() -> str:
    return f"genai-prices {version('genai-prices')}"


@cache
def _snapshot_date() -> date:
    """Return the snapshot's release date, or the newest dated price in it, which is never later."""
    known = _RELEASED.get(version("genai-prices"))
    if known is not None:
        return known
    from genai_prices import data_snapshot
    from genai_prices.types import StartDateConstraint

    today = datetime.now(UTC).date()
    starts = [
        entry.constraint.start_date
        for provider in data_snapshot.get_snapshot().providers
        for model in provider.models
        for entry in (model.prices if isinstance(model.prices, list) else [])
        if isinstance(entry.constraint, StartDateConstraint)
    ]
    return max(start for start in starts if start <= today)


@lru_cache(maxsize=1024)
def _model_price(model: str, at: datetime, batch: bool) -> ModelPrice | None:  # noqa: FBT001  part of the memory's key
    from genai_prices import Usage as Counted
    from genai_prices import calc_price

    context = {"processing": "batch"} if batch else None
    try:
        return calc_price(Counted(input_tokens=0), model, genai_request_timestamp=at, price_context=context).model_price
    except LookupError:
        return None


def _plain(model: str) -> str:
    """Return the provider's own id of a model that a gateway or a cloud names."""
    return _CLOUD_VERSION.sub("", _PREFIX.sub("", model.lower()))


def _rates(price: ModelPrice, input_tokens: int) -> Rates | None:
    if price.input_mtok is None or price.output_mtok is None:
        return None

    def tier(value: Decimal | TieredPrices | None) -> Decimal | None:
        """Return the rate at this prompt size; crossing a threshold reprices every token."""
        if value is None or isinstance(value, Decimal):
            return value
        return next((one.price for one in reversed(value.tiers) if input_tokens > one.start), value.base)

    return Rates(
        input_usd_per_mtok=tier(price.input_mtok) or Decimal(0),
        output_usd_per_mtok=tier(price.output_mtok) or Decimal(0),
        cache_read_usd_per_mtok=tier(price.cache_read_mtok),
        cache_write_5m_usd_per_mtok=tier(price.cache_write_mtok),
        cache_write_1h_usd_per_mtok=tier(price.cache_write_1h_mtok),
    )


def _nano(usd_per_mtok_times_tokens: Decimal) -> int:
    """Return billionths of a dollar, rounded half to even; a dollar per million tokens is 1,000 of them per token."""
    return int((usd_per_mtok_times_tokens * 1000).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))
