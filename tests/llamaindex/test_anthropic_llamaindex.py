"""Each part with LlamaIndex's unmodified Anthropic class over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.tools import FunctionTool
from llama_index.llms.anthropic import Anthropic

from costkit import Scope
from costkit.cache import ResponseCache
from costkit.context import ContextReducer
from costkit.ledger.usage import Usage
from costkit.scope import use
from costkit.testing import Fault, HashEmbedder, ListRecorder, MessagesServer, WordCounter
from llamaindex_costkit import (
    CostkitCachedLLM,
    CostkitEventHandler,
    CostkitNodePostprocessor,
    CostkitQueryEngine,
    CostkitRouterLLM,
)

HAIKU, OPUS = "claude-haiku-4-5", "claude-opus-4-6"
QUESTION = "When are refunds paid?"
Client = Callable[..., Anthropic]


def answer(request: dict[str, Any]) -> Any:
    """Call the tool once where there is one, else answer in four words."""
    last = request["messages"][-1]["content"]
    done = isinstance(last, list) and any(block["type"] == "tool_result" for block in last)
    if request.get("tools") and not done:
        return [{"type": "tool_use", "name": "double", "input": {"number": 2}}]
    return f"{request['model']} says fourteen days"


@pytest.fixture
def server() -> Iterator[MessagesServer]:
    with MessagesServer(answer=answer, counter=WordCounter()) as running:
        yield running


@pytest.fixture
def client(server: MessagesServer) -> Client:
    def make(model: str = HAIKU, **options: Any) -> Anthropic:
        return Anthropic(model=model, base_url=server.url, api_key="key", max_retries=0, max_tokens=50, **options)

    return make


@pytest.mark.parametrize("streaming", [False, True])
def test_the_cache_answers_the_second_time_without_a_request(
    server: MessagesServer,
    client: Client,
    retriever: Any,
    response_cache: ResponseCache,
    recorder: ListRecorder,
    streaming: bool,
) -> None:
    engine = RetrieverQueryEngine.from_args(retriever, llm=client(), streaming=streaming)
    cached = CostkitQueryEngine(engine, version="1", cache=response_cache)

    answers = [str(cached.query(QUESTION)) for _ in range(2)]

    assert answers == [f"{HAIKU} says fourteen days"] * 2
    assert len(server.requests) == 1
    assert recorder.events[-1].saved == server.requests[0].usage


async def test_the_cached_model_serves_text_and_lets_tools_through(
    server: MessagesServer, client: Client, response_cache: ResponseCache
) -> None:
    llm = CostkitCachedLLM(client(), version="1", cache=response_cache)
    tool = FunctionTool.from_defaults(fn=double, name="double")

    texts = [llm.chat([ChatMessage(content=QUESTION)]).message.content for _ in range(2)]
    streamed = [chunk async for chunk in await llm.astream_chat([ChatMessage(content=QUESTION)])]
    called = [str(llm.predict_and_call([tool], user_msg="double two")) for _ in range(2)]

    assert texts == [f"{HAIKU} says fourteen days"] * 2
    assert streamed[-1].message.content == texts[0]
    assert called == ["4", "4"]
    assert len(server.requests) == 3


def test_the_reduced_context_is_what_is_sent_and_billed(
    server: MessagesServer, client: Client, retriever: Any, recorder: ListRecorder
) -> None:
    reducer = ContextReducer(budget_tokens=16, embedder=HashEmbedder(), recorder=recorder)

    for postprocessors in ([], [CostkitNodePostprocessor(reducer=reducer)]):
        RetrieverQueryEngine.from_args(retriever, llm=client(), node_postprocessors=postprocessors).query(QUESTION)

    full, reduced = (request.usage.input_tokens for request in server.requests if request.usage)
    assert reduced < full
    assert "Cats" not in str(server.requests[1].body)
    assert "costkit" not in str(server.requests[1].body)


# LlamaIndex's workflows read deprecated pydantic attributes of every agent.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_the_router_sends_each_question_and_each_tool_loop_to_one_model(
    server: MessagesServer, client: Client, recorder: ListRecorder
) -> None:
    router = CostkitRouterLLM([client(HAIKU), client(OPUS)], recorder=recorder)
    agent = FunctionAgent(tools=[FunctionTool.from_defaults(fn=double, name="double")], llm=router)

    easy = router.chat([ChatMessage(content=QUESTION)])
    hard = "".join(chunk.delta or "" for chunk in router.stream_chat([ChatMessage(content="Compare both plans.")]))
    looped = await agent.run("double two", memory=ChatMemoryBuffer.from_defaults(token_limit=1000))

    assert easy.message.content == f"{HAIKU} says fourteen days"
    assert hard == f"{OPUS} says fourteen days"
    assert str(looped) == f"{HAIKU} says fourteen days"
    assert [request.body["model"] for request in server.requests] == [HAIKU, OPUS, HAIKU, HAIKU]


async def test_the_ledger_books_what_the_provider_billed(
    server: MessagesServer, client: Client, recorder: ListRecorder
) -> None:
    get_dispatcher().add_event_handler(CostkitEventHandler(recorder=recorder))
    llm, long = client(), [ChatMessage(content="word " * 5000)]
    automatic = client(additional_kwargs={"cache_control": {"type": "ephemeral"}})

    with use(Scope(tenant="acme")):
        llm.chat([ChatMessage(content=QUESTION)])
        await llm.acomplete(QUESTION)
        list(llm.stream_chat([ChatMessage(content=QUESTION)]))
        assert [chunk async for chunk in await llm.astream_complete(QUESTION)]
        automatic.chat(long)
        list(automatic.stream_chat(long))

    assert [event.usage for event in recorder.events] == [request.usage for request in server.requests]
    assert recorder.events[4].usage == Usage(cache_write_5m_tokens=5000, output_tokens=4)
    assert recorder.events[5].usage == Usage(cache_read_tokens=5000, output_tokens=4)
    assert {event.scope.tenant for event in recorder.events} == {"acme"}
    assert all(event.cost_nano_usd for event in recorder.events)


def test_a_refused_request_is_booked_as_failed_and_kept_nowhere(
    retriever: Any, response_cache: ResponseCache, recorder: ListRecorder
) -> None:
    get_dispatcher().add_event_handler(CostkitEventHandler(recorder=recorder))
    with MessagesServer(answer=answer, counter=WordCounter(), faults=[Fault(status=529)]) as server:
        llm = Anthropic(model=HAIKU, base_url=server.url, api_key="key", max_retries=0)
        cached = CostkitQueryEngine(
            RetrieverQueryEngine.from_args(retriever, llm=llm), version="1", cache=response_cache
        )

        with pytest.raises(Exception, match=r"529|verloaded"):
            cached.query(QUESTION)
        assert str(cached.query(QUESTION)) == f"{HAIKU} says fourteen days"

    assert [event.status for event in recorder.events if event.kind == "model"] == ["failed", "ok"]


def test_an_answer_cut_by_its_length_is_not_kept(
    server: MessagesServer, client: Client, retriever: Any, response_cache: ResponseCache
) -> None:
    llm = client()
    llm.max_tokens = 2
    for streaming in (False, True):
        engine = RetrieverQueryEngine.from_args(retriever, llm=llm, streaming=streaming)
        cached = CostkitQueryEngine(engine, version=str(streaming), cache=response_cache)
        for _ in range(2):
            str(cached.query(QUESTION))

    assert len(server.requests) == 4


def double(number: int) -> int:
    """Double a number."""
    return number * 2
