"""``CostkitQueryEngine(engine, reuse="after_retrieval")``: served only if what is found now still supports the answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole
from llama_index.core.base.response.schema import Response
from llama_index.core.query_engine import CustomQueryEngine, RetrieverQueryEngine
from llama_index.core.schema import NodeWithScore, QueryBundle

from costkit import ConfigurationError
from costkit.cache import ResponseCache
from costkit.cache.flight import Waiter
from costkit.context import ContextReducer
from costkit.testing import HashEmbedder, ListRecorder
from llamaindex_costkit import CostkitNodePostprocessor, CostkitQueryEngine

QUESTION = "how long does a refund of my order take"
SAME_WORDS = "a refund of my order take how long does"


class Counting:
    """The nodes of a retriever, and how often it was asked."""

    def __init__(self, retriever: Any) -> None:
        self.retriever = retriever
        self.asked = 0
        inner = retriever._retrieve

        def retrieve(bundle: QueryBundle) -> list[NodeWithScore]:
            self.asked += 1
            return [one.model_copy(deep=True) for one in inner(bundle)]

        retriever._retrieve = retrieve

    def change(self, place: int, old: str, new: str) -> None:
        """Ingest a node anew: another id, another text."""
        node = self.retriever.nodes[place].node
        fresh = node.model_copy(update={"id_": f"{node.node_id} again", "text_resource": None}, deep=True)
        fresh.set_content(node.get_content().replace(old, new))
        self.retriever.nodes[place] = NodeWithScore(node=fresh, score=0.9)


@pytest.fixture
def shelf(retriever: Any) -> Counting:
    return Counting(retriever)


@pytest.fixture
def tells(make_llm: Any) -> Any:
    """Make a model that gives one answer after the other."""

    def make(*answers: str, before: Callable[[str], None] = lambda answer: None) -> Any:
        told = iter(answers)

        class Teller(make_llm):  # type: ignore[misc]
            def _answer(self, messages: Any, tools: Any) -> ChatResponse:
                whole = super()._answer(messages, tools)
                text = next(told)
                before(text)
                return whole.model_copy(update={"message": ChatMessage(role=MessageRole.ASSISTANT, content=text)})

        return Teller()

    return make


def rag(shelf: Counting, llm: Any, **options: Any) -> RetrieverQueryEngine:
    return RetrieverQueryEngine.from_args(shelf.retriever, llm=llm, **options)


def after(engine: Any, cache: ResponseCache) -> CostkitQueryEngine:
    return CostkitQueryEngine(engine, version="1", cache=cache, reuse="after_retrieval")


def test_an_answer_is_served_while_what_supports_it_is_found(
    response_cache: ResponseCache, shelf: Counting, tells: Any
) -> None:
    cached = after(rag(shelf, tells("After 14 days.")), response_cache)
    cached.query(QUESTION)

    shelf.change(1, "Monday", "Tuesday")
    shelf.change(0, "", "")

    assert [str(cached.query(question)) for question in (QUESTION, SAME_WORDS)] == ["After 14 days."] * 2


def test_an_answer_ends_with_the_text_that_supports_it_and_nothing_is_retrieved_twice(
    response_cache: ResponseCache, shelf: Counting, tells: Any, recorder: ListRecorder
) -> None:
    cached = after(rag(shelf, tells("After 14 days.", "After 30 days.")), response_cache)
    cached.query(QUESTION)

    shelf.change(0, "14", "30")
    answers = [cached.query(SAME_WORDS) for _ in range(2)]

    assert [str(one) for one in answers] == ["After 30 days."] * 2
    assert "30 days" in answers[0].source_nodes[0].text
    assert [event.decision for event in recorder.events] == ["miss", "miss", "hit"]
    assert "'refunds.md'" in recorder.events[1].reason
    assert shelf.asked == 3


async def test_the_async_path_does_the_same(response_cache: ResponseCache, shelf: Counting, tells: Any) -> None:
    cached = after(rag(shelf, tells("After 14 days.", "After 30 days.")), response_cache)

    assert [str(await cached.aquery(QUESTION)) for _ in range(2)] == ["After 14 days."] * 2
    shelf.change(0, "14", "30")
    assert [str(await cached.aquery(QUESTION)) for _ in range(2)] == ["After 30 days."] * 2
    assert shelf.asked == 4


def test_streams_are_checked_too(response_cache: ResponseCache, shelf: Counting, tells: Any) -> None:
    cached = after(rag(shelf, tells("After 14 days.", "After 30 days."), streaming=True), response_cache)

    assert [str(cached.query(QUESTION)) for _ in range(2)] == ["After 14 days."] * 2
    shelf.change(0, "14", "30")
    assert [str(cached.query(QUESTION)) for _ in range(2)] == ["After 30 days."] * 2


def test_what_a_reducer_cuts_is_compared_as_it_was_found(
    response_cache: ResponseCache, shelf: Counting, tells: Any
) -> None:
    reducer = ContextReducer(budget_tokens=12, embedder=HashEmbedder(), recorder=ListRecorder())
    cut = [CostkitNodePostprocessor(reducer=reducer)]
    cached = after(rag(shelf, tells("After 14 days.", "After 30 days."), node_postprocessors=cut), response_cache)

    assert [str(cached.query(question)) for question in (QUESTION, SAME_WORDS)] == ["After 14 days."] * 2
    shelf.change(0, "Cats", "Dogs")
    assert str(cached.query(QUESTION)) == "After 30 days."


def test_nothing_is_retrieved_for_the_check_where_no_answer_would_be_served(
    response_cache: ResponseCache, shelf: Counting, tells: Any
) -> None:
    cached = after(rag(shelf, tells("After 14 days.", "On Monday.")), response_cache)

    cached.query(QUESTION)
    cached.query("where is the cafeteria")

    assert shelf.asked == 2


def test_an_invalidated_document_ends_answers_in_this_mode_too(
    response_cache: ResponseCache, shelf: Counting, tells: Any
) -> None:
    cached = after(rag(shelf, tells("After 14 days.", "Within 14 days.")), response_cache)
    cached.query(QUESTION)

    response_cache.invalidate("refunds.md")

    assert str(cached.query(QUESTION)) == "Within 14 days."


def test_who_waited_for_another_call_answers_from_nothing_that_was_retrieved_before_the_wait(
    response_cache: ResponseCache, shelf: Counting, tells: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document may have changed meanwhile, and the answer is kept as one that was made after the change."""
    leads, waits = threading.Event(), threading.Event()
    wait = Waiter.wait

    def waiting(waiter: Waiter) -> object:
        waits.set()
        return wait(waiter)

    def changed(answer: str) -> None:
        if answer == "After 30 days.":
            leads.set()
            assert waits.wait(60)
            shelf.change(0, "30", "60")
            response_cache.invalidate("refunds.md")

    monkeypatch.setattr(Waiter, "wait", waiting)
    llm = tells("After 14 days.", "After 30 days.", "After 60 days.", before=changed)
    cached = after(rag(shelf, llm), response_cache)
    cached.query(QUESTION)
    shelf.change(0, "14", "30")

    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(cached.query, QUESTION)
        assert leads.wait(60)
        follower = pool.submit(cached.query, QUESTION)

    assert [str(leader.result()), str(follower.result())] == ["After 30 days.", "After 60 days."]
    assert "60 days" in follower.result().source_nodes[0].text
    assert "60 days" in cached.query(QUESTION).source_nodes[0].text


def test_an_engine_that_cannot_retrieve_is_refused_with_the_way_out(response_cache: ResponseCache) -> None:
    class Closed(CustomQueryEngine):
        def custom_query(self, query_str: str) -> Response:
            return Response(response="yes")

    with pytest.raises(ConfigurationError, match=r"reuse='after_retrieval'.*Closed.*'before_retrieval'"):
        after(Closed(), response_cache)


def test_another_word_for_reuse_is_refused(response_cache: ResponseCache, shelf: Counting, tells: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"reuse must be one of.*'sometimes'"):
        CostkitQueryEngine(rag(shelf, tells()), version="1", cache=response_cache, reuse="sometimes")  # type: ignore[arg-type]
