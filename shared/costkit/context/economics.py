"""Whether compressing a context pays: its fewer tokens against the prompt-cache reads that it gives up.

Sent whole ahead of a cache breakpoint, a token costs ``a`` (of the input price) where it is read from the provider's
cache and ``w`` where it is written. Cut differently for every question it is never read, so it stands behind the
breakpoint and costs the input price. At a chance ``h`` of a read, keeping a share ``r`` of the tokens pays where

    r < a * h + w * (1 - h)

Text behind the last breakpoint is billed at the input price either way: there every share below 1 pays, but for the
time it takes and the longer answers it may cause.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext
from math import isfinite
from typing import Literal, get_args

from costkit.errors import ConfigurationError
from costkit.prices import NANO_PER_USD, TOKENS_PER_MTOK, Rates, default_book

__all__ = ["Economics", "Ttl", "Worth", "worth_compressing"]

Ttl = Literal["5m", "1h"]

_SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, kw_only=True)
class Economics:
    """What is known of the prompt that a context goes into.

    Attributes:
        model: Id of the model that reads it; its prices decide.
        cache_hit_chance: Say it where the context stands ahead of a cache breakpoint: the chance, 0 to 1, that the text
            sent whole is read from the provider's cache. None: it stands behind the last breakpoint.
        ttl: Lifetime of that breakpoint's entry, which decides what a write costs.
        seconds: Processor time that one reduction takes.
        cpu_usd_per_hour: What an hour of one core costs; the default is about what clouds list.
        extra_output_tokens: How much longer an answer from a cut context is. Measure it: output is dear.
        rates: Your own list prices. Default: those of ``costkit.prices.default_book()``.

    Raises:
        ConfigurationError: A value is out of range.
    """

    model: str
    cache_hit_chance: float | None = None
    ttl: Ttl = "5m"
    seconds: float = 0.5
    cpu_usd_per_hour: Decimal = Decimal("0.05")
    extra_output_tokens: int = 0
    rates: Rates | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model:
            raise ConfigurationError(f"Economics.model must be a model id, got {self.model!r}")
        if self.cache_hit_chance is not None and not 0 <= self.cache_hit_chance <= 1:
            raise ConfigurationError(
                f"Economics.cache_hit_chance must be from 0 to 1, or None, got {self.cache_hit_chance!r}"
            )
        if self.ttl not in get_args(Ttl):
            raise ConfigurationError(f"Economics.ttl must be one of {get_args(Ttl)}, got {self.ttl!r}")
        if not (isfinite(self.seconds) and self.seconds >= 0):
            raise ConfigurationError(f"Economics.seconds must be a number of 0 or more, got {self.seconds!r}")
        hour = self.cpu_usd_per_hour
        if not (isinstance(hour, Decimal) and hour.is_finite() and hour >= 0):
            raise ConfigurationError(
                f'Economics.cpu_usd_per_hour must be a Decimal of 0 or more, got {hour!r}; write Decimal("0.05")'
            )
        _check_tokens("Economics.extra_output_tokens", self.extra_output_tokens)

    @property
    def ahead_of_breakpoint(self) -> bool:
        """True if the context stands ahead of a cache breakpoint, where it must be the same for every question."""
        return self.cache_hit_chance is not None


@dataclass(frozen=True, kw_only=True)
class Worth:
    """Whether compressing for each question pays, and the numbers that say so.

    Attributes:
        pays: True if it does. Without prices, fewer tokens count as fewer dollars behind the last breakpoint, and ahead
            of one nothing is known to pay.
        kept_share: Tokens after over tokens before.
        break_even_share: The kept share below which the saved input pays, time and output aside; None without prices.
        whole_nano_usd: Expected price of the text sent whole, in billionths of a US dollar; None without prices.
        compressed_nano_usd: Price of the compressed text and of the longer answer; None without prices.
        cpu_nano_usd: Value of the processor time.
        reason: The comparison in one sentence.
        price_snapshot: Which price data said so; empty without prices.
    """

    pays: bool
    kept_share: float
    break_even_share: float | None
    whole_nano_usd: int | None
    compressed_nano_usd: int | None
    cpu_nano_usd: int
    reason: str
    price_snapshot: str = ""

    @property
    def saved_nano_usd(self) -> int | None:
        """What the model's bill is lower by (processor time is on another bill), or None without prices."""
        if self.whole_nano_usd is None or self.compressed_nano_usd is None:
            return None
        return self.whole_nano_usd - self.compressed_nano_usd

    def figures(self) -> dict[str, bool | float | int | None]:
        """Return the decision and its numbers by name, for a ledger."""
        names = ("pays", "kept_share", "break_even_share", "whole_nano_usd", "compressed_nano_usd", "cpu_nano_usd")
        return {name: getattr(self, name) for name in names}


def worth_compressing(economics: Economics, *, tokens_before: int, tokens_after: int) -> Worth:
    """Compare sending a context whole with compressing it for each question.

    Args:
        economics: The prompt it goes into, and prices.
        tokens_before: Tokens of the whole text.
        tokens_after: Tokens of the compressed text.

    Raises:
        ConfigurationError: A number of tokens is no integer of 0 or more.
    """
    _check_tokens("tokens_before", tokens_before)
    _check_tokens("tokens_after", tokens_after)
    rates = economics.rates or default_book().rates(economics.model, input_tokens=tokens_before)
    share = tokens_after / tokens_before if tokens_before else 1.0
    with localcontext(prec=60):  # the caller's decimal context must not round money
        hours = Decimal(str(economics.seconds)) / _SECONDS_PER_HOUR
        cpu = round(hours * economics.cpu_usd_per_hour * NANO_PER_USD)
        if rates is None:
            return _unpriced(economics, share, cpu)
        price = _whole_usd_per_mtok(economics, rates)
        whole = _nano(tokens_before * price)
        output = economics.extra_output_tokens * rates.output_usd_per_mtok
        compressed = _nano(tokens_after * rates.input_usd_per_mtok + output)
        even = float(price / rates.input_usd_per_mtok) if rates.input_usd_per_mtok else None
    return Worth(
        pays=compressed + cpu < whole,
        kept_share=share,
        break_even_share=even,
        whole_nano_usd=whole,
        compressed_nano_usd=compressed,
        cpu_nano_usd=cpu,
        reason=f"whole it costs {whole:,} nano-dollars, cut to {share:.1%} it costs {compressed:,} and {cpu:,} of time",
        price_snapshot="own rates" if economics.rates else default_book().snapshot,
    )


def _whole_usd_per_mtok(economics: Economics, rates: Rates) -> Decimal:
    """Return the expected price of the text sent whole."""
    if economics.cache_hit_chance is None:
        return rates.input_usd_per_mtok
    by_kind, chance = rates.by_kind(), Decimal(str(economics.cache_hit_chance))
    return by_kind["cache_read"] * chance + by_kind[f"cache_write_{economics.ttl}"] * (1 - chance)


def _unpriced(economics: Economics, share: float, cpu: int) -> Worth:
    return Worth(
        pays=share < 1 and not economics.ahead_of_breakpoint,
        kept_share=share,
        break_even_share=None,
        whole_nano_usd=None,
        compressed_nano_usd=None,
        cpu_nano_usd=cpu,
        reason=f"no price of {economics.model} is known; cut, {share:.1%} of the tokens are left",
    )


def _nano(tokens_at_usd_per_mtok: Decimal) -> int:
    return round(tokens_at_usd_per_mtok * (NANO_PER_USD // TOKENS_PER_MTOK))


def _check_tokens(name: str, tokens: int) -> None:
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 0:
        raise ConfigurationError(f"{name} must be an integer of 0 or more, got {tokens!r}")
