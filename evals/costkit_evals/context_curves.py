"""Fits on labelled units: what ranks them, and the curves that turn relevance into probabilities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from costkit.context.curves import ANSWERABLE, NEEDED, Curves

__all__ = [
    "Scored",
    "balanced_accuracy",
    "calibration_error",
    "conditional_logit",
    "fit_curves",
    "set_weights",
    "skill",
]

# Strength of the pull of each standardised weight towards 0: of those that rank, and of the curves, where one unit in a
# hundred is needed and the whole loss is small.
RIDGE = 1e-3
_CURVE_RIDGE = 1e-5
# Of each kind: fewer unanswerable questions say too little of when to abstain.
FEWEST_OF_A_KIND = 10
_GROUPS = 10
_EQUAL = 1e-9

Values = NDArray[np.float64]
Labels = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One question, the relevance of its candidates' units, and which of them are needed.

    Attributes:
        set_name: Its golden set.
        answerable: False if nothing answers the question.
        terms: How many content terms it has.
        relevance: Of shape (units,).
        needed: Of shape (units,).
    """

    set_name: str
    answerable: bool
    terms: int
    relevance: Values
    needed: Labels


def set_weights(names: Sequence[str]) -> Values:
    """Return a weight for each question, given its set's name, under which every set weighs the same; they add to 1."""
    sizes = Counter(names)
    return np.array([1 / sizes[name] / len(sizes) for name in names])


def conditional_logit(values: Sequence[Values], needed: Sequence[Labels], shares: Values) -> Values:
    """Fit the weights, none below 0, that bring needed units before the others of their question.

    Each needed unit is compared with those of the same question that are not needed, so the loss sees order alone.

    Args:
        values: Of each question, its units' features, of shape (units, features).
        needed: Of each question, which units are needed: one at least.
        shares: What each question counts for.

    Returns:
        Log odds of one unit against another per unit of each feature, of shape (features,).
    """
    rows, labels = np.concatenate(values), np.concatenate(needed)
    sizes = np.array([len(one) for one in needed])
    starts, owner = np.concatenate([[0], np.cumsum(sizes)[:-1]]), np.repeat(np.arange(len(sizes)), sizes)
    spread = rows.std(axis=0) + 1e-9
    scaled = (rows - rows.mean(axis=0)) / spread
    share = np.where(labels, (shares / np.add.reduceat(labels, starts))[owner], 0.0)

    def loss(betas: Values) -> tuple[float, Values]:
        odds = scaled @ betas
        odds -= np.maximum.reduceat(odds, starts)[owner]
        worth = np.exp(odds)
        others = np.where(labels, 0.0, worth)
        total = np.add.reduceat(others, starts)[owner] + worth
        pull = np.add.reduceat(share / total, starts)[owner] * others - share * (1 - worth / total)
        value = -(share * (odds - np.log(total))).sum() + RIDGE * betas @ betas
        return float(value), scaled.T @ pull + 2 * RIDGE * betas

    bounds = [(0.0, None)] * rows.shape[1]
    found: Values = minimize(loss, np.zeros(rows.shape[1]), jac=True, bounds=bounds, method="L-BFGS-B").x / spread
    return found


def fit_curves(given: Sequence[Scored], *, steepness: float = 1.0, abstention: bool = True) -> Curves:
    """Fit the probabilities for a relevance of which one unit is ``steepness`` log odds; every set weighs the same.

    Abstention is fitted if it is wanted and there are ten answerable and ten unanswerable questions.
    """
    given = [replace(one, relevance=steepness * one.relevance) for one in given]
    fitted = Curves(steepness=steepness, needed=_needed(given), answerable=_answerable(given) if abstention else None)
    return replace(fitted, abstain_below=_threshold(fitted, given)) if fitted.answerable else fitted


def _needed(given: Sequence[Scored]) -> dict[str, float]:
    rows = np.concatenate([np.column_stack([one.relevance, one.relevance - one.relevance.max()]) for one in given])
    labels = np.concatenate([one.needed for one in given])
    weights = np.repeat(set_weights([one.set_name for one in given]), [len(one.relevance) for one in given])
    return dict(zip(NEEDED, _logistic_fit(rows, labels, weights), strict=True))


def _answerable(given: Sequence[Scored]) -> dict[str, float] | None:
    """Fit what tells answerable questions from unanswerable ones, if there are enough; both weigh the same."""
    labels = _answerable_labels(given)
    if min(labels.sum(), (~labels).sum()) < FEWEST_OF_A_KIND:
        return None
    rows = np.array([[one.relevance.max(), one.terms] for one in given])
    return dict(zip(ANSWERABLE, _logistic_fit(rows, labels, _outcome_weights(given, labels)), strict=True))


def _threshold(curves: Curves, given: Sequence[Scored]) -> float:
    """Return the probability that tells answerable and unanswerable questions apart best, by balanced accuracy.

    It lies in the middle of a gap between two questions; of equally good ones it is the one that abstains least.
    """
    chances = _chances_answerable(curves, given)
    labels = _answerable_labels(given)
    weights = _outcome_weights(given, labels)
    known = np.unique(chances)
    tried = np.concatenate([[0.0], (known[:-1] + known[1:]) / 2])
    accuracy = np.array([weights[(chances >= one) == labels].sum() for one in tried])
    return round(float(tried[np.flatnonzero(accuracy >= accuracy.max() - _EQUAL)[0]]), 4)


def _chances_answerable(curves: Curves, given: Sequence[Scored]) -> Values:
    return np.array([curves.chance_answerable(one.relevance.tolist(), one.terms) or 0.0 for one in given])


def _answerable_labels(given: Sequence[Scored]) -> Labels:
    return np.array([one.answerable for one in given], dtype=np.bool_)


def _outcome_weights(given: Sequence[Scored], labels: Labels) -> Values:
    """Return weights under which both outcomes weigh the same, and within each outcome every set."""
    weights = np.zeros(len(given))
    for outcome in (True, False):
        chosen = np.flatnonzero(labels == outcome)
        weights[chosen] = 0.5 * set_weights([given[int(index)].set_name for index in chosen])
    return weights


def _logistic_fit(rows: Values, labels: Labels, weights: Values) -> list[float]:
    """Return non-negative coefficients of a logistic regression, and the intercept last."""
    mean, spread = rows.mean(axis=0), rows.std(axis=0) + 1e-9
    scaled, sign = (rows - mean) / spread, np.where(labels, 1.0, -1.0)
    shares = weights / weights.sum()

    def loss(betas: Values) -> tuple[float, Values]:
        margins = sign * (scaled @ betas[:-1] + betas[-1])
        slope = -sign * shares * np.exp(-np.logaddexp(0, margins))
        value = (shares * np.logaddexp(0, -margins)).sum() + _CURVE_RIDGE * (betas[:-1] ** 2).sum()
        return float(value), np.append(scaled.T @ slope + 2 * _CURVE_RIDGE * betas[:-1], slope.sum())

    bounds = [(0.0, None)] * rows.shape[1] + [(None, None)]
    betas = minimize(loss, np.zeros(len(bounds)), jac=True, bounds=bounds, method="L-BFGS-B").x
    slopes = betas[:-1] / spread
    return [*np.round(slopes, 4).tolist(), round(float(betas[-1] - slopes @ mean), 4)]


# --- how well they hold ----------------------------------------------------------------------------------------------


def calibration_error(curves: Curves, given: Sequence[Scored]) -> float:
    """Return how far the probability that a unit is needed is from the share that is, averaged over ten groups.

    The groups are of rising probability and have the same sum of probabilities, since nearly all units are of no use:
    in groups of equal size nine would hold next to nothing. Every set weighs the same.
    """
    chances, needed, weights = _predicted(curves, given)
    levels, level = np.unique(chances, return_inverse=True)  # equal probabilities stay together
    expected = levels * np.bincount(level, weights)
    middle = (np.cumsum(expected) - expected / 2) / expected.sum()
    group = np.minimum((_GROUPS * middle).astype(int), _GROUPS - 1)[level]
    sums = np.bincount(group, weights)
    gaps = np.abs(np.bincount(group, weights * (chances - needed)))
    return float((gaps[sums > 0] / sums[sums > 0]).mean())


def skill(curves: Curves, given: Sequence[Scored]) -> float:
    """Return the share of the log loss that the probabilities save beside the overall share of needed units."""
    chances, needed, weights = _predicted(curves, given)
    share = float((weights * needed).sum())
    return float(1 - _log_loss(chances, needed, weights) / _log_loss(np.full(len(needed), share), needed, weights))


def _predicted(curves: Curves, given: Sequence[Scored]) -> tuple[Values, Labels, Values]:
    """Return for all units of all questions the probability, whether it is needed, and its weight; these add to 1."""
    weights = np.repeat(set_weights([one.set_name for one in given]), [len(one.relevance) for one in given])
    chances = [curves.chances_needed(curves.log_odds(one.relevance.tolist())) for one in given]
    return np.concatenate(chances), np.concatenate([one.needed for one in given]), weights / weights.sum()


def _log_loss(chances: Values, needed: Labels, weights: Values) -> float:
    return float(-(weights * np.log(np.where(needed, chances, 1 - chances))).sum())


def balanced_accuracy(curves: Curves, given: Sequence[Scored]) -> float | None:
    """Return how often it is right that a question is answered, both kinds of question and all sets weighing the same.

    None if there are none of one kind, or nothing was fitted.
    """
    labels = _answerable_labels(given)
    if curves.answerable is None or labels.all() or not labels.any():
        return None
    scaled = [replace(one, relevance=np.array(curves.log_odds(one.relevance.tolist()))) for one in given]
    right = (_chances_answerable(curves, scaled) >= curves.abstain_below) == labels
    return float(_outcome_weights(given, labels)[right].sum())
