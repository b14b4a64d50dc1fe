"""How the pair model reads two questions: ``[CLS] a [SEP] b [SEP]``, at most 96 tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    Tokens = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]

__all__ = ["MAX_TOKENS", "encode", "in_order", "open_tokenizer"]

MAX_TOKENS = 96
"""Of both questions and the three special tokens; the longer question is cut first."""


def in_order(a: str, b: str) -> tuple[str, str]:
    """Return the two questions in the one order that they are scored in, so that a score has no direction."""
    return (a, b) if a <= b else (b, a)


def open_tokenizer(file: Path) -> Tokenizer:
    """Open ``tokenizer.json`` to pad to the longest of a batch and to cut at ``MAX_TOKENS``."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[str] | Sequence[tuple[str, str]]) -> Tokens:
    """Return ids, attention mask and token types of ``texts``, single or paired, each of shape (texts, tokens)."""
    import numpy as np

    found = tokenizer.encode_batch(list(texts))
    ids, mask, types = (
        np.array([getattr(one, field) for one in found], dtype=np.int64)
        for field in ("ids", "attention_mask", "type_ids")
    )
    return ids, mask, types
