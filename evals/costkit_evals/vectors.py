"""Vectors kept in files, so that several processes and the next run need not embed the same corpus again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any
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
        tokens: The file for the vectors of tokens, a hundred times as large. Default: they are not remembered.
    """

    def __init__(self, embedder: Embedder, path: Path, *, tokens: Path | None = None) -> None:
        self._embedder = embedder
        self._path = path
        self._known: dict[bytes, Vectors] = _read(path, embedder) if path.exists() else {}
        self._changed = False
        self._tokens = None if tokens is None else _StoredTokens(tokens, embedder.name)

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
        keys = list(map(_key, texts))
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        if missing:
            self._known.update(zip(missing, self._embedder.embed(list(missing.values())), strict=True))
            self._changed = True
        return np.stack([self._known[key] for key in keys]) if keys else np.empty((0, self.dimensions), np.float32)

    @property
    def embed_tokens(self) -> Callable[[Sequence[str]], list[TokenVectors]]:
        """That of the embedder behind it; absent where it has none.

        Raises:
            AttributeError: It has none.
        """
        compute: Callable[[Sequence[str]], list[TokenVectors]] = self._embedder.embed_tokens  # type: ignore[attr-defined]
        return compute if self._tokens is None else partial(self._told, compute, self._tokens)

    def _told(
        self, compute: Callable[[Sequence[str]], list[TokenVectors]], tokens: _StoredTokens, texts: Sequence[str]
    ) -> list[TokenVectors]:
        """Read texts token by token; each text's own vector is their mean, and need not be computed again."""
        read = tokens.read(compute, texts)
        for text, one in zip(texts, read, strict=True):
            if (key := _key(text)) not in self._known:
                mean = one.vectors.mean(axis=0)
                self._known[key] = mean / max(float(np.linalg.norm(mean)), np.finfo(np.float32).tiny)
                self._changed = True
        return read

    def embed_anew(self, text: str) -> Vectors:
        """Return a text's vector without remembering it, for timing."""
        row: Vectors = self._embedder.embed([text])[0]
        return row

    def save(self) -> None:
        """Write all vectors to their files, if there are new ones."""
        if self._tokens is not None:
            self._tokens.save()
        if not self._changed:
            return
        rows = np.stack(list(self._known.values())) if self._known else np.empty((0, self.dimensions), np.float32)
        _write(self._path, embedder=np.array(self.name), keys=_packed(self._known), rows=rows)
        self._changed = False


class _StoredTokens:
    """The vectors of tokens, text by text, and the file they are kept in, which belongs to one run."""

    def __init__(self, path: Path, embedder: str) -> None:
        self._path = path
        self._embedder = embedder
        self._known: dict[bytes, TokenVectors] = _read_tokens(path, embedder) if path.exists() else {}
        self._changed = False

    def read(self, compute: Callable[[Sequence[str]], list[TokenVectors]], texts: Sequence[str]) -> list[TokenVectors]:
        keys = list(map(_key, texts))
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        if missing:
            self._known.update(zip(missing, compute(list(missing.values())), strict=True))
            self._changed = True
        return [self._known[key] for key in keys]

    def save(self) -> None:
        if not self._changed:
            return
        read = list(self._known.values())
        _write(
            self._path,
            embedder=np.array(self._embedder),
            keys=_packed(self._known),
            sizes=np.array([len(one.vectors) for one in read]),
            vectors=np.concatenate([one.vectors for one in read]),
            spans=np.concatenate([one.spans for one in read]),
        )
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


def _key(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _packed(keys: Iterable[bytes]) -> NDArray[np.void]:
    return np.frombuffer(b"".join(keys), dtype="V16")


def _write(path: Path, **arrays: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")  # a cut run must not leave half a file behind
    np.savez(part, **arrays)
    part.replace(path)


def _read(path: Path, embedder: Embedder) -> dict[bytes, Vectors]:
    with np.load(path) as stored:
        if str(stored["embedder"]) != embedder.name:
            return {}
        return {bytes(key): row for key, row in zip(stored["keys"], stored["rows"], strict=True)}


def _read_tokens(path: Path, embedder: str) -> dict[bytes, TokenVectors]:
    with np.load(path) as stored:
        if str(stored["embedder"]) != embedder:
            return {}
        ends = np.cumsum(stored["sizes"])[:-1]
        texts = zip(np.split(stored["vectors"], ends), np.split(stored["spans"], ends), strict=True)
        read = (TokenVectors(vectors=vectors, spans=spans) for vectors, spans in texts)
        return {bytes(key): one for key, one in zip(stored["keys"], read, strict=True)}
