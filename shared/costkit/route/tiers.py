"""Tiers: the models a router may choose from, cheapest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from costkit.errors import ConfigurationError

if TYPE_CHECKING:
    from costkit.prices import PriceBook

__all__ = ["Tier", "tiers_of"]

# What the tiers of a short list are called; further ones get numbers.
_NAMES = {1: ("strong",), 2: ("cheap", "strong"), 3: ("cheap", "middle", "strong")}


@dataclass(frozen=True, kw_only=True)
class Tier:
    """One rung of the ladder.

    Attributes:
        name: ``cheap``, ``strong`` or a name of your own; it stands in reports.
        model: Model id as the provider bills it.
        max_output_tokens: Cap on the answer's length at this tier, or None for the model's own.
        stop_sequences: Sequences that end an answer at this tier.
        data_classes: The data classes this model may see; None means every class.
    """

    name: str
    model: str
    max_output_tokens: int | None = None
    stop_sequences: tuple[str, ...] = ()
    data_classes: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.model.strip():
            raise ConfigurationError(
                f"a tier needs a name and a model id, got name={self.name!r}, model={self.model!r}"
            )
        if self.max_output_tokens is not None and self.max_output_tokens < 1:
            raise ConfigurationError(f"Tier.max_output_tokens must be 1 or more, got {self.max_output_tokens!r}")


def tiers_of(models: Sequence[str], *, book: PriceBook | None = None) -> tuple[Tier, ...]:
    """Make tiers from model ids that are listed cheapest first.

    Args:
        models: Model ids, cheapest first.
        book: Prices to check the order against. Default: ``costkit.prices.default_book()``.

    Raises:
        ConfigurationError: The list is empty, names a model twice, or a priced model costs less per input token than
            one listed before it.
    """
    if not models:
        raise ConfigurationError("a router needs at least one model, got an empty list")
    if len(set(models)) < len(models):
        raise ConfigurationError(f"a router needs different models, got {list(models)!r}")
    _check_order(models, book)
    names = _NAMES.get(len(models)) or tuple(f"tier-{position}" for position in range(1, len(models) + 1))
    return tuple(Tier(name=name, model=model) for name, model in zip(names, models, strict=True))


def _check_order(models: Sequence[str], book: PriceBook | None) -> None:
    if book is None:
        from costkit.prices import default_book

        book = default_book()
    priced = [(model, rates) for model in models if (rates := book.rates(model)) is not None]
    for (cheap, low), (dear, high) in pairwise(priced):
        if high.input_usd_per_mtok < low.input_usd_per_mtok:
            raise ConfigurationError(
                f"models must be listed cheapest first, but {dear!r} (${high.input_usd_per_mtok} per million input "
                f"tokens) stands after {cheap!r} (${low.input_usd_per_mtok}); swap them"
            )
