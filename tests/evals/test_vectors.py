"""Vectors that are kept in files between runs, and between the processes of one run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from costkit.embed import TokenVectors, token_embedder
from costkit.testing import HashEmbedder
from costkit_evals.vectors import StoredEmbedder


class Telling(HashEmbedder):
    """Tells the vectors of tokens, one to each word, and notes what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []
        self.embedded: list[str] = []

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.embedded += texts
        return super().embed(texts)

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        self.read += texts
        return [TokenVectors(vectors=super(Telling, self).embed(text.split()), spans=_spans(text)) for text in texts]


def _spans(text: str) -> np.ndarray:
    ends = np.cumsum([len(word) + 1 for word in text.split()]) - 1
    return np.column_stack([np.array([0, *ends[:-1] + 1]), ends])


def test_vectors_are_written_only_where_there_are_new_ones(tmp_path: Path) -> None:
    path = tmp_path / "vectors.npz"
    stored = StoredEmbedder(HashEmbedder(), path)
    stored.save()
    assert not path.exists()
    stored.embed(["red apple"])
    stored.save()
    written = path.stat().st_mtime_ns
    again = StoredEmbedder(HashEmbedder(), path)
    again.embed(["red apple"])
    again.save()
    assert path.stat().st_mtime_ns == written


def test_what_one_process_has_read_token_by_token_the_next_need_not_read_or_embed(tmp_path: Path) -> None:
    texts = ["red apple", "green pear tree"]
    first, second = Telling(), Telling()
    stored = StoredEmbedder(first, tmp_path / "vectors.npz", tokens=tmp_path / "tokens.npz")
    read = stored.embed_tokens(texts)
    stored.save()

    again = StoredEmbedder(second, tmp_path / "vectors.npz", tokens=tmp_path / "tokens.npz")
    for one, other in zip(read, again.embed_tokens(texts), strict=True):
        np.testing.assert_array_equal(one.vectors, other.vectors)
        np.testing.assert_array_equal(one.spans, other.spans)
    mean = read[1].vectors.mean(axis=0)
    np.testing.assert_allclose(again.embed(texts)[1], mean / np.linalg.norm(mean), atol=1e-6)
    assert (first.read, second.read, first.embedded + second.embedded) == (texts, [], [])


def test_the_tokens_of_another_embedder_are_not_taken(tmp_path: Path) -> None:
    first, other = Telling(), Telling()
    other.name = "another"
    for embedder in (first, other):
        stored = StoredEmbedder(embedder, tmp_path / "vectors.npz", tokens=tmp_path / "tokens.npz")
        stored.embed_tokens(["red apple"])
        stored.save()
    assert other.read == ["red apple"]


def test_an_embedder_that_tells_no_tokens_tells_none_through_the_memory(tmp_path: Path) -> None:
    stored = StoredEmbedder(HashEmbedder(), tmp_path / "vectors.npz", tokens=tmp_path / "tokens.npz")
    assert token_embedder(stored) is None
    stored.embed(["red apple"])
    stored.save()
    assert not (tmp_path / "tokens.npz").exists()
