"""Calibration: what a reranker's scores mean, fitted on a golden set by ``costkit context calibrate``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from costkit.context.curves import Curves
from costkit.context.document import Document
from costkit.context.embedding import from_embedder
from costkit.context.lexical import term_counts
from costkit.context.relevance import Scores, scores_of, with_probabilities
from costkit.context.rerank import Reranker
from costkit.context.sentences import Unit
from costkit.context.stored import plain_fields, read, write
from costkit.embed import default_embedder
from costkit.errors import ConfigurationError, DataError

__all__ = ["CALIBRATION_FILE", "Calibration", "calibrated"]

CALIBRATION_FILE = "calibration.json"


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Curves from one reranker's scores to probabilities, and how well they hold on questions that they never saw.

    Attributes:
        reranker: Name of the reranker, whose scores alone the curves are for.
        curves: The coefficients.
        questions: Questions that they were fitted on.
        held_out: Questions that they were measured on.
        error: How far the probability that a sentence is needed is from the share that is, on average over ten groups
            of sentences of rising probability with the same expected number of needed ones in each.
        skill: Share of the log loss that is saved beside saying the overall share of needed sentences of each: 1 at best,
            0 or below where the probabilities tell nothing.
        accuracy: Balanced accuracy of saying that the documents answer a question; None without unanswerable ones.
        data: The golden sets.
        made: Date, ISO 8601.
    """

    reranker: str
    curves: Curves
    questions: int
    held_out: int
    error: float
    skill: float
    accuracy: float | None
    data: str
    made: str

    def save(self, path: Path | str) -> None:
        """Write the calibration as JSON.

        Raises:
            ConfigurationError: The file cannot be written.
        """
        write(path, self)

    @classmethod
    def load(cls, path: Path | str) -> Calibration:
        """Read what ``save`` wrote.

        Raises:
            DataError: There is no such file, or it is no calibration of this release.
        """
        advice = "write one with `costkit context calibrate`"
        stored = read(path, what="calibration", advice=advice)
        try:
            curves = Curves(**stored["curves"])
        except (ConfigurationError, KeyError, TypeError) as error:
            raise DataError(f"curves={stored.get('curves')!r} cannot be used ({error}): {advice}", path=path) from None
        return cls(curves=curves, **plain_fields(cls, stored, path))


def calibrated(reranker: Reranker | None, calibration: Calibration | Path | str) -> Reranker:
    """Give a reranker the probabilities that were fitted for it.

    With them a reduction tells ``Kept.probability``, abstains where nothing bears on the question, and measures how
    much sentences are worth in the reranker's own log odds instead of a usual one.

    Args:
        reranker: Any reranker. None is the default one over the default embedder, which is chosen now.
        calibration: What ``costkit context calibrate`` fitted, or its file.

    Raises:
        ConfigurationError: It was fitted for another reranker.
        DataError: The file is no calibration.
    """
    given = from_embedder(default_embedder()) if reranker is None else reranker
    found = calibration if isinstance(calibration, Calibration) else Calibration.load(calibration)
    if found.reranker != given.name:
        raise ConfigurationError(
            f"calibration is of {found.reranker!r} and says nothing about {given.name!r}: "
            "run `costkit context calibrate` for that one, or pass None for the default reranker"
        )
    return _Calibrated(given, found.curves)


class _Calibrated:
    """A reranker whose scores are turned into log odds and probabilities."""

    def __init__(self, reranker: Reranker, curves: Curves) -> None:
        self._reranker = reranker
        self._curves = curves
        self.name = f"{reranker.name}, calibrated"

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return the reranker's own scores."""
        return self._reranker.score(question, texts)

    def judge(self, question: str, documents: Sequence[Document], units: Sequence[Unit]) -> Scores:
        """Return the reranker's relevance in log odds, with probabilities."""
        relevance = scores_of(self._reranker, question, documents, units).relevance
        return with_probabilities(relevance, len(term_counts(question)), self._curves)
