"""Fits what stored answers say of one another: the constants of ``costkit.cache.agreement``.

`python -m costkit_evals.agreement_fit` replays the question families that the shipped score was fitted on as a cache
would live them, and fits, by maximum likelihood, whether the surest answer was right from its score, its support and
its rivals. It prints the weights in units of the score, and the loss for each reach.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from costkit.cache import agreement
from costkit.cache.equivalence import Candidate, Equivalence, FittedScore
from costkit.cache.labelled import Question, questions
from costkit.cache.replay import LEAST_COSINE, NEIGHBOURS
from costkit.embed import Embedder, default_embedder
from costkit_evals.cache_fit import FILES, held_out

__all__ = ["Votes", "fit_votes", "votes_of"]

REACHES = (0.1, 0.15, 0.25, 0.5, 1.0)

# Columns: the score of the surest answer in log odds, its support, its rivals, 1 where it was right, the row's weight.
Votes = NDArray[np.float64]


def votes_of(asked: Sequence[Question], embedder: Embedder, score: Equivalence, *, seed: int, weight: float) -> Votes:
    """Replay questions in random order at the default threshold; return one row for each that has a neighbour.

    Args:
        asked: The questions.
        embedder: Of the questions.
        score: Decides what is served, by the question alone.
        seed: Of the order.
        weight: Of all rows together.
    """
    order = random.Random(seed).sample(range(len(asked)), len(asked))  # noqa: S311  a draw, no secret
    vectors = embedder.embed([one.text for one in asked])
    stored: list[int] = []
    rows = []
    for index in order:
        cosines = vectors[stored] @ vectors[index]
        near = [int(place) for place in np.argsort(-cosines)[:NEIGHBOURS] if cosines[place] >= LEAST_COSINE]
        candidates = [Candidate(question=asked[stored[place]].text, cosine=float(cosines[place])) for place in near]
        scores = [verdict.score for verdict in score.score(asked[index].text, candidates)]
        groups = [asked[stored[place]].group for place in near]
        if scores and max(scores) > -np.inf:
            best = int(np.argmax(scores))
            support, rivals = agreement.votes(scores, groups, place=best)
            rows.append((scores[best], support, rivals, groups[best] == asked[index].group))
        if not scores or max(scores) < score.threshold:
            stored.append(index)
    found = np.array(rows, dtype=float)
    return np.column_stack([found, np.full(len(found), weight / len(found))])


def fit_votes(rows: Votes) -> tuple[float, float, float]:
    """Return the weights of support and rivals, in units of the score's own weight, and the loss per row.

    Raises:
        ValueError: The rows are all right or all wrong.
    """
    score, support, rivals, right, weights = rows.T
    if len(set(right)) < 2:
        raise ValueError("a fit needs right and wrong answers")
    sign = np.where(right > 0, 1.0, -1.0)

    def loss(betas: NDArray[np.float64]) -> float:
        margins = sign * (betas[0] + betas[1] * score + betas[2] * support - betas[3] * rivals)
        return float((weights * np.logaddexp(0, -margins)).sum() / weights.sum())

    found = minimize(loss, (0.0, 1.0, 0.0, 0.0), method="L-BFGS-B", bounds=[(None, None), *[(0.0, None)] * 3])
    return float(found.x[2] / found.x[1]), float(found.x[3] / found.x[1]), float(found.fun)


@click.command()
@click.option("--questions", "folder", type=click.Path(path_type=Path), default=Path("evals/golden/questions"))
@click.option("--seed", default=7, show_default=True, help="Of the order of the questions.")
def main(folder: Path, seed: int) -> None:
    """Fit and print the weights for every reach.

    Example: python -m costkit_evals.agreement_fit
    """
    embedder, score = default_embedder(), FittedScore()
    kept = {
        share: [one for one in questions(folder / file) if not held_out(one.family)] for file, share in FILES.items()
    }
    for reach in REACHES:
        agreement.REACH = reach
        rows = [votes_of(asked, embedder, score, seed=seed, weight=share) for share, asked in kept.items()]
        support, rivals, loss = fit_votes(np.vstack(rows))
        click.echo(f"reach {reach:g}: support {support:.2f}, rivals {rivals:.2f}, loss {loss:.4f}")


if __name__ == "__main__":
    main()
