"""Ways to cut retrieved passages to a budget: the product, and the rivals that ``costkit bench context`` sets beside it.

Every method gets the same candidates, embedder, counter and budget. Those that no budget can be given (LlamaIndex's
sentence optimizer, LangChain's embeddings filter) are asked for the share that the budget is, and keep what they keep.
"""

from __future__ import annotations

import bisect
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from costkit.context import ContextReducer, Document, Reranker, calibrated, from_flashrank
from costkit.context.calibration import CALIBRATION_FILE
from costkit.context.embedding import EmbeddingReranker
from costkit.context.llmlingua import LLMLingua2
from costkit.context.relevance import titled
from costkit.embed import Embedder, remember
from costkit.errors import ConfigurationError
from costkit.text import split_sentences, words
from costkit.tokens import TokenCounter
from costkit_evals.pipelines import Trace

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings
    from llama_index.core.base.embeddings.base import BaseEmbedding

__all__ = ["DEFAULT_METHODS", "Budget", "Choice", "Method", "Selection", "in_folder", "joined", "open_method"]

MethodName = Literal[
    "costkit", "truncation", "cosine", "bm25", "sentence-optimizer", "embeddings-filter", "flashrank", "llmlingua"
]
_NEED_MODEL = ("flashrank", "llmlingua")
DEFAULT_METHODS: tuple[MethodName, ...] = tuple(name for name in get_args(MethodName) if name not in _NEED_MODEL)

# A corpus of so many passages is read once in a run.
_PASSAGES = 20_000

_Spans = Mapping[int, Sequence[tuple[int, int]]]
_WORD_END = re.compile(r"(?<=\S)(?=\s|$)")
_BM25_SATURATION = 1.2
_BM25_LENGTH = 0.75


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A method, and the folder of the model that it ranks with, if any."""

    name: MethodName
    model: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Choice:
        """Read ``NAME`` or ``NAME:FOLDER``.

        Raises:
            ConfigurationError: There is no such method, or it needs a model folder, takes none, or there is none.
        """
        name, _, folder = text.partition(":")
        known: tuple[MethodName, ...] = get_args(MethodName)
        found = next((one for one in known if one == name), None)
        if found is None:
            raise ConfigurationError(f"--method {text!r} names no method; known: {', '.join(known)}")
        if folder and found not in ("costkit", *_NEED_MODEL):
            raise ConfigurationError(f"--method {text!r}: {name!r} ranks with no model; leave {folder!r} out")
        if found in _NEED_MODEL and not folder:
            raise ConfigurationError(f"--method {found} needs a model: {found}:FOLDER")
        if folder and not Path(folder).is_dir():
            raise ConfigurationError(f"--method {text!r}: there is no folder {folder!r}")
        return cls(name=found, model=Path(folder) if folder else None)

    @property
    def ours(self) -> bool:
        """True for the product's own methods."""
        return self.name == "costkit"

    @property
    def timed_only(self) -> bool:
        """True for LLMLingua-2, whose words are no text of the passages."""
        return self.name == "llmlingua"

    def __str__(self) -> str:
        """Return the name that stands in the rows: of a model its folder's name."""
        return self.name if self.model is None else f"{self.name}:{self.model.resolve().name}"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much a question's context may hold: ``tokens`` by the counter in use, ``ratio`` of all that was retrieved."""

    tokens: int
    ratio: float


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a method keeps.

    Attributes:
        context: The text for the prompt, titles included.
        texts: What is left of each passage by its id, titles apart.
        spans: The kept text as (passage id, start, end).
        nothing: True if the method says that nothing bears on the question.
    """

    context: str
    texts: Mapping[str, str]
    spans: tuple[tuple[str, int, int], ...]
    nothing: bool = False


class Method(Protocol):
    """Cuts passages to a budget."""

    def keep(self, question: str, documents: Sequence[Document], budget: Budget) -> Selection:
        """Return what is kept of ``documents``, which come best first."""
        ...


def open_method(choice: Choice, embedder: Embedder, counter: TokenCounter) -> Method:
    """Make the method that was chosen."""
    if choice.name == "costkit":
        return _Ours(counter, _default_ranking(embedder) if choice.model is None else _calibrated_ranking(choice.model))
    if choice.name == "flashrank" and choice.model is not None:
        return _RerankedTruncation(in_folder(choice.model), counter)
    if choice.name == "llmlingua" and choice.model is not None:
        return _LLMLingua(choice.model, counter)
    if choice.name == "sentence-optimizer":
        return _SentenceOptimizer(embedder)
    if choice.name == "embeddings-filter":
        return _EmbeddingsFilter(embedder)
    if choice.name == "cosine":
        return _Sentences(_CosineScores(embedder), counter)
    return _Sentences(_bm25_scores, counter) if choice.name == "bm25" else _Truncation(counter)


def joined(documents: Sequence[Document], texts: Mapping[str, str]) -> str:
    """Return what is left of ``documents`` as a prompt shows it: under its title, a blank line between passages."""
    titles = {document.id: document.title for document in documents}
    return "\n\n".join(f"{titles[one]}\n{text}" if titles[one] else text for one, text in texts.items())


# --- ours ------------------------------------------------------------------------------------------------------------


class _Ours:
    """The product behind its public door."""

    def __init__(self, counter: TokenCounter, reranker: Reranker) -> None:
        self._counter = counter
        self._reranker = reranker

    def keep(self, question: str, documents: Sequence[Document], budget: Budget) -> Selection:
        reducer = ContextReducer(
            budget_tokens=max(budget.tokens, 1),
            reranker=self._reranker,
            counter=self._counter,
            recorder=Trace(),
        )
        reduction = reducer.reduce(question, documents)
        return Selection(
            context=reduction.context,
            texts=reduction.texts(),
            # Text that stands in two passages is kept once and speaks for both.
            spans=tuple(
                (place.document_id, place.start, place.end) for span in reduction.kept for place in span.places
            ),
            nothing=reduction.decision == "nothing",
        )


def _default_ranking(embedder: Embedder) -> Reranker:
    """Make what ``from_embedder`` makes, with room for a corpus."""
    return EmbeddingReranker(remember(embedder), remembered=_PASSAGES)


def in_folder(folder: Path) -> Reranker:
    """Open a cross-encoder in FlashRank's layout."""
    return from_flashrank(folder.resolve().name, cache_dir=folder.resolve().parent)


def _calibrated_ranking(folder: Path) -> Reranker:
    """Open a cross-encoder, with its calibration where one lies beside it."""
    stored = folder / CALIBRATION_FILE
    return calibrated(in_folder(folder), stored) if stored.exists() else in_folder(folder)


# --- whole passages, cut off at the budget ---------------------------------------------------------------------------


class _Truncation:
    """Passages from the best on, the last one cut off after the last word that fits."""

    def __init__(self, counter: TokenCounter) -> None:
        self._counter = counter

    def keep(self, question: str, documents: Sequence[Document], budget: Budget) -> Selection:  # noqa: ARG002
        spans: dict[int, list[tuple[int, int]]] = {}
        for rank, document in enumerate(documents):
            whole = spans | {rank: [(0, len(document.text))]}
            if self._tokens(documents, whole) > budget.tokens:
                return _selection(documents, self._cut_off(documents, spans, rank, budget))
            spans = whole
        return _selection(documents, spans)

    def _cut_off(self, documents: Sequence[Document], spans: _Spans, rank: int, budget: Budget) -> _Spans:
        """Add as much of the passage at ``rank`` as fits."""
        ends = [match.end() for match in _WORD_END.finditer(documents[rank].text)]
        fitting = bisect.bisect_right(
            ends, budget.tokens, key=lambda end: self._tokens(documents, {**spans, rank: [(0, end)]})
        )
        return {**spans, rank: [(0, ends[fitting - 1])]} if fitting else spans

    def _tokens(self, documents: Sequence[Document], spans: _Spans) -> int:
        return self._counter.count(_selection(documents, spans).context)


class _RerankedTruncation:
    """Passages in a cross-encoder's order, cut off at the budget."""

    def __init__(self, reranker: Reranker, counter: TokenCounter) -> None:
        self._reranker = reranker
        self._truncation = _Truncation(counter)

    def keep(self, question: str, documents: Sequence[Document], budget: Budget) -> Selection:
        scores = self._reranker.score(question, [titled(document) for document in documents])
        order = sorted(range(len(documents)), key=lambda rank: -scores[rank])
        return self._truncation.keep(question, [documents[rank] for rank in order], budget)


# --- sentences by a score --------------------------------------------------------------------------------------------


class _Scores(Protocol):
    def __call__(self, question: str, documents: Sequence[Document], sentences: Sequence[_Sentence]) -> list[float]:
        """Return one score per sentence."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sentence:
    rank: int
    start: int
    end: int
    text: str


class _Sentences:
    """The best sentences that fit, in source order; one that does not fit makes room for the next."""

    def __init__(self, scores: _Scores, counter: TokenCounter) -> None:
        self._scores = scores
        self._counter = counter

    def keep(self, question: str, documents: Sequence[Document], budget: Budget) -> Selection:
        sentences = [
            _Sentence(rank=rank, start=span.start, end=span.end, text=document.text[span.start : span.end])
            for rank, document in enumerate(documents)
            for span in split_sentences(document.text)
        ]
        scores = self._scores(question, documents, sentences)
        kept, selection, used = dict[int, list[tuple[int, int]]](), _selection(documents, {}), 0
        for at in sorted(range(len(sentences)), key=lambda at: -scores[at]):
            one = sentences[at]
            if used + self._counter.count(one.text) > budget.tokens + 1:  # a count is rounded up
                continue
            tried = kept | {one.rank: sorted([*kept.get(one.rank, []), (one.start, one.end)])}
            trial = _selection(documents, tried)
            tokens = self._counter.count(trial.context)
            if tokens <= budget.tokens:
                kept, selection, used = tried, trial, tokens
        return selection


class _CosineScores:
    """The cosine of question and sentence plus that of question and passage."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def __call__(self, question: str, documents: Sequence[Document], sentences: Sequence[_Sentence]) -> list[float]:
        texts = [*map(titled, documents), *(sentence.text for sentence in sentences)]
        vectors = self._embedder.embed([question, *texts])
        cosines = (vectors[1:] @ vectors[0]).tolist()
        passages, own = cosines[: len(documents)], cosines[len(documents) :]
        return [score + passages[sentence.rank] for score, sentence in zip(own, sentences, strict=True)]


def _bm25_scores(
    question: str,
    documents: Sequence[Document],  # noqa: ARG001
    sentences: Sequence[_Sentence],
) -> list[float]:
    """Score sentences by BM25 (Robertson and Zaragoza 2009) with the candidates' sentences as the collection."""
    counts = [Counter(words(sentence.text)) for sentence in sentences]
    lengths = [sum(count.values()) for count in counts]
    average = sum(lengths) / max(len(lengths), 1) or 1.0
    scores = [0.0] * len(sentences)
    for word in set(words(question)):
        holding = sum(word in count for count in counts)
        rarity = math.log(1 + (len(counts) - holding + 0.5) / (holding + 0.5))
        for at, count in enumerate(counts):
            damping = _BM25_SATURATION * (1 - _BM25_LENGTH + _BM25_LENGTH * lengths[at] / average)
            scores[at] += rarity * count[word] * (_BM25_SATURATION + 1) / (count[word] + damping)
    return scores


# --- what the frameworks offer ---------------------------------------------------------------------------------------


class _SentenceOptimizer:
    """LlamaIndex's ``SentenceEmbeddingOptimizer``, which keeps the best share of each passage's sentences.

    Neighbours are not taken along, which would keep most of a short passage. Where the share is less than one sentence
    it would keep the whole passage: one sentence is asked for then.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    @cached_property
    def _model(self) -> BaseEmbedding:
        return _llamaindex_embedding(self._embedder)

    def keep(self, question: str, documents: Sequence[Document], budget: Budget) -> Selection:
        from llama_index.core.postprocessor import SentenceEmbeddingOptimizer
        from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
        from llama_index.core.utils import globals_helper

        query = QueryBundle(question)
        texts, spans = dict[str, str](), list[tuple[str, int, int]]()
        for document in documents:
            pieces = list(globals_helper.punkt_tokenizer.span_tokenize(document.text))
            if not pieces:
                continue
            share = max(budget.ratio, 1.001 / len(pieces))
            optimizer = SentenceEmbeddingOptimizer(
                embed_model=self._model, percentile_cutoff=share, context_before=0, context_after=0
            )
            node = NodeWithScore(node=TextNode(id_=document.id, text=document.text))
            texts[document.id] = optimizer.postprocess_nodes([node], query)[0].node.get_content()
            spans += [(document.id, *span) for span in pieces if document.text[slice(*span)] in texts[document.id]]
        return Selection(context=joined(documents, texts), texts=texts, spans=tuple(spans))


class _EmbeddingsFilter:
    """LangChain's ``EmbeddingsFilter``, which keeps the ``k`` nearest passages; k is the budget's share of them."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def keep(self, question: str, documents: Sequence[Document], budget: Budget) -> Selection:
        from langchain_classic.retrievers.document_compressors import EmbeddingsFilter
        from langchain_core.documents import Document as LangChainDocument

        nearest = EmbeddingsFilter(
            embeddings=_langchain_embeddings(self._embedder), k=max(round(budget.ratio * len(documents)), 1)
        )
        given = [
            LangChainDocument(page_content=titled(document), metadata={"rank": rank})
            for rank, document in enumerate(documents)
        ]
        ranks = sorted(found.metadata["rank"] for found in nearest.compress_documents(given, question))
        return _selection(documents, {rank: [(0, len(documents[rank].text))] for rank in ranks})


class _LLMLingua:
    """LLMLingua-2 by the product's own wrapper, which drops words whatever the question is."""

    def __init__(self, folder: Path, counter: TokenCounter) -> None:
        self._model = LLMLingua2(folder, counter=counter)

    def keep(self, question: str, documents: Sequence[Document], budget: Budget) -> Selection:  # noqa: ARG002
        texts = {one.document_id: one.text for one in self._model.compress(documents, rate=budget.ratio)}
        return Selection(context=joined(documents, texts), texts=texts, spans=())


def _langchain_embeddings(embedder: Embedder) -> Embeddings:
    from langchain_core.embeddings import Embeddings

    class Adapted(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [list(map(float, row)) for row in embedder.embed(texts)]

        def embed_query(self, text: str) -> list[float]:
            return self.embed_documents([text])[0]

    return Adapted()


def _llamaindex_embedding(embedder: Embedder) -> BaseEmbedding:
    from llama_index.core.base.embeddings.base import BaseEmbedding

    class Adapted(BaseEmbedding):
        def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
            return [list(map(float, row)) for row in embedder.embed(texts)]

        def _get_text_embedding(self, text: str) -> list[float]:
            return self._get_text_embeddings([text])[0]

        def _get_query_embedding(self, query: str) -> list[float]:
            return self._get_text_embeddings([query])[0]

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return self._get_query_embedding(query)

    return Adapted()


# --- text ------------------------------------------------------------------------------------------------------------


def _selection(documents: Sequence[Document], spans: _Spans) -> Selection:
    """Join spans of passages (by rank, in source order) as the product does."""
    texts = {documents[rank].id: _text(documents[rank].text, spans[rank]) for rank in sorted(spans)}
    return Selection(
        context=joined(documents, texts),
        texts=texts,
        spans=tuple((documents[rank].id, start, end) for rank in sorted(spans) for start, end in spans[rank]),
    )


def _text(text: str, spans: Sequence[tuple[int, int]]) -> str:
    parts = [text[slice(*spans[0])]]
    for (_, before), (start, end) in pairwise(spans):
        gap = text[before:start]
        parts += [gap if not gap.strip() else "\n" if "\n" in gap else " ... ", text[start:end]]
    return "".join(parts)
