"""Fits the relevance, the probabilities and the abstention of the default context reranker on golden sets.

``python -m costkit_evals.context_fit DIR... > shared/costkit/context/relevance.json`` fits on the half of each set's
questions that a hash picks and prints the coefficients. How well the other half's needed sentences are found goes to
standard error, per set, beside what a fit finds that never saw the set.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from costkit.context.embedding import EmbeddingReranker
from costkit.context.relevance import FEATURES, Fitted, Observed, log_odds, with_links
from costkit.embed import Embedder, default_embedder, token_embedder
from costkit_evals.context_candidates import candidates, held_out
from costkit_evals.context_curves import (
    Scored,
    balanced_accuracy,
    calibration_error,
    conditional_logit,
    fit_curves,
    set_weights,
    skill,
)
from costkit_evals.golden import GoldenSet, Question, load
from costkit_evals.vectors import open_stored

__all__ = ["Case", "Silent", "cases", "fit", "fit_weights", "found_first"]

# The second hop starts from the weights of the round before; they settle in two.
ROUNDS = 3
FIRST = 3
# A corpus of so many passages is read once.
_REMEMBERED = 20_000

Labels = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One question with what is seen of its candidates, and which of their units are labelled as needed."""

    set_name: str
    question: Question
    observed: Observed
    needed: Labels


class Silent:
    """An embedder that keeps the vectors of tokens to itself, as most do."""

    def __init__(self, embedder: Embedder) -> None:
        self.name = embedder.name
        self.dimensions = embedder.dimensions
        self.embed = embedder.embed


def cases(golden: GoldenSet, embedder: Embedder) -> Iterator[Case]:
    """Retrieve by cosine and observe the units of what was found, question by question."""
    reranker = EmbeddingReranker(embedder, remembered=_REMEMBERED)
    for one in candidates(golden, embedder):
        yield Case(
            set_name=one.set_name,
            question=one.question,
            observed=reranker.observe(one.question.question, one.documents, one.units),
            needed=one.needed,
        )


def fit(given: Sequence[Case]) -> Fitted:
    """Fit all coefficients for an embedder that tells token vectors; every set weighs the same."""
    weights = fit_weights(given)
    return Fitted(weights=weights, curves=fit_curves([_scored(weights, case) for case in given]))


def _scored(weights: Mapping[str, float], case: Case) -> Scored:
    return Scored(
        set_name=case.set_name,
        answerable=case.question.answerable,
        terms=case.observed.terms,
        relevance=log_odds(weights, with_links(weights, case.observed)),
        needed=case.needed,
    )


def fit_weights(given: Sequence[Case]) -> dict[str, float]:
    """Fit the weights alone. A feature that is 0 throughout gets none."""
    useful = [case for case in given if case.needed.any()]
    shares = set_weights([case.set_name for case in useful])
    weights: dict[str, float] = {}
    for _ in range(ROUNDS):
        values = [with_links(weights, case.observed) for case in useful]
        found = conditional_logit(values, [case.needed for case in useful], shares)
        weights = {name: round(float(value), 4) for name, value in zip(FEATURES, found, strict=True)}
    return weights


def found_first(fitted: Fitted, given: Sequence[Case]) -> float:
    """Return the share of needed units that are among the first three of their question, averaged over questions."""
    shares = []
    for case in given:
        if case.needed.any():
            order = np.argsort(-np.array(fitted.scores(case.observed).relevance), kind="stable")
            shares.append(case.needed[order[:FIRST]].sum() / min(case.needed.sum(), FIRST))
    return float(np.mean(shares))


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(folders: tuple[Path, ...]) -> None:
    """Fit the shipped coefficients anew on golden sets and print them as JSON.

    Example: python -m costkit_evals.context_fit evals/golden/handbook my/set > shared/costkit/context/relevance.json
    """
    embedder = open_stored(default_embedder())
    if token_embedder(embedder) is None:
        raise click.ClickException(f"{embedder.name} tells no token vectors: run `costkit models` and use minilm")
    goldens = [load(folder) for folder in folders]
    found = [case for golden in goldens for case in cases(golden, embedder)]
    for line in report(found):
        click.echo(line, err=True)
    blind = [case for golden in goldens for case in cases(golden, Silent(embedder))]
    embedder.save()
    shipped = {
        "name": "sentences-1",
        "embedder": embedder.name,
        "tokens": asdict(fit(_fitting(found))),
        # Without probabilities: how close an embedder puts texts, and so what a cosine is worth, differs too much.
        "vectors": {"weights": fit_weights(_fitting(blind))},
        "data": [f"{folder.name}: half of its questions" for folder in folders],
    }
    click.echo(json.dumps(shipped, indent=2))


def report(found: Sequence[Case]) -> Iterator[str]:
    """Say per set, and of all, how well the half that was left out is served, also by a fit that never saw the set."""
    fitted = fit(_fitting(found))
    left_out = [case for case in found if held_out(case.question)]
    for name in sorted({case.set_name for case in found}):
        rest = [case for case in left_out if case.set_name == name]
        others = [case for case in _fitting(found) if case.set_name != name]
        beside = f", a fit without the set {found_first(fit(others), rest):.3f}" if others else ""
        yield f"{name}: first {FIRST} {found_first(fitted, rest):.3f}{beside}; {_calibration(fitted, rest)}"
    yield f"all: {_calibration(fitted, left_out)}"


def _calibration(fitted: Fitted, rest: Sequence[Case]) -> str:
    assert fitted.curves is not None  # noqa: S101  fit() always fits them
    scored = [_scored(fitted.weights, case) for case in rest]
    alarms = [fitted.scores(case.observed).nothing for case in rest if case.question.answerable]
    told = f"probabilities {calibration_error(fitted.curves, scored):.3f} off, skill {skill(fitted.curves, scored):.3f}"
    accuracy = balanced_accuracy(fitted.curves, scored)
    told += f", answerable ones taken for unanswerable {np.mean(alarms):.3f}"
    return told if accuracy is None else f"{told}, balanced accuracy {accuracy:.3f}"


def _fitting(found: Sequence[Case]) -> list[Case]:
    return [case for case in found if not held_out(case.question)]


if __name__ == "__main__":
    main()
