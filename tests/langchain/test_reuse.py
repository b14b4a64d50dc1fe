"""``cached(chain, retriever=...)``: an earlier answer is served only if what is found now still supports it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from pydantic import Field

from costkit.cache import ResponseCache
from costkit.context import ContextReducer
from costkit.testing import HashEmbedder, ListRecorder
from langchain_costkit import CostkitRetriever, cached

QUESTION = "how long does a refund of my order take"
SAME_WORDS = "a refund of my order take how long does"
REFUNDS = "Refunds are paid within 14 days. The office is closed on Sundays."


class Shelf(BaseRetriever):
    """Finds all its documents for every question, and counts."""

    documents: list[Document]
    asked: list[str] = Field(default_factory=list)
    threads: list[int] = Field(default_factory=list)

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        self.asked.append(query)
        self.threads.append(threading.get_ident())
        return [one.model_copy(deep=True) for one in self.documents]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        await asyncio.sleep(0)
        return self._get_relevant_documents(query, run_manager=run_manager.get_sync())


def document(name: str, text: str) -> Document:
    return Document(id=f"{name}#0", page_content=text, metadata={"source": f"{name}.md"})


@pytest.fixture
def shelf() -> Shelf:
    return Shelf(documents=[document("refunds", REFUNDS), document("shipping", "Parcels are shipped on Monday.")])


class Rag:
    """A chain over a shelf whose answers are told to it."""

    def __init__(self, cache: ResponseCache, retriever: Any, *answers: str) -> None:
        told = iter(answers)
        chain: Any = {"context": retriever, "question": RunnablePassthrough()} | RunnableLambda(lambda _: next(told))
        self.chain = cached(chain, version="1", cache=cache, retriever=retriever)

    def ask(self, question: str = QUESTION) -> str:
        return self.chain.invoke(question)


def test_an_answer_is_served_while_what_supports_it_is_found(response_cache: ResponseCache, shelf: Shelf) -> None:
    rag = Rag(response_cache, shelf, "After 14 days.")
    rag.ask()

    shelf.documents[1] = document("shipping", "Parcels are shipped on Tuesday.")

    assert [rag.ask(), rag.ask(SAME_WORDS)] == ["After 14 days."] * 2
    assert shelf.asked == [QUESTION, QUESTION, SAME_WORDS]


def test_an_answer_ends_with_the_text_that_supports_it_though_nobody_invalidated_anything(
    response_cache: ResponseCache, shelf: Shelf, recorder: ListRecorder
) -> None:
    rag = Rag(response_cache, shelf, "After 14 days.", "After 30 days.")
    rag.ask()

    shelf.documents[0] = document("refunds", REFUNDS.replace("14", "30"))

    assert [rag.ask(SAME_WORDS), rag.ask(SAME_WORDS)] == ["After 30 days."] * 2
    assert [event.decision for event in recorder.events] == ["miss", "miss", "hit"]
    assert "'refunds#0'" in recorder.events[1].reason


def test_the_same_number_in_another_document_supports_nothing(response_cache: ResponseCache, shelf: Shelf) -> None:
    rag = Rag(response_cache, shelf, "After 14 days.", "I do not know.")
    rag.ask()

    shelf.documents[0] = document("trials", "A trial ends after 14 days.")

    assert rag.ask() == "I do not know."


def test_an_answer_without_numbers_or_names_needs_every_text_it_was_made_from(
    response_cache: ResponseCache, shelf: Shelf
) -> None:
    rag = Rag(response_cache, shelf, "Yes, always.", "No, never.")
    rag.ask()

    shelf.documents[1] = document("shipping", "Parcels are never shipped.")

    assert rag.ask() == "No, never."


def test_an_answer_without_documents_is_made_anew(response_cache: ResponseCache, shelf: Shelf) -> None:
    told = iter(["one", "two"])
    chain = cached(RunnableLambda(lambda _: next(told)), version="1", cache=response_cache, retriever=shelf)

    assert [chain.invoke(QUESTION) for _ in range(2)] == ["one", "two"]


def test_an_invalidated_document_ends_answers_in_this_mode_too(response_cache: ResponseCache, shelf: Shelf) -> None:
    rag = Rag(response_cache, shelf, "After 14 days.", "Within 14 days.")
    rag.ask()

    response_cache.invalidate("refunds.md")

    assert rag.ask() == "Within 14 days."


def test_nothing_is_retrieved_for_a_question_that_is_new(response_cache: ResponseCache, shelf: Shelf) -> None:
    rag = Rag(response_cache, shelf, "After 14 days.", "On Monday.")

    rag.ask()
    rag.ask("where is the cafeteria")

    assert len(shelf.asked) == 2  # the chain's own


def test_what_a_reducer_cuts_is_compared_as_it_was_found(response_cache: ResponseCache, shelf: Shelf) -> None:
    reducer = ContextReducer(budget_tokens=12, embedder=HashEmbedder(), recorder=ListRecorder())
    rag = Rag(response_cache, CostkitRetriever(shelf, reducer=reducer), "After 14 days.", "After 30 days.")

    assert [rag.ask(), rag.ask(SAME_WORDS)] == ["After 14 days."] * 2
    shelf.documents[0] = document("refunds", REFUNDS.replace("14", "30"))
    assert rag.ask() == "After 30 days."


def test_new_chunk_ids_of_the_same_text_do_no_harm(response_cache: ResponseCache, shelf: Shelf) -> None:
    rag = Rag(response_cache, shelf, "After 14 days.")
    rag.ask()

    shelf.documents = [one.model_copy(update={"id": f"new-{place}"}) for place, one in enumerate(shelf.documents)]

    assert rag.ask() == "After 14 days."


def test_a_retriever_that_fails_leaves_the_chain_to_say_so(
    response_cache: ResponseCache, shelf: Shelf, recorder: ListRecorder
) -> None:
    rag = Rag(response_cache, shelf, "After 14 days.")
    rag.ask()

    shelf.documents = [None]  # type: ignore[list-item]

    with pytest.raises(AttributeError):
        rag.ask()
    assert recorder.events[-1].decision == "bypass"


async def test_async_calls_retrieve_on_their_own_event_loop(response_cache: ResponseCache, shelf: Shelf) -> None:
    rag = Rag(response_cache, shelf, "After 14 days.", "After 30 days.")

    assert [await rag.chain.ainvoke(QUESTION) for _ in range(2)] == ["After 14 days."] * 2
    assert set(shelf.threads) == {threading.get_ident()}
    shelf.documents[0] = document("refunds", REFUNDS.replace("14", "30"))
    assert [chunk async for chunk in rag.chain.astream(QUESTION)] == ["After 30 days."]
    assert "".join([chunk async for chunk in rag.chain.astream(QUESTION)]) == "After 30 days."


def test_streams_are_checked_too(response_cache: ResponseCache, shelf: Shelf) -> None:
    rag = Rag(response_cache, shelf, "After 14 days.", "After 30 days.")

    assert ["".join(rag.chain.stream(QUESTION)) for _ in range(2)] == ["After 14 days."] * 2
    shelf.documents[0] = document("refunds", REFUNDS.replace("14", "30"))
    assert "".join(rag.chain.stream(QUESTION)) == "After 30 days."
