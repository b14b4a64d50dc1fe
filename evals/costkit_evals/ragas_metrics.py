"""The metrics of ragas that need no language model, computed by ragas itself.

ragas is slow to import and reports its use over the network unless told not to, so it is imported at the first score.
Means belong to the caller: a row that a metric cannot score keeps its place as None, and the reason is counted, so that
failures never leave the denominator unseen.
"""

from __future__ import annotations

import asyncio
import math
import os
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from costkit.embed import Embedder, remember
from costkit.errors import ConfigurationError

if TYPE_CHECKING:
    from ragas.embeddings.base import BaseRagasEmbedding

__all__ = ["METRICS", "RagasRow", "RagasScores", "score"]

# Metrics of an answer against a reference, by ragas' own name: class in ragas.metrics.collections.
_ANSWER = {
    "exact_match": "ExactMatch",
    "string_present": "StringPresence",
    "non_llm_string_similarity": "NonLLMStringSimilarity",
    "bleu_score": "BleuScore",
    "rouge_score": "RougeScore",
    "chrf_score": "CHRFScore",
    "semantic_similarity": "SemanticSimilarity",
}
# Metrics of a context; ragas has them in its older module only.
_CONTEXT_IDS = {
    "id_based_context_recall": "IDBasedContextRecall",
    "id_based_context_precision": "IDBasedContextPrecision",
}
_CONTEXT_TEXTS = {
    "non_llm_context_recall": "NonLLMContextRecall",
    "non_llm_context_precision_with_reference": "NonLLMContextPrecisionWithReference",
}

METRICS: tuple[str, ...] = (*_CONTEXT_IDS, *_CONTEXT_TEXTS, *_ANSWER)


@dataclass(frozen=True, kw_only=True)
class RagasRow:
    """One answered question.

    Attributes:
        references: Accepted answers; a metric's value is the best over them.
        contexts: The texts that the answer was given from, best first.
        context_ids: Their documents' ids.
        gold_ids: Ids of the documents that hold the answer.
        gold_texts: The passages that hold it.
    """

    id: str
    answer: str
    references: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()
    context_ids: tuple[str, ...] = ()
    gold_ids: tuple[str, ...] = ()
    gold_texts: tuple[str, ...] = ()


class RagasScores(dict[str, list[float | None]]):
    """Values by metric, one per row in the rows' order: 0 to 1 (semantic similarity: a cosine), or None.

    Attributes:
        failures: By metric, how many rows each reason left without a value.
    """

    def __init__(self, values: Mapping[str, list[float | None]], failures: Mapping[str, Mapping[str, int]]) -> None:
        super().__init__(values)
        self.failures = failures


class _UnscorableError(Exception):
    """The row says nothing about a metric; the message is the reason."""


_Measure = Callable[[RagasRow], Awaitable[float]]


def score(rows: Sequence[RagasRow], embedder: Embedder, *, metrics: Sequence[str] = METRICS) -> RagasScores:
    """Score every row with every metric. Not to be called from a running event loop.

    Args:
        rows: The answered questions.
        embedder: For semantic similarity.
        metrics: Which of ``METRICS``.

    Raises:
        ConfigurationError: A metric is unknown.
    """
    unknown = next((name for name in metrics if name not in METRICS), None)
    if unknown is not None:
        raise ConfigurationError(f"unknown ragas metric {unknown!r}; choose from {', '.join(METRICS)}")
    measures = _measures(metrics, _warmed(embedder, rows) if "semantic_similarity" in metrics else embedder)
    return asyncio.run(_score(rows, measures))


async def _score(rows: Sequence[RagasRow], measures: Mapping[str, _Measure]) -> RagasScores:
    values: dict[str, list[float | None]] = {name: [] for name in measures}
    failures: dict[str, Counter[str]] = {name: Counter() for name in measures}
    for name, measure in measures.items():
        for row in rows:
            value, reason = await _one(measure, row)
            values[name].append(value)
            if reason:
                failures[name][reason] += 1
    return RagasScores(values, {name: dict(found) for name, found in failures.items() if found})


async def _one(measure: _Measure, row: RagasRow) -> tuple[float | None, str]:
    """Return the value, or None and the reason."""
    try:
        value = float(await measure(row))
    except _UnscorableError as error:
        return None, str(error)
    except Exception as error:  # noqa: BLE001 - whatever ragas raises on one row must not end the run
        return None, f"{type(error).__name__}: {error}"
    return (None, "not a number") if math.isnan(value) else (value, "")


def _warmed(embedder: Embedder, rows: Sequence[RagasRow]) -> Embedder:
    """Embed all answers and references in one go: ragas asks for them one by one."""
    texts = list(dict.fromkeys(text for row in rows for text in (row.answer, *row.references) if text))
    remembering = remember(embedder, max_texts=max(len(texts) + 1, 1))
    remembering.embed(texts)
    return remembering


def _measures(names: Sequence[str], embedder: Embedder) -> dict[str, _Measure]:
    os.environ["RAGAS_DO_NOT_TRACK"] = "true"  # read once, at ragas' first event
    with _quietly():
        import ragas.metrics as older
        from ragas.metrics import collections

        measures: dict[str, _Measure] = {}
        for name in names:
            if name in _ANSWER:
                made = getattr(collections, _ANSWER[name])
                with_embedder = name == "semantic_similarity"
                measures[name] = _of_answer(made(embeddings=_adapted(embedder)) if with_embedder else made())
            elif name in _CONTEXT_IDS:
                measures[name] = _of_context_ids(getattr(older, _CONTEXT_IDS[name])())
            else:
                measures[name] = _of_context_texts(getattr(older, _CONTEXT_TEXTS[name])())
    return measures


@contextmanager
def _quietly() -> Iterator[None]:
    """Hide ragas' advice to import from a module that lacks these metrics, and no other warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Importing \w+ from 'ragas\.metrics'", category=DeprecationWarning)
        yield


def _of_answer(metric: object) -> _Measure:
    async def measure(row: RagasRow) -> float:
        if not row.references:
            raise _UnscorableError("no reference answer")
        found = [await metric.ascore(reference=one, response=row.answer) for one in row.references]  # type: ignore[attr-defined]
        return max(float(result.value) for result in found)

    return measure


def _of_context_ids(metric: object) -> _Measure:
    from ragas.dataset_schema import SingleTurnSample

    async def measure(row: RagasRow) -> float:
        if not row.gold_ids:
            raise _UnscorableError("no gold documents")
        if not row.context_ids and type(metric).__name__ == "IDBasedContextPrecision":
            raise _UnscorableError("no context")
        sample = SingleTurnSample(retrieved_context_ids=list(row.context_ids), reference_context_ids=list(row.gold_ids))
        return await _bare_score(metric, sample)

    return measure


def _of_context_texts(metric: object) -> _Measure:
    from ragas.dataset_schema import SingleTurnSample

    is_recall = type(metric).__name__ == "NonLLMContextRecall"
    setattr(metric, "_distance_measure" if is_recall else "distance_measure", _BareSimilarity())

    async def measure(row: RagasRow) -> float:
        if not row.gold_texts:
            raise _UnscorableError("no gold passages")
        if not row.contexts:
            if is_recall:
                return 0.0  # ragas fails on an empty context; nothing was recalled
            raise _UnscorableError("no context")
        sample = SingleTurnSample(retrieved_contexts=list(row.contexts), reference_contexts=list(row.gold_texts))
        return await _bare_score(metric, sample)

    return measure


async def _bare_score(metric: object, sample: object) -> float:
    """Score without the callbacks and usage events around it, which cost more than the metric and write a user id."""
    return float(await metric._single_turn_ascore(sample, []))  # type: ignore[attr-defined]


class _BareSimilarity:
    """Stands in for the string distance inside the context metrics, which ragas calls once per pair of texts."""

    def __init__(self) -> None:
        from ragas.metrics._string import NonLLMStringSimilarity

        self._metric = NonLLMStringSimilarity()

    async def single_turn_ascore(self, sample: object, *_: object) -> float:
        return await _bare_score(self._metric, sample)


def _adapted(embedder: Embedder) -> BaseRagasEmbedding:
    from ragas.embeddings.base import BaseRagasEmbedding

    class Adapted(BaseRagasEmbedding):
        def embed_text(self, text: str, **_: object) -> list[float]:
            return [float(value) for value in embedder.embed([text])[0]]

        async def aembed_text(self, text: str, **_: object) -> list[float]:
            return self.embed_text(text)

    return Adapted()
