"""Sentence embeddings: the protocol that every part depends on, its two makers, and a memory of past vectors."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from costkit._onnxruntime import batch_threads, disable_telemetry
from costkit.errors import ConfigurationError, ModelFileError

if TYPE_CHECKING:
    import numpy as np
    from fastembed import TextEmbedding
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

__all__ = [
    "Embedder",
    "TokenEmbedder",
    "TokenVectors",
    "default_embedder",
    "from_fastembed",
    "from_minilm",
    "remember",
    "token_embedder",
]

_Row = TypeVar("_Row")

_BGE_SMALL = "BAAI/bge-small-en-v1.5"
_MINILM = "minilm"
_MINILM_DIMENSIONS = 384
_VARIABLE = "COSTKIT_EMBEDDER"
# The fastest of 4 to 256 on a CPU, where a larger batch only adds padding and memory.
_BATCH = 8
# One: a session then has no threads of its own that would spin between calls or be missing in a forked worker.
_SESSION_THREADS = 1


class Embedder(Protocol):
    """Turns texts into vectors whose dot product is their cosine.

    ``name`` tells vector spaces apart: vectors of embedders with different names must never be compared.
    """

    @property
    def name(self) -> str:
        """The vector space, for example ``minilm``."""
        ...

    @property
    def dimensions(self) -> int:
        """The length of each vector."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one row of unit length per text, float32, of shape (len(texts), dimensions)."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class TokenVectors:
    """What an embedder makes of each token of a text, read in the whole text.

    Attributes:
        vectors: One row per token, float32, of shape (tokens, dimensions); their mean, brought to unit length, is the
            text's own vector.
        spans: Start and end of each token in the text, of shape (tokens, 2); a token that stands for no characters of
            it, as those at its two ends do, has an empty span. A text that is longer than the model reads is cut.
    """

    vectors: Vectors
    spans: NDArray[np.int64]


class TokenEmbedder(Protocol):
    """An embedder that also tells the vectors of a text's tokens, as late interaction needs them."""

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Return the tokens of each text, in the order given."""
        ...


def token_embedder(embedder: Embedder) -> TokenEmbedder | None:
    """Return ``embedder`` if it tells the vectors of tokens, else None."""
    return embedder if callable(getattr(embedder, "embed_tokens", None)) else None  # type: ignore[return-value]


def from_fastembed(model: str = _BGE_SMALL, *, cache_dir: Path | str | None = None) -> Embedder:
    """Make an embedder from a model that fastembed knows; it is downloaded once, at the first use.

    Args:
        model: A name listed by ``fastembed.TextEmbedding.list_supported_models()``.
        cache_dir: Where fastembed keeps downloads; by default its own choice.

    Raises:
        ConfigurationError: fastembed has no such model.
    """
    return _from_fastembed(model, cache_dir, field="model")


def from_minilm(folder: Path | str | None = None) -> Embedder:
    """Make an embedder from the offline model that ``costkit models`` prepared.

    Args:
        folder: The prepared model; by default the one of this machine.

    Raises:
        ModelFileError: It is not prepared, or a file changed since.
    """
    from costkit.models import minilm_folder, verify_minilm

    prepared = minilm_folder() if folder is None else Path(folder)
    verify_minilm(prepared)
    return _MinilmEmbedder(_MINILM, _MINILM_DIMENSIONS, lambda: _open_minilm(prepared))


def remember(embedder: Embedder, *, max_texts: int = 50_000) -> Embedder:
    """Keep the vectors of the most recently used texts in memory, by content; safe to share between threads.

    Args:
        embedder: Computes what is not remembered.
        max_texts: How many vectors to keep (384 dimensions take 1.5 kB each).

    Raises:
        ConfigurationError: ``max_texts`` is below 1.
    """
    if max_texts < 1:
        raise ConfigurationError(f"max_texts must be 1 or more, got {max_texts!r}: leave out remember() to keep none")
    return _RememberingEmbedder(embedder, max_texts)


def default_embedder() -> Embedder:
    """Return the process-wide embedder, which remembers its vectors.

    It is ``$COSTKIT_EMBEDDER`` (``minilm`` or a fastembed name) if set, else ``minilm`` if ``costkit models`` prepared
    it on this machine, else ``BAAI/bge-small-en-v1.5``.

    Raises:
        ConfigurationError: ``$COSTKIT_EMBEDDER`` names no known model.
        ModelFileError: ``minilm`` is chosen and absent or damaged.
    """
    from costkit.models import minilm_folder

    folder = minilm_folder()
    choice = os.environ.get(_VARIABLE) or (_MINILM if folder.is_dir() else _BGE_SMALL)
    with _defaults_lock:
        found = _defaults.get((choice, folder))
        if found is None:
            made = from_minilm(folder) if choice == _MINILM else _from_fastembed(choice, None, field=_VARIABLE)
            found = _defaults[choice, folder] = remember(made)
        return found


_defaults: dict[tuple[str, Path], Embedder] = {}
_defaults_lock = threading.Lock()
_registry_lock = threading.Lock()


class _FastembedEmbedder:
    """Any fastembed text model, opened at the first use."""

    def __init__(self, name: str, dimensions: int, open_model: Callable[[], TextEmbedding]) -> None:
        self.name = name
        self.dimensions = dimensions
        self._open_model = open_model
        self._model: TextEmbedding | None = None
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> Vectors:
        import numpy as np

        _check_texts(texts)
        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        for index, row in enumerate(self._each(texts, self._rows)):
            vectors[index] = row
        # Some of fastembed's models are not normalised.
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return vectors

    def _each(self, texts: Sequence[str], run: Callable[[list[str]], Sequence[_Row]]) -> list[_Row]:
        """Run the texts in batches, several side by side, and return what ``run`` makes of each, in their order."""
        # Longest first: texts of like length share a batch, and the last batches to finish are the short ones.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]), reverse=True)
        batches = [[texts[index] for index in order[at : at + _BATCH]] for at in range(0, len(order), _BATCH)]
        if len(batches) < 2:
            rows = [row for batch in batches for row in run(batch)]
        else:
            pool = ThreadPoolExecutor(min(batch_threads(), len(batches)), thread_name_prefix="costkit-embed")
            try:
                rows = [row for done in pool.map(run, batches) for row in done]
            finally:
                pool.shutdown(cancel_futures=True)
        return [row for _, row in sorted(zip(order, rows, strict=True), key=lambda placed: placed[0])]

    def _rows(self, batch: list[str]) -> list[Vectors]:
        rows = self._opened().embed([_encodable(text) for text in batch], batch_size=len(batch))
        return [row.astype("float32") for row in rows]

    def _opened(self) -> TextEmbedding:
        model = self._model
        if model is None:
            with self._lock:
                model = self._model = self._model or self._open_model()
        return model


class _MinilmEmbedder(_FastembedEmbedder):
    """The offline model, whose graph gives one vector per token."""

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        _check_texts(texts)
        return self._each(texts, self._tokens)

    def _tokens(self, batch: list[str]) -> list[TokenVectors]:
        import numpy as np
        from fastembed.text.onnx_text_model import OnnxTextModel

        model = self._opened().model
        assert isinstance(model, OnnxTextModel)  # noqa: S101 what _open_minilm registers
        readable = [_encodable(text) for text in batch]
        hidden = model.onnx_embed(readable).model_output
        return [
            TokenVectors(
                # A copy, so that one text's tokens do not keep its whole batch alive.
                vectors=np.array(rows[: sum(tokens.attention_mask)], dtype=np.float32),
                spans=np.array(tokens.offsets[: sum(tokens.attention_mask)], dtype=np.int64),
            )
            for rows, tokens in zip(hidden, model.tokenize(readable), strict=True)
        ]


class _RememberingEmbedder:
    """Least-recently-used vectors in front of another embedder."""

    def __init__(self, embedder: Embedder, max_texts: int) -> None:
        self.name = embedder.name
        self.dimensions = embedder.dimensions
        self._embedder = embedder
        self._max_texts = max_texts
        self._rows: OrderedDict[bytes, Vectors] = OrderedDict()
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> Vectors:
        import numpy as np

        _check_texts(texts)
        keys = [blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts]
        rows = self._recall(keys)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in rows}
        if missing:
            computed = self._embedder.embed(list(missing.values()))
            # A copy of each row, so that one remembered row does not keep its whole batch alive.
            fresh = {key: row.copy() for key, row in zip(missing, computed, strict=True)}
            rows.update(fresh)
            self._keep(fresh)
        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        for index, key in enumerate(keys):
            vectors[index] = rows[key]
        return vectors

    @property
    def embed_tokens(self) -> Callable[[Sequence[str]], list[TokenVectors]]:
        """That of the embedder behind it, absent where it has none; not remembered, since it takes 100 times the room.

        Raises:
            AttributeError: It has none.
        """
        return self._embedder.embed_tokens  # type: ignore[attr-defined,no-any-return]

    def _recall(self, keys: Sequence[bytes]) -> dict[bytes, Vectors]:
        with self._lock:
            found = {key: self._rows[key] for key in keys if key in self._rows}
            for key in found:
                self._rows.move_to_end(key)
        return found

    def _keep(self, fresh: dict[bytes, Vectors]) -> None:
        with self._lock:
            self._rows.update(fresh)
            while len(self._rows) > self._max_texts:
                self._rows.popitem(last=False)


def _check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise ConfigurationError(f"texts must be a list of str, got the str {texts[:80]!r}: wrap it in a list")
    for text in texts:
        if not isinstance(text, str):
            raise ConfigurationError(f"texts must hold str only, got {text!r}: convert it before embedding")


def _encodable(text: str) -> str:
    """Replace lone surrogates, which a tokenizer cannot take."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _text_embedding() -> type[TextEmbedding]:
    disable_telemetry()
    from fastembed import TextEmbedding

    return TextEmbedding


def _from_fastembed(model: str, cache_dir: Path | str | None, *, field: str) -> Embedder:
    text_embedding = _text_embedding()
    known = {str(entry["model"]).lower(): entry for entry in text_embedding.list_supported_models()}
    entry = known.get(model.lower())
    if entry is None:
        near = [str(known[name]["model"]) for name in get_close_matches(model.lower(), known, n=2)]
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise ConfigurationError(
            f"{field}={model!r} is no text model of fastembed{hint}: "
            "see fastembed.TextEmbedding.list_supported_models(), or run `costkit models` and use 'minilm'"
        )
    name = str(entry["model"])

    def open_model() -> TextEmbedding:
        try:
            return text_embedding(
                model, cache_dir=None if cache_dir is None else str(cache_dir), threads=_SESSION_THREADS
            )
        except Exception as error:
            raise ModelFileError(
                f"fastembed cannot open {name!r} ({error}): check the network and its cache folder, "
                "or run `costkit models` to use the offline model"
            ) from error

    return _FastembedEmbedder(name, int(entry["dim"]), open_model)


def _open_minilm(folder: Path) -> TextEmbedding:
    text_embedding = _text_embedding()
    from fastembed.common.model_description import ModelSource, PoolingType

    name = "costkit/minilm"
    with _registry_lock:
        if all(entry["model"] != name for entry in text_embedding.list_supported_models()):
            text_embedding.add_custom_model(
                model=name,
                pooling=PoolingType.MEAN,
                normalization=True,
                sources=ModelSource(hf="local/none"),
                dim=_MINILM_DIMENSIONS,
                model_file="model.onnx",
            )
    return text_embedding(name, specific_model_path=str(folder), threads=_SESSION_THREADS)
