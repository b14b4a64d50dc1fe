"""How long a question takes to cut: cold, with nothing remembered, and warm, when the same passages came before."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from costkit.context import Document
from costkit.embed import Embedder, TokenVectors
from costkit.tokens import TokenCounter
from costkit_evals.context_methods import Budget, Choice, open_method

__all__ = ["timed"]

Timed = tuple[str, Sequence[Document], Budget]


def timed(
    choices: Sequence[Choice], sample: Sequence[Timed], embedder: Embedder, counter: TokenCounter
) -> Mapping[Choice, dict[str, object]]:
    """Return the percentiles of each method in milliseconds, cold as ``p50_ms`` and warm as ``warm_p50_ms``.

    Methods take turns at every question, so that a busy moment of the machine hits all of them. Opening a model is no
    part of it.

    Args:
        choices: The methods.
        sample: Question, passages and budget.
        embedder: Remembers the vectors of texts, as the default one does.
        counter: Counts tokens.
    """
    unseen = _Unseen(embedder)
    methods = {choice: open_method(choice, unseen, counter) for choice in choices}
    cold: dict[Choice, list[float]] = {choice: [] for choice in choices}
    warm: dict[Choice, list[float]] = {choice: [] for choice in choices}
    for one in [sample[0], *sample]:
        # The product remembers what it read of passages; those with a model of their own remember nothing but that.
        methods |= {choice: open_method(choice, unseen, counter) for choice in choices if choice.model is None}
        for choice, method in methods.items():
            unseen.forget()
            _forget_texts()
            for seconds in (cold[choice], warm[choice]):
                began = time.perf_counter()
                method.keep(*one)
                seconds.append(time.perf_counter() - began)
    # The first question stands there twice: its first run opened the models.
    return {choice: _percentiles("", cold[choice][1:]) | _percentiles("warm_", warm[choice][1:]) for choice in choices}


class _Unseen:
    """An embedder to which every text is new after ``forget``: blanks behind a text leave its tokens as they are."""

    def __init__(self, embedder: Embedder) -> None:
        self.name = embedder.name
        self.dimensions = embedder.dimensions
        self._embedder = embedder
        self._blanks = ""

    def forget(self) -> None:
        self._blanks += " "

    def embed(self, texts: Sequence[str]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        return self._embedder.embed([text + self._blanks for text in texts])

    @property
    def embed_tokens(self) -> Callable[[Sequence[str]], list[TokenVectors]]:
        return self._embedder.embed_tokens  # type: ignore[attr-defined,no-any-return]


def _forget_texts() -> None:
    """Empty what the product remembers of texts; a memory of one thing holds a model's weights and stays."""
    for name, module in list(sys.modules.items()):
        if name.startswith("costkit.context"):
            for value in vars(module).values():
                if isinstance(value, functools._lru_cache_wrapper) and value.cache_info().currsize > 1:
                    value.cache_clear()


def _percentiles(prefix: str, seconds: Sequence[float]) -> dict[str, object]:
    p50, p95 = np.percentile(np.array(seconds) * 1000, (50, 95))
    return {f"{prefix}p50_ms": round(float(p50), 3), f"{prefix}p95_ms": round(float(p95), 3)}
