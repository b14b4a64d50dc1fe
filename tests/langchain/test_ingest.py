"""``CostkitRecordManager``: LangChain's own ``index()`` drops exactly the answers that a change makes stale."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.indexing import InMemoryRecordManager, aindex, index
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore

from costkit import ConfigurationError, Scope, StoreError
from costkit.cache import ResponseCache
from costkit.scope import use
from costkit.testing import HashEmbedder
from langchain_costkit import CostkitRecordManager, cached, ingest

Texts = Mapping[str, Sequence[str]]

REFUNDS, GIFT_CARDS, PARCELS = "when are refunds paid", "are gift cards refunded", "when are parcels shipped"
TEXTS = {
    "refunds.md": ["refunds are paid within 14 days", "gift cards are never refunded"],
    "parcels.md": ["parcels are shipped on Monday"],
}
CHANGED = TEXTS | {"refunds.md": ["refunds are paid within 30 days", "gift cards are never refunded"]}


class Words(Embeddings):
    """Texts that share words are near."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [list(map(float, row)) for row in HashEmbedder().embed(texts)]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


class NamelessStore(InMemoryVectorStore):
    """A vector store that returns documents without their ids, as some do."""

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        found = super().similarity_search(query, k, **kwargs)
        return [one.model_copy(update={"id": None}) for one in found]


cleanups = pytest.mark.parametrize("cleanup", ["incremental", "full", "scoped_full"])
stores = pytest.mark.parametrize("store", [InMemoryVectorStore, NamelessStore])


class Handbook:
    """Documents of several chunks, their index, and a cached chain that answers with the nearest chunk."""

    def __init__(
        self,
        cache: ResponseCache,
        *,
        store: type[InMemoryVectorStore] = InMemoryVectorStore,
        key: str = "source",
        tenant: str | None = None,
        **options: Any,
    ) -> None:
        self.key = key
        self.runs = 0
        self.store = store(Words())
        self.records = InMemoryRecordManager(uuid4().hex)
        self.manager = CostkitRecordManager(self.records, cache, tenant=tenant)
        self.options = {"cleanup": "incremental", "source_id_key": key, "key_encoder": "sha256", **options}
        parts: Any = {
            "context": self.store.as_retriever(search_kwargs={"k": 1}),
            "question": RunnablePassthrough(),
        }
        self.chain: Any = cached(parts | RunnableLambda(self._read), version=uuid4().hex, cache=cache, **self._named())

    def _named(self) -> dict[str, Any]:
        return {} if self.key == "source" else {"source_id_key": self.key}

    def _read(self, read: dict[str, Any]) -> str:
        self.runs += 1
        return str(read["context"][0].page_content)

    def documents(self, texts: Texts) -> list[Document]:
        return [Document(text, metadata={self.key: name}) for name, chunks in texts.items() for text in chunks]

    def ingest(self, texts: Texts, **options: Any) -> None:
        index(self.documents(texts), self.manager, self.store, **(self.options | options))

    def served(self, *questions: str) -> list[bool]:
        """Say of each question whether the cache answers it; an answer that the chain gives must be true."""
        served = []
        for question in questions:
            before = self.runs
            self.chain.invoke(question)
            served.append(self.runs == before)
        return served

    def ask(self, question: str) -> str:
        return str(self.chain.invoke(question))


Make = Callable[..., Handbook]


@pytest.fixture
def make(response_cache: ResponseCache) -> Make:
    """Make a handbook that was ingested, with every question answered once."""

    def handbook(texts: Texts = TEXTS, **options: Any) -> Handbook:
        made = Handbook(response_cache, **options)
        made.ingest(texts)
        assert not any(made.served(REFUNDS, GIFT_CARDS, PARCELS))
        return made

    return handbook


@cleanups
@stores
def test_a_changed_document_ends_all_that_rests_on_it_and_nothing_else(make: Make, cleanup: str, store: Any) -> None:
    book = make(cleanup=cleanup, store=store)

    book.ingest(CHANGED)

    assert book.served(PARCELS, REFUNDS, GIFT_CARDS) == [True, False, False]
    assert book.ask(REFUNDS) == "refunds are paid within 30 days"


@cleanups
def test_ingesting_the_same_again_ends_nothing(make: Make, cleanup: str) -> None:
    book = make(cleanup=cleanup)

    book.ingest(TEXTS)

    assert book.served(REFUNDS, GIFT_CARDS, PARCELS) == [True, True, True]


@cleanups
@stores
def test_a_document_that_lost_a_chunk_ends_what_rests_on_it(make: Make, cleanup: str, store: Any) -> None:
    book = make(cleanup=cleanup, store=store)

    book.ingest(TEXTS | {"refunds.md": ["gift cards are never refunded"]})

    assert book.served(PARCELS, REFUNDS, GIFT_CARDS) == [True, False, False]


def test_a_document_that_was_removed_ends_what_rests_on_it(make: Make) -> None:
    book = make(cleanup="full")

    book.ingest({name: chunks for name, chunks in TEXTS.items() if name != "refunds.md"})

    assert book.served(PARCELS, REFUNDS, GIFT_CARDS) == [True, False, False]


def test_a_document_that_comes_back_brings_no_old_answer_with_it(make: Make) -> None:
    book = make(cleanup="full")

    book.ingest({"parcels.md": TEXTS["parcels.md"]})
    book.ingest(CHANGED)
    assert book.ask(REFUNDS) == "refunds are paid within 30 days"

    book.ingest({"parcels.md": TEXTS["parcels.md"]})
    book.ingest(TEXTS)
    assert book.ask(REFUNDS) == "refunds are paid within 14 days"


def test_a_text_that_is_added_beside_the_old_one_ends_what_rests_on_the_document(make: Make) -> None:
    book = make(cleanup=None)

    book.ingest(CHANGED)

    assert book.served(PARCELS, REFUNDS, GIFT_CARDS) == [True, False, False]


@pytest.mark.parametrize("cleanup", ["full", None])
def test_chunks_without_a_source_id_end_what_rests_on_them(make: Make, cleanup: str | None) -> None:
    book = make(cleanup=cleanup, source_id_key=None, key="topic")

    book.ingest(CHANGED)

    assert book.served(PARCELS, GIFT_CARDS) == [True, True]
    assert book.served(REFUNDS) == [cleanup is None]  # nothing says that the new chunk is of the same document


def test_a_chunk_that_is_written_again_under_its_id_ends_what_rests_on_it(make: Make) -> None:
    """With ids of the user's own, ``index()`` sees a change only where it is told to write all again."""

    def by_place(document: Document) -> str:
        return f"{document.metadata['source']} {document.page_content.split()[0]}"

    book = make(key_encoder=by_place)
    book.ingest(TEXTS, force_update=False)
    assert all(book.served(REFUNDS, PARCELS))

    book.ingest({"refunds.md": CHANGED["refunds.md"]}, force_update=True)

    assert book.served(PARCELS, REFUNDS, GIFT_CARDS) == [True, False, False]
    assert book.ask(REFUNDS) == "refunds are paid within 30 days"


@stores
def test_documents_are_known_by_the_source_id_key_that_index_has(make: Make, store: Any) -> None:
    book = make(key="url", store=store)

    book.ingest(CHANGED)

    assert book.served(PARCELS, REFUNDS, GIFT_CARDS) == [True, False, False]


@cleanups
async def test_the_async_index_does_the_same(make: Make, cleanup: str) -> None:
    book = make(cleanup=cleanup, store=NamelessStore)

    await aindex(book.documents(TEXTS), book.manager, book.store, **book.options)
    assert all(book.served(REFUNDS, GIFT_CARDS, PARCELS))
    await aindex(book.documents(CHANGED), book.manager, book.store, **book.options)

    assert book.served(PARCELS, REFUNDS, GIFT_CARDS) == [True, False, False]
    assert book.ask(REFUNDS) == "refunds are paid within 30 days"


@cleanups
def test_many_documents_are_told_apart_however_few_a_query_may_name(
    make: Make, cleanup: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "_AT_ONCE", 3)
    many = {f"page-{number}": [f"page {number} says nothing", f"page {number} ends"] for number in range(20)}
    book = make(TEXTS | many, cleanup=cleanup, store=NamelessStore)

    book.ingest(TEXTS | many | {"refunds.md": ["gift cards are never refunded"], "page-7": ["page 7 ends"]})

    assert book.served(PARCELS, REFUNDS, GIFT_CARDS) == [True, False, False]


@cleanups
def test_an_answer_that_is_made_while_the_old_chunks_are_still_there_ends_too(
    response_cache: ResponseCache, cleanup: str
) -> None:
    asked: list[str] = []

    class Watched(NamelessStore):
        def delete(self, ids: Sequence[str] | None = None, **kwargs: Any) -> None:
            asked.append(book.ask(REFUNDS))
            super().delete(ids, **kwargs)

    book = Handbook(response_cache, store=Watched, cleanup=cleanup)
    book.ingest(TEXTS)
    later = {"refunds.md": ["refunds of any kind are paid within 30 days", "gift cards are never refunded"]}

    book.ingest(TEXTS | later)

    assert asked == ["refunds are paid within 14 days"]
    assert book.ask(REFUNDS) == "refunds of any kind are paid within 30 days"


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


def test_a_run_that_cannot_drop_answers_fails_and_the_next_one_does_it(make: Make, broken_cache: ResponseCache) -> None:
    book = make()
    working, book.manager = book.manager, CostkitRecordManager(book.records, broken_cache)

    with pytest.raises(StoreError):
        book.ingest(CHANGED)
    assert book.served(REFUNDS) == [True]
    book.manager = working
    book.ingest(CHANGED)

    assert book.served(PARCELS, REFUNDS, GIFT_CARDS) == [True, False, False]


async def test_it_is_the_record_manager_that_it_wraps(response_cache: ResponseCache) -> None:
    records = InMemoryRecordManager("docs")
    manager = CostkitRecordManager(records, response_cache)
    manager.create_schema()
    await manager.acreate_schema()

    manager.update(["a"], group_ids=["one"])
    await manager.aupdate(["b"], group_ids=["two"])

    assert manager.namespace == "docs"
    assert manager.exists(["a", "c"]) == await manager.aexists(["b", "c"]) == [True, False]
    assert manager.list_keys(group_ids=["one"]) == ["a"]
    assert await manager.alist_keys() == ["a", "b"]
    assert manager.get_time() <= await manager.aget_time() <= records.get_time()
    manager.delete_keys(["a"])
    await manager.adelete_keys(["b"])
    assert records.list_keys() == []


def test_an_empty_tenant_is_refused(response_cache: ResponseCache) -> None:
    with pytest.raises(ConfigurationError, match="tenant"):
        CostkitRecordManager(InMemoryRecordManager("docs"), response_cache, tenant=" ")
