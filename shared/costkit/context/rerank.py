"""How well texts answer a question: one protocol, and makers for FlashRank and fastembed cross-encoders."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from costkit._onnxruntime import batch_threads, disable_telemetry
from costkit.errors import ConfigurationError, MissingExtraError, ModelFileError
from costkit.home import models_home

if TYPE_CHECKING:
    import numpy as np
    from fastembed.rerank.cross_encoder import TextCrossEncoder
    from flashrank import Ranker
    from numpy.typing import NDArray

__all__ = ["Reranker", "from_fastembed_cross_encoder", "from_flashrank"]

# Cross-encoders pad a batch to its longest text: texts of like length go together, in batches of this size.
_BATCH = 32


class Reranker(Protocol):
    """Scores texts against a question. Scores of different rerankers, or questions, need not be comparable."""

    @property
    def name(self) -> str:
        """What scores, for the ledger: for example ``flashrank:ms-marco-MiniLM-L-12-v2``."""
        ...

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return one score per text, in the order given; higher is better. ``texts`` is not changed."""
        ...


# --- cross-encoders --------------------------------------------------------------------------------------------------


class _CrossEncoder:
    """Any cross-encoder, opened at the first use and fed texts of like length together."""

    def __init__(self, name: str, open_model: Callable[[], Callable[[str, Sequence[str]], Sequence[float]]]) -> None:
        self.name = name
        self._open_model = open_model
        self._model: Callable[[str, Sequence[str]], Sequence[float]] | None = None
        self._lock = threading.Lock()

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        scores = [0.0] * len(texts)
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        for first in range(0, len(order), _BATCH):
            batch = order[first : first + _BATCH]
            found = self._opened()(question, [texts[index] for index in batch])
            for index, score in zip(batch, found, strict=True):
                scores[index] = float(score)
        return scores

    def _opened(self) -> Callable[[str, Sequence[str]], Sequence[float]]:
        with self._lock:
            if self._model is None:
                self._model = self._open_model()
            return self._model


def from_fastembed_cross_encoder(
    model: str = "Xenova/ms-marco-MiniLM-L-6-v2", *, cache_dir: Path | str | None = None
) -> Reranker:
    """Make a reranker from a cross-encoder that fastembed knows; it is downloaded once, at the first use.

    Args:
        model: A name listed by ``TextCrossEncoder.list_supported_models()``.
        cache_dir: Where fastembed keeps downloads; by default its own choice.

    Raises:
        ConfigurationError: fastembed has no such model.
        MissingExtraError: fastembed is not installed.
    """
    encoder = _text_cross_encoder()
    known = [str(entry["model"]) for entry in encoder.list_supported_models()]
    if model.lower() not in map(str.lower, known):
        raise ConfigurationError(f"model={model!r} is no cross-encoder of fastembed: use one of {sorted(known)}")

    def open_model() -> Callable[[str, Sequence[str]], Sequence[float]]:
        folder = None if cache_dir is None else str(cache_dir)
        try:
            opened = encoder(model, cache_dir=folder, threads=batch_threads())
        except Exception as error:
            raise ModelFileError(
                f"fastembed cannot open {model!r} ({error}): check the network and its cache"
            ) from error
        return lambda question, texts: list(opened.rerank(question, texts, batch_size=_BATCH))

    return _CrossEncoder(f"fastembed:{model}", open_model)


def _text_cross_encoder() -> type[TextCrossEncoder]:
    disable_telemetry()
    try:
        from fastembed.rerank.cross_encoder import TextCrossEncoder
    except ImportError as error:
        raise MissingExtraError(feature="this reranker", package="fastembed", install="costkit") from error
    return TextCrossEncoder


def from_flashrank(model: str = "ms-marco-MiniLM-L-12-v2", *, cache_dir: Path | str | None = None) -> Reranker:
    """Make a reranker from a FlashRank model.

    A folder ``cache_dir/model`` that exists is used as it is, without any download: FlashRank's own layout, or your
    own model in that layout with one ``.onnx`` file. Otherwise FlashRank downloads the model at the first use.

    Args:
        model: A FlashRank model name, or the name of your own folder.
        cache_dir: Where models live. Default: ``flashrank`` in ``costkit.home.models_home()``; FlashRank's own
            default is a folder that every user of the machine can write to.

    Raises:
        ConfigurationError: FlashRank has no such model and there is no such folder, or the model gives no scores.
        MissingExtraError: FlashRank is not installed.
    """
    disable_telemetry()
    try:
        from flashrank.Config import listwise_rankers, model_file_map
    except ImportError as error:
        raise MissingExtraError(feature="from_flashrank", package="flashrank", install="costkit[flashrank]") from error
    folder = models_home() / "flashrank" if cache_dir is None else Path(cache_dir)
    if model in listwise_rankers:
        raise ConfigurationError(f"model={model!r} only sorts and gives no scores: use another FlashRank model")
    if model not in model_file_map:
        # FlashRank finds the file of a model by its name alone, so a model of one's own must be entered there.
        model_file_map[model] = _only_onnx_file(folder / model, model, sorted(model_file_map))
    return _CrossEncoder(f"flashrank:{model}", lambda: _open_flashrank(model, folder))


def _only_onnx_file(folder: Path, model: str, known: Sequence[str]) -> str:
    files = sorted(path.name for path in folder.glob("*.onnx"))
    if len(files) != 1:
        raise ConfigurationError(
            f"model={model!r} is no FlashRank model, and {str(folder)!r} holds {len(files)} .onnx files: "
            f"put exactly one there, or use one of {known}"
        )
    return files[0]


def _open_flashrank(model: str, folder: Path) -> Callable[[str, Sequence[str]], Sequence[float]]:
    from flashrank import Ranker, RerankRequest

    try:
        ranker = _quiet_ranker(Ranker, model, folder)
    except Exception as error:
        raise ModelFileError(
            f"FlashRank cannot open {model!r} in {str(folder)!r} ({error}): a model folder holds config.json, "
            "tokenizer.json, tokenizer_config.json, special_tokens_map.json and the .onnx file; "
            "delete a half-downloaded one"
        ) from error
    ranker.session = _DeclaredInputs(ranker.session)

    def score(question: str, texts: Sequence[str]) -> list[float]:
        # FlashRank sorts the list it is given, in place, and leaves its scores in the entries: both are ours.
        passages = [{"text": text} for text in texts]
        ranker.rerank(RerankRequest(query=question, passages=list(passages)))
        return [float(passage["score"]) for passage in passages]

    return score


def _quiet_ranker(ranker: type[Ranker], model: str, folder: Path) -> Ranker:
    """Open a ranker without the handler that it installs on the root logger if it finds none there."""
    root, placeholder = logging.getLogger(), logging.NullHandler()
    root.addHandler(placeholder)
    try:
        return ranker(model, cache_dir=str(folder))
    finally:
        root.removeHandler(placeholder)


class _Session(Protocol):
    def get_inputs(self) -> Sequence[_Input]: ...

    def run(self, outputs: None, inputs: Mapping[str, NDArray[np.int64]]) -> list[NDArray[np.float32]]: ...


class _Input(Protocol):
    name: str


class _DeclaredInputs:
    """A session that gets the inputs its graph declares.

    FlashRank passes token types whenever they are not all zero, and never otherwise; a graph may lack that input, or
    insist on it.
    """

    def __init__(self, session: _Session) -> None:
        self._session = session
        self._names = [declared.name for declared in session.get_inputs()]

    def run(self, outputs: None, inputs: Mapping[str, NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        blank = 0 * inputs["input_ids"]
        return self._session.run(outputs, {name: inputs.get(name, blank) for name in self._names})
