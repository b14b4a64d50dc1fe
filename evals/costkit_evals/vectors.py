"""Vectors kept in a file, so that two processes and the next run need not embed the same corpus again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from costkit.embed import Embedder, TokenVectors
from costkit.errors import DataError
from costkit.home import home

__all__ = ["StoredEmbedder", "naming_file", "open_stored"]

Vectors = NDArray[np.float32]


class StoredEmbedder:
    """An embedder that remembers every vector and can write them to a file.

    Args:
        embedder: Computes what is not remembered.
        path: The file; vectors of another embedder in it are ignored.
    """

    def __init__(self, embedder: Embedder, path: Path) -> None:
        self._embedder = embedder
        self._path = path
        self._known: dict[bytes, Vectors] = _read(path, embedder) if path.exists() else {}
        self._changed = False

    @property
    def name(self) -> str:
        """The vector space."""
        return self._embedder.name

    @property
    def dimensions(self) -> int:
        """The length of each vector."""
        return self._embedder.dimensions

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one row of unit length per text."""
        keys = [blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        if missing:
            self._known.update(zip(missing, self._embedder.embed(list(missing.values())), strict=True))
            self._changed = True
        return np.stack([self._known[key] for key in keys]) if keys else np.empty((0, self.dimensions), np.float32)

    @property
    def embed_tokens(self) -> Callable[[Sequence[str]], list[TokenVectors]]:
        """That of the embedder behind it, not remembered; absent where it has none.

        Raises:
            AttributeError: It has none.
        """
        return self._embedder.embed_tokens  # type: ignore[attr-defined,no-any-return]

    def embed_anew(self, text: str) -> Vectors:
        """Return a text's vector without remembering it, for timing."""
        row: Vectors = self._embedder.embed([text])[0]
        return row

    def save(self) -> None:
        """Write all vectors to the file, if there are new ones."""
        if not self._changed:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        keys = np.frombuffer(b"".join(self._known), dtype="V16")
        rows = np.stack(list(self._known.values())) if self._known else np.empty((0, self.dimensions), np.float32)
        part = self._path.with_suffix(".part.npz")  # a cut run must not leave half a file behind
        np.savez(part, embedder=np.array(self.name), keys=keys, rows=rows)
        part.replace(self._path)
        self._changed = False


def open_stored(embedder: Embedder, path: Path | None = None) -> StoredEmbedder:
    """Open the memory of a benchmark.

    Args:
        embedder: Computes what is not remembered.
        path: The file. Default: one per embedder in ``bench`` in the home of costkit.

    Raises:
        DataError: The file is damaged.
    """
    file = path or home() / "bench" / f"vectors-{embedder.name.replace('/', '-')}.npz"
    with naming_file(file):
        return StoredEmbedder(embedder, file)


@contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Turn what a damaged file raises into one error that names it."""
    try:
        yield
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise DataError(f"{str(path)!r} is damaged or no file of this benchmark ({error}): delete it") from error


def _read(path: Path, embedder: Embedder) -> dict[bytes, Vectors]:
    with np.load(path) as stored:
        if str(stored["embedder"]) != embedder.name:
            return {}
        return {bytes(key): row for key, row in zip(stored["keys"], stored["rows"], strict=True)}
