"""Logistic curves that turn relevance into probabilities (Platt 1999): plain numbers in, plain numbers out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["ANSWERABLE", "NEEDED", "Curves"]

NEEDED = ("level", "behind", "intercept")
ANSWERABLE = ("best", "terms", "intercept")


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Coefficients for one reranker.

    Attributes:
        steepness: Log odds of one unit of a question's candidates against another, per unit of relevance.
        needed: Of the probability that a unit is needed: ``level`` of its log odds, ``behind`` of how far it is behind
            the best unit, and ``intercept``.
        answerable: Of the probability that the documents hold what is asked for: ``best`` of the best unit's log odds,
            ``terms`` of how many content terms the question has, since no unit has all of many, and ``intercept``;
            None if none were fitted.
        abstain_below: The probability of being answerable below which nothing is relevant.
    """

    steepness: float = 1.0
    needed: Mapping[str, float]
    answerable: Mapping[str, float] | None = None
    abstain_below: float = 0.0

    def chances_needed(self, log_odds: Sequence[float]) -> list[float]:
        """Return for each unit of a question's candidates the probability that it is needed."""
        level, behind, intercept = (self.needed[name] for name in NEEDED)
        best = max(log_odds, default=0.0)
        return [_logistic(level * value + behind * (value - best) + intercept) for value in log_odds]

    def chance_answerable(self, log_odds: Sequence[float], terms: int) -> float | None:
        """Return the probability that the documents hold what a question of so many content terms asks for."""
        if self.answerable is None or not log_odds:
            return None
        best, of_terms, intercept = (self.answerable[name] for name in ANSWERABLE)
        return _logistic(best * max(log_odds) + of_terms * terms + intercept)


def _logistic(odds: float) -> float:
    return 1 / (1 + math.exp(-max(min(odds, 30.0), -30.0)))
