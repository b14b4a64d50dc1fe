"""Which units to keep under a token budget: pure functions on values."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from costkit.context.knapsack import Knapsack
from costkit.context.sentences import SUPPORTING, Unit

__all__ = [
    "DEFAULT_ENOUGH",
    "Budget",
    "Selector",
    "first_units",
    "least_relevance",
    "shares",
    "without_copies",
    "without_least",
]

# How many powers of e the best unit is worth more than the median one, where the scale of relevance is not known. In
# log odds that distance is 7 to 13 among the sentences of 20 passages; recall is flat from 5 to 9.
_SHARPNESS = 7.0
# What the question needs is nearly certainly among the units that make up this share of all worth. Less is cheaper where
# one passage holds an answer, and costs recall where several do: `costkit context tune` finds it for a corpus.
DEFAULT_ENOUGH = 0.999
# Below this share of the budget nothing is too irrelevant: a few candidates say little about what is of no use.
_FLOOR = 0.5
_SEPARATOR_TOKENS = 1


def without_copies(relevance: Sequence[float], copies: Collection[tuple[int, int]]) -> set[int]:
    """Return the units to leave out because their text stands in another: of equal units the most relevant stays."""
    return {a for a, b in copies if (b, a) not in copies or (relevance[a], -a) < (relevance[b], -b)}


def shares(relevance: Sequence[float], *, in_log_odds: bool = False) -> list[float]:
    """Return each unit's share of what the question needs; they add to 1.

    Where relevance is not in log odds, the distance from the best unit is measured in the distance from the best to the
    median one, which is nearly always of no use: so the scale of a reranker does not matter.
    """
    best = max(relevance, default=0.0)
    spread = best - median(relevance) if relevance else 0.0
    steepness = 1.0 if in_log_odds or not spread else _SHARPNESS / spread
    weights = [math.exp(steepness * (value - best)) for value in relevance]
    total = sum(weights)
    return [weight / total for weight in weights]


def least_relevance(relevance: Sequence[float], worth: Sequence[float], *, enough: float = DEFAULT_ENOUGH) -> float:
    """Return the relevance below which a unit is not worth its tokens, though the budget may allow it.

    So a clear question gets a short context: the units above it make up ``enough`` of all that the question needs.
    """
    gathered = 0.0
    least = max(relevance, default=0.0)
    for value, share in sorted(zip(relevance, worth, strict=True), reverse=True):
        if gathered >= enough:
            break
        least = value
        gathered += share
    return least


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How many tokens may be taken.

    Attributes:
        tokens: The most to take.
        document_tokens: What the first unit of each document costs more, for its title and separator.
    """

    tokens: int
    document_tokens: tuple[int, ...]


@dataclass(slots=True)
class _Choice:
    """The units taken so far, and what they cost."""

    units: Sequence[Unit]
    budget: Budget
    used: int = 0
    taken: set[int] = field(default_factory=set)
    opened: set[int] = field(default_factory=set)

    def take(self, group: Collection[int]) -> bool:
        """Take the units of ``group`` if they fit together, or none of them."""
        new = set(group) - self.taken
        ranks = {self.units[index].rank for index in new} - self.opened
        cost = sum(self.units[index].tokens + _SEPARATOR_TOKENS for index in new)
        cost += sum(self.budget.document_tokens[rank] for rank in ranks)
        if self.used + cost > self.budget.tokens:
            return False
        self.used += cost
        self.taken |= new
        self.opened |= ranks
        return True


class Selector:
    """Chooses the units that are worth most together, or until what is left is not worth its tokens.

    A unit that needs another (a row its header, a referring sentence its antecedent) is taken with it or not at all.
    A heading is taken only where something under it is, and only from what the others leave of the budget.

    Args:
        units: All units, in order.
        relevance: One number per unit, higher is better.
        worth: The share of what the question needs that each unit has.
        budget: The largest budget.
        least: Relevance below which a unit is not worth its tokens once half of the budget is used.
        left_out: Copies of other units, never to choose.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        relevance: Sequence[float],
        worth: Sequence[float],
        budget: Budget,
        *,
        least: float,
        left_out: Collection[int] = (),
    ) -> None:
        self._units = units
        self._relevance = relevance
        self._budget = budget
        self._least = least
        self._groups = {
            index: _with_needs(units, index, left_out)
            for index in range(len(units))
            if index not in left_out and units[index].kind not in SUPPORTING
        }
        self._best_first = sorted(self._groups, key=lambda index: (-relevance[index], index))
        self._packable = sorted({at for group in self._groups.values() for at in group})
        places: dict[int | None, int] = {index: place for place, index in enumerate(self._packable)}
        self._knapsack = Knapsack(
            [worth[index] if index in self._groups else 0.0 for index in self._packable],
            [units[index].tokens + _SEPARATOR_TOKENS for index in self._packable],
            [units[index].rank for index in self._packable],
            budget.document_tokens,
            budget.tokens,
            needs=[places.get(_needed(units, index, left_out)) for index in self._packable],
        )

    def within(self, tokens: int) -> set[int]:
        """Return the indexes of the units chosen within ``tokens``, which are at most those of the largest budget."""
        choice = _Choice(self._units, replace(self._budget, tokens=tokens))
        packed = {self._packable[at] for at in self._knapsack.packed(tokens)}
        # The packed ones first, which fit; then the others, as far as there is room.
        order = sorted(self._best_first, key=lambda index: index not in packed)
        floor = _FLOOR * tokens
        for index in order:
            if self._relevance[index] >= self._least or choice.used < floor:
                choice.take(self._groups[index])
        for heading in [self._units[index].heading for index in order if index in choice.taken]:
            if heading is not None:
                choice.take([heading])
        return choice.taken


def _with_needs(units: Sequence[Unit], index: int, left_out: Collection[int]) -> list[int]:
    group = [index]
    while (needed := _needed(units, group[-1], left_out)) is not None:
        group.append(needed)
    return group


def _needed(units: Sequence[Unit], index: int, left_out: Collection[int]) -> int | None:
    """Return the next unit that must come along. An antecedent that is a copy is weighed elsewhere; a header is not."""
    needed = units[index].needs
    while needed is not None and needed in left_out and units[needed].kind != "header":
        needed = units[needed].needs
    return needed


def first_units(units: Sequence[Unit], budget: Budget, *, left_out: Collection[int] = ()) -> set[int]:
    """Choose units from the beginning until one no longer fits; of copies (``left_out``) only headers of tables."""
    choice = _Choice(units, budget)
    for index in range(len(units)):
        if (index not in left_out or units[index].kind == "header") and not choice.take([index]):
            break
    return _supported(units, choice.taken)


def without_least(units: Sequence[Unit], relevance: Sequence[float], chosen: Collection[int]) -> set[int]:
    """Return ``chosen`` without its least relevant unit that no other chosen one needs."""
    needed = {units[index].needs for index in chosen}
    loose = [index for index in chosen if index not in needed and units[index].kind not in SUPPORTING]
    least = min(loose, key=lambda index: (relevance[index], -index))
    return _supported(units, {index for index in chosen if index != least})


def _supported(units: Sequence[Unit], chosen: Collection[int]) -> set[int]:
    """Take out headings and table headers under which nothing is chosen."""
    used = {
        at for index in chosen if units[index].kind != "heading" for at in (units[index].needs, units[index].heading)
    }
    return {index for index in chosen if index in used or units[index].kind not in SUPPORTING}
