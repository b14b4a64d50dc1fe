"""Run by .ci/run where only the wheels of costkit and langchain-costkit are installed: all five parts, with fakes."""

from __future__ import annotations

import sys
from pathlib import Path

from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnablePassthrough

import langchain_costkit
from costkit.cache import ResponseCache
from costkit.context import ContextReducer, from_embedder
from costkit.testing import HashEmbedder, ListRecorder
from langchain_costkit import (
    CacheBreakpointPromptTemplate,
    CostkitRetriever,
    CostkitRouterChatModel,
    CostkitUsageHandler,
    cached,
)


class Shelf(BaseRetriever):
    """Finds one document for every question."""

    def _get_relevant_documents(self, query: str, *, run_manager: object) -> list[Document]:
        return [Document(id="refunds", page_content="Refunds take 14 days. Cats stay at home.")]


def main() -> None:
    assert Path(langchain_costkit.__file__).is_relative_to(sys.prefix), langchain_costkit.__file__
    recorder, embedder = ListRecorder(), HashEmbedder()
    retriever = CostkitRetriever(Shelf(), reducer=ContextReducer(reranker=from_embedder(embedder), recorder=recorder))
    prompt = CacheBreakpointPromptTemplate.from_prompt(
        ChatPromptTemplate.from_template("{context}\n\nQuestion: {question}")
    )
    models = [FakeListChatModel(responses=["14 days"], model=name) for name in ("claude-haiku-4-5", "claude-opus-4-5")]
    llm = CostkitRouterChatModel(models, recorder=recorder)
    chain = {"context": retriever, "question": RunnablePassthrough()} | prompt | llm | StrOutputParser()
    cache = ResponseCache(version="1", embedder=embedder, path=Path("cache"), recorder=recorder)
    chain = cached(chain, version="1", cache=cache)
    config = {"callbacks": [CostkitUsageHandler(recorder=recorder)]}

    answers = [chain.invoke("How long do refunds take?", config) for _ in range(2)]
    chain.cache.close()

    assert answers == ["14 days", "14 days"]
    assert [event.part for event in recorder.events].count("model") == 1
    assert {event.part for event in recorder.events} == {"cache", "context", "route", "model"}


if __name__ == "__main__":
    main()
