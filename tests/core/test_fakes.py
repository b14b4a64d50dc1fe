"""The fakes for users' tests do what their protocols ask."""

from __future__ import annotations

import numpy as np
import pytest

from costkit.errors import ConfigurationError
from costkit.ledger.usage import Event
from costkit.testing import FixedClock, HashEmbedder, ListRecorder, WordCounter


def test_hash_embedder_gives_unit_rows_that_follow_the_words() -> None:
    embedder = HashEmbedder(dimensions=64)
    vectors = embedder.embed(["annual leave policy", "Leave policy annual", "quarterly revenue", ""])
    assert vectors.shape == (4, embedder.dimensions)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert vectors[0] @ vectors[1] == pytest.approx(1)
    assert vectors[0] @ vectors[2] < 0.9


def test_hash_embedder_takes_no_texts_and_is_the_same_in_every_process() -> None:
    assert HashEmbedder().embed([]).shape == (0, 256)
    assert int(HashEmbedder(dimensions=16).embed(["leave"]).argmax()) == 4


def test_hash_embedder_refuses_one_dimension() -> None:
    with pytest.raises(ConfigurationError, match="dimensions must be 2 or more, got 1"):
        HashEmbedder(dimensions=1)


def test_list_recorder_keeps_events_in_order() -> None:
    recorder = ListRecorder()
    first, second = (
        Event(kind="cache", part="cache", decision="hit"),
        Event(kind="cache", part="cache", decision="miss"),
    )
    recorder.record(first)
    recorder.record(second)
    assert recorder.events == [first, second]


def test_word_counter_counts_words_exactly() -> None:
    assert WordCounter().count(" two\nwords ") == 2
    assert WordCounter().upper_error == 0


def test_fixed_clock_moves_only_when_told() -> None:
    clock = FixedClock(10)
    assert clock() == clock() == 10
    clock.advance(2.5)
    assert clock() == 12.5
    with pytest.raises(ConfigurationError, match="only moves forward"):
        clock.advance(-1)
