"""Context reduction in LangChain: ``retriever = CostkitRetriever(retriever)``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun, Callbacks
from langchain_core.documents import BaseDocumentCompressor, BaseDocumentTransformer, Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict, PrivateAttr

from costkit import context
from costkit.context import ContextReducer, Passage, Place, Reduction, condense, reducer_for
from costkit.context.reduce import check_k
from costkit.scope import Scope, current, from_metadata
from langchain_costkit._fields import check_fields
from langchain_costkit._scoped import group_of, scope_of

__all__ = [
    "ALSO_IN_KEY",
    "SCORE_KEY",
    "SOURCE_ALSO_IN_KEY",
    "SOURCE_SPANS_KEY",
    "SPANS_KEY",
    "CostkitDocumentCompressor",
    "CostkitDocumentTransformer",
    "CostkitRetriever",
]

ALSO_IN_KEY = "costkit_also_in"
SCORE_KEY = "costkit_score"
SPANS_KEY = "costkit_spans"
SOURCE_ALSO_IN_KEY = "costkit_source_also_in"
SOURCE_SPANS_KEY = "costkit_source_spans"


class CostkitRetriever(BaseRetriever):
    """A retriever that returns what another one finds, cut to the sentences the question needs.

    Documents come back as copies with their ids and metadata, and under ``costkit_score`` and ``costkit_spans`` the
    relevance and the [start, end] offsets of what was kept. Where a kept text stands in other documents that were found
    and are not kept, ``costkit_also_in`` names them: ``[{"id": ..., "metadata": ..., "span": [start, end]}, ...]``. If
    the embedder or the counter fails, the text is cut to the budget instead.

    Args:
        retriever: Finds the documents; retrieve generously, what is not needed goes.
        budget_tokens: The most tokens of context. Default: the reducer's own.
        k: The most documents to return. Default: as many as have something to say. A call may name its own.
        reducer: Reduces. Default: ``ContextReducer(budget_tokens=...)`` with the default embedder.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    retriever: BaseRetriever
    k: int | None = None
    _reducer: ContextReducer = PrivateAttr()

    def __init__(
        self,
        retriever: BaseRetriever,
        *,
        budget_tokens: int | None = None,
        k: int | None = None,
        reducer: ContextReducer | None = None,
        **kwargs: Any,  # the fields of BaseRetriever: tags, metadata, name
    ) -> None:
        check_fields(type(self), kwargs)
        super().__init__(retriever=retriever, k=check_k(k), **kwargs)  # type: ignore[call-arg]
        self._reducer = reducer_for(reducer, budget_tokens=budget_tokens)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        found = self.retriever.invoke(query, {"callbacks": run_manager.get_child()})
        given = _numbered(found)
        most = self.k if k is None else k
        scope, run_id = _scope(run_manager), group_of(run_manager)
        return _documents(found, self._reducer.reduce(query, given, k=most, scope=scope, run_id=run_id))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        found = await self.retriever.ainvoke(query, {"callbacks": run_manager.get_child()})
        given = _numbered(found)
        most = self.k if k is None else k
        scope, run_id = _scope(run_manager), group_of(run_manager)
        return _documents(found, await self._reducer.areduce(query, given, k=most, scope=scope, run_id=run_id))


class CostkitDocumentCompressor(BaseDocumentCompressor):
    """The same reduction as a compressor, for ``ContextualCompressionRetriever`` and ``DocumentCompressorPipeline``.

    Args:
        budget_tokens: The most tokens of context. Default: the reducer's own.
        reducer: Reduces. Default: ``ContextReducer(budget_tokens=...)`` with the default embedder.
    """

    _reducer: ContextReducer = PrivateAttr()

    def __init__(self, *, budget_tokens: int | None = None, reducer: ContextReducer | None = None) -> None:
        super().__init__()
        self._reducer = reducer_for(reducer, budget_tokens=budget_tokens)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Return copies of the documents, cut to what ``query`` needs."""
        return _documents(documents, self._reducer.reduce(query, _numbered(documents), scope=scope_of(None)))

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Do what ``compress_documents`` does, without blocking."""
        reduction = await self._reducer.areduce(query, _numbered(documents), scope=scope_of(None))
        return _documents(documents, reduction)


class CostkitDocumentTransformer(BaseDocumentTransformer):
    """Takes boilerplate and repeated passages out of documents before they are split and stored.

    Put it in front of the text splitter, over all documents of one source. Unchanged documents come back as they are.
    A changed one is a copy with its id and metadata, and under ``costkit_source_spans`` the offsets of what is left; where
    a passage that was dropped elsewhere stands in it, ``costkit_source_also_in`` names the places. Both are JSON text,
    since many vector stores take plain values only. A document that only repeats others is left out.
    """

    def transform_documents(self, documents: Sequence[Document], **kwargs: Any) -> Sequence[Document]:
        """Return the documents without what ``costkit.context.condense`` takes out."""
        condensed = condense(_numbered(documents))
        return [_condensed(documents, passage) for passage in condensed.passages]


def _condensed(given: Sequence[Document], passage: Passage) -> Document:
    source = given[int(passage.document_id)]
    places = [place for span in passage.kept for place in span.also_in]
    if passage.text == source.page_content and not places:
        return source
    facts = {SOURCE_SPANS_KEY: json.dumps([[span.start, span.end] for span in passage.kept])}
    if places:
        facts[SOURCE_ALSO_IN_KEY] = json.dumps([_citation(given, place) for place in places], default=str)
    return Document(id=source.id, page_content=passage.text, metadata={**source.metadata, **facts})


def _numbered(documents: Sequence[Document]) -> list[context.Document]:
    """Return the documents as values that are told apart by place: LangChain's ids may be missing or repeat."""
    return [
        context.Document(id=str(place), text=document.page_content, title=_title(document))
        for place, document in enumerate(documents)
    ]


def _title(document: Document) -> str:
    title = document.metadata.get("title")
    return title if isinstance(title, str) else ""


def _documents(given: Sequence[Document], reduction: Reduction) -> list[Document]:
    """Return new documents for what is left, in the reduction's order."""
    return [_reduced(given, passage) for passage in reduction.passages]


def _reduced(given: Sequence[Document], passage: Passage) -> Document:
    source = given[int(passage.document_id)]
    facts: dict[str, Any] = {SPANS_KEY: [[span.start, span.end] for span in passage.kept]}
    if passage.score is not None:
        facts[SCORE_KEY] = float(passage.score)
    if places := [place for span in passage.kept for place in span.also_in]:
        facts[ALSO_IN_KEY] = [_citation(given, place) for place in places]
    return Document(id=source.id, page_content=passage.text, metadata={**source.metadata, **facts})


def _citation(given: Sequence[Document], place: Place) -> dict[str, Any]:
    other = given[int(place.document_id)]
    return {"id": other.id, "metadata": dict(other.metadata), "span": [place.start, place.end]}


def _scope(run_manager: CallbackManagerForRetrieverRun | AsyncCallbackManagerForRetrieverRun) -> Scope:
    return from_metadata(run_manager.metadata, base=current()) or Scope()
