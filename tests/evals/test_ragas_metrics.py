"""The metrics that ragas computes: they agree with ours, and no row is ever dropped."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from costkit.errors import ConfigurationError
from costkit_evals import metrics
from costkit_evals.ragas_metrics import METRICS, RagasRow, score


class WordEmbedder:
    """Texts with the same words have the same vector."""

    name = "words"
    dimensions = 64

    def __init__(self) -> None:
        self.calls = 0

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.calls += 1
        vectors = np.full((len(texts), self.dimensions), 1e-3, dtype=np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for word in text.lower().split():
                vector[hashlib.sha256(word.encode()).digest()[0] % self.dimensions] += 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


PASSAGE = "Employees may carry over eight days of unused leave."
RIGHT = RagasRow(
    id="q1",
    answer="Up to eight days of unused leave.",
    references=("Seven.", "Up to eight days of unused leave."),
    contexts=(PASSAGE, "The canteen opens at noon."),
    context_ids=("leave", "canteen"),
    gold_ids=("leave", "carry-over"),
    gold_texts=(PASSAGE,),
)
WRONG = RagasRow(
    id="q2",
    answer="I don't know.",
    references=("30 days",),
    contexts=("The canteen opens at noon.",),
    context_ids=("canteen",),
    gold_ids=("claims",),
    gold_texts=("A claim is submitted within 30 days of the journey.",),
)
UNANSWERABLE = RagasRow(id="q3", answer="I don't know.", contexts=("Anything.",), context_ids=("any",))
NO_CONTEXT = RagasRow(id="q4", answer="30 days", references=("30 days",), gold_ids=("claims",), gold_texts=("30 days",))
ROWS = (RIGHT, WRONG, UNANSWERABLE, NO_CONTEXT)


@pytest.fixture(scope="module")
def embedder() -> WordEmbedder:
    return WordEmbedder()


def test_every_metric_has_one_value_per_row_in_order(embedder: WordEmbedder) -> None:
    scores = score(ROWS, embedder)
    assert set(scores) == set(METRICS)
    assert {len(values) for values in scores.values()} == {len(ROWS)}


def test_id_based_metrics_agree_with_ours(embedder: WordEmbedder) -> None:
    scores = score(ROWS, embedder, metrics=["id_based_context_recall", "id_based_context_precision"])
    assert scores["id_based_context_recall"] == [metrics.id_recall(row.gold_ids, row.context_ids) for row in ROWS]
    assert scores["id_based_context_precision"] == [metrics.id_precision(row.gold_ids, row.context_ids) for row in ROWS]


def test_a_right_answer_scores_best_over_its_references(embedder: WordEmbedder) -> None:
    scores = score([RIGHT], embedder)
    for name in ("exact_match", "string_present", "non_llm_string_similarity", "rouge_score", "chrf_score"):
        assert scores[name] == [pytest.approx(1.0)], name
    assert scores["semantic_similarity"] == [pytest.approx(1.0)]
    assert scores["non_llm_context_recall"] == [1.0]
    assert scores["non_llm_context_precision_with_reference"] == [pytest.approx(1.0)]


def test_a_row_without_a_value_is_none_and_its_reason_is_counted(embedder: WordEmbedder) -> None:
    scores = score(ROWS, embedder)
    assert scores["rouge_score"][2] is None
    assert scores.failures["rouge_score"] == {"no reference answer": 1}
    assert scores.failures["id_based_context_precision"] == {"no gold documents": 1, "no context": 1}
    assert scores.failures["non_llm_context_recall"] == {"no gold passages": 1}


def test_an_empty_context_recalls_nothing(embedder: WordEmbedder) -> None:
    scores = score([NO_CONTEXT], embedder, metrics=["id_based_context_recall", "non_llm_context_recall"])
    assert list(scores.values()) == [[0.0], [0.0]]


def test_a_vector_that_is_no_number_costs_the_metric_that_uses_it_and_no_other() -> None:
    class Deaf(WordEmbedder):
        def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
            return super().embed(texts) * np.float32("nan")

    scores = score([RIGHT], Deaf(), metrics=["semantic_similarity", "exact_match"])
    assert scores["semantic_similarity"] == [None]
    assert scores.failures["semantic_similarity"] == {"not a number": 1}
    assert scores["exact_match"] == [1.0]


def test_all_texts_are_embedded_in_one_batch() -> None:
    counting = WordEmbedder()
    score(ROWS, counting, metrics=["semantic_similarity"])
    assert counting.calls == 1


def test_no_rows_give_no_values(embedder: WordEmbedder) -> None:
    assert score([], embedder) == {name: [] for name in METRICS}


def test_an_unknown_metric_names_the_known_ones(embedder: WordEmbedder) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown ragas metric 'faithfulness'.*id_based_context_recall"):
        score(ROWS, embedder, metrics=["faithfulness"])


def test_nothing_leaves_the_machine(embedder: WordEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    score(ROWS, embedder)
    assert os.environ["RAGAS_DO_NOT_TRACK"] == "true"
