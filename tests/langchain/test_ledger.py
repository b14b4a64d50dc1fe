"""``CostkitUsageHandler``: one event per model call, as billed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig, RunnableLambda

from costkit import Scope
from costkit.cache import ResponseCache
from costkit.context import ContextReducer
from costkit.ledger.usage import Usage
from costkit.route import Tier
from costkit.scope import use
from costkit.testing import HashEmbedder, ListRecorder
from langchain_costkit import (
    CostkitRetriever,
    CostkitRouterChatModel,
    CostkitSemanticCache,
    CostkitUsageHandler,
    cached,
)

MODEL = "claude-haiku-4-5"


def answer(**details: int) -> AIMessage:
    return AIMessage(
        "within 14 days",
        response_metadata={"model_name": MODEL},
        usage_metadata={
            "input_tokens": 1000,
            "output_tokens": 100,
            "total_tokens": 1100,
            "input_token_details": details,  # type: ignore[typeddict-item]
        },
    )


def model(*messages: AIMessage, **options: Any) -> GenericFakeChatModel:
    return GenericFakeChatModel(messages=iter(messages or (answer(),) * 20), **options)


@pytest.fixture
def handler(recorder: ListRecorder) -> CostkitUsageHandler:
    return CostkitUsageHandler(recorder=recorder)


def config_of(handler: CostkitUsageHandler, **metadata: str) -> RunnableConfig:
    return {"callbacks": [handler], "metadata": metadata}


def test_a_call_is_one_priced_event(handler: CostkitUsageHandler, recorder: ListRecorder) -> None:
    with use(Scope(tenant="acme", feature="chat")):
        model(answer(cache_read=600)).invoke("hi", {"callbacks": [handler]})

    (event,) = recorder.events
    assert event.usage == Usage(uncached_input_tokens=400, cache_read_tokens=600, output_tokens=100)
    assert (event.kind, event.status, event.model, event.scope) == (
        "model",
        "ok",
        MODEL,
        Scope(tenant="acme", feature="chat"),
    )
    assert event.cost_nano_usd == 400_000 + 60_000 + 500_000
    assert event.price_snapshot
    assert handler.cost_usd == Decimal("0.00096")
    assert handler.usage == event.usage


def test_metadata_refines_the_scope_and_reaches_nested_calls(
    handler: CostkitUsageHandler, recorder: ListRecorder
) -> None:
    chain = RunnableLambda(lambda value: value) | model() | RunnableLambda(lambda message: message.content)

    with use(Scope(tenant="acme")):
        chain.invoke("hi", config_of(handler, costkit_user="ann"))

    assert [event.scope for event in recorder.events] == [Scope(tenant="acme", user="ann")]


def test_calls_of_one_question_share_a_run_id(handler: CostkitUsageHandler, recorder: ListRecorder) -> None:
    llm = model()
    inner = llm | RunnableLambda(lambda message: message.content)
    chain = inner | inner

    chain.invoke("hi", {"callbacks": [handler]})
    chain.invoke("hi", {"callbacks": [handler]})

    first, second, third, fourth = [event.run_id for event in recorder.events]
    assert first == second != third == fourth


def test_the_split_of_cache_writes_is_read_from_the_raw_usage(
    handler: CostkitUsageHandler, recorder: ListRecorder
) -> None:
    raw = {
        "input_tokens": 10,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 300,
        "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
        "output_tokens": 5,
    }
    message = answer().model_copy(update={"response_metadata": {"model": MODEL, "usage": raw}})

    model(message).invoke("hi", {"callbacks": [handler]})

    assert recorder.events[0].usage == Usage.from_anthropic(raw)


@pytest.mark.parametrize(("ttl", "field"), [("1h", "cache_write_1h_tokens"), ("5m", "cache_write_5m_tokens")])
def test_without_the_split_the_prompts_own_marks_tell_it(
    handler: CostkitUsageHandler, recorder: ListRecorder, ttl: str, field: str
) -> None:
    block = {"type": "text", "text": "rules", "cache_control": {"type": "ephemeral", "ttl": ttl}}

    model(answer(cache_creation=600)).invoke([SystemMessage([block]), HumanMessage("hi")], {"callbacks": [handler]})

    assert getattr(recorder.events[0].usage, field) == 600
    assert recorder.events[0].usage.cache_write_tokens == 600


class Streams(BaseChatModel):
    """Streams two chunks, with the usage on the last, and may fail in between."""

    error: Exception | None = None

    @property
    def _llm_type(self) -> str:
        return "streams"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        raise self.error or AssertionError

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=AIMessageChunk("within ", response_metadata={"model_name": MODEL}))
        if self.error is not None:
            raise self.error
        last = AIMessageChunk("14 days", usage_metadata=answer().usage_metadata)
        yield ChatGenerationChunk(message=last)


async def test_streams_are_booked_once_they_end(handler: CostkitUsageHandler, recorder: ListRecorder) -> None:
    list(Streams().stream("hi", {"callbacks": [handler]}))
    [chunk async for chunk in Streams().astream("hi", {"callbacks": [handler]})]

    assert [event.usage.input_tokens for event in recorder.events] == [1000, 1000]
    assert {event.model for event in recorder.events} == {MODEL}


def test_an_abandoned_stream_is_booked_as_failed_and_unpriced(
    handler: CostkitUsageHandler, recorder: ListRecorder
) -> None:
    chunks = Streams().stream("hi", {"callbacks": [handler]})
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]

    assert [(event.status, event.cost_nano_usd) for event in recorder.events] == [("failed", None)]
    assert handler.cost_usd is None


class OverloadedError(Exception):
    status_code = 529


def test_a_call_that_the_provider_refused_is_booked_as_failed_at_no_cost(
    handler: CostkitUsageHandler, recorder: ListRecorder
) -> None:
    with pytest.raises(OverloadedError):
        Streams(error=OverloadedError("try later")).invoke("hi", {"callbacks": [handler]})

    (event,) = recorder.events
    assert (event.status, event.cost_nano_usd) == ("failed", 0)
    assert "try later" in event.reason


class BrokenStreamError(Exception):
    status_code = 200


def test_an_error_within_a_stream_is_unpriced_since_its_tokens_are_billed(
    handler: CostkitUsageHandler, recorder: ListRecorder
) -> None:
    with pytest.raises(BrokenStreamError):
        Streams(error=BrokenStreamError("overloaded")).invoke("hi", {"callbacks": [handler]})

    assert [(event.status, event.cost_nano_usd) for event in recorder.events] == [("failed", None)]


def test_a_replay_by_langchains_cache_is_saved_and_not_paid(
    handler: CostkitUsageHandler, recorder: ListRecorder
) -> None:
    llm = model(cache=InMemoryCache())

    for _ in range(2):
        llm.invoke("hi", {"callbacks": [handler]})

    paid, replayed = recorder.events
    assert (replayed.kind, replayed.decision, replayed.cost_nano_usd) == ("cache", "hit", 0)
    assert replayed.saved == paid.usage
    assert replayed.saved_nano_usd == paid.cost_nano_usd
    assert handler.usage == paid.usage


def test_a_hit_of_costkits_own_cache_is_booked_once(
    handler: CostkitUsageHandler, recorder: ListRecorder, response_cache: ResponseCache
) -> None:
    llm = model(cache=CostkitSemanticCache(cache=response_cache))

    for _ in range(2):
        llm.invoke("hi", {"callbacks": [handler]})

    assert [(event.kind, event.decision) for event in recorder.events] == [
        ("cache", "miss"),
        ("model", "answered"),
        ("cache", "hit"),
    ]


def test_the_events_of_one_question_are_grouped_however_deep_they_are(
    handler: CostkitUsageHandler, recorder: ListRecorder, response_cache: ResponseCache, retriever: BaseRetriever
) -> None:
    reducer = ContextReducer(budget_tokens=16, embedder=HashEmbedder(), recorder=recorder)
    router = CostkitRouterChatModel([model()], tiers=[Tier(name="only", model=MODEL)], recorder=recorder)
    prompt = RunnableLambda(lambda documents: f"{documents} When are refunds paid?")
    support = RunnableLambda(str) | cached(
        CostkitRetriever(retriever, reducer=reducer) | prompt | router, version="1", cache=response_cache
    )

    support.invoke("When are refunds paid?", {"callbacks": [handler]})

    assert [event.kind for event in recorder.events] == ["cache", "rerank", "tool", "model"]
    assert len({event.run_id for event in recorder.events}) == 1


def test_an_unknown_model_is_unpriced_and_not_free(handler: CostkitUsageHandler, recorder: ListRecorder) -> None:
    message = answer().model_copy(update={"response_metadata": {"model_name": "own-model"}})

    model(message).invoke("hi", {"callbacks": [handler]})

    assert recorder.events[0].cost_nano_usd is None
    assert handler.cost_usd is None


async def test_concurrent_calls_are_told_apart(handler: CostkitUsageHandler, recorder: ListRecorder) -> None:
    llm = model()

    async def ask(tenant: str) -> None:
        with use(Scope(tenant=tenant)):
            await llm.ainvoke("hi", {"callbacks": [handler]})

    await asyncio.gather(*(ask(f"tenant-{number}") for number in range(5)))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: llm.invoke("hi", config_of(handler, costkit_tenant=f"tenant-{n}")), range(5, 10)))

    assert {event.scope.tenant for event in recorder.events} == {f"tenant-{number}" for number in range(10)}
    assert handler.usage.input_tokens == 10_000


def test_an_event_is_booked_once_where_the_handler_is_given_twice(recorder: ListRecorder) -> None:
    handlers = [CostkitUsageHandler(recorder=recorder) for _ in range(2)]

    model().invoke("hi", {"callbacks": [*handlers]})

    assert len({event.id for event in recorder.events}) == 1


def test_mistyped_metadata_does_not_break_the_call(handler: CostkitUsageHandler, recorder: ListRecorder) -> None:
    model().invoke("hi", config_of(handler, costkit_tennant="acme"))

    assert [event.scope for event in recorder.events] == [Scope()]


def test_one_line_is_enough() -> None:
    from costkit.ledger import default_ledger

    config: RunnableConfig = {"callbacks": [CostkitUsageHandler()]}

    model().invoke("hi", config)

    (event,) = default_ledger().events()
    assert event.cost_nano_usd == 1_500_000
    default_ledger().close()
