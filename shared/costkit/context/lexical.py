"""What a question and texts share in words: BM25 and covered terms, rare words counting for more."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

from costkit.text import words

__all__ = ["FUNCTION_WORDS", "Terms", "bm25", "coverage", "rarity", "term_counts"]

Terms = Mapping[str, int]

_BM25_SATURATION = 1.2
_BM25_LENGTH = 0.5

FUNCTION_WORDS = frozenset(
    "a an the of to in on at for and or is are was were be been do does did i we my our you your it its this that "
    "with by from as if how what when which who where why can could may must will would should have has had not no "
    "me us they them their he she his her there than then into about".split()
)
_ENDINGS = ("ations", "ation", "ings", "ing", "edly", "ed", "ies", "es", "s", "ly")


@lru_cache(maxsize=32_768)  # the same chunks are retrieved again and again, and cutting them into words takes longest
def term_counts(text: str) -> Terms:
    """Return how often each content word stands in ``text``, without its English ending."""
    return Counter(_stem(word) for word in words(text) if word not in FUNCTION_WORDS)


def _stem(word: str) -> str:
    """Cut the commonest English ending off; crude, but the same on both sides of a comparison."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) > 2:
            return word[: -len(ending)]
    return word


def rarity(question: Terms, texts: Sequence[Terms]) -> dict[str, float]:
    """Return the inverse document frequency of each term of the question over ``texts``, as BM25 has it."""
    total = len(texts)
    holding = {word: sum(word in text for text in texts) for word in question}
    return {word: math.log(1 + (total - count + 0.5) / (count + 0.5)) for word, count in holding.items()}


def bm25(question: Terms, texts: Sequence[Terms]) -> list[float]:
    """Return BM25 of each text over these texts, as a share (0 to 1) of the most that the question could reach."""
    rare = rarity(question, texts)
    most = sum(rare.values()) * (_BM25_SATURATION + 1)
    lengths = [sum(text.values()) for text in texts]
    average = sum(lengths) / max(len(texts), 1)
    if not most or not average:
        return [0.0] * len(texts)
    scores = []
    for text, length in zip(texts, lengths, strict=True):
        damping = _BM25_SATURATION * (1 - _BM25_LENGTH + _BM25_LENGTH * length / average)
        hits = (rare[word] * text[word] / (text[word] + damping) for word in question if word in text)
        scores.append(sum(hits) * (_BM25_SATURATION + 1) / most)
    return scores


def coverage(rare: Mapping[str, float], text: Terms) -> float:
    """Return the share of the question's terms, by weight ``rare``, that stand in ``text``."""
    most = sum(rare.values())
    return sum(weight for word, weight in rare.items() if word in text) / most if most else 0.0
