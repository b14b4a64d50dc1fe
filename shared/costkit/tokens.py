"""Counting tokens before a request is sent: a protocol, and an offline estimate with a stated upper error.

An estimate serves budgets and plans. What a request used is never estimated: the provider's own usage always wins.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Protocol

from costkit.errors import ConfigurationError

__all__ = ["ApproximateCounter", "TokenCounter", "default_counter", "remember", "upper_bound"]


class TokenCounter(Protocol):
    """Anything that counts tokens: costkit's estimate, or a function of the user's provider behind this name."""

    @property
    def name(self) -> str:
        """Name that stands in reports."""
        ...

    @property
    def upper_error(self) -> float:
        """Share by which the true count may exceed ``count``; 0.0 is an exact counter, 0.15 means at most 1.15 times."""
        ...

    def count(self, text: str) -> int:
        """Return the number of tokens in ``text``; 0 for the empty text."""
        ...


@dataclass(frozen=True, kw_only=True)
class ApproximateCounter:
    """Offline estimate that needs no vocabulary and no download.

    The text is cut as modern byte-pair tokenizers cut it before they merge (words with the space before them, up to
    three digits, runs of punctuation, runs of white space). Each piece costs what a linear rule says, fitted to
    ``o200k_base`` on one half of a varied collection and measured on the other: docs/tokens.md has the figures and the
    command that repeats them.

    Attributes:
        upper_error: 99.5% of the held-out passages of 50 tokens and more have at most ``count * (1 + upper_error)``
            tokens of o200k_base. Languages that the table in docs/tokens.md lists apart need a larger value.
        name: Name in reports.
    """

    upper_error: float = 0.16
    name: str = "approximate-o200k"

    def __post_init__(self) -> None:
        if not isinstance(self.upper_error, int | float) or not 0 <= self.upper_error < math.inf:
            raise ConfigurationError(
                f"ApproximateCounter.upper_error must be a number of 0 or more, got {self.upper_error!r}"
            )

    def count(self, text: str) -> int:
        """Return the estimated number of tokens in ``text``, rounded up."""
        return math.ceil(sum(map(_piece_costs().__getitem__, _PIECE.findall(text))) - 1e-9)


@lru_cache(maxsize=1)
def default_counter() -> TokenCounter:
    """Return the counter that costkit uses where none is given: offline, and the same object each time."""
    return ApproximateCounter()


def remember(counter: TokenCounter, *, max_texts: int = 32_768) -> TokenCounter:
    """Keep the counts of the most recently counted texts in memory: the same passages come back at every question.

    Args:
        counter: Counts what is not remembered.
        max_texts: How many texts to keep.

    Raises:
        ConfigurationError: ``max_texts`` is below 1.
    """
    if max_texts < 1:
        raise ConfigurationError(f"max_texts must be 1 or more, got {max_texts!r}: leave out remember() to keep none")
    return _RememberingCounter(counter, max_texts)


class _RememberingCounter:
    def __init__(self, counter: TokenCounter, max_texts: int) -> None:
        self.name = counter.name
        self.upper_error = counter.upper_error
        self._count = lru_cache(maxsize=max_texts)(counter.count)

    def count(self, text: str) -> int:
        return self._count(text)


def upper_bound(counter: TokenCounter, text: str) -> int:
    """Return the count of ``text`` widened by the counter's stated error and rounded up."""
    count = counter.count(text)
    return count + math.ceil(count * counter.upper_error - 1e-9)


# --- pieces ----------------------------------------------------------------------------------------------------------

_UPPER = "A-ZÀ-ÖØ-ÞΑ-ΩЀ-Я"
_MARKS = "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0963\u0966-\u0dff\u0e31-\u0e4e"
_PIECE = re.compile(
    rf"(?:[^\r\n\w{_MARKS}]|_)?"  # one space or sign belongs to the word behind it
    rf"(?:[{_UPPER}]*(?:[^\W\d_{_UPPER}]|[{_MARKS}])+|[{_UPPER}]+)(?:'(?:s|t|re|ve|m|ll|d)(?![a-z]))?"
    r"|\d{1,3}| ?(?:[^\s\w]|_)+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_ENDING = re.compile(r"'[a-z]{1,2}$")
_LONGEST = 20  # letters; each letter beyond costs the same
_REMEMBERED_PIECES = 50_000
_LONGEST_REMEMBERED = 64


class _PieceCosts(dict[str, float]):
    """Costs of pieces seen so far; forgotten all at once when there are too many, which bounds memory."""

    def __init__(self, weights: dict[str, float]) -> None:
        super().__init__()
        self._weights = weights

    def __missing__(self, piece: str) -> float:
        if len(self) >= _REMEMBERED_PIECES:
            self.clear()
        weights = self._weights
        cost = max(1.0, sum(weights[name] if name in weights else _unseen(name) for name in features(piece)))
        if len(piece) <= _LONGEST_REMEMBERED:
            self[piece] = cost
        return cost


def _unseen(feature: str) -> float:
    """Cost a feature that the fit never saw: letters and signs of a rare script fall back to their bytes."""
    return 1.5 if feature.startswith(("chr:", "sym:")) else 0.0


@lru_cache(maxsize=1)
def _piece_costs() -> _PieceCosts:
    from costkit._token_weights import WEIGHTS  # parsed on first use, not at import

    pairs = iter(WEIGHTS.split())
    return _PieceCosts({feature: int(hundredths) / 100 for feature, hundredths in zip(pairs, pairs, strict=True)})


def pieces(text: str) -> list[str]:
    """Cut ``text`` into the pieces that are costed one by one; joined, they are the text."""
    return _PIECE.findall(text)


def features(piece: str) -> list[str]:
    """Return the features of one piece; a feature that stands twice counts twice. The fit gives each a weight."""
    if piece.isascii() and piece.isdigit():
        return ["digits"]
    if piece.isspace():
        return ["space"] + ["space-long"] * (max(0, len(piece) - 16) // 8)
    if not any(map(str.isalpha, piece)):
        return _sign_features(piece.strip())
    lead = "" if piece[0].isalpha() else piece[0]
    body = piece[len(lead) :]
    ending = _ENDING.search(body)
    if ending and ending.start():
        body = body[: ending.start()]
    found = ["ending"] if ending else []
    before = "space" if lead == " " else "sign" if lead else "none"
    if all(map(_is_latin, body)):
        return found + _latin_features(body, before)
    return [*found, f"before-{before}", *(f"chr:{_script(letter)}" for letter in body)]


def _sign_features(signs: str) -> list[str]:
    turns = sum(left != right for left, right in pairwise(signs))
    repeats = (len(signs) - turns - 1) // 8
    wide = [f"sym:{_script(sign)}" for sign in signs if not sign.isascii()]
    return ["signs"] + ["turn"] * turns + ["repeat"] * repeats + wide


def _latin_features(word: str, before: str) -> list[str]:
    case = "lower" if word.islower() else "upper" if len(word) > 1 and word.isupper() else "title"
    found = [f"{case}-{before}", f"{case}-{min(len(word), _LONGEST)}"] + ["longer"] * (len(word) - _LONGEST)
    if not word.isascii():
        found += ["accent"] * sum(not letter.isascii() for letter in word)
        word = "".join(c for c in unicodedata.normalize("NFD", word) if not unicodedata.combining(c))
        word = "".join(letter if letter.isascii() else "~" for letter in word)
    framed = f"^{word.lower()}$"
    return found + [framed[at : at + 2] for at in range(len(framed) - 1)]


def _is_latin(letter: str) -> bool:
    return letter < "\u0250" or "\u1e00" <= letter < "\u1f00"


def _script(letter: str) -> str:
    code = ord(letter)
    if _is_latin(letter):
        return "latin"
    if 0x3400 <= code < 0xA000:
        return "han"
    if 0x3040 <= code < 0x3100:
        return "kana"
    if 0xAC00 <= code < 0xD7B0:
        return "hangul"
    return "astral" if code > 0xFFFF else f"{code >> 7:x}"
