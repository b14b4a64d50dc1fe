"""The context reducer in LlamaIndex: retrieved nodes cut to the sentences that the question needs."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any, TypeGuard

from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # not in its __all__
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle, TransformComponent
from pydantic import Field, PrivateAttr

from costkit.cache.evidence import content_hash
from costkit.context import ContextReducer, Document, Passage, Place, Reduction, condense, reducer_for
from costkit.context.reduce import check_k
from llamaindex_costkit._calls import run_id

__all__ = ["CostkitNodePostprocessor", "CostkitTransformComponent"]

# Facts about the reduction, kept from prompts and embeddings so that they cost no tokens.
SCORE, SPANS, ALSO_IN, HASH = "costkit_score", "costkit_spans", "costkit_also_in", "costkit_hash"
SOURCE_SPANS, SOURCE_ALSO_IN = "costkit_source_spans", "costkit_source_also_in"

_log = logging.getLogger("costkit.context")
_dispatcher = get_dispatcher(__name__)


class CostkitNodePostprocessor(BaseNodePostprocessor):
    """Cuts retrieved nodes to the sentences a question needs: ``node_postprocessors=[CostkitNodePostprocessor()]``.

    What is left of a node is a new node with the same id, relationships, score and metadata, and three more metadata
    entries, hidden from prompts and embeddings: ``costkit_score`` (relevance, a float), ``costkit_spans``
    (``[[start, end], ...]`` in the original node's text) and ``costkit_hash`` (SHA-256 of what the model would have
    seen of that node). Where a kept text stands in other nodes that are not kept, a fourth, ``costkit_also_in``, names
    them: ``[{"node_id": ..., "ref_doc_id": ..., "span": [start, end]}, ...]``. Nodes of which nothing is left are
    dropped; nodes without text pass through. The caller's nodes are never changed. Nodes that fit the budget keep their
    whole text.

    Args:
        budget_tokens: The most tokens of context. Text and the metadata entry ``title`` count; other metadata that a
            node shows to the model comes on top. Default: the reducer's own.
        k: The most nodes with text to return. Default: as many as have something to say.
        reducer: Reduces. Default: ``ContextReducer(budget_tokens=...)`` with the default embedder.

    Raises:
        ConfigurationError: An option has a value that cannot work.
    """

    budget_tokens: int = Field(description="The most tokens of context.")
    k: int | None = Field(description="The most nodes with text to return.")
    _reducer: ContextReducer = PrivateAttr()
    _told: bool = PrivateAttr(default=False)

    def __init__(
        self, *, budget_tokens: int | None = None, k: int | None = None, reducer: ContextReducer | None = None
    ) -> None:
        chosen = reducer_for(reducer, budget_tokens=budget_tokens)
        super().__init__(budget_tokens=chosen.budget_tokens, k=check_k(k))  # type: ignore[call-arg]  # pydantic fields
        self._reducer = chosen

    @classmethod
    def class_name(cls) -> str:
        """Return the serialisation id."""
        return "CostkitNodePostprocessor"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if not _asks(query_bundle):
            return self._as_they_are(nodes)
        self._begin(nodes, query_bundle)
        reduction = self._reducer.reduce(query_bundle.query_str, _documents(nodes), k=self.k, run_id=run_id())
        return _end(nodes, reduction)

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if not _asks(query_bundle):
            return self._as_they_are(nodes)
        self._begin(nodes, query_bundle)
        question = query_bundle.query_str
        return _end(nodes, await self._reducer.areduce(question, _documents(nodes), k=self.k, run_id=run_id()))

    def _begin(self, nodes: list[NodeWithScore], query_bundle: QueryBundle) -> None:
        _dispatcher.event(
            ReRankStartEvent(query=query_bundle, nodes=nodes, top_n=self.k or len(nodes), model_name=self.class_name())
        )

    def _as_they_are(self, nodes: Sequence[NodeWithScore]) -> list[NodeWithScore]:
        if not self._told:
            self._told = True
            _log.warning("nodes are passed on as they are: there is no question to reduce by")
        return list(nodes)


class CostkitTransformComponent(TransformComponent):
    """Takes boilerplate and repeated passages out of documents: ``transformations=[CostkitTransformComponent(), ...]``.

    Put it first in an ``IngestionPipeline``, over all documents of one source. Unchanged nodes, and those without text,
    come back as they are. A changed one is a copy with its id, relationships and metadata, and two more entries that are
    hidden from prompts and embeddings: ``costkit_source_spans``, the offsets of what is left, and where a passage that
    was dropped elsewhere stands in it ``costkit_source_also_in``, the places. Both are JSON text, since many vector
    stores take plain values only. A node that only repeats others is left out.
    """

    @classmethod
    def class_name(cls) -> str:
        """Return the serialisation id."""
        return "CostkitTransformComponent"

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[BaseNode]:
        """Return the nodes without what ``costkit.context.condense`` takes out."""
        left = {int(passage.document_id): passage for passage in condense(_numbered(nodes)).passages}
        return [
            _condensed(nodes, node, left[place]) if place in left else node
            for place, node in enumerate(nodes)
            if place in left or not _text(node)
        ]


def _condensed(nodes: Sequence[BaseNode], node: BaseNode, passage: Passage) -> BaseNode:
    places = [place for span in passage.kept for place in span.also_in]
    if passage.text == _text(node) and not places:
        return node
    facts = {SOURCE_SPANS: json.dumps([[span.start, span.end] for span in passage.kept])}
    if places:
        facts[SOURCE_ALSO_IN] = json.dumps([_citation(nodes, place) for place in places])
    return _copy(node, passage.text, facts)


def _asks(query_bundle: QueryBundle | None) -> TypeGuard[QueryBundle]:
    """True if there is a question; a wrong query transform may hand on one without text."""
    return query_bundle is not None and isinstance(query_bundle.query_str, str)


def _end(nodes: Sequence[NodeWithScore], reduction: Reduction) -> list[NodeWithScore]:
    """Return the reduced nodes in the reduction's order, nodes without text after them."""
    left = [_reduced(nodes, passage) for passage in reduction.passages]
    left += [one for one in nodes if not _text(one.node)]
    _dispatcher.event(ReRankEndEvent(nodes=left))
    return left


def _documents(nodes: Sequence[NodeWithScore]) -> list[Document]:
    return _numbered([one.node for one in nodes])


def _numbered(nodes: Sequence[BaseNode]) -> list[Document]:
    """Return the nodes' texts; the place of a node is its id here, since node ids need not be unique."""
    return [
        Document(id=str(place), text=text, title=_title(node))
        for place, node in enumerate(nodes)
        if (text := _text(node))
    ]


def _text(node: BaseNode) -> str:
    return node.get_content(metadata_mode=MetadataMode.NONE)


def _title(node: BaseNode) -> str:
    title = node.metadata.get("title")
    return title if isinstance(title, str) else ""


def _reduced(given: Sequence[NodeWithScore], passage: Passage) -> NodeWithScore:
    """Return a new node with what is left of one."""
    found = given[int(passage.document_id)]
    original = found.node
    facts: dict[str, object] = {
        SPANS: [[span.start, span.end] for span in passage.kept],
        HASH: original.metadata.get(HASH) or content_hash(original.get_content(MetadataMode.LLM)),
    }
    if passage.score is not None:
        facts[SCORE] = float(passage.score)
    if places := [place for span in passage.kept for place in span.also_in]:
        nodes = [one.node for one in given]
        facts[ALSO_IN] = [_citation(nodes, place) for place in places]
    return NodeWithScore(node=_copy(original, passage.text, facts), score=found.score)


def _citation(nodes: Sequence[BaseNode], place: Place) -> dict[str, object]:
    other = nodes[int(place.document_id)]
    return {"node_id": other.node_id, "ref_doc_id": other.ref_doc_id, "span": [place.start, place.end]}


def _copy(original: BaseNode, text: str, facts: dict[str, Any]) -> BaseNode:
    """Return a node like ``original`` with other text, and with facts that prompts and embeddings do not show."""
    node = original.model_copy(
        update={
            "metadata": {**original.metadata, **facts},
            "relationships": dict(original.relationships),
            "excluded_llm_metadata_keys": [*original.excluded_llm_metadata_keys, *facts],
            "excluded_embed_metadata_keys": [*original.excluded_embed_metadata_keys, *facts],
        }
    )
    node.set_content(text)
    return node
