"""The most worth for a budget: a knapsack whose items lie in boxes, and whose boxes cost something to open."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["pack"]

# A larger budget is counted in coarser steps, costs rounded up: time and memory stay small, little of it is wasted.
_STEPS = 4096


def pack(
    values: Sequence[float], costs: Sequence[int], boxes: Sequence[int], opening: Sequence[int], capacity: int
) -> set[int]:
    """Return the items of the highest total value that fit, by dynamic programming over the capacity.

    Args:
        values: What each item is worth, 0 or more.
        costs: What each item takes of the capacity, 1 or more.
        boxes: The box that each item lies in, in ascending order.
        opening: What the first item taken from each box takes more.
        capacity: The most that may be taken.

    Returns:
        Their indexes; exact up to a capacity of 4096, close to it beyond.
    """
    import numpy as np

    step = -(-capacity // _STEPS) if capacity > 0 else 1
    size = capacity // step + 1
    worth = np.zeros(size)  # the most worth at each cost so far; the zeros are the choice to take nothing
    decided: list[tuple[int, NDArray[np.bool_], list[tuple[int, int, NDArray[np.bool_]]]]] = []
    for box, items in groupby(range(len(values)), key=boxes.__getitem__):
        price = -(-opening[box] // step)
        inside = _shifted(worth, price)
        taken = []
        for index in items:
            cost = -(-costs[index] // step)
            more = _shifted(inside, cost) + values[index]
            taken.append((index, cost, more > inside))
            inside = np.maximum(inside, more)
        decided.append((price, inside > worth, taken))
        worth = np.maximum(worth, inside)
    return _traced(decided, size - 1)


def _shifted(worth: NDArray[np.float64], cost: int) -> NDArray[np.float64]:
    """Return the worth at each cost of what has ``cost`` more; what does not fit is worth less than nothing."""
    import numpy as np

    moved = np.full_like(worth, -np.inf)
    if cost < len(worth):
        moved[cost:] = worth[: len(worth) - cost]
    return moved


def _traced(
    decided: Sequence[tuple[int, NDArray[np.bool_], Sequence[tuple[int, int, NDArray[np.bool_]]]]], left: int
) -> set[int]:
    """Walk back through the decisions that led to the most worth."""
    chosen = set()
    for price, opened, taken in reversed(decided):
        if not opened[left]:
            continue
        for index, cost, better in reversed(taken):
            if better[left]:
                chosen.add(index)
                left -= cost
        left -= price
    return chosen
