"""Fits the equivalence score of the semantic cache on labelled questions.

`python -m costkit_evals.cache_fit` fits the shipped coefficients on the question families in ``evals/golden/questions``
and prints them, with the AUC on the families that were left out beside the cosine's; `costkit bench cache --fit` fits
on pairs of a user's own.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import mannwhitneyu

from costkit.cache.equivalence import FEATURES, RAISING, Candidate, Coefficients, features
from costkit.cache.labelled import Pair, Question, questions
from costkit.embed import Embedder, default_embedder

__all__ = ["fit", "fit_pairs", "held_out", "left_out", "shipped"]

# Strength of the pull of each standardised weight towards 0.
RIDGE = 1e-3
# Every question is compared with its nearest neighbours, as the cache would, and with its own family.
NEIGHBOURS = 5
# Customers' loose messages tell less about what must be kept apart than questions written as near misses do.
LOOSE_SHARE = 0.3
# A likelihood weighs the whole curve, a cache lives at its strict end: there findings should weigh more than it says. On
# the families of the fit, recall at 1, 5 and 10% wrong rises up to this factor and is level beyond it.
SHARPENING = 1.5
FILES = {"strict.jsonl.gz": 1.0, "intents.jsonl.gz": LOOSE_SHARE}


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Feature values of pairs, of shape (pairs, len(FEATURES)), whether each pair is the same, and its weight."""

    values: NDArray[np.float64]
    same: NDArray[np.bool_]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, pairs: Sequence[Pair], embedder: Embedder) -> Rows:
        """Compute the features of labelled pairs, each of weight 1."""
        left, right = embedder.embed([pair.a for pair in pairs]), embedder.embed([pair.b for pair in pairs])
        cosines = (left * right).sum(axis=1)
        values = [
            features(pair.a, Candidate(question=pair.b, cosine=float(cosine)))[0]
            for pair, cosine in zip(pairs, cosines, strict=True)
        ]
        return cls(values=np.array(values), same=np.array([pair.same for pair in pairs]), weights=np.ones(len(pairs)))


def fit(rows: Rows) -> tuple[float, dict[str, float]]:
    """Fit the logistic model by maximum likelihood with a ridge, under the signs that ``FEATURES`` have.

    The weights of the guards' findings are then multiplied by ``SHARPENING``.

    Returns:
        The intercept and the weights, in log odds per unit.
    """
    mean, spread = rows.values.mean(axis=0), rows.values.std(axis=0) + 1e-9
    scaled = (rows.values - mean) / spread
    weights = rows.weights / rows.weights.sum()
    sign = np.where(rows.same, 1.0, -1.0)

    def loss(betas: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margins = sign * (scaled @ betas[:-1] + betas[-1])
        slope = -sign * weights * np.exp(-np.logaddexp(0, margins))
        gradient = np.append(scaled.T @ slope + 2 * RIDGE * betas[:-1], slope.sum())
        return float((weights * np.logaddexp(0, -margins)).sum() + RIDGE * (betas[:-1] ** 2).sum()), gradient

    bounds = [(0.0, None) if name in RAISING else (None, 0.0) for name in FEATURES]
    found = minimize(loss, np.zeros(len(FEATURES) + 1), jac=True, method="L-BFGS-B", bounds=[*bounds, (None, None)])
    plain = found.x[:-1] / spread
    names = {name: round(float(weight) * _sharpening(name), 4) for name, weight in zip(FEATURES, plain, strict=True)}
    return round(float(found.x[-1] - (plain * mean).sum()), 4), names


def _sharpening(name: str) -> float:
    return SHARPENING if name == "findings" or name.startswith("guard_") else 1.0


def fit_pairs(pairs: Sequence[Pair], embedder: Embedder, *, name: str, threshold: float = 0.0) -> Coefficients:
    """Fit on labelled pairs."""
    intercept, weights = fit(Rows.of(pairs, embedder))
    return Coefficients(name=name, intercept=intercept, weights=weights, threshold=threshold)


def held_out(family: str) -> bool:
    """Say whether a family is left out of the fit: one in three, by its name's hash."""
    return int(hashlib.sha256(family.encode()).hexdigest(), 16) % 3 == 0


def shipped(folder: Path, embedder: Embedder, *, threshold: float = 0.0) -> Coefficients:
    """Fit the shipped coefficients on the families in ``folder`` that are not held out."""
    rows = []
    for file, share in FILES.items():
        kept = [question for question in questions(folder / file) if not held_out(question.family)]
        made = Rows.of(list(_comparisons(kept, embedder)), embedder)
        rows.append(Rows(values=made.values, same=made.same, weights=np.full(len(made.same), share / len(made.same))))
    joined = Rows(
        values=np.vstack([one.values for one in rows]),
        same=np.concatenate([one.same for one in rows]),
        weights=np.concatenate([one.weights for one in rows]),
    )
    intercept, weights = fit(joined)
    return Coefficients(
        name="families-2",
        intercept=intercept,
        weights=weights,
        threshold=threshold,
        data=(
            "costkit question families, strict: two thirds of the families of evals/golden/questions (Apache-2.0)",
            "costkit question families, intents: the same, at 0.3 of the weight (Apache-2.0)",
        ),
    )


def _comparisons(kept: Sequence[Question], embedder: Embedder) -> Iterable[Pair]:
    """Yield the pairs that a cache would weigh: each question with its neighbours and with its own family."""
    vectors = embedder.embed([question.text for question in kept])
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1.0)
    nearest = np.argsort(-cosines, axis=1)[:, :NEIGHBOURS]
    chosen = {(min(a, int(b)), max(a, int(b))) for a, row in enumerate(nearest) for b in row}
    families: dict[str, list[int]] = defaultdict(list)
    for index, question in enumerate(kept):
        families[question.family].append(index)
    for members in families.values():
        chosen.update(combinations(members, 2))
    for a, b in sorted(chosen):
        if cosines[a, b] >= 0.5:
            yield Pair(a=kept[a].text, b=kept[b].text, same=kept[a].group == kept[b].group)


def left_out(folder: Path, embedder: Embedder, coefficients: Coefficients) -> dict[str, tuple[float, float]]:
    """Return, per file, the AUC of the score and that of the cosine on the families that were held out."""
    found = {}
    for file in FILES:
        kept = [question for question in questions(folder / file) if held_out(question.family)]
        rows = Rows.of(list(_comparisons(kept, embedder)), embedder)
        scores = np.array([coefficients.score(values) for values in rows.values])
        found[file] = (_auc(scores, rows.same), _auc(rows.values[:, FEATURES.index("cosine")], rows.same))
    return found


def _auc(scores: NDArray[np.float64], same: NDArray[np.bool_]) -> float:
    ranked = mannwhitneyu(scores[same], scores[~same])
    return float(ranked.statistic / (same.sum() * (~same).sum()))


@click.command()
@click.option("--questions", "folder", type=click.Path(path_type=Path), default=Path("evals/golden/questions"))
@click.option("--threshold", default=0.5, show_default=True, help="The default operating point to write.")
def main(folder: Path, threshold: float) -> None:
    """Fit the shipped coefficients anew and print them as JSON; the held-out figures go to standard error.

    Example: python -m costkit_evals.cache_fit > shared/costkit/cache/equivalence.json
    """
    embedder = default_embedder()
    coefficients = shipped(folder, embedder, threshold=threshold)
    for file, (score, cosine) in left_out(folder, embedder, coefficients).items():
        click.echo(f"{file}, families held out: AUC {score:.3f}, cosine {cosine:.3f}", err=True)
    click.echo(coefficients.to_json(), nl=False)


if __name__ == "__main__":
    main()
