"""How a cross-encoder reads two texts: ``[CLS] a [SEP] b [SEP]``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    Tokens = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]

__all__ = ["encode", "open_tokenizer"]


def open_tokenizer(file: Path, *, max_tokens: int) -> Tokenizer:
    """Open ``tokenizer.json`` to pad to the longest of a batch and to cut both texts together at ``max_tokens``.

    The three special tokens count; the longer text is cut first.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.enable_truncation(max_tokens)
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
