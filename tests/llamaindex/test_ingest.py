"""``CostkitDocumentStore``: LlamaIndex's own ``IngestionPipeline`` drops exactly the answers that a change makes stale."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.response.schema import Response
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import MarkdownNodeParser
from llama_index.core.query_engine import CustomQueryEngine
from llama_index.core.schema import BaseNode, Document, MediaResource, NodeWithScore, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryResult
from pydantic import Field

from costkit import ConfigurationError, Scope, StoreError
from costkit.cache import ResponseCache
from costkit.scope import use
from costkit.testing import HashEmbedder
from llamaindex_costkit import CostkitDocumentStore, CostkitQueryEngine

REFUNDS, GIFT_CARDS, PARCELS = "when are refunds paid", "are gift cards refunded", "when are parcels shipped"
TEXTS = {
    "refunds.md": "# refunds\nrefunds are paid within 14 days\n# gift cards\ngift cards are never refunded",
    "parcels.md": "# parcels\nparcels are shipped on Monday",
}
CHANGED = TEXTS | {"refunds.md": TEXTS["refunds.md"].replace("14", "30")}
FORMER, NEW = "refunds are paid within 14 days", "refunds are paid within 30 days"
Texts = Mapping[str, str]


class Words(BaseEmbedding):
    """Texts that share words are near."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return list(map(float, HashEmbedder().embed([text])[0]))

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


class Shelf(SimpleVectorStore):
    """LlamaIndex's simple vector store, which keeps the nodes as a database does."""

    stores_text: bool = True
    nodes: dict[str, BaseNode] = Field(default_factory=dict)

    def add(self, nodes: Any, **kwargs: Any) -> list[str]:
        self.nodes |= {node.node_id: node for node in nodes}
        return super().add(nodes, **kwargs)

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        found = super().query(replace(query, node_ids=None), **kwargs)
        found.nodes = [self.nodes[name] for name in found.ids or []]
        return found


class Nearest(CustomQueryEngine):
    """Answers with the nearest chunk, and counts."""

    index: Any
    runs: int = 0

    def custom_query(self, query_str: str) -> Any:
        self.runs += 1
        found = self.index.as_retriever(similarity_top_k=1).retrieve(query_str)
        return Response(response=found[0].text.rpartition("\n")[2], source_nodes=found)


class One(CustomQueryEngine):
    """Answers from one node."""

    node: Any

    def custom_query(self, query_str: str) -> Any:
        return Response(response="yes", source_nodes=[NodeWithScore(node=self.node)])


class Handbook:
    """Documents of several chunks, a pipeline over them, and a cached engine that answers with the nearest chunk."""

    def __init__(
        self,
        cache: ResponseCache,
        *,
        strategy: DocstoreStrategy = DocstoreStrategy.UPSERTS,
        tenant: str | None = None,
        shelf: type[Shelf] = Shelf,
    ) -> None:
        self.shelf = shelf()
        self.docstore = CostkitDocumentStore(SimpleDocumentStore(), cache, tenant=tenant)
        self.pipeline = IngestionPipeline(
            transformations=[MarkdownNodeParser(), Words()],
            vector_store=self.shelf,
            docstore=self.docstore,
            docstore_strategy=strategy,
        )
        index = VectorStoreIndex.from_vector_store(self.shelf, embed_model=Words())
        self.nearest = Nearest(index=index)
        self.engine = CostkitQueryEngine(self.nearest, version=uuid4().hex, cache=cache)

    def documents(self, texts: Texts, **metadata: Any) -> list[Document]:
        hidden = list(metadata)
        return [
            Document(id_=name, text=text, metadata=metadata, excluded_llm_metadata_keys=hidden)
            for name, text in texts.items()
        ]

    def ingest(self, texts: Texts, **metadata: Any) -> None:
        self.pipeline.run(documents=self.documents(texts, **metadata))

    def ask(self, question: str) -> str:
        return str(self.engine.query(question))

    def served(self, *questions: str) -> list[bool]:
        """Say of each question whether the cache answers it."""
        served = []
        for question in questions:
            before = self.nearest.runs
            self.ask(question)
            served.append(self.nearest.runs == before)
        return served


Make = Callable[..., Handbook]


@pytest.fixture
def make(response_cache: ResponseCache) -> Make:
    """Make a handbook that was ingested, with every question answered once."""

    def handbook(**options: Any) -> Handbook:
        made = Handbook(response_cache, **options)
        made.ingest(TEXTS)
        assert made.ask(REFUNDS) == FORMER
        assert not any(made.served(GIFT_CARDS, PARCELS))
        return made

    return handbook


upserting = pytest.mark.parametrize("strategy", [DocstoreStrategy.UPSERTS, DocstoreStrategy.UPSERTS_AND_DELETE])
strategies = pytest.mark.parametrize("strategy", list(DocstoreStrategy))


@strategies
def test_a_changed_document_ends_all_that_rests_on_it_and_nothing_else(make: Make, strategy: DocstoreStrategy) -> None:
    book = make(strategy=strategy)

    book.ingest(CHANGED)

    assert book.served(PARCELS, REFUNDS, GIFT_CARDS) == [True, False, False]


@upserting
def test_the_new_text_is_what_is_answered_from(make: Make, strategy: DocstoreStrategy) -> None:
    book = make(strategy=strategy)

    book.ingest(CHANGED)

    assert book.ask(REFUNDS) == NEW


@strategies
def test_ingesting_the_same_again_ends_nothing(make: Make, strategy: DocstoreStrategy) -> None:
    book = make(strategy=strategy)

    book.ingest(TEXTS)

    assert book.served(REFUNDS, GIFT_CARDS, PARCELS) == [True, True, True]


@strategies
def test_metadata_that_no_model_sees_ends_nothing_though_the_document_is_ingested_anew(
    make: Make, strategy: DocstoreStrategy
) -> None:
    book = make(strategy=strategy)
    before = len(book.shelf.nodes)

    book.ingest(TEXTS, last_modified_date="2026-12-01")

    assert len(book.shelf.nodes) > before
    assert book.served(REFUNDS, GIFT_CARDS, PARCELS) == [True, True, True]


def test_metadata_that_a_model_sees_is_part_of_the_document(make: Make) -> None:
    book = make()

    book.pipeline.run(documents=[Document(id_="refunds.md", text=TEXTS["refunds.md"], metadata={"valid": "2027"})])

    assert book.served(PARCELS, REFUNDS, GIFT_CARDS) == [True, False, False]


def test_a_document_that_was_removed_ends_what_rests_on_it(make: Make) -> None:
    book = make(strategy=DocstoreStrategy.UPSERTS_AND_DELETE)

    book.ingest({"parcels.md": TEXTS["parcels.md"]})

    assert book.served(PARCELS, REFUNDS, GIFT_CARDS) == [True, False, False]


def test_a_document_that_comes_back_brings_no_old_answer_with_it(make: Make) -> None:
    book = make(strategy=DocstoreStrategy.UPSERTS_AND_DELETE)

    book.ingest({"parcels.md": TEXTS["parcels.md"]})
    book.ingest(CHANGED)
    assert book.ask(REFUNDS) == NEW

    book.ingest({"parcels.md": TEXTS["parcels.md"]})
    book.ingest(TEXTS)
    assert book.ask(REFUNDS) == FORMER


@strategies
async def test_the_async_pipeline_does_the_same(make: Make, strategy: DocstoreStrategy) -> None:
    book = make(strategy=strategy)

    await book.pipeline.arun(documents=book.documents(TEXTS))
    assert all(book.served(REFUNDS, GIFT_CARDS, PARCELS))
    await book.pipeline.arun(documents=book.documents(CHANGED))

    assert book.served(PARCELS, REFUNDS, GIFT_CARDS) == [True, False, False]


async def test_the_async_pipeline_removes_too(make: Make) -> None:
    book = make(strategy=DocstoreStrategy.UPSERTS_AND_DELETE)

    await book.pipeline.arun(documents=book.documents({"parcels.md": TEXTS["parcels.md"]}))

    assert book.served(PARCELS, REFUNDS, GIFT_CARDS) == [True, False, False]


@upserting
def test_an_answer_that_is_made_while_the_old_text_is_still_there_ends_too(
    response_cache: ResponseCache, strategy: DocstoreStrategy
) -> None:
    asked: list[str] = []

    class Watched(Shelf):
        def delete(self, ref_doc_id: str, **kwargs: Any) -> None:
            asked.append(book.ask(REFUNDS))
            super().delete(ref_doc_id, **kwargs)

    book = Handbook(response_cache, strategy=strategy, shelf=Watched)
    book.ingest(TEXTS)

    book.ingest(CHANGED)

    assert asked == [FORMER]
    assert book.ask(REFUNDS) == NEW


def test_an_answer_that_is_made_while_a_removed_text_is_still_there_ends_too(response_cache: ResponseCache) -> None:
    class Watched(Shelf):
        def delete(self, ref_doc_id: str, **kwargs: Any) -> None:
            assert book.served(REFUNDS) == [False]
            super().delete(ref_doc_id, **kwargs)

    book = Handbook(response_cache, strategy=DocstoreStrategy.UPSERTS_AND_DELETE, shelf=Watched)
    book.ingest(TEXTS)

    book.ingest({"parcels.md": TEXTS["parcels.md"]})

    assert book.served(REFUNDS) == [False]


@pytest.mark.parametrize(("tenant", "kept"), [(None, [False, False]), ("acme", [False, True])])
def test_documents_are_everybodys_unless_a_tenant_is_named(make: Make, tenant: str | None, kept: list[bool]) -> None:
    book = make(tenant=tenant)
    tenants = [Scope(tenant="acme"), Scope(tenant="globex")]
    for scope in tenants:
        with use(scope):
            book.ask(REFUNDS)

    with use(Scope(tenant="globex")):  # whoever runs the ingestion
        book.ingest(CHANGED)

    served = []
    for scope in tenants:
        with use(scope):
            served += book.served(REFUNDS)
    assert served == kept


async def test_a_run_that_cannot_drop_answers_fails_and_the_next_one_does_it(
    make: Make, broken_cache: ResponseCache
) -> None:
    book = make()
    working = book.docstore
    broken = CostkitDocumentStore(working.docstore, broken_cache)

    for _ in range(2):
        book.pipeline.docstore = broken
        with pytest.raises(StoreError):
            book.ingest(CHANGED)
        with pytest.raises(StoreError):
            await book.pipeline.arun(documents=book.documents(CHANGED))
        assert book.served(REFUNDS) == [True]
    book.pipeline.docstore = working
    book.ingest(CHANGED)

    assert book.served(PARCELS, REFUNDS, GIFT_CARDS) == [True, False, False]


def test_an_index_that_keeps_its_nodes_here_drops_answers_when_it_deletes_or_refreshes(
    response_cache: ResponseCache,
) -> None:
    docstore = CostkitDocumentStore(SimpleDocumentStore(), response_cache)
    storage = StorageContext.from_defaults(docstore=docstore)
    index = VectorStoreIndex.from_documents(
        [Document(id_=name, text=text) for name, text in TEXTS.items()], storage_context=storage, embed_model=Words()
    )
    nearest = Nearest(index=index)
    engine = CostkitQueryEngine(nearest, version="1", cache=response_cache)

    def runs(*questions: str) -> int:
        before = nearest.runs
        for question in questions:
            engine.query(question)
        return nearest.runs - before

    assert runs(REFUNDS, PARCELS, REFUNDS) == 2
    index.refresh_ref_docs([Document(id_="refunds.md", text=CHANGED["refunds.md"])])
    assert runs(PARCELS, REFUNDS) == 1
    index.delete_ref_doc("refunds.md", delete_from_docstore=True)
    assert runs(PARCELS, REFUNDS) == 1


@pytest.mark.parametrize("deletes", ["delete_document", "delete_ref_doc"])
async def test_a_node_that_is_deleted_ends_what_rests_on_its_document(
    response_cache: ResponseCache, deletes: str
) -> None:
    docstore = CostkitDocumentStore(SimpleDocumentStore(), response_cache)
    source = Document(id_="refunds.md").as_related_node_info()
    nodes = [TextNode(id_=f"refunds#{place}", text="a", relationships={"1": source}) for place in range(4)]
    engine = CostkitQueryEngine(One(node=nodes[0]), version="1", cache=response_cache)

    def kept() -> bool:
        return engine.query(REFUNDS).metadata is not None

    docstore.add_documents(nodes)
    assert [kept(), kept()] == [False, True]
    name = "refunds#2" if deletes == "delete_document" else "refunds.md"
    getattr(docstore, deletes)(name)
    assert [kept(), kept()] == [False, True]
    docstore.docstore.add_documents(nodes)
    await getattr(docstore, f"a{deletes}")(name)
    assert not kept()


def test_a_document_with_another_picture_has_changed(response_cache: ResponseCache) -> None:
    docstore = CostkitDocumentStore(SimpleDocumentStore(), response_cache)
    dropped: list[str] = []

    for picture in (b"one", b"one", b"two"):
        before = response_cache._documents.latest_change()
        docstore.add_documents([Document(id_="plan", text="The plan", image_resource=MediaResource(data=picture))])
        dropped.append("changed" if response_cache._documents.latest_change() > before else "as it was")

    assert dropped == ["changed", "as it was", "changed"]


async def test_it_is_the_document_store_that_it_wraps(response_cache: ResponseCache, tmp_path: Path) -> None:
    inner = SimpleDocumentStore()
    store = CostkitDocumentStore(inner, response_cache)
    source = Document(id_="a.md", text="a")
    node = TextNode(id_="a#0", text="a", relationships={"1": source.as_related_node_info()})

    store.add_documents([source])
    await store.async_add_documents([node])
    store.set_document_hash("a.md", "one")
    assert store.get_document_hash("a.md") == await store.aget_document_hash("a.md") == "one"
    await store.aset_document_hash("a.md", "two")
    store.set_document_hashes({"b.md": "three"})
    await store.aset_document_hashes({"c.md": "four"})

    assert store.docs == inner.docs
    assert store.get_all_document_hashes() == await store.aget_all_document_hashes() == inner.get_all_document_hashes()
    assert store.get_document("a#0") == await store.aget_document("a#0") == node
    assert store.get_node("a#0") == node
    assert [store.document_exists("x"), await store.adocument_exists("a#0")] == [False, True]
    assert store.get_ref_doc_info("a.md") == await store.aget_ref_doc_info("a.md")
    assert store.get_all_ref_doc_info() == await store.aget_all_ref_doc_info() == inner.get_all_ref_doc_info()
    store.persist(str(tmp_path / "docstore.json"))
    assert SimpleDocumentStore.from_persist_path(str(tmp_path / "docstore.json")).docs == inner.docs
    await store.adelete_document("a#0")
    store.delete_ref_doc("a.md", raise_error=False)
    with pytest.raises(ValueError, match="not found"):
        store.delete_document("a#0")


def test_an_empty_tenant_is_refused(response_cache: ResponseCache) -> None:
    with pytest.raises(ConfigurationError, match="tenant"):
        CostkitDocumentStore(SimpleDocumentStore(), response_cache, tenant=" ")
