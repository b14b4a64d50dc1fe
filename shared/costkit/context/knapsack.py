"""The most worth for a budget: a knapsack whose items lie in boxes, and whose boxes cost something to open."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Knapsack"]

# A larger budget is counted in coarser steps, costs rounded up: time and memory stay small, little of it is wasted.
_STEPS = 4096


class _Item(NamedTuple):
    """An item, its cost in steps, and at which costs of all before it is better taken."""

    at: int
    cost: int
    better: NDArray[np.bool_]


class _Box(NamedTuple):
    """What opening a box costs in steps, at which costs of all before it is better opened, and its items."""

    price: int
    opened: NDArray[np.bool_]
    items: Sequence[_Item]


class Knapsack:
    """Finds the items of the highest total value that fit, by dynamic programming over the capacity.

    One table answers for every capacity up to the largest.

    Args:
        values: What each item is worth, 0 or more.
        costs: What each item takes of the capacity, 1 or more.
        boxes: The box that each item lies in, in ascending order.
        opening: What the first item taken from each box takes more.
        capacity: The most that may ever be taken. Up to 4096 the result is exact, beyond it close to that.
    """

    def __init__(
        self,
        values: Sequence[float],
        costs: Sequence[int],
        boxes: Sequence[int],
        opening: Sequence[int],
        capacity: int,
    ) -> None:
        import numpy as np

        self._step = max(-(-capacity // _STEPS), 1)
        worth = np.zeros(max(capacity, 0) // self._step + 1)  # the most at each cost; zeros are taking nothing
        self._boxes: list[_Box] = []
        for box, items in groupby(range(len(values)), key=boxes.__getitem__):
            price = -(-opening[box] // self._step)
            inside = np.full_like(worth, -np.inf)  # what does not fit is worth less than nothing
            inside[price:] = worth[: max(len(worth) - price, 0)]
            taken = [_take(inside, index, -(-costs[index] // self._step), values[index]) for index in items]
            self._boxes.append(_Box(price, inside > worth, taken))
            worth = np.maximum(worth, inside)

    def packed(self, capacity: int) -> set[int]:
        """Return the indexes of the best items within ``capacity``, which is at most the largest."""
        left = max(capacity, 0) // self._step
        chosen = set()
        for box in reversed(self._boxes):  # back through the decisions that led to the most worth
            if not box.opened[left]:
                continue
            for item in reversed(box.items):
                if item.better[left]:
                    chosen.add(item.at)
                    left -= item.cost
            left -= box.price
        return chosen


def _take(inside: NDArray[np.float64], at: int, cost: int, value: float) -> _Item:
    """Put the item where that is better: ``inside``, the most worth at each cost, is changed."""
    import numpy as np

    more = inside[: max(len(inside) - cost, 0)] + value
    better = np.zeros(len(inside), dtype=np.bool_)
    better[cost:] = more > inside[cost:]
    np.maximum(inside[cost:], more, out=inside[cost:])
    return _Item(at, cost, better)
