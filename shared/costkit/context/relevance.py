"""How much each unit bears on a question: from any reranker's scores, or fitted where a reranker weighs more than one.

The fitted relevance is a linear model over eleven features, with signs fixed beforehand: none of them ever lowers it. Its
weights are log odds of one unit of a question's candidates against another, and a logistic curve over them gives the
probability that a unit is needed. docs/context.md says what they were fitted on and how they carry over.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from costkit.context.curves import Curves
from costkit.context.document import Document
from costkit.context.hops import named_by_the_best
from costkit.context.rerank import Reranker
from costkit.context.sentences import Unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

__all__ = [
    "FEATURES",
    "Fitted",
    "Judge",
    "Observed",
    "Scores",
    "log_odds",
    "scores_of",
    "share_of_one",
    "shipped",
    "titled",
    "with_links",
    "with_probabilities",
]

# What the fitted relevance sees of a unit; the last is the second hop, which needs the relevance of the others.
FEATURES = (
    "late_interaction",
    "paired_interaction",
    "sentence_cosine",
    "passage_lead",
    "sentence_terms",
    "passage_terms",
    "passage_coverage",
    "answer_kind",
    "answer_form",
    "opening",
    "named",
)
_SHIPPED = "relevance.json"
# Content terms of a question: with so many it asks for several things at once, and with so few for one.
_MANY, _FEW = 9, 4

# Tuned on the development families of the handbook golden set, for rerankers that score one text at a time.
_NEIGHBOUR_WEIGHT = 0.3
_DOCUMENT_WEIGHT = 1.0


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a reranker says of each unit.

    Attributes:
        relevance: How much it bears on the question, higher is better.
        in_log_odds: True if relevance is in log odds of one unit against another; else its scale is not known.
        probabilities: For each unit that it is needed, or None where nothing was fitted for the reranker in use.
        answerable: The probability that the documents hold what the question asks for, or None likewise.
        nothing: True if that probability is so low that the documents are better left out.
    """

    relevance: Sequence[float]
    in_log_odds: bool = False
    probabilities: Sequence[float] | None = None
    answerable: float | None = None
    nothing: bool = False


@runtime_checkable
class Judge(Protocol):
    """A reranker that weighs units in their documents by itself."""

    def judge(self, question: str, documents: Sequence[Document], units: Sequence[Unit]) -> Scores:
        """Return the scores of ``units``, which are all the units of ``documents`` in order."""
        ...


def scores_of(reranker: Reranker, question: str, documents: Sequence[Document], units: Sequence[Unit]) -> Scores:
    """Return how relevant ``units``, which are all the units of ``documents`` in order, are to ``question``.

    Raises:
        ValueError: The reranker gave too few scores, or one that is no finite number.
    """
    if isinstance(reranker, Judge):
        found = reranker.judge(question, documents, units)
    else:
        # A reranker of the user's own may give numpy's floats, which json does not take.
        scores = [*map(float, reranker.score(question, [unit.view for unit in units]))]
        document_scores = [*map(float, reranker.score(question, [titled(document) for document in documents]))]
        if len(scores) != len(units) or len(document_scores) != len(documents):
            raise ValueError(f"{reranker.name} gave {len(scores)} scores for {len(units)} texts")
        found = Scores(relevance=_in_context(units, scores, document_scores))
    if not all(map(math.isfinite, found.relevance)):
        raise ValueError(f"{reranker.name} gave a score that is no finite number")
    return found


def titled(document: Document) -> str:
    """Return a document as indexes commonly embed it, so that its vector may be at hand already."""
    return f"{document.title}\n{document.text}" if document.title else document.text


def _in_context(units: Sequence[Unit], scores: Sequence[float], document_scores: Sequence[float]) -> list[float]:
    """Return each unit's relevance: its own score, with its better neighbour's and its document's added.

    An answer often stands beside the sentence that sounds like the question, in a document that is about it.
    """
    relevance = []
    for index, unit in enumerate(units):
        beside = [at for at in (index - 1, index + 1) if 0 <= at < len(units) and units[at].rank == unit.rank]
        neighbour = max((scores[at] for at in beside), default=0.0)
        relevance.append(scores[index] + _NEIGHBOUR_WEIGHT * neighbour + _DOCUMENT_WEIGHT * document_scores[unit.rank])
    return relevance


# --- the fitted relevance --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What is seen of the candidates of one question.

    Attributes:
        values: The features but the last, of shape (units, len(FEATURES) - 1).
        ranks: The document that each unit stands in.
        links: For each document, the documents that name it.
        terms: How many content terms the question has.
    """

    values: Values
    ranks: Sequence[int]
    links: Sequence[set[int]]
    terms: int


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """Coefficients of the fitted relevance.

    Attributes:
        weights: Log odds per unit of each of ``FEATURES``.
        curves: What turns them into probabilities; None if nothing was fitted.
    """

    weights: Mapping[str, float]
    curves: Curves | None = None

    def scores(self, observed: Observed) -> Scores:
        """Return the relevance and probability of each unit."""
        odds = log_odds(self.weights, with_links(self.weights, observed)).tolist()
        if self.curves is None:
            return Scores(relevance=[round(value, 3) for value in odds], in_log_odds=True)
        return with_probabilities(odds, observed.terms, self.curves)


def with_probabilities(relevance: Sequence[float], terms: int, curves: Curves) -> Scores:
    """Return relevance in log odds, with the probabilities of ``curves`` for a question of so many content terms."""
    odds = curves.log_odds(relevance)
    answerable = curves.chance_answerable(odds, terms)
    return Scores(
        relevance=odds,
        in_log_odds=True,
        probabilities=curves.chances_needed(odds),
        answerable=answerable,
        nothing=answerable is not None and answerable < curves.abstain_below,
    )


def with_links(weights: Mapping[str, float], observed: Observed) -> Values:
    """Return all features, of shape (units, len(FEATURES)): the second hop starts from the relevance without it.

    To a question that asks for one thing, half as much of it is shown: it seldom needs a second passage.
    """
    import numpy as np

    odds = log_odds(weights, observed.values)
    best = [float("-inf")] * len(observed.links)
    for rank, value in zip(observed.ranks, odds.tolist(), strict=True):
        best[rank] = max(best[rank], value)
    shown = 1 - share_of_one(observed.terms) / 2
    named = [shown * value for value in named_by_the_best(observed.links, best)]
    return np.column_stack([observed.values, [named[rank] for rank in observed.ranks]])


def share_of_one(terms: int) -> float:
    """Return how much a question of so many content terms asks for one thing: 1 up to four terms, 0 from nine on."""
    return min(max((_MANY - terms) / (_MANY - _FEW), 0.0), 1.0)


def log_odds(weights: Mapping[str, float], values: Values) -> Values:
    """Return the weighted sum of the first features, as many as there are columns in ``values``."""
    import numpy as np

    found: Values = values @ np.array([weights.get(name, 0.0) for name in FEATURES[: values.shape[1]]])
    return found


@lru_cache(maxsize=1)
def shipped() -> Mapping[str, Fitted]:
    """Return the shipped coefficients: ``tokens`` for an embedder that tells token vectors, ``vectors`` for others."""
    stored = json.loads(files("costkit.context").joinpath(_SHIPPED).read_text(encoding="utf-8"))
    return {name: _fitted(**stored[name]) for name in ("tokens", "vectors")}


def _fitted(weights: Mapping[str, float], curves: Mapping[str, Any] | None = None) -> Fitted:
    return Fitted(weights=weights, curves=None if curves is None else Curves(**curves))
