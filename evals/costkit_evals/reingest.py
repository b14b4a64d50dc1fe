"""A small RAG application in each framework whose corpus can be ingested again, with the response cache around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol
from uuid import uuid4

from langchain_core import documents as langchain_documents
from langchain_core.embeddings import Embeddings
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_core.indexing.base import RecordManager
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_text_splitters import RecursiveCharacterTextSplitter
from llama_index.core import VectorStoreIndex
from llama_index.core import schema as llamaindex_schema
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import CompletionResponse, CompletionResponseGen, LLMMetadata
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.llms import CustomLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.prompts import PromptTemplate
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.storage.docstore.types import BaseDocumentStore
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryResult
from pydantic import Field, PrivateAttr

from costkit.cache import ResponseCache
from costkit.embed import Embedder
from costkit_evals.golden import Document
from langchain_costkit import CostkitRecordManager, cached
from llamaindex_costkit import CostkitDocumentStore, CostkitQueryEngine
from llamaindex_costkit.cache import Reuse

__all__ = ["Application", "LangChainApplication", "LlamaIndexApplication", "Reader"]

# What a reader answers from the question and the text of what was retrieved.
Reader = Callable[[str, str], str]

CHUNK_CHARACTERS, OVERLAP_CHARACTERS = 1000, 200
CHUNK_TOKENS, OVERLAP_TOKENS = 256, 40
K = 5

_PROMPT = PromptTemplate("{context_str}\nQuestion: {query_str}")


class Application(Protocol):
    """Answers questions from a corpus, through the cache or without it."""

    def ingest(self, corpus: Sequence[Document]) -> None:
        """Make the index hold these documents, as the framework's own ingestion does."""
        ...

    def ask(self, question: str) -> str:
        """Answer through the cache."""
        ...

    def ask_anew(self, question: str) -> str:
        """Answer without the cache."""
        ...


class LangChainApplication:
    """``index()`` into an in-memory vector store, its retriever, and ``cached(chain)``.

    Args:
        cache: Keeps the answers.
        embedder: Embeds chunks and questions.
        reader: Answers.
        reuse: Whether an earlier answer is served before or after retrieval.
        watched: True ingests through ``CostkitRecordManager``.
    """

    def __init__(
        self, cache: ResponseCache, embedder: Embedder, reader: Reader, *, reuse: Reuse, watched: bool
    ) -> None:
        self._store = InMemoryVectorStore(_LangChainEmbeddings(embedder))
        records: RecordManager = InMemoryRecordManager("corpus")
        self._records = CostkitRecordManager(records, cache) if watched else records
        self._splitter = RecursiveCharacterTextSplitter(chunk_size=CHUNK_CHARACTERS, chunk_overlap=OVERLAP_CHARACTERS)
        retriever = self._store.as_retriever(search_kwargs={"k": K})

        def read(found: dict[str, object]) -> str:
            listed = found["context"]
            assert isinstance(listed, list)  # noqa: S101  the retriever's
            return reader(str(found["question"]), "\n\n".join(one.page_content for one in listed))

        steps: dict[str, object] = {"context": retriever, "question": RunnablePassthrough()}
        self._chain: Runnable[str, str] = steps | RunnableLambda(read)
        self._cached = cached(
            self._chain,
            version=uuid4().hex,
            cache=cache,
            retriever=retriever if reuse == "after_retrieval" else None,
        )

    def ingest(self, corpus: Sequence[Document]) -> None:
        """Make the vector store hold these documents."""
        whole = [langchain_documents.Document(one.text, metadata={"source": one.id}) for one in corpus]
        index(
            self._splitter.split_documents(whole),
            self._records,
            self._store,
            cleanup="full",
            source_id_key="source",
            key_encoder="sha256",
        )

    def ask(self, question: str) -> str:
        """Answer through the cache."""
        return self._cached.invoke(question)

    def ask_anew(self, question: str) -> str:
        """Answer without the cache."""
        return self._chain.invoke(question)


class LlamaIndexApplication:
    """An ``IngestionPipeline`` into an in-memory vector store, a ``VectorStoreIndex`` on it, and ``CostkitQueryEngine``.

    The arguments are those of ``LangChainApplication``; watched means through ``CostkitDocumentStore``.
    """

    def __init__(
        self, cache: ResponseCache, embedder: Embedder, reader: Reader, *, reuse: Reuse, watched: bool
    ) -> None:
        embeddings = _LlamaIndexEmbeddings(embedder)
        store = _NodeStore()
        docstore: BaseDocumentStore = SimpleDocumentStore()
        self._pipeline = IngestionPipeline(
            transformations=[SentenceSplitter(chunk_size=CHUNK_TOKENS, chunk_overlap=OVERLAP_TOKENS), embeddings],
            vector_store=store,
            docstore=CostkitDocumentStore(docstore, cache) if watched else docstore,
            docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
        )
        self._engine = VectorStoreIndex.from_vector_store(store, embed_model=embeddings).as_query_engine(
            llm=_ReaderLLM(reader), similarity_top_k=K, text_qa_template=_PROMPT
        )
        self._cached = CostkitQueryEngine(self._engine, version=uuid4().hex, cache=cache, reuse=reuse)

    def ingest(self, corpus: Sequence[Document]) -> None:
        """Make the vector store hold these documents."""
        self._pipeline.run(documents=[llamaindex_schema.Document(id_=one.id, text=one.text) for one in corpus])

    def ask(self, question: str) -> str:
        """Answer through the cache."""
        return str(self._cached.query(question))

    def ask_anew(self, question: str) -> str:
        """Answer without the cache."""
        return str(self._engine.query(question))


class _LangChainEmbeddings(Embeddings):
    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        rows: list[list[float]] = self._embedder.embed(texts).tolist()
        return rows

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


class _LlamaIndexEmbeddings(BaseEmbedding):
    _embedder: Embedder = PrivateAttr()

    def __init__(self, embedder: Embedder) -> None:
        super().__init__(model_name=embedder.name)
        self._embedder = embedder

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        rows: list[list[float]] = self._embedder.embed(texts).tolist()
        return rows

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


class _NodeStore(SimpleVectorStore):
    """LlamaIndex's simple vector store, which keeps the nodes beside their vectors as a database does."""

    stores_text: bool = True
    nodes: dict[str, llamaindex_schema.BaseNode] = Field(default_factory=dict)

    def add(self, nodes: Sequence[llamaindex_schema.BaseNode], **kwargs: object) -> list[str]:
        self.nodes |= {node.node_id: node for node in nodes}
        return super().add(list(nodes), **kwargs)

    def query(self, query: VectorStoreQuery, **kwargs: object) -> VectorStoreQueryResult:
        query.node_ids = None  # an empty list stands for all in a database, and for none here
        found = super().query(query, **kwargs)
        found.nodes = [self.nodes[name] for name in found.ids or ()]
        return found


class _ReaderLLM(CustomLLM):
    _reader: Reader = PrivateAttr()

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self._reader = reader

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="reader", context_window=200_000)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: object) -> CompletionResponse:  # noqa: ARG002, FBT001, FBT002
        context, _, question = prompt.rpartition("\nQuestion: ")
        return CompletionResponse(text=self._reader(question, context))

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: object) -> CompletionResponseGen:  # noqa: ARG002, FBT001, FBT002
        yield self.complete(prompt)
