"""The most worth for a budget: a knapsack whose items lie in boxes that cost something to open, and may need another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Knapsack"]

# A larger budget is counted in coarser steps, costs rounded up: time and memory stay small, little of it is wasted.
_STEPS = 4608


class _Item(NamedTuple):
    """An item's cost in steps, with how much room it is better taken, and the next item that does not hang on it."""

    cost: int
    better: NDArray[np.bool_]
    beyond: int


class _Box(NamedTuple):
    """What opening a box costs in steps, with how much room it is better opened, and its items from ``first`` on."""

    price: int
    opened: NDArray[np.bool_]
    first: int
    items: Sequence[_Item]


class Knapsack:
    """Finds the items of the highest total value that fit, by dynamic programming over the capacity.

    One table answers for every capacity up to the largest. Items that need others form trees: in the order in which a
    tree is walked, the choice at each item is to take it and go on, or to skip it with all that hangs on it (Johnson
    and Niemi, "On knapsacks, partitions, and a new dynamic programming technique for trees", 1983).

    Args:
        values: What each item is worth, 0 or more.
        costs: What each item takes of the capacity, 1 or more.
        boxes: The box that each item lies in, in ascending order.
        opening: What the first item taken from each box takes more.
        needs: The item that each item cannot be taken without, if any: an earlier one of its box, and all between the
            two hang on that one too. Default: none needs another.
        capacity: The most that may ever be taken. Up to 4608 the result is exact, beyond it close to that.
    """

    def __init__(
        self,
        values: Sequence[float],
        costs: Sequence[int],
        boxes: Sequence[int],
        opening: Sequence[int],
        capacity: int,
        *,
        needs: Sequence[int | None] | None = None,
    ) -> None:
        import numpy as np

        self._step = max(-(-capacity // _STEPS), 1)
        self._boxes: list[_Box] = []
        needed = [None] * len(values) if needs is None else needs
        worth = np.zeros(max(capacity, 0) // self._step + 1)  # the most with each room; zeros are taking nothing
        for box, items in groupby(range(len(values)), key=boxes.__getitem__):
            members = list(items)
            price = -(-opening[box] // self._step)
            most, packed = _packed(
                _shifted(worth, price),
                [values[at] for at in members],
                [-(-costs[at] // self._step) for at in members],
                _beyond([None if (at := needed[index]) is None else at - members[0] for index in members]),
            )
            self._boxes.append(_Box(price, most > worth, members[0], packed))
            worth = np.maximum(worth, most)

    def packed(self, capacity: int) -> set[int]:
        """Return the indexes of the best items within ``capacity``, which is at most the largest."""
        left = max(capacity, 0) // self._step
        chosen = set()
        for box in reversed(self._boxes):  # back through the decisions that led to the most worth
            if not box.opened[left]:
                continue
            at = 0
            while at < len(box.items):
                item = box.items[at]
                taken = bool(item.better[left])
                if taken:
                    chosen.add(box.first + at)
                    left -= item.cost
                at = at + 1 if taken else item.beyond
            left -= box.price
        return chosen


def _packed(
    start: NDArray[np.float64], values: Sequence[float], costs: Sequence[int], beyond: Sequence[int]
) -> tuple[NDArray[np.float64], list[_Item]]:
    """Return the most worth of one box with each room, and the decisions; ``start`` is that of taking nothing."""
    import numpy as np

    ahead = {len(values): start}  # from each item on
    last_use = {place: at for at in reversed(range(len(values))) for place in (at + 1, beyond[at])}
    items = []
    for at in reversed(range(len(values))):
        skipped = ahead[beyond[at]]
        taken = _shifted(ahead[at + 1], costs[at]) + values[at]
        items.append(_Item(costs[at], taken > skipped, beyond[at]))
        ahead[at] = np.maximum(skipped, taken)
        for place in {at + 1, beyond[at]}:
            if last_use[place] == at:
                del ahead[place]  # a long document has many items
    return ahead[0], items[::-1]


def _beyond(needs: Sequence[int | None]) -> list[int]:
    """Return, for each item, the first one after it that does not hang on it."""
    found = [0] * len(needs)
    for at in reversed(range(len(needs))):
        after = at + 1
        while after < len(needs) and needs[after] == at:
            after = found[after]
        found[at] = after
    return found


def _shifted(worth: NDArray[np.float64], cost: int) -> NDArray[np.float64]:
    """Return the worth with each room of what takes ``cost`` more; what does not fit is worth less than nothing."""
    import numpy as np

    moved = np.empty_like(worth)
    moved[:cost] = -np.inf
    moved[cost:] = worth[: max(len(worth) - cost, 0)]
    return moved
