"""Readers: answer a question from a given context without a language model.

A reader picks the sentences that support an answer best, cites them, and says that it does not know when support is
weak. Two of them stand for two tiers of models: the strong one compares meanings (sentence embeddings beside words),
the weak one only counts shared words. They see nothing but the prompt, as a model would, so whatever a pipeline
leaves out of the prompt is lost to them.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from html import unescape
from typing import Protocol

from costkit.embed import Embedder
from costkit.text import split_sentences, words

__all__ = [
    "DONT_KNOW",
    "LexicalScorer",
    "Passage",
    "Prompted",
    "Reader",
    "Reading",
    "SemanticScorer",
    "parse_prompt",
    "strong_reader",
    "weak_reader",
]

DONT_KNOW = "I don't know."

# All fitted on the dev split of the handbook only. Floors are the score that 95% of its answerable questions reach.
MAX_SENTENCES = 3
# A further sentence is added if its score comes this close to the best one's.
NEXT_SENTENCE_RATIO = 0.8
STRONG_FLOOR = 0.28
WEAK_FLOOR = 0.12
SEMANTIC_WEIGHT = 0.6

_FUNCTION_WORDS = frozenset(
    "a an the of to in on for and or is are was were be been what which who how much many long do does did can may i my "
    "we our you your it its if when where at by with from as that this than there have has had will would should not".split()
)

_QUESTION_MARK = "Question:"
_PASSAGE = re.compile(r'<document id="([^"]*)" title="([^"]*)">\n?(.*?)\n?</document>', re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Passage:
    """One passage of the context, as it stands in the prompt."""

    doc_id: str
    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Prompted:
    """What a reader found in its prompt."""

    question: str
    passages: tuple[Passage, ...]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """An answer, the documents it cites, and the score of its best sentence."""

    answer: str
    citations: tuple[str, ...]
    support: float


class Scorer(Protocol):
    """Scores how well each sentence answers a question, 0 to 1."""

    def score(self, question: str, sentences: Sequence[Passage]) -> list[float]:
        """Return one score per sentence."""
        ...


class LexicalScorer:
    """Share of the question's words that a sentence or its title holds, rarer words counting more.

    The title is what tells two alike passages apart (this year's policy from last year's). Words that the context does
    not hold at all tell no sentence from another; their share lowers every score.
    """

    def score(self, question: str, sentences: Sequence[Passage]) -> list[float]:
        """Return one score per sentence; word rarity is taken over these sentences."""
        bags = [_bag(sentence.text) | _bag(sentence.title) for sentence in sentences]
        frequency = Counter(word for bag in bags for word in bag)
        asked = set(words(question)) - _FUNCTION_WORDS
        known = {word for word in asked if frequency[word]}
        weights = {word: math.log(1 + len(bags) / (1 + frequency[word])) for word in known}
        coverage = len(known) / len(asked) if asked else 0.0
        total = sum(weights.values()) or 1.0
        return [coverage * sum(weights[word] for word in known & bag) / total for bag in bags]


class SemanticScorer:
    """Cosine of question and sentence, fused with the lexical score.

    Args:
        embedder: Embeds sentences; wrap it with ``costkit.embed.remember`` so that each is embedded once.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._lexical = LexicalScorer()

    def score(self, question: str, sentences: Sequence[Passage]) -> list[float]:
        """Return one score per sentence."""
        vectors = self._embedder.embed([question, *(sentence.text for sentence in sentences)])
        cosines = vectors[1:] @ vectors[0]
        lexical = self._lexical.score(question, sentences)
        return [
            SEMANTIC_WEIGHT * max(float(cosine), 0.0) + (1 - SEMANTIC_WEIGHT) * word
            for cosine, word in zip(cosines, lexical, strict=True)
        ]


class Reader:
    """Answers from the sentences of the context that score best.

    Args:
        scorer: Scores sentences against the question.
        floor: Least score of the best sentence; below it the reader says that it does not know.
    """

    def __init__(self, scorer: Scorer, *, floor: float) -> None:
        self._scorer = scorer
        self._floor = floor

    def read(self, prompted: Prompted) -> Reading:
        """Answer the question of a prompt from its passages."""
        sentences = _sentences(prompted.passages)
        if not sentences:
            return Reading(answer=DONT_KNOW, citations=(), support=0.0)
        scores = self._scorer.score(prompted.question, sentences)
        ranked = sorted(range(len(sentences)), key=lambda position: -scores[position])
        best = scores[ranked[0]]
        if best < self._floor:
            return Reading(answer=DONT_KNOW, citations=(), support=best)
        chosen = sorted(one for one in ranked[:MAX_SENTENCES] if scores[one] >= NEXT_SENTENCE_RATIO * best)
        return Reading(
            answer=" ".join(f"{sentences[one].text} [{sentences[one].doc_id}]" for one in chosen),
            citations=tuple(dict.fromkeys(sentences[one].doc_id for one in chosen)),
            support=best,
        )


def strong_reader(embedder: Embedder) -> Reader:
    """Return the reader that stands for the strong tier."""
    return Reader(SemanticScorer(embedder), floor=STRONG_FLOOR)


def weak_reader() -> Reader:
    """Return the reader that stands for the cheap tier."""
    return Reader(LexicalScorer(), floor=WEAK_FLOOR)


def parse_prompt(text: str) -> Prompted:
    """Read question and passages from the last message of a prompt.

    Each passage stands as ``<document id="..." title="...">text</document>``; the question follows ``Question:`` at
    the end.
    """
    return Prompted(
        question=text.rpartition(_QUESTION_MARK)[2].strip(),
        passages=tuple(
            Passage(doc_id=unescape(doc_id), title=unescape(title), text=passage)
            for doc_id, title, passage in _PASSAGE.findall(text)
        ),
    )


# Every pipeline puts the same passages before the reader.
@lru_cache(maxsize=8192)
def _split(text: str) -> tuple[str, ...]:
    return tuple(text[span.start : span.end] for span in split_sentences(text))


@lru_cache(maxsize=65_536)
def _bag(text: str) -> frozenset[str]:
    return frozenset(words(text))


def _sentences(passages: Sequence[Passage]) -> list[Passage]:
    """Return every different sentence as a passage of its own."""
    seen: dict[str, Passage] = {}
    for passage in passages:
        for sentence in _split(passage.text):
            if not sentence.startswith("#"):  # a heading answers nothing
                seen.setdefault(f"{passage.title}\n{sentence}", replace(passage, text=sentence))
    return list(seen.values())
