"""Fits the relevance, the probabilities and the abstention of the default context reranker on golden sets.

``python -m costkit_evals.context_fit DIR... > shared/costkit/context/relevance.json`` fits on the half of each set's
questions that a hash picks and prints the coefficients. How well the other half's needed sentences are found goes to
standard error, per set, beside what a fit finds that never saw the set.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

import click
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from costkit.context.document import Document
from costkit.context.embedding import EmbeddingReranker
from costkit.context.relevance import FEATURES, Fitted, Observed, log_odds, with_links
from costkit.context.sentences import SUPPORTING, Unit, units_of
from costkit.embed import Embedder, default_embedder, token_embedder
from costkit.text import words
from costkit.tokens import default_counter
from costkit_evals.chunks import Chunk, cut
from costkit_evals.golden import GoldenSet, Question, load
from costkit_evals.vectors import open_stored

__all__ = ["Case", "Silent", "cases", "fit", "fit_weights", "found_first", "held_out"]

RETRIEVED = 20
# Half of a corpus of passages is shorter than this.
LONG_CHARACTERS = 1500
# Strength of the pull of each standardised weight towards 0.
RIDGE = 1e-3
# The second hop starts from the weights of the round before; they settle in two.
ROUNDS = 3
ANSWERABLE = ("best", "terms")
FIRST = 3

Values = NDArray[np.float64]
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


def cases(golden: GoldenSet, embedder: Embedder, *, retrieve: int = RETRIEVED) -> Iterator[Case]:
    """Retrieve by cosine and observe the units of what was found, question by question.

    A corpus of documents rather than passages is cut into chunks, as the evaluation cuts it.
    """
    passages = {one.id: one for one in _passages(golden)}
    documents = [Document(id=one.id, text=one.text, title=one.title) for one in passages.values()]
    vectors = embedder.embed([f"{one.title}\n{one.text}" if one.title else one.text for one in documents])
    reranker = EmbeddingReranker(embedder, remembered=len(documents))
    for question in golden.questions:
        order = np.argsort(-(vectors @ embedder.embed([question.question])[0]), kind="stable")[:retrieve]
        found = [documents[index] for index in order]
        units = units_of(found, default_counter())
        yield Case(
            set_name=golden.name,
            question=question,
            observed=reranker.observe(question.question, found, units),
            needed=np.array([_is_needed(unit, passages[found[unit.rank].id], question) for unit in units], np.bool_),
        )


def _passages(golden: GoldenSet) -> list[Chunk]:
    if median(len(document.text) for document in golden.corpus) > LONG_CHARACTERS:
        return cut(golden.corpus)
    return [Chunk(id=one.id, doc_id=one.id, title=one.title, start=0, text=one.text) for one in golden.corpus]


def _is_needed(unit: Unit, passage: Chunk, question: Question) -> bool:
    """True if the unit is labelled; where nothing is labelled, if it holds an answer in a gold document."""
    if unit.kind in SUPPORTING:
        return False
    start, end = passage.start + unit.start, passage.start + unit.end
    if question.supporting:
        return any(one.doc_id == passage.doc_id and start < one.end and one.start < end for one in question.supporting)
    text = f" {' '.join(words(unit.text))} "
    answers = [f" {' '.join(words(answer))} " for answer in question.answers]
    return passage.doc_id in question.gold_ids and any(answer in text for answer in answers if answer.strip())


def held_out(question: Question) -> bool:
    """True for the half of the questions that is left out of the fit; a set's own split decides where it has one."""
    if question.split:
        return question.split == "test"
    return int(hashlib.sha256(question.id.encode()).hexdigest(), 16) % 2 == 1


def fit(given: Sequence[Case]) -> Fitted:
    """Fit all coefficients for an embedder that tells token vectors; every set weighs the same."""
    weights = fit_weights(given)
    scores = [log_odds(weights, with_links(weights, case.observed)) for case in given]
    fitted = Fitted(weights=weights, needed=_needed(given, scores), answerable=_answerable(given, scores))
    return fitted if fitted.answerable is None else replace(fitted, abstain_below=_threshold(fitted, given))


def fit_weights(given: Sequence[Case]) -> dict[str, float]:
    """Fit the weights alone. A feature that is 0 throughout gets none."""
    weights: dict[str, float] = {}
    for _ in range(ROUNDS):
        weights = _ranking([(case, with_links(weights, case.observed)) for case in given if case.needed.any()])
    return weights


def _ranking(given: Sequence[tuple[Case, Values]]) -> dict[str, float]:
    """Fit the weights so that needed units come before the others of their question (a conditional logit).

    Each needed unit is compared with those of the same question that are not needed, so the loss sees order alone.
    """
    values = np.concatenate([values for _, values in given])
    needed = np.concatenate([case.needed for case, _ in given])
    sizes = np.array([len(case.needed) for case, _ in given])
    starts, owner = np.concatenate([[0], np.cumsum(sizes)[:-1]]), np.repeat(np.arange(len(given)), sizes)
    spread = values.std(axis=0) + 1e-9
    scaled = (values - values.mean(axis=0)) / spread
    share = np.where(needed, (_set_weights([case for case, _ in given]) / np.add.reduceat(needed, starts))[owner], 0.0)

    def loss(betas: Values) -> tuple[float, Values]:
        odds = scaled @ betas
        odds -= np.maximum.reduceat(odds, starts)[owner]
        worth = np.exp(odds)
        others = np.where(needed, 0.0, worth)
        total = np.add.reduceat(others, starts)[owner] + worth
        pull = np.add.reduceat(share / total, starts)[owner] * others - share * (1 - worth / total)
        value = -(share * (odds - np.log(total))).sum() + RIDGE * betas @ betas
        return float(value), scaled.T @ pull + 2 * RIDGE * betas

    bounds = [(0.0, None)] * len(FEATURES)
    betas = minimize(loss, np.zeros(len(FEATURES)), jac=True, bounds=bounds, method="L-BFGS-B").x
    return {name: round(float(beta), 4) for name, beta in zip(FEATURES, betas / spread, strict=True)}


def _set_weights(given: Sequence[Case]) -> Values:
    names = [case.set_name for case in given]
    return np.array([1 / names.count(name) / len(set(names)) for name in names])


def _needed(given: Sequence[Case], scores: Sequence[Values]) -> dict[str, float]:
    rows = np.concatenate([np.column_stack([own, own - own.max()]) for own in scores])
    labels = np.concatenate([case.needed for case in given])
    weights = np.repeat(_set_weights(given), [len(own) for own in scores])
    level, behind, intercept = _logistic_fit(rows, labels, weights)
    return {"level": level, "behind": behind, "intercept": intercept}


def _answerable(given: Sequence[Case], scores: Sequence[Values]) -> dict[str, float] | None:
    """Fit what tells answerable questions from unanswerable ones, if there are any; both weigh the same."""
    labels = _answerable_labels(given)
    if labels.all():
        return None
    rows = np.array([[own.max(), case.observed.terms] for own, case in zip(scores, given, strict=True)])
    *betas, intercept = _logistic_fit(rows, labels, _outcome_weights(given, labels))
    return {**dict(zip(ANSWERABLE, betas, strict=True)), "intercept": intercept}


def _threshold(fitted: Fitted, given: Sequence[Case]) -> float:
    """Return the probability that tells answerable and unanswerable questions apart best, by balanced accuracy."""
    chances = np.array([fitted.scores(case.observed).answerable or 0.0 for case in given])
    labels = _answerable_labels(given)
    weights = _outcome_weights(given, labels)
    candidates = np.unique(np.round(chances, 2))
    accuracy = [weights[(chances >= one) == labels].sum() for one in candidates]
    return float(candidates[int(np.argmax(accuracy))])


def _answerable_labels(given: Sequence[Case]) -> Labels:
    return np.array([case.question.answerable for case in given], dtype=np.bool_)


def _outcome_weights(given: Sequence[Case], labels: Labels) -> Values:
    """Return weights under which both outcomes weigh the same, and within each outcome every set."""
    weights = np.zeros(len(given))
    for outcome in (True, False):
        chosen = np.flatnonzero(labels == outcome)
        weights[chosen] = 0.5 * _set_weights([given[int(index)] for index in chosen])
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
    """Say per set how well the half that was left out is served, also by a fit that never saw the set."""
    fitted = fit(_fitting(found))
    for name in sorted({case.set_name for case in found}):
        rest = [case for case in found if case.set_name == name and held_out(case.question)]
        others = [case for case in _fitting(found) if case.set_name != name]
        beside = f", a fit without the set {found_first(fit(others), rest):.3f}" if others else ""
        yield f"{name}: first {FIRST} {found_first(fitted, rest):.3f}{beside}"


def _fitting(found: Sequence[Case]) -> list[Case]:
    return [case for case in found if not held_out(case.question)]


if __name__ == "__main__":
    main()
