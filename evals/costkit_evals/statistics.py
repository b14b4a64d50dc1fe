"""Intervals and one-sided bounds by bootstrap over clusters.

Questions about the same document succeed and fail together, so whole documents are resampled, not single questions
(Miller, "Adding Error Bars to Evals", arXiv 2411.00640). Everything takes a seed and gives the same numbers again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["Difference", "Estimate", "detectable_drop", "estimate", "paired_difference", "ratio"]

RESAMPLES = 2000
CONFIDENCE = 0.95

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean (or ratio of sums) with its two-sided 95% interval; ``n`` is the number of values."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A paired difference of means: the estimate, its two-sided 95% interval and its one-sided 95% lower bound."""

    value: float
    low: float
    high: float
    lower_bound: float
    n: int


def estimate(values: Sequence[float], clusters: Sequence[str], *, seed: int) -> Estimate | None:
    """Return the mean of ``values`` with its interval, or None without values."""
    return ratio(values, [1.0] * len(values), clusters, seed=seed)


def ratio(
    numerators: Sequence[float], denominators: Sequence[float], clusters: Sequence[str], *, seed: int
) -> Estimate | None:
    """Return ``sum(numerators) / sum(denominators)`` with its interval, or None where the denominators sum to 0."""
    if not sum(denominators):
        return None
    sums = _resampled([numerators, denominators], clusters, seed)
    below = sums[:, 1]
    draws = sums[below > 0, 0] / below[below > 0]
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(
        value=float(sum(numerators) / sum(denominators)), low=float(low), high=float(high), n=len(numerators)
    )


def paired_difference(
    ours: Sequence[float], theirs: Sequence[float], clusters: Sequence[str], *, seed: int
) -> Difference | None:
    """Return the mean of ``ours - theirs`` over the same questions, or None without values."""
    if not ours:
        return None
    gaps = [one - other for one, other in zip(ours, theirs, strict=True)]
    sums = _resampled([gaps, [1.0] * len(gaps)], clusters, seed)
    draws = sums[:, 0] / sums[:, 1]
    low, high, bound = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2, 1 - CONFIDENCE])
    return Difference(
        value=float(np.mean(gaps)), low=float(low), high=float(high), lower_bound=float(bound), n=len(gaps)
    )


def detectable_drop(difference: Difference) -> float:
    """Return the true drop that a set of this size and spread would show with 80% probability, one-sided at 5%.

    A drop is seen if the estimate plus 1.645 standard errors stays below 0; the power of 80% adds 0.84 standard errors
    (normal approximation). The standard error is read off the bootstrap interval.
    """
    standard_error = (difference.high - difference.low) / (2 * 1.96)
    return (1.645 + 0.842) * standard_error


def _resampled(columns: Sequence[Sequence[float]], clusters: Sequence[str], seed: int) -> Array:
    """Return the column sums of ``RESAMPLES`` draws of whole clusters, shape (RESAMPLES, len(columns))."""
    names, members = np.unique(np.asarray(clusters), return_inverse=True)
    totals = np.stack(
        [np.bincount(members, weights=np.asarray(column, dtype=float), minlength=len(names)) for column in columns],
        axis=1,
    )
    sums: Array = _weights(len(names), seed) @ totals
    return sums


@lru_cache(maxsize=16)
def _weights(clusters: int, seed: int) -> Array:
    """Return how often each draw holds each cluster, shape (RESAMPLES, clusters)."""
    draws = np.random.default_rng(seed).integers(clusters, size=(RESAMPLES, clusters))
    return np.stack([np.bincount(draw, minlength=clusters) for draw in draws]).astype(float)
