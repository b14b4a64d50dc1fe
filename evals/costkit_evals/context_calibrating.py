"""``costkit context calibrate``: what any reranker's scores mean, fitted on half of the questions of golden sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from costkit.context import Calibration, Reranker, from_embedder, from_fastembed_cross_encoder, from_flashrank
from costkit.context.lexical import term_counts
from costkit.context.relevance import scores_of
from costkit.embed import Embedder
from costkit.errors import ConfigurationError, DataError
from costkit_evals.context_candidates import Candidates, candidates, held_out
from costkit_evals.context_curves import (
    FEWEST_OF_A_KIND,
    Scored,
    balanced_accuracy,
    calibration_error,
    conditional_logit,
    fit_curves,
    set_weights,
    skill,
)
from costkit_evals.context_methods import in_folder
from costkit_evals.golden import GoldenSet

__all__ = ["calibrate", "flashrank_folder", "open_reranker"]

FEWEST_QUESTIONS = 20

OnStep = Callable[[str, int, int], None]


def flashrank_folder(text: str) -> Path | None:
    """Return the folder that ``flashrank:FOLDER`` names, or None for any other reranker."""
    kind, _, name = text.partition(":")
    return Path(name) if kind == "flashrank" and Path(name).is_dir() else None


def open_reranker(text: str, embedder: Embedder) -> Reranker:
    """Read ``embedding``, ``flashrank:NAME``, ``flashrank:FOLDER`` or ``fastembed:NAME``.

    Raises:
        ConfigurationError: There is no such reranker.
        MissingExtraError: Its library is not installed.
    """
    kind, _, name = text.partition(":")
    if text == "embedding":
        return from_embedder(embedder)
    if kind not in ("flashrank", "fastembed") or not name:
        raise ConfigurationError(
            f"--reranker {text!r} names no reranker: use embedding, flashrank:NAME, flashrank:FOLDER or fastembed:NAME"
        )
    if folder := flashrank_folder(text):
        return in_folder(folder)
    return from_flashrank(name) if kind == "flashrank" else from_fastembed_cross_encoder(name)


def calibrate(
    goldens: Sequence[GoldenSet],
    reranker: Reranker,
    embedder: Embedder,
    *,
    limit: int | None = None,
    on_step: OnStep = lambda *_: None,
) -> Calibration:
    """Fit on the questions of the split ``dev`` and measure on those of ``test``, or on halves that a hash picks.

    Args:
        goldens: Golden sets, which count the same whatever their size.
        reranker: Scores what is retrieved.
        embedder: Retrieves it.
        limit: Use at most so many questions of each half of each set. Default: all.
        on_step: Called with the set's name, the questions done and those there are.

    Raises:
        ConfigurationError: ``limit`` is below 1.
        DataError: A half has fewer than 20 questions with needed sentences, the scores do not rank those first, or one is
            no finite number.
    """
    if limit is not None and limit < 1:
        raise ConfigurationError(f"limit must be 1 or more, got {limit!r}")
    learned, rest = _halves(_scored(goldens, reranker, embedder, limit, on_step))
    steepness = _steepness(reranker, [one for one in learned if one.needed.any()])
    measurable = sum(not one.answerable for one in rest) >= FEWEST_OF_A_KIND
    curves = fit_curves(learned, steepness=steepness, abstention=measurable)
    accuracy = balanced_accuracy(curves, rest)
    return Calibration(
        reranker=reranker.name,
        curves=curves,
        questions=len(learned),
        held_out=len(rest),
        error=round(calibration_error(curves, rest), 4),
        skill=round(skill(curves, rest), 4),
        accuracy=None if accuracy is None else round(accuracy, 4),
        data=", ".join(one.name for one in goldens),
        made=datetime.now(UTC).date().isoformat(),
    )


def _halves(scored: Iterable[tuple[bool, Scored]]) -> tuple[list[Scored], list[Scored]]:
    """Return the questions to fit on and those to measure on."""
    halves: dict[bool, list[Scored]] = {False: [], True: []}
    for held, one in scored:
        halves[held].append(one)
    for name, half in (("to fit on", halves[False]), ("to measure on", halves[True])):
        if (found := sum(one.needed.any() for one in half)) < FEWEST_QUESTIONS:
            raise DataError(
                f"{found} of the {len(half)} questions {name} have sentences that are known to be needed, and "
                f"{FEWEST_QUESTIONS} must have: add questions with supporting passages"
            )
    return halves[False], halves[True]


def _scored(
    goldens: Sequence[GoldenSet], reranker: Reranker, embedder: Embedder, limit: int | None, on_step: OnStep
) -> Iterator[tuple[bool, Scored]]:
    """Yield, of each question that has candidates, whether it is held out, and what the reranker says of them."""
    for golden in goldens:
        golden = _limited(golden, limit)
        for done, one in enumerate(candidates(golden, embedder), 1):
            if one.units:
                yield held_out(one.question), _judged(one, reranker)
            on_step(golden.name, done, len(golden.questions))


def _judged(one: Candidates, reranker: Reranker) -> Scored:
    question = one.question.question
    try:
        found = scores_of(reranker, question, one.documents, one.units)
    except ValueError as error:
        raise DataError(f"{reranker.name} cannot be calibrated: {error}") from error
    return Scored(
        set_name=one.set_name,
        answerable=one.question.answerable,
        terms=len(term_counts(question)),
        relevance=np.array(found.relevance, dtype=np.float64),
        needed=one.needed,
    )


def _limited(golden: GoldenSet, limit: int | None) -> GoldenSet:
    halves = ([one for one in golden.questions if held_out(one) == held][:limit] for held in (False, True))
    return GoldenSet(name=golden.name, corpus=golden.corpus, questions=tuple(one for half in halves for one in half))


def _steepness(reranker: Reranker, given: Sequence[Scored]) -> float:
    """Return how many log odds of one unit against another a score is worth (a conditional logit of one feature)."""
    shares = set_weights([one.set_name for one in given])
    (found,) = conditional_logit([one.relevance[:, None] for one in given], [one.needed for one in given], shares)
    if found <= 0:
        raise DataError(f"{reranker.name} does not score needed sentences above others: another reranker is needed")
    return float(f"{found:.4g}")
