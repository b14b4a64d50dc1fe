"""Prices over genai-prices: what a model call costs, by kind of token, at a date, or that nobody knows.

The bundled snapshot of genai-prices is used and never updated behind the user's back: its automatic updates have once
overwritten a right price with a wrong one (genai-prices issue 703). A user who runs ``genai_prices.UpdatePrices`` gets
what it fetched. The version of the data is stored with every priced event.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from costkit.errors import ConfigurationError
from costkit.ledger.usage import Usage

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, ModelPrice, Provider

__all__ = ["Price", "PriceBook", "Rates", "default_book"]

NANO_PER_USD = 10**9
TOKENS_PER_MTOK = 10**6
MAX_SNAPSHOT_AGE = timedelta(days=31)

# Release dates of snapshots; the bundled data itself carries none.
_RELEASED = {"0.2.3": date(2026, 11, 10)}

_BEDROCK = re.compile(r"(?:[a-z]{2,6}\.)?(?:ai21|amazon|anthropic|cohere|deepseek|meta|mistral|openai|qwen)\.")
_VERTEX_DATE = re.compile(r"@(\d{8})$")
_EXACT = Context(prec=60)  # the caller's decimal context must not round money
_REMEMBERED_MODELS = 1_000

_log = logging.getLogger("costkit.prices")


@dataclass(frozen=True, kw_only=True)
class Rates:
    """List prices of one model in US dollars per million tokens.

    Without a price of its own, a cached token costs what an input token costs, and a 1-hour write what a 5-minute one.
    ``by_kind`` has the price of every kind in force. Embedding models have no output; ``request_usd`` is a fee per
    request, which few providers charge.
    """

    input_usd_per_mtok: Decimal
    output_usd_per_mtok: Decimal = Decimal(0)
    cache_read_usd_per_mtok: Decimal | None = None
    cache_write_5m_usd_per_mtok: Decimal | None = None
    cache_write_1h_usd_per_mtok: Decimal | None = None
    request_usd: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not (isinstance(value, Decimal) and value.is_finite() and value >= 0):
                raise ConfigurationError(
                    f'Rates.{name} must be a Decimal of 0 or more, got {value!r}; write Decimal("0.25")'
                )

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
            ``output``, and ``request`` where there is a fee per request); the parts sum to the whole. Empty where
            unpriced.
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
        return None if self.cost_nano_usd is None else Decimal(self.cost_nano_usd).scaleb(-9, _EXACT)


class PriceBook:
    """Prices calls from the bundled snapshot and the user's own rates.

    Args:
        overrides: Own rates by model id; they win over the snapshot. The id of a model that genai-prices knows covers
            all spellings of that model. They hold for batches too.
        today: Returns today's date, to tell an old snapshot; a snapshot older than 31 days is warned of once.
    """

    def __init__(
        self,
        *,
        overrides: Mapping[str, Rates] | None = None,
        today: Callable[[], date] = lambda: datetime.now(UTC).date(),
    ) -> None:
        for model, rates in (overrides or {}).items():
            if not isinstance(rates, Rates):
                raise ConfigurationError(f"PriceBook.overrides[{model!r}] must be a Rates, got {rates!r}")
        self._overrides = {model.lower(): rates for model, rates in (overrides or {}).items()}
        self._today = today
        self._aged = False

    @property
    def snapshot(self) -> str:
        """Name and version of the price data."""
        return _name_of(_loaded())

    def price(self, model: str, usage: Usage, *, at: datetime | None = None, batch: bool = False) -> Price:
        """Price one call.

        Args:
            model: Model id as the provider, LangChain (``anthropic:...``), LiteLLM (``anthropic/...``) or a cloud
                writes it.
            usage: The tokens used. Their inclusive input total decides the long-context tier.
            at: When the call was made; a time without zone is UTC. Default: now.
            batch: True for batch prices; where a model has none, its standard prices hold.
        """
        found = self._lookup(model, at, usage.input_tokens, batch=batch)
        if found is None:
            return Price(cost_nano_usd=None, snapshot=self.snapshot)
        rates, snapshot = found
        tokens = {
            "uncached_input": usage.uncached_input_tokens,
            "cache_read": usage.cache_read_tokens,
            "cache_write_5m": usage.cache_write_5m_tokens,
            "cache_write_1h": usage.cache_write_1h_tokens,
            "output": usage.output_tokens,
        }
        by_kind = {kind: _nano(rate, tokens[kind]) for kind, rate in rates.by_kind().items()}
        if rates.request_usd:
            by_kind["request"] = _nano(rates.request_usd, TOKENS_PER_MTOK)
        return Price(cost_nano_usd=sum(by_kind.values()), by_kind=by_kind, snapshot=snapshot)

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
        found = self._lookup(model, at, input_tokens, batch=batch)
        return None if found is None else found[0]

    def _lookup(self, model: str, at: datetime | None, input_tokens: int, *, batch: bool) -> tuple[Rates, str] | None:
        """Return the rates and the name of the data that they are from."""
        if not isinstance(model, str):
            raise ConfigurationError(f"model must be a model id, got {model!r}")
        own = self._overrides.get(model.lower())
        if own is not None:
            return own, "override"
        snapshot = _loaded()
        found = _find(snapshot, model)
        if found is None:
            return None
        provider, info = found
        own = self._overrides.get(info.id.lower())
        if own is not None:
            return own, "override"
        self._warn_if_old(snapshot)
        # A provider that resells another's model has no batch prices for it.
        context = {"processing": "batch"} if batch and any(info is known for known in provider.models) else None
        rates = _rates(info.get_prices(at or datetime.now(UTC), context), input_tokens)
        return None if rates is None else (rates, _name_of(snapshot))

    def _warn_if_old(self, snapshot: DataSnapshot) -> None:
        if self._aged:
            return
        age = self._today() - _date_of(snapshot)
        if age > MAX_SNAPSHOT_AGE:
            self._aged = True
            advice = "pip install --upgrade genai-prices"
            _log.warning("the price data %s is %d days old; %s", _name_of(snapshot), age.days, advice)


@cache
def default_book() -> PriceBook:
    """Return the process-wide price book, without overrides."""
    return PriceBook()


def _loaded() -> DataSnapshot:
    from genai_prices.data_snapshot import get_snapshot  # 0.4 s and 1.6 MB: loaded when the first price is asked for

    return get_snapshot()


@cache
def _version() -> str:
    return version("genai-prices")


def _name_of(snapshot: DataSnapshot) -> str:
    fetched = f" fetched {snapshot.timestamp:%Y-%m-%d}" if snapshot.from_auto_update else ""
    return f"genai-prices {_version()}{fetched}"


def _date_of(snapshot: DataSnapshot) -> date:
    """Return when the data was fetched, or its known release date, or the newest dated price in force in it."""
    if snapshot.from_auto_update:
        return snapshot.timestamp.date()
    return _RELEASED.get(_version()) or _newest_price()


@cache
def _newest_price() -> date:
    from genai_prices.types import StartDateConstraint

    today = datetime.now(UTC).date()
    starts = [
        entry.constraint.start_date
        for provider in _loaded().providers
        for model in provider.models
        for entry in (model.prices if isinstance(model.prices, list) else [])
        if isinstance(entry.constraint, StartDateConstraint)
    ]
    return max(start for start in starts if start <= today)


_found: dict[str, tuple[Provider, ModelInfo] | None] = {}
_found_in: list[DataSnapshot] = []


def _find(snapshot: DataSnapshot, model: str) -> tuple[Provider, ModelInfo] | None:
    """Remember what ``_resolve`` finds, for as long as the snapshot is in use; misses are slow to find out."""
    if len(_found) >= _REMEMBERED_MODELS or not _found_in or _found_in[0] is not snapshot:
        _found.clear()
        _found_in[:] = [snapshot]
    try:
        return _found[model]
    except KeyError:
        found = _found[model] = _resolve(snapshot, model)
        return found


def _resolve(snapshot: DataSnapshot, model: str) -> tuple[Provider, ModelInfo] | None:
    """Find a model by its own id, by its id behind a provider's name, or by the id that a cloud gives it."""
    model = _VERTEX_DATE.sub(r"-\1", model).removeprefix("models/")
    attempts: list[tuple[str, str | None]] = [(model, None)]
    for mark in "/:":
        provider, _, rest = model.partition(mark)
        if rest:
            attempts.append((rest, provider))
    if _BEDROCK.match(model):
        attempts.append((model, "aws"))
    for reference, provider_id in attempts:
        try:
            return snapshot.find_provider_model(reference, None, provider_id, None)
        except LookupError:
            continue
    return None


def _rates(prices: ModelPrice, input_tokens: int) -> Rates | None:
    """Read the rates at one length of input; None where the model is not priced by the token."""

    def rate(*keys: str) -> Decimal | None:
        """Return the first price there is; crossing a tier's threshold reprices every token."""
        for key in keys:
            value = getattr(prices, key)
            if isinstance(value, Decimal):
                return value
            if value is not None:
                base: Decimal = value.base
                return next((tier.price for tier in reversed(value.tiers) if input_tokens > tier.start), base)
        return None

    standard = rate("input_mtok")
    if standard is None:
        return None
    return Rates(
        input_usd_per_mtok=standard,
        output_usd_per_mtok=rate("output_mtok") or Decimal(0),
        cache_read_usd_per_mtok=rate("cache_read_mtok"),
        cache_write_5m_usd_per_mtok=rate("cache_write_5m_mtok", "cache_write_mtok"),
        cache_write_1h_usd_per_mtok=rate("cache_write_1h_mtok", "cache_write_mtok"),
        request_usd=(rate("requests_kcount") or Decimal(0)) / 1000,
    )


def _nano(usd_per_mtok: Decimal, tokens: int) -> int:
    """Return billionths of a dollar, rounded half to even; a dollar per million tokens is 1,000 of them per token."""
    exact = _EXACT.multiply(usd_per_mtok, Decimal(tokens * (NANO_PER_USD // TOKENS_PER_MTOK)))
    return int(exact.to_integral_value(rounding=ROUND_HALF_EVEN))
