"""What a pair model said of pairs, kept in a file: it takes about 5 ms a pair, and a replay asks for tens of thousands."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from costkit.cache.pair_model import PairModel

__all__ = ["StoredPairModel"]


class StoredPairModel(PairModel):
    """A pair model that remembers every pair and can write them to a file.

    Args:
        model: Reads what is not remembered.
        path: The file; what another model said is ignored.
    """

    def __init__(self, model: PairModel, path: Path) -> None:
        self.name = model.name
        self._model = model
        self._path = path
        self._known = _read(path, model.name) if path.exists() else {}
        self._changed = False

    def score(self, question: str, others: Sequence[str], *, budget_seconds: float | None = None) -> list[float]:
        """Return the probability that one answer serves ``question`` and each of ``others``."""
        keys = [_key(question, other) for other in others]
        missing = [place for place, key in enumerate(keys) if key not in self._known]
        if missing:
            found = self._model.score(question, [others[place] for place in missing], budget_seconds=budget_seconds)
            self._known.update(zip([keys[place] for place in missing], found, strict=True))
            self._changed = True
        return [self._known[key] for key in keys]

    def save(self) -> None:
        """Write all pairs to the file, if there are new ones."""
        if not self._changed:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix(".part.npz")  # a cut run must not leave half a file behind
        keys = np.frombuffer(b"".join(self._known), dtype="V16")
        np.savez(part, model=np.array(self.name), keys=keys, scores=np.array(list(self._known.values())))
        part.replace(self._path)
        self._changed = False


def _key(a: str, b: str) -> bytes:
    """The model reads both orders, so a pair has none."""
    return blake2b("\0".join(sorted((a, b))).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _read(path: Path, model: str) -> dict[bytes, float]:
    with np.load(path) as stored:
        if str(stored["model"]) != model:
            return {}
        return {bytes(key): float(score) for key, score in zip(stored["keys"], stored["scores"], strict=True)}
