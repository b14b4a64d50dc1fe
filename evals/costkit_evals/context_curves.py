"""Fits on labelled units: what ranks them, and the curves that turn relevance into probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from costkit.context.curves import ANSWERABLE, NEEDED, Curves

__all__ = ["Scored", "balanced_accuracy", "calibration_error", "conditional_logit", "fit_curves", "set_weights"]

# Strength of the pull of each standardised weight towards 0.
RIDGE = 1e-3
_GROUPS = 10

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
    return np.array([1 / names.count(name) / len(set(names)) for name in names])


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


def fit_curves(given: Sequence[Scored], *, steepness: float = 1.0) -> Curves:
    """Fit the probabilities for a relevance of which one unit is ``steepness`` log odds; every set weighs the same."""
    given = [replace(one, relevance=steepness * one.relevance) for one in given]
    fitted = Curves(steepness=steepness, needed=_needed(given), answerable=_answerable(given))
    # What is fitted here has the steepness in it already.
    threshold = _threshold(replace(fitted, steepness=1.0), given) if fitted.answerable else 0.0
    return replace(fitted, abstain_below=threshold)


def _needed(given: Sequence[Scored]) -> dict[str, float]:
    rows = np.concatenate([np.column_stack([one.relevance, one.relevance - one.relevance.max()]) for one in given])
    labels = np.concatenate([one.needed for one in given])
    weights = np.repeat(set_weights([one.set_name for one in given]), [len(one.relevance) for one in given])
    return dict(zip(NEEDED, _logistic_fit(rows, labels, weights), strict=True))


def _answerable(given: Sequence[Scored]) -> dict[str, float] | None:
    """Fit what tells answerable questions from unanswerable ones, if there are any; both weigh the same."""
    labels = _answerable_labels(given)
    if labels.all():
        return None
    rows = np.array([[one.relevance.max(), one.terms] for one in given])
    return dict(zip(ANSWERABLE, _logistic_fit(rows, labels, _outcome_weights(given, labels)), strict=True))


def _threshold(curves: Curves, given: Sequence[Scored]) -> float:
    """Return the probability that tells answerable and unanswerable questions apart best, by balanced accuracy."""
    chances = _chances_answerable(curves, given)
    labels = _answerable_labels(given)
    weights = _outcome_weights(given, labels)
    tried = np.unique(np.round(chances, 2))
    accuracy = [weights[(chances >= one) == labels].sum() for one in tried]
    return float(tried[int(np.argmax(accuracy))])


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
        value = (shares * np.logaddexp(0, -margins)).sum() + RIDGE * (betas[:-1] ** 2).sum()
        return float(value), np.append(scaled.T @ slope + 2 * RIDGE * betas[:-1], slope.sum())

    bounds = [(0.0, None)] * rows.shape[1] + [(None, None)]
    betas = minimize(loss, np.zeros(len(bounds)), jac=True, bounds=bounds, method="L-BFGS-B").x
    slopes = betas[:-1] / spread
    return [*np.round(slopes, 4).tolist(), round(float(betas[-1] - slopes @ mean), 4)]


# --- how well they hold ----------------------------------------------------------------------------------------------


def calibration_error(curves: Curves, given: Sequence[Scored]) -> float:
    """Return how far the probability that a unit is needed is from the share that is, averaged over ten groups.

    The groups are of rising probability and have the same sum of probabilities, since nearly all units are of no use:
    in groups of equal size nine would hold next to nothing.
    """
    odds = [(curves.steepness * one.relevance).tolist() for one in given]
    chances = np.concatenate([curves.chances_needed(own) for own in odds])
    needed = np.concatenate([one.needed for one in given])
    order = np.argsort(chances, kind="stable")
    gathered = np.cumsum(chances[order])
    group = np.minimum((_GROUPS * gathered / gathered[-1]).astype(int), _GROUPS - 1)
    gaps = [
        abs(chances[order][group == one].mean() - needed[order][group == one].mean())
        for one in range(_GROUPS)
        if (group == one).any()
    ]
    return float(np.mean(gaps))


def balanced_accuracy(curves: Curves, given: Sequence[Scored]) -> float | None:
    """Return how often it is right that a question is answered, answerable and unanswerable ones weighing the same.

    None if there are none of one kind, or nothing was fitted.
    """
    labels = _answerable_labels(given)
    if curves.answerable is None or labels.all() or not labels.any():
        return None
    scaled = [replace(one, relevance=curves.steepness * one.relevance) for one in given]
    right = (_chances_answerable(curves, scaled) >= curves.abstain_below) == labels
    return float((right[labels].mean() + right[~labels].mean()) / 2)
