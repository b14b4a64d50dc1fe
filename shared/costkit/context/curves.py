"""Logistic curves that turn relevance into probabilities (Platt 1999): plain numbers in, plain numbers out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from costkit.errors import ConfigurationError

__all__ = ["ANSWERABLE", "NEEDED", "Curves"]

NEEDED = ("level", "behind", "intercept")
ANSWERABLE = ("best", "terms", "intercept")
_LEAST_STEEPNESS = 1e-12
_MOST = 1e12


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Coefficients for one reranker.

    Attributes:
        steepness: Log odds of one unit of a question's candidates against another, per unit of relevance; above 0.
        needed: Of the probability that a unit is needed: ``level`` of its log odds, ``behind`` of how far it is behind
            the best unit, and ``intercept``.
        answerable: Of the probability that the documents hold what is asked for: ``best`` of the best unit's log odds,
            ``terms`` of how many content terms the question has, since no unit has all of many, and ``intercept``;
            None if none were fitted.
        abstain_below: The probability of being answerable below which nothing is relevant.

    Raises:
        ConfigurationError: A coefficient is missing, no number or out of range.
    """

    steepness: float = 1.0
    needed: Mapping[str, float]
    answerable: Mapping[str, float] | None = None
    abstain_below: float = 0.0

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("steepness", self.steepness, _LEAST_STEEPNESS, math.inf),
            ("abstain_below", self.abstain_below, 0.0, 1.0),
        ):
            if not _is_number(value) or not least <= value <= most:
                raise ConfigurationError(f"Curves.{name} must be a number from {least:g} to {most:g}, got {value!r}")
        _check_coefficients("needed", self.needed, NEEDED)
        if self.answerable is not None:
            _check_coefficients("answerable", self.answerable, ANSWERABLE)

    def log_odds(self, relevance: Sequence[float]) -> list[float]:
        """Return relevance in log odds of one unit against another."""
        # Rounded, because the last digits of a vector or a score depend on the batch it was computed in.
        return [round(self.steepness * value, 3) for value in relevance]

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


def _check_coefficients(name: str, given: Mapping[str, float], names: Sequence[str]) -> None:
    """Check that no slope is below 0: what bears more on a question is never less probable."""
    sound = isinstance(given, Mapping) and {*given} == {*names} and all(map(_is_number, given.values()))
    if not sound or any(given[slope] < 0 for slope in names if slope != "intercept"):
        raise ConfigurationError(
            f"Curves.{name} must map {', '.join(names)} to numbers, none but the intercept below 0, got {given!r}"
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST


def _logistic(odds: float) -> float:
    return 1 / (1 + math.exp(-max(min(odds, 30.0), -30.0)))
