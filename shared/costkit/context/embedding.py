"""The default reranker: vectors of passages, sentences and tokens, and shared words, which need only an embedder."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from costkit.context.answers import asked_for, holds, may_hold
from costkit.context.document import Document
from costkit.context.hops import links
from costkit.context.late import Reader, late_interaction
from costkit.context.lexical import bm25, coverage, rarity, term_counts
from costkit.context.relevance import Observed, Scores, share_of_one, shipped, titled
from costkit.context.rerank import Reranker
from costkit.context.sentences import SUPPORTING, Unit
from costkit.embed import Embedder, TokenEmbedder, default_embedder, remember, token_embedder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Cosines = NDArray[np.floating]

__all__ = ["EmbeddingReranker", "from_embedder"]

_REMEMBERED = 1024
_LEXICAL_WEIGHT = 0.9
# Of the cosines of passages: the usual one among 20 candidates is .05, and two that are nearly equal are no lead.
_LEAST_DEVIATION = 0.03


def from_embedder(embedder: Embedder | None = None) -> Reranker:
    """Make the reranker that needs nothing but an embedder.

    It weighs a sentence by its words and its vector, by its passage, by whether it holds the kind of thing that is
    asked for, and by whether the best passages name its passage. An embedder that tells the vectors of tokens, as
    ``minilm`` does, reads each passage once and is compared by late interaction too. What was read is remembered by
    content, so that a text costs its embedding once.

    Args:
        embedder: Turns texts into vectors. Default: ``costkit.embed.default_embedder()``, opened at the first use.
    """
    return EmbeddingReranker(None if embedder is None else remember(embedder))


class EmbeddingReranker:
    """A ``Reranker`` over texts, and a ``Judge`` of units in their documents.

    Args:
        embedder: Turns texts into vectors. Default: ``costkit.embed.default_embedder()``, opened at the first use.
        remembered: How many documents to remember that were read token by token.
    """

    def __init__(self, embedder: Embedder | None, *, remembered: int = _REMEMBERED) -> None:
        self._embedder = embedder
        self._remembered = remembered
        self._reader: Reader | None = None
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """What scores: ``embedding:minilm``, for example."""
        return f"embedding:{'default' if self._embedder is None else self._embedder.name}"

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return the cosine of question and text with BM25 over the texts added."""
        if not texts:
            return []
        vectors = self._opened().embed([question, *texts])
        cosines = (vectors[1:] @ vectors[0]).tolist()
        lexical = bm25(term_counts(question), [term_counts(text) for text in texts])
        # Rounded, because the last digits of a vector depend on the batch it was computed in.
        return [round(cosine + _LEXICAL_WEIGHT * word, 5) for cosine, word in zip(cosines, lexical, strict=True)]

    def judge(self, question: str, documents: Sequence[Document], units: Sequence[Unit]) -> Scores:
        """Return the scores of each unit, by the shipped coefficients."""
        fitted = shipped()["vectors" if token_embedder(self._opened()) is None else "tokens"]
        return fitted.scores(self.observe(question, documents, units))

    def observe(self, question: str, documents: Sequence[Document], units: Sequence[Unit]) -> Observed:
        """Return what is seen of each unit: the features of the fitted relevance."""
        import numpy as np

        tokens = token_embedder(self._opened())
        dense = (
            self._by_vectors(question, documents, units)
            if tokens is None
            else self._by_tokens(tokens, question, documents, units)
        )
        return Observed(
            values=np.column_stack([dense, _lexical(question, documents, units), _worded(question, documents, units)]),
            ranks=[unit.rank for unit in units],
            links=links([document.title for document in documents], [document.text for document in documents]),
            terms=len(term_counts(question)),
        )

    def _by_tokens(
        self, tokens: TokenEmbedder, question: str, documents: Sequence[Document], units: Sequence[Unit]
    ) -> NDArray[np.float64]:
        import numpy as np

        with self._lock:
            reader = self._reader = self._reader or Reader(tokens, remembered=self._remembered)
        groups = [(documents[rank], list(its)) for rank, its in groupby(units, key=lambda unit: unit.rank)]
        asked = reader.ask(question)
        readings = reader.read([document for document, _ in groups], [its for _, its in groups])
        columns = [
            np.column_stack([*closeness, reading.units @ asked.vector, reading.windows @ asked.vector])
            for closeness, reading in zip(late_interaction(asked, readings), readings, strict=True)
        ]
        dense = np.concatenate(columns) if columns else np.zeros((0, 4))
        dense[:, -1] = _lead(question, dense[:, -1], [unit.rank for unit in units])
        return dense

    def _by_vectors(self, question: str, documents: Sequence[Document], units: Sequence[Unit]) -> NDArray[np.float64]:
        import numpy as np

        texts = [question, *(unit.view for unit in units), *map(titled, documents)]
        vectors = self._opened().embed(texts)
        cosines = vectors[1:] @ vectors[0]
        of_units, of_documents = cosines[: len(units)], cosines[len(units) :]
        ranks = [unit.rank for unit in units]
        passages = of_documents[ranks] if units else of_units
        untold = np.zeros((len(units), 2))
        return np.column_stack([untold, _standard(of_units), _lead(question, passages, ranks)])

    def _opened(self) -> Embedder:
        if self._embedder is None:
            self._embedder = default_embedder()
        return self._embedder


def _standard(cosines: Cosines) -> Cosines:
    """Bring the cosines of one question to mean 0 and deviation 1: embedders differ in how close they put all texts."""
    if not len(cosines):
        return cosines
    standard: Cosines = (cosines - cosines.mean()) / (cosines.std() + 1e-6)
    return standard


def _lead(question: str, cosines: Cosines, ranks: Sequence[int]) -> Cosines:
    """Return how far each unit's passage is ahead of the candidates, in deviations; less, the longer the question.

    A question of many terms brings several things together, which stand in several passages: the passage that is
    closest to the whole question is not the only one that is needed. Terms are counted as in English.
    """
    import numpy as np

    if not len(cosines):
        return cosines
    best = np.full(max(ranks) + 1, -np.inf)
    np.maximum.at(best, list(ranks), cosines)
    measure = best[best > -np.inf]
    lead = (best - measure.mean()) / max(float(measure.std()), _LEAST_DEVIATION)
    found: Cosines = lead[list(ranks)] * share_of_one(len(term_counts(question)))
    return found


def _lexical(question: str, documents: Sequence[Document], units: Sequence[Unit]) -> list[tuple[float, float, float]]:
    """Return for each unit BM25 of its view, BM25 of its passage, and the share of the question's terms in that."""
    asked = term_counts(question)
    passages = [term_counts(titled(document)) for document in documents]
    rare = rarity(asked, passages)
    covered = [coverage(rare, passage) for passage in passages]
    of_passages = bm25(asked, passages)
    of_units = bm25(asked, [term_counts(unit.view) for unit in units])
    return [(value, of_passages[unit.rank], covered[unit.rank]) for value, unit in zip(of_units, units, strict=True)]


def _worded(question: str, documents: Sequence[Document], units: Sequence[Unit]) -> list[tuple[float, float, float]]:
    """Return whether each unit may hold what is asked for, has its form, and opens its document."""
    kinds, known = asked_for(question), term_counts(question).keys()
    named = [known | term_counts(document.title).keys() for document in documents]
    opening: set[int] = set()
    found = []
    for unit in units:
        opens = unit.kind not in SUPPORTING and unit.rank not in opening
        if opens:
            opening.add(unit.rank)
        found.append(
            (float(may_hold(kinds, unit.text, known)), float(holds(kinds, unit.text, named[unit.rank])), float(opens))
        )
    return found
