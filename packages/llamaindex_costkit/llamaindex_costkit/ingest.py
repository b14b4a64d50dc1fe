"""Re-ingestion that keeps the response cache true: ``IngestionPipeline(docstore=CostkitDocumentStore(docstore, cache))``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from fsspec import AbstractFileSystem
from llama_index.core.schema import BaseNode
from llama_index.core.storage.docstore.types import DEFAULT_PERSIST_PATH, BaseDocumentStore, RefDocInfo
from llama_index.core.storage.kvstore.types import DEFAULT_BATCH_SIZE

from costkit.cache import ResponseCache
from costkit.cache.evidence import content_hash
from costkit.errors import StoreError
from costkit.scope import Scope, use
from llamaindex_costkit._kept import seen_of

__all__ = ["CostkitDocumentStore"]


# No document has this hash, so the next run takes it for changed.
_AGAIN = "costkit: answers are still to be dropped"


class CostkitDocumentStore(BaseDocumentStore):
    """A document store for LlamaIndex's ``IngestionPipeline`` that drops the answers which changes make stale.

    A document that is added drops what rests on it, unless a model sees the same of it as at the last ingestion: text,
    and metadata that is not hidden from it. A document that is deleted drops what rests on it. Documents are known by
    their ids, the ``ref_doc_id`` of the nodes that answers rest on.

    The pipeline needs its ``vector_store``: it writes that first and the document store last, so what is dropped was
    made from the old text. ``IngestionPipeline.load`` puts a bare document store in place; wrap it again after it.

    Args:
        docstore: Keeps the documents.
        cache: Whose answers rest on the documents.
        tenant: Whose documents they are. Default: everybody's, whatever scope is in force: the answers of all tenants
            that rest on them are dropped.

    Raises:
        ConfigurationError: ``tenant`` is empty.
    """

    def __init__(self, docstore: BaseDocumentStore, cache: ResponseCache, *, tenant: str | None = None) -> None:
        self.docstore = docstore
        self._cache = cache
        self._owner = Scope(tenant=tenant)
        # A pipeline deletes documents here before it does in the vector store; it adds when both are done.
        self._deleted: dict[str, None] = {}

    def add_documents(
        self,
        docs: Sequence[BaseNode],
        allow_update: bool = True,
        batch_size: int = DEFAULT_BATCH_SIZE,
        store_text: bool = True,
    ) -> None:
        """Add documents, after dropping what rests on those that changed.

        Raises:
            StoreError: The cache could not be written; the next run then does these documents again.
        """
        try:
            self._ingested(docs)
        except StoreError:
            self.docstore.set_document_hashes(dict.fromkeys((doc.node_id for doc in docs), _AGAIN))
            raise
        self.docstore.add_documents(docs, allow_update, batch_size, store_text)

    async def async_add_documents(
        self,
        docs: Sequence[BaseNode],
        allow_update: bool = True,
        batch_size: int = DEFAULT_BATCH_SIZE,
        store_text: bool = True,
    ) -> None:
        """Do what ``add_documents`` does, without blocking."""
        try:
            await asyncio.to_thread(self._ingested, docs)
        except StoreError:
            await self.docstore.aset_document_hashes(dict.fromkeys((doc.node_id for doc in docs), _AGAIN))
            raise
        await self.docstore.async_add_documents(docs, allow_update, batch_size, store_text)

    def delete_document(self, doc_id: str, raise_error: bool = True) -> None:
        """Delete a document or a node, and drop what rests on it."""
        self._gone(_source_id(self.docstore.get_document(doc_id, raise_error=False), doc_id))
        self.docstore.delete_document(doc_id, raise_error)

    async def adelete_document(self, doc_id: str, raise_error: bool = True) -> None:
        """Do what ``delete_document`` does, without blocking."""
        node = await self.docstore.aget_document(doc_id, raise_error=False)
        await asyncio.to_thread(self._gone, _source_id(node, doc_id))
        await self.docstore.adelete_document(doc_id, raise_error)

    def delete_ref_doc(self, ref_doc_id: str, raise_error: bool = True) -> None:
        """Delete the nodes of a document, and drop what rests on it.

        A pipeline calls it for a document that it is about to add again; where no nodes of it are kept here, nothing is
        deleted and nothing dropped until the document is added.
        """
        if self.docstore.get_ref_doc_info(ref_doc_id) is not None:
            self._gone(ref_doc_id)
        self.docstore.delete_ref_doc(ref_doc_id, raise_error)

    async def adelete_ref_doc(self, ref_doc_id: str, raise_error: bool = True) -> None:
        """Do what ``delete_ref_doc`` does, without blocking."""
        if await self.docstore.aget_ref_doc_info(ref_doc_id) is not None:
            await asyncio.to_thread(self._gone, ref_doc_id)
        await self.docstore.adelete_ref_doc(ref_doc_id, raise_error)

    def _ingested(self, nodes: Iterable[BaseNode]) -> None:
        seen: dict[str, list[str]] = {}
        for node in nodes:
            seen.setdefault(_source_id(node, node.node_id), []).append(seen_of(node))
        with use(self._owner):
            for source_id, texts in seen.items():
                self._cache.ingested(source_id, content_hash("\n".join(texts)))
            for source_id in self._deleted:
                self._cache.invalidate(source_id)
        self._deleted.clear()

    def _gone(self, source_id: str) -> None:
        with use(self._owner):
            self._cache.invalidate(source_id)
        self._deleted[source_id] = None

    # What follows is handed on as it is.

    @property
    def docs(self) -> dict[str, BaseNode]:
        """All documents by id."""
        return self.docstore.docs

    def persist(self, persist_path: str = DEFAULT_PERSIST_PATH, fs: AbstractFileSystem | None = None) -> None:
        """Write the documents to a file."""
        self.docstore.persist(persist_path, fs)

    def get_document(self, doc_id: str, raise_error: bool = True) -> BaseNode | None:
        """Return a document."""
        return self.docstore.get_document(doc_id, raise_error)

    async def aget_document(self, doc_id: str, raise_error: bool = True) -> BaseNode | None:
        """Return a document."""
        return await self.docstore.aget_document(doc_id, raise_error)

    def document_exists(self, doc_id: str) -> bool:
        """Say whether a document is kept."""
        return self.docstore.document_exists(doc_id)

    async def adocument_exists(self, doc_id: str) -> bool:
        """Say whether a document is kept."""
        return await self.docstore.adocument_exists(doc_id)

    def set_document_hash(self, doc_id: str, doc_hash: str) -> None:
        """Set LlamaIndex's hash of a document."""
        self.docstore.set_document_hash(doc_id, doc_hash)

    async def aset_document_hash(self, doc_id: str, doc_hash: str) -> None:
        """Set LlamaIndex's hash of a document."""
        await self.docstore.aset_document_hash(doc_id, doc_hash)

    def set_document_hashes(self, doc_hashes: dict[str, str]) -> None:
        """Set LlamaIndex's hashes of documents."""
        self.docstore.set_document_hashes(doc_hashes)

    async def aset_document_hashes(self, doc_hashes: dict[str, str]) -> None:
        """Set LlamaIndex's hashes of documents."""
        await self.docstore.aset_document_hashes(doc_hashes)

    def get_document_hash(self, doc_id: str) -> str | None:
        """Return LlamaIndex's hash of a document."""
        return self.docstore.get_document_hash(doc_id)

    async def aget_document_hash(self, doc_id: str) -> str | None:
        """Return LlamaIndex's hash of a document."""
        return await self.docstore.aget_document_hash(doc_id)

    def get_all_document_hashes(self) -> dict[str, str]:
        """Return the ids of all documents by LlamaIndex's hash."""
        return self.docstore.get_all_document_hashes()

    async def aget_all_document_hashes(self) -> dict[str, str]:
        """Return the ids of all documents by LlamaIndex's hash."""
        return await self.docstore.aget_all_document_hashes()

    def get_all_ref_doc_info(self) -> dict[str, RefDocInfo] | None:
        """Return what nodes each document has."""
        return self.docstore.get_all_ref_doc_info()

    async def aget_all_ref_doc_info(self) -> dict[str, RefDocInfo] | None:
        """Return what nodes each document has."""
        return await self.docstore.aget_all_ref_doc_info()

    def get_ref_doc_info(self, ref_doc_id: str) -> RefDocInfo | None:
        """Return what nodes a document has."""
        return self.docstore.get_ref_doc_info(ref_doc_id)

    async def aget_ref_doc_info(self, ref_doc_id: str) -> RefDocInfo | None:
        """Return what nodes a document has."""
        return await self.docstore.aget_ref_doc_info(ref_doc_id)


def _source_id(node: BaseNode | None, doc_id: str) -> str:
    """Return the id of the document that a node comes from, or its own."""
    return (node.ref_doc_id if node is not None else None) or doc_id
