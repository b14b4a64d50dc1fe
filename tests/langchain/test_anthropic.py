"""The parts around the real ``ChatAnthropic``, against the local Messages-API server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnablePassthrough
from pydantic import BaseModel, SecretStr

from costkit import Scope
from costkit.cache import ResponseCache
from costkit.context import ContextReducer
from costkit.scope import use
from costkit.testing import Fault, HashEmbedder, ListRecorder, MessagesServer, WordCounter
from langchain_costkit import (
    CostkitRetriever,
    CostkitRouterChatModel,
    CostkitSemanticCache,
    CostkitUsageHandler,
    cached,
)

HAIKU, OPUS = "claude-haiku-4-5", "claude-opus-4-5"
EASY = "within how many days are refunds paid"
SAME_WORDS = "refunds are paid within how many days"
HARD = "Why are refunds paid later than the parcels are shipped?"

Models = Callable[..., ChatAnthropic]


@pytest.fixture
def server() -> Iterator[MessagesServer]:
    def answer(body: dict[str, object]) -> Any:
        if body.get("tools"):
            return [{"type": "tool_use", "id": "toolu_1", "name": "Days", "input": {"days": 14}}]
        return f"{body['model']} says 14 days"

    with MessagesServer(answer, counter=WordCounter()) as running:
        yield running


@pytest.fixture
def models(server: MessagesServer) -> Models:
    def make(model: str, **options: Any) -> ChatAnthropic:
        key = SecretStr("local")
        return ChatAnthropic(model_name=model, base_url=server.url, api_key=key, max_retries=0, **options)

    return make


async def test_one_question_walks_through_all_parts(
    server: MessagesServer,
    models: Models,
    retriever: BaseRetriever,
    response_cache: ResponseCache,
    recorder: ListRecorder,
) -> None:
    reducer = ContextReducer(budget_tokens=8, embedder=HashEmbedder(), counter=WordCounter(), recorder=recorder)
    llm = CostkitRouterChatModel([models(HAIKU), models(OPUS)], recorder=recorder)
    prompt = ChatPromptTemplate.from_template("{context}\n\nQuestion: {question}")
    fill = {"context": CostkitRetriever(retriever, reducer=reducer), "question": RunnablePassthrough()}
    support = cached(fill | prompt | llm | StrOutputParser(), version="support-3", cache=response_cache)
    config: Any = {"callbacks": [CostkitUsageHandler(recorder=recorder)]}

    with use(Scope(tenant="acme")):
        fresh = support.invoke(EASY, config)
        near = await support.ainvoke(SAME_WORDS, config)
        stream = support.stream(EASY, config)
    streamed = "".join(stream)

    assert fresh == near == streamed == f"{HAIKU} says 14 days"
    assert len(server.requests) == 1
    assert {event.scope.tenant for event in recorder.events} == {"acme"}
    assert {event.part for event in recorder.events} == {"cache", "context", "route", "model"}
    paid = next(event for event in recorder.events if event.part == "model")
    hits = [event for event in recorder.events if event.decision == "hit"]
    assert paid.usage == server.requests[0].usage
    assert [hit.saved for hit in hits] == [paid.usage] * 2
    assert [hit.saved_nano_usd for hit in hits] == [paid.cost_nano_usd] * 2
    support.cache.invalidate("refunds.md", tenant="acme")
    with use(Scope(tenant="acme")):
        support.invoke(EASY, config)
    assert len(server.requests) == 2


async def test_routed_streams_carry_usage_and_the_mark(models: Models, recorder: ListRecorder) -> None:
    llm = CostkitRouterChatModel([models(HAIKU), models(OPUS)], recorder=recorder)
    handler = CostkitUsageHandler(recorder=recorder)

    for question, name in ((EASY, HAIKU), (HARD, OPUS)):
        sync = list(llm.stream(question, {"callbacks": [handler]}))
        asynchronous = [chunk async for chunk in llm.astream(question, {"callbacks": [handler]})]
        for chunks in (sync, asynchronous):
            total = chunks[0]
            for chunk in chunks[1:]:
                total += chunk
            assert total.text == f"{name} says 14 days"
            assert total.response_metadata["model_name"] == name
            assert total.response_metadata["costkit"]["tier"] in ("cheap", "strong")

    booked = [event for event in recorder.events if event.part == "model"]
    assert [(event.model, event.tier) for event in booked] == [(HAIKU, "cheap")] * 2 + [(OPUS, "strong")] * 2
    assert all(event.cost_nano_usd for event in booked)


def test_a_routed_model_keeps_structured_output(models: Models, recorder: ListRecorder) -> None:
    class Days(BaseModel):
        """How many days."""

        days: int

    llm = CostkitRouterChatModel([models(HAIKU), models(OPUS)], recorder=recorder)

    assert llm.with_structured_output(Days).invoke(EASY) == Days(days=14)


def test_the_llm_cache_serves_a_real_model(
    server: MessagesServer, models: Models, response_cache: ResponseCache, recorder: ListRecorder
) -> None:
    llm = models(HAIKU, cache=CostkitSemanticCache(cache=response_cache))
    handler = CostkitUsageHandler(recorder=recorder)

    fresh, hit = (llm.invoke(question, {"callbacks": [handler]}) for question in (EASY, SAME_WORDS))

    assert fresh.content == hit.content
    assert fresh.id != hit.id
    assert len(server.requests) == 1
    assert handler.usage == server.requests[0].usage
    assert recorder.events[-1].saved == handler.usage


def test_marks_of_one_hour_are_billed_as_such_in_calls_and_streams(
    server: MessagesServer, models: Models, recorder: ListRecorder
) -> None:
    handler = CostkitUsageHandler(recorder=recorder)
    for number, call in enumerate(("invoke", "stream")):
        rules = f"rule {number} " * 3000
        block = {"type": "text", "text": rules, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
        prompt = ChatPromptTemplate.from_messages([("system", [block]), ("human", "{question}")]) | models(HAIKU)
        list(getattr(prompt, call)({"question": EASY}, {"callbacks": [handler]}))

    assert [event.usage for event in recorder.events] == [request.usage for request in server.requests]
    assert all(event.usage.cache_write_1h_tokens > 4000 for event in recorder.events)


def test_a_refused_call_is_booked_and_nothing_is_kept(
    models: Models, response_cache: ResponseCache, recorder: ListRecorder
) -> None:
    with MessagesServer(lambda _: "14 days", counter=WordCounter(), faults=[Fault(status=529), None]) as server:
        llm = ChatAnthropic(model_name=HAIKU, base_url=server.url, api_key=SecretStr("local"), max_retries=0)
        support = cached(llm | StrOutputParser(), version="1", cache=response_cache)
        config: Any = {"callbacks": [CostkitUsageHandler(recorder=recorder)]}

        with pytest.raises(Exception, match="529"):
            support.invoke(EASY, config)
        assert support.invoke(EASY, config) == "14 days"

    booked = [(event.status, event.cost_nano_usd) for event in recorder.events if event.part == "model"]
    assert booked[0] == ("failed", 0)
    assert booked[1][0] == "ok"
