"""Small real objects that the tests of the LangChain adapter share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from costkit.cache import EdgeIndex, ResponseCache
from costkit.testing import HashEmbedder, ListRecorder

DOCUMENTS = [
    Document(
        id="refunds#0",
        page_content="Refunds are paid within 14 days. The office is closed on Sundays. Cats are not allowed at work.",
        metadata={"source": "refunds.md"},
    ),
    Document(id="shipping#0", page_content="Parcels are shipped on Monday.", metadata={"source": "shipping.md"}),
]


class Shelf(BaseRetriever):
    """A retriever that returns the same documents for every question."""

    documents: list[Document]
    k: int = 2

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        return self.documents[: k or self.k]


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSTKIT_HOME", str(tmp_path / "home"))


@pytest.fixture
def recorder() -> ListRecorder:
    return ListRecorder()


@pytest.fixture(scope="session")
def shared_index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeIndex]:
    """One embedded store for all tests: opening one takes half a second, and versions keep the tests apart."""
    embedder = HashEmbedder()
    index = EdgeIndex.open(tmp_path_factory.mktemp("edge"), dimensions=embedder.dimensions)
    yield index
    index.close()


@pytest.fixture
def response_cache(shared_index: EdgeIndex, recorder: ListRecorder) -> ResponseCache:
    return ResponseCache(version=uuid4().hex, embedder=HashEmbedder(), index=shared_index, recorder=recorder)


@pytest.fixture
def broken_cache(tmp_path: Path, recorder: ListRecorder) -> ResponseCache:
    """A cache whose store was closed under it."""
    cache = ResponseCache(version="1", embedder=HashEmbedder(), path=tmp_path / "cache", recorder=recorder)
    cache.close()
    return cache


@pytest.fixture
def documents() -> list[Document]:
    return [document.model_copy(deep=True) for document in DOCUMENTS]


@pytest.fixture
def retriever(documents: list[Document]) -> BaseRetriever:
    return Shelf(documents=documents)
