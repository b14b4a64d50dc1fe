"""Small stand-ins for an embedder, a recorder, a token counter and a clock: exact, instant and without any download."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

from costkit.errors import ConfigurationError
from costkit.ledger.usage import Event

if TYPE_CHECKING:
    import numpy as np

__all__ = ["FixedClock", "HashEmbedder", "ListRecorder", "WordCounter"]


class HashEmbedder:
    """An ``Embedder`` that hashes each lower-cased word to one dimension and scales the counts to unit length.

    Texts with the same words are the same vector and texts that share words are close, on every machine and in every
    run. It knows nothing of meaning.

    Args:
        dimensions: Length of the vectors.

    Raises:
        ConfigurationError: ``dimensions`` is below 2.
    """

    def __init__(self, *, dimensions: int = 256) -> None:
        if dimensions < 2:
            raise ConfigurationError(f"dimensions must be 2 or more, got {dimensions!r}")
        self.name = f"hash-{dimensions}"
        self.dimensions = dimensions

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return one unit vector per text; a text without words gets the first axis."""
        import numpy as np  # the rest of this module works without it

        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split() or [""]:
                vectors[row, self._axis(word)] += 1.0
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if len(texts) else vectors

    def _axis(self, word: str) -> int:
        return int.from_bytes(sha256(word.encode()).digest()[:8], "big") % self.dimensions if word else 0


class ListRecorder:
    """A ``Recorder`` that keeps events in memory, in the order they came.

    Attributes:
        events: What was recorded.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        """Keep ``event``."""
        self.events.append(event)


class WordCounter:
    """A ``TokenCounter`` that counts words between white space, so that tests can reckon tokens by hand."""

    name = "words"
    upper_error = 0.0

    def count(self, text: str) -> int:
        """Return the number of words in ``text``."""
        return len(text.split())


class FixedClock:
    """A clock that stands still until it is moved; call it for the time.

    Args:
        now: Seconds it starts at.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Move the clock forward.

        Raises:
            ConfigurationError: ``seconds`` is negative.
        """
        if seconds < 0:
            raise ConfigurationError(f"a clock only moves forward, got seconds={seconds!r}")
        self.now += seconds
