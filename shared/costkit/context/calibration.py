"""Calibration: what a reranker's scores mean, fitted on a golden set by ``costkit context calibrate``."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from costkit.context.curves import ANSWERABLE, NEEDED, Curves
from costkit.context.document import Document
from costkit.context.embedding import from_embedder
from costkit.context.lexical import term_counts
from costkit.context.relevance import Scores, scores_of, with_probabilities
from costkit.context.rerank import Reranker
from costkit.context.sentences import Unit
from costkit.embed import default_embedder
from costkit.errors import ConfigurationError, DataError

__all__ = ["CALIBRATION_FILE", "Calibration", "calibrated"]

CALIBRATION_FILE = "calibration.json"
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Curves from one reranker's scores to probabilities, and how well they hold on questions that they never saw.

    Attributes:
        reranker: Name of the reranker, whose scores alone the curves are for.
        curves: The coefficients.
        questions: Answerable questions that they were fitted on.
        held_out: Questions that they were measured on.
        error: How far the probability that a sentence is needed is from the share that is, on average over ten groups
            of sentences of rising probability with the same expected number of needed ones in each.
        accuracy: Balanced accuracy of saying that the documents answer a question; None without unanswerable ones.
        data: The golden sets.
        made: Date, ISO 8601.
    """

    reranker: str
    curves: Curves
    questions: int
    held_out: int
    error: float
    accuracy: float | None
    data: str
    made: str

    def save(self, path: Path | str) -> None:
        """Write the calibration as JSON.

        Raises:
            ConfigurationError: The file cannot be written.
        """
        try:
            Path(path).write_text(json.dumps({"format": _FORMAT, **asdict(self)}, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"out={str(path)!r} cannot be written: {error.strerror}") from error

    @classmethod
    def load(cls, path: Path | str) -> Calibration:
        """Read what ``save`` wrote.

        Raises:
            DataError: There is no such file, or it is no calibration of this release.
        """
        advice = "write one with `costkit context calibrate`"
        try:
            stored = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"no calibration can be read ({error}): {advice}", path=path) from None
        if not isinstance(stored, dict) or stored.pop("format", None) != _FORMAT:
            raise DataError(f"no calibration of this release: {advice}", path=path)
        missing = {field.name for field in fields(cls)}.symmetric_difference(stored)
        if missing or not isinstance(stored["reranker"], str):
            raise DataError(
                f"fields {sorted(missing) or ['reranker']} are missing, wrong or unknown: {advice}", path=path
            )
        return cls(**{**stored, "curves": _curves(stored["curves"], path)})


def _curves(stored: Any, path: Path | str) -> Curves:
    try:
        found = Curves(**stored)
        answerable = {} if found.answerable is None else found.answerable
        numbers = [found.steepness, found.abstain_below, *found.needed.values(), *answerable.values()]
        sound = set(found.needed) == {*NEEDED} and set(answerable) in ({*ANSWERABLE}, set())
        if not sound or not all(map(math.isfinite, numbers)):
            raise ValueError("coefficients are missing, or no finite numbers")
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(f"curves={stored!r} cannot be used ({error})", path=path) from None
    return found


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
            "run `costkit context calibrate` for that one"
        )
    return _Calibrated(given, found.curves)


class _Calibrated:
    """A reranker whose scores are turned into log odds and probabilities."""

    def __init__(self, reranker: Reranker, curves: Curves) -> None:
        self._reranker = reranker
        self._curves = curves
        self.name = reranker.name

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return the reranker's own scores."""
        return self._reranker.score(question, texts)

    def judge(self, question: str, documents: Sequence[Document], units: Sequence[Unit]) -> Scores:
        """Return the reranker's relevance in log odds, with probabilities."""
        relevance = scores_of(self._reranker, question, documents, units).relevance
        return with_probabilities(relevance, len(term_counts(question)), self._curves)
