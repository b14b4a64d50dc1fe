"""The second hop: what the best passages name may be the title of the passage that a question needs next."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

__all__ = ["links", "named_by_the_best"]

_IN_BRACKETS = re.compile(r"\s*\([^)]*\)\s*$")  # "Fargo (film)" is spoken of as Fargo
_SHORTEST_TITLE = 3  # characters: shorter ones stand in texts by chance
# In log odds: a passage this much behind the best one still recommends others with a weight of 1/e.
_REACH = 3.0


def links(titles: Sequence[str], texts: Sequence[str]) -> list[set[int]]:
    """Return, for each passage, the passages that name its title.

    Args:
        titles: The passages' titles.
        texts: Their texts.
    """
    names = [_IN_BRACKETS.sub("", title).strip() for title in titles]
    found: list[set[int]] = []
    for name in names:
        whole = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
        # Passages under one title are parts of one document, which name each other without saying anything.
        naming = (rank for rank, text in enumerate(texts) if name in text and names[rank] != name)
        found.append({rank for rank in naming if len(name) >= _SHORTEST_TITLE and whole.search(texts[rank])})
    return found


def named_by_the_best(links_: Sequence[set[int]], log_odds: Sequence[float]) -> list[float]:
    """Return how strongly each passage is recommended, 0 to 1: by the best passage that names it.

    Args:
        links_: For each passage, the passages that name it.
        log_odds: How relevant each passage is in itself.
    """
    best = max(log_odds, default=0.0)
    strength = [math.exp((value - best) / _REACH) for value in log_odds]
    return [max((strength[other] for other in others), default=0.0) for others in links_]
