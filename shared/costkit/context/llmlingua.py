"""LLMLingua-2 (extra ``costkit[llmlingua]``): a model that drops words, document by document.

It does not see the question, and what it leaves is no text of the source: prefer ``ContextReducer`` wherever sentences
are cited. Paper: https://arxiv.org/abs/2403.12968
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from costkit.context.document import Document, distinct
from costkit.errors import ConfigurationError, MissingExtraError, ModelFileError
from costkit.tokens import TokenCounter, default_counter

if TYPE_CHECKING:
    from llmlingua import PromptCompressor

__all__ = ["Compressed", "LLMLingua2"]

# llmlingua tells how a tokenizer marks words by what stands in the model's name.
_FAMILIES = {"bert": "bert-base-multilingual-cased", "xlm-roberta": "xlm-roberta-large"}
_LONGEST = 512
# Kept always: without them 3.5 becomes 35 or 3 5.
_SIGNS = (".", ",", ":", "/", "-", "%")
_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")


@dataclass(frozen=True, kw_only=True)
class Compressed:
    """What LLMLingua-2 leaves of one document.

    ``text`` consists of words of the document, joined anew: it is no substring of the source, so there are no offsets,
    and a citation of it can name the document and no place in it.

    Attributes:
        document_id: The document.
        title: Its title, which was not compressed.
        text: The words left, or the whole text where ``whole`` is true.
        whole: True if the document is as it was, since a number of it would have been lost or nothing is shorter.
        tokens_before: Tokens of the document's text, by the counter in use.
        tokens_after: Tokens of ``text``.
    """

    document_id: str
    title: str
    text: str
    whole: bool
    tokens_before: int
    tokens_after: int


class LLMLingua2:
    """Compresses documents with an LLMLingua-2 model in a folder of any name; nothing is downloaded.

    Each document goes to the model by itself, so none disappears and each keeps its id. The folder is opened at the
    first use. Thread-safe; the process's random states are left as they are.

    Args:
        folder: A token-classification model of the BERT or XLM-RoBERTa family with its tokenizer, as transformers saves
            them.
        device: Where torch runs it, for example ``cpu`` or ``cuda``.
        counter: Counts tokens. Default: ``costkit.tokens.default_counter()``.

    Raises:
        MissingExtraError: llmlingua is not installed.
    """

    def __init__(self, folder: Path | str, *, device: str = "cpu", counter: TokenCounter | None = None) -> None:
        _library()
        self.name = f"llmlingua-2:{Path(folder).name}"
        self._folder = Path(folder)
        self._device = device
        self._counter = default_counter() if counter is None else counter
        self._model: PromptCompressor | None = None
        self._lock = threading.Lock()

    def warm(self) -> None:
        """Load the model.

        Raises:
            ConfigurationError: The model is of a kind that llmlingua cannot run here.
            ModelFileError: The folder holds no such model, or cannot be read.
        """
        with self._lock:
            self._opened()

    def compress(self, documents: Sequence[Document], *, rate: float = 0.5) -> tuple[Compressed, ...]:
        """Compress each document to about ``rate`` of its tokens; numbers are kept.

        Args:
            documents: What to compress. They are not changed.
            rate: Share of the tokens to keep, above 0 and below 1. The model keeps to it loosely: this is no budget.

        Returns:
            One result per document, in the order given.

        Raises:
            ConfigurationError: ``rate`` is out of range, or the model is of a kind that llmlingua cannot run here.
            ModelFileError: The folder holds no such model, or cannot be read.
        """
        if isinstance(rate, bool) or not 0 < rate < 1:
            raise ConfigurationError(f"rate must be above 0 and below 1, got {rate!r}")
        return tuple(self._compressed(document, rate) for document in distinct(documents))

    def _compressed(self, document: Document, rate: float) -> Compressed:
        text = self._shortened(document.text, rate) if document.text.strip() else document.text
        before, after = self._counter.count(document.text), self._counter.count(text)
        whole = after >= before or not _numbers(document.text) <= _numbers(text)
        return Compressed(
            document_id=document.id,
            title=document.title,
            text=document.text if whole else text,
            whole=whole,
            tokens_before=before,
            tokens_after=before if whole else after,
        )

    def _shortened(self, text: str, rate: float) -> str:
        with self._lock, _own_randomness():
            model = self._opened()
            # Every chunk is padded to this length: a short document must not pay for a long one.
            model.max_seq_len = min(len(model.tokenizer.tokenize(text)) + 2, _LONGEST)
            signs = [sign for sign in _SIGNS if len(model.tokenizer.tokenize(sign)) == 1]
            found = model.compress_prompt_llmlingua2(
                [text], rate=rate, force_tokens=signs, force_reserve_digit=True, use_context_level_filter=False
            )
        return _with_whole_numbers(str(found["compressed_prompt"]), text)

    def _opened(self) -> PromptCompressor:
        if self._model is None:
            with _own_randomness():
                self._model = _open(self._folder, self._device, self._counter)
        return self._model


def _library() -> type[PromptCompressor]:
    try:
        import llmlingua
    except ImportError as error:
        raise MissingExtraError(feature="LLMLingua2", package="llmlingua", install="costkit[llmlingua]") from error
    found: type[PromptCompressor] = llmlingua.PromptCompressor
    return found


def _open(folder: Path, device: str, counter: TokenCounter) -> PromptCompressor:
    """Build a compressor without its constructor.

    That asks the network for an OpenAI vocabulary, sets every random seed of the process to 42, and adds a hundred
    tokens to the model that only forced phrases need.
    """
    from transformers import AutoConfig, AutoModelForTokenClassification, AutoTokenizer

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        _check_kind(folder, config.architectures or [], config.model_type)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForTokenClassification.from_pretrained(folder, local_files_only=True, config=config)
    except ConfigurationError:
        raise
    except Exception as error:
        raise ModelFileError(
            f"transformers cannot open folder={str(folder)!r} ({error}): it must hold config.json, a tokenizer and "
            "weights of an LLMLingua-2 model"
        ) from error
    library = _library()
    compressor = object.__new__(library)
    compressor.model_name = _FAMILIES[config.model_type]
    compressor.device = device
    compressor.tokenizer = tokenizer
    compressor.model = model.eval().to(device)
    compressor.oai_tokenizer = _Counted(counter)
    compressor.special_tokens = set(tokenizer.all_special_tokens)
    compressor.max_batch_size = 50
    compressor.max_force_token = len(_SIGNS)
    compressor.added_tokens = []
    return compressor


def _check_kind(folder: Path, architectures: Sequence[str], model_type: str) -> None:
    from importlib.metadata import version

    if not any("ForTokenClassification" in name for name in architectures):
        raise ConfigurationError(
            f"folder={str(folder)!r} holds {list(architectures)}, no token classifier: only LLMLingua-2 is supported, "
            f"since LLMLingua and LongLLMLingua of llmlingua {version('llmlingua')} fail on longer prompts with "
            f"transformers {version('transformers')}"
        )
    if model_type not in _FAMILIES:
        raise ConfigurationError(
            f"folder={str(folder)!r} holds a model of type {model_type!r}: llmlingua {version('llmlingua')} knows the "
            f"tokenizers of {sorted(_FAMILIES)} only"
        )


class _Counted:
    """Stands in for OpenAI's vocabulary, of which only the number of tokens is used."""

    def __init__(self, counter: TokenCounter) -> None:
        self._counter = counter

    def encode(self, text: str) -> Sequence[int]:
        return range(self._counter.count(text))


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Leave torch's random state as it was: its data loader draws a number at each use."""
    import torch

    with torch.random.fork_rng():
        yield


def _numbers(text: str) -> Counter[str]:
    return Counter(_NUMBER.findall(text))


def _with_whole_numbers(text: str, source: str) -> str:
    """Close the gaps that joining words leaves in the numbers of ``source``: ``3. 5`` becomes ``3.5``."""
    numbers = {number for number in _numbers(source) if not number.isdigit()}
    for number in sorted(numbers, key=len, reverse=True):
        parts = r"\s*".join(map(re.escape, re.findall(r"\d+|\D", number)))
        text = re.sub(rf"(?<![\d]){parts}(?!\d)", number, text)
    return text
