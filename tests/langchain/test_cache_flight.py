"""Crowds and streams in LangChain: one call for many who ask the same, and only what was answered whole is kept."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypedDict
from uuid import uuid4

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGenerationChunk, Generation
from langchain_core.runnables import Runnable, RunnableConfig, RunnableGenerator, RunnableLambda
from langgraph.graph import START, StateGraph

from costkit import Scope
from costkit.cache import EdgeIndex, ResponseCache
from costkit.scope import use
from costkit.testing import ListRecorder
from langchain_costkit import CostkitSemanticCache, CostkitUsageHandler, cached
from langchain_costkit.middleware import CostkitMiddleware

QUESTION = "how long does a refund of my order take"
SAME_WORDS = "a refund of my order take how long does"
CROWD = 200
PATIENCE = 60.0


class Crowd:
    """A chain whose first call answers once everybody has asked; later calls answer at once."""

    def __init__(self, all_asked: threading.Event) -> None:
        self.calls: list[object] = []
        self._all_asked = all_asked
        self._lock = threading.Lock()

    def __call__(self, value: object) -> str:
        with self._lock:
            self.calls.append(value)
            answer = f"answer number {len(self.calls)}"
        assert self._all_asked.wait(PATIENCE)
        return answer

    async def later(self, value: object) -> str:
        self.calls.append(value)
        answer = f"answer number {len(self.calls)}"
        assert await asyncio.to_thread(self._all_asked.wait, PATIENCE)
        return answer

    def chunks(self, values: Iterator[object]) -> Iterator[str]:
        yield from self(next(values)).split(" ", maxsplit=0)

    async def achunks(self, values: AsyncIterator[object]) -> AsyncIterator[str]:
        for word in (await self.later(await anext(values))).split():
            yield f"{word} "


@pytest.fixture
def crowd_cache(shared_index: EdgeIndex, recorder: ListRecorder, counting_embedder: Any) -> ResponseCache:
    return ResponseCache(
        version=uuid4().hex,
        embedder=counting_embedder(CROWD),
        index=shared_index,
        recorder=recorder,
        wait_seconds=PATIENCE,
    )


@pytest.fixture
def crowd(crowd_cache: ResponseCache) -> Crowd:
    return Crowd(crowd_cache._embedder.all_asked)  # type: ignore[attr-defined]


@pytest.fixture
def patient_cache(shared_index: EdgeIndex, recorder: ListRecorder, counting_embedder: Any) -> ResponseCache:
    return ResponseCache(
        version=uuid4().hex,
        embedder=counting_embedder(0),
        index=shared_index,
        recorder=recorder,
        wait_seconds=PATIENCE,
    )


def questions() -> list[str]:
    return [(QUESTION, SAME_WORDS)[place % 2] for place in range(CROWD)]


def by_threads(ask: Callable[[str], Any]) -> list[Any]:
    with ThreadPoolExecutor(CROWD) as pool:
        return list(pool.map(ask, questions()))


def decisions(recorder: ListRecorder) -> dict[str, int]:
    found = [event.decision for event in recorder.events if event.part == "cache"]
    return {decision: found.count(decision) for decision in found}


def test_a_crowd_of_threads_makes_one_call(crowd: Crowd, crowd_cache: ResponseCache, recorder: ListRecorder) -> None:
    support = cached(RunnableLambda(crowd), version="1", cache=crowd_cache)

    assert by_threads(support.invoke) == ["answer number 1"] * CROWD
    assert len(crowd.calls) == 1
    assert decisions(recorder) == {"miss": 1, "hit": CROWD - 1}


async def test_a_crowd_of_tasks_makes_one_call(
    crowd: Crowd, crowd_cache: ResponseCache, recorder: ListRecorder
) -> None:
    support = cached(RunnableLambda(crowd, crowd.later), version="1", cache=crowd_cache)

    assert await support.abatch(questions()) == ["answer number 1"] * CROWD
    assert len(crowd.calls) == 1
    assert decisions(recorder) == {"miss": 1, "hit": CROWD - 1}


def test_a_crowd_of_streams_makes_one_call(crowd: Crowd, crowd_cache: ResponseCache) -> None:
    support = cached(RunnableGenerator(crowd.chunks), version="1", cache=crowd_cache)

    streams = by_threads(lambda question: list(support.stream(question)))

    assert len(crowd.calls) == 1
    assert min(streams) == ["answer ", "number ", "1"], "an earlier answer comes in pieces"
    assert {"".join(stream) for stream in streams} == {"answer number 1"}


async def test_a_crowd_of_async_streams_makes_one_call(crowd: Crowd, crowd_cache: ResponseCache) -> None:
    support = cached(RunnableGenerator(crowd.chunks, crowd.achunks), version="1", cache=crowd_cache)

    async def read(question: str) -> str:
        return "".join([chunk async for chunk in support.astream(question)])

    answers = await asyncio.gather(*map(read, questions()))

    assert len(crowd.calls) == 1
    assert set(answers) == {"answer number 1 "}


def test_each_of_a_crowd_keeps_its_own_scope(crowd: Crowd, crowd_cache: ResponseCache, recorder: ListRecorder) -> None:
    support = cached(RunnableLambda(crowd), version="1", cache=crowd_cache)

    def ask(place: int) -> str:
        with use(Scope(tenant=("acme", "globex")[place % 2], user=f"user {place}")):
            return support.invoke(QUESTION)

    with ThreadPoolExecutor(CROWD) as pool:
        answers = list(pool.map(ask, range(CROWD)))

    assert len(crowd.calls) == 2, "one call for each tenant"
    assert [len(set(answers[tenant::2])) for tenant in (0, 1)] == [1, 1]
    assert sorted(event.scope.user or "" for event in recorder.events) == sorted(f"user {n}" for n in range(CROWD))


def test_a_failure_reaches_its_own_caller_only(patient_cache: ResponseCache) -> None:
    fails, calls = threading.Event(), threading.Event()

    def answer(_: object) -> str:
        if calls.is_set():
            return "up"
        calls.set()
        assert fails.wait(PATIENCE)
        raise ValueError("down")

    support = cached(RunnableLambda(answer), version="1", cache=patient_cache)
    with ThreadPoolExecutor(9) as pool:
        leader = pool.submit(support.invoke, QUESTION)
        assert calls.wait(PATIENCE)
        followers = [pool.submit(support.invoke, question) for question in questions()[:8]]
        fails.set()

    assert isinstance(leader.exception(), ValueError)
    assert [one.result() for one in followers] == ["up"] * 8


async def test_a_cancelled_leader_costs_one_more_call(patient_cache: ResponseCache) -> None:
    started, calls = asyncio.Event(), []

    async def answer(value: str) -> str:
        calls.append(value)
        if len(calls) == 1:
            started.set()
            await asyncio.Event().wait()
        return f"answer {len(calls)}"

    support = cached(RunnableLambda(answer), version="1", cache=patient_cache)
    leader = asyncio.create_task(support.ainvoke(QUESTION))
    await started.wait()
    followers = [asyncio.create_task(support.ainvoke(question)) for question in questions()]
    await asyncio.sleep(0)
    leader.cancel()

    assert await asyncio.gather(*followers) == ["answer 2"] * CROWD
    assert len(calls) == 2


@pytest.mark.parametrize("fate", ["left", "fails"])
def test_a_stream_that_does_not_end_hands_its_turn_on(patient_cache: ResponseCache, fate: str) -> None:
    fates: Iterator[str] = iter([fate, "whole"])

    def parts(_: Iterator[Any]) -> Iterator[str]:
        kind = next(fates)
        yield f"{kind} 1 "
        if kind == "fails":
            raise ValueError(kind)
        yield "2"

    support = cached(RunnableGenerator(parts), version="1", cache=patient_cache)
    leader: Any = support.stream(QUESTION)
    assert next(leader) == f"{fate} 1 "
    with ThreadPoolExecutor(4) as pool:
        followers = [pool.submit(lambda text: list(support.stream(text)), text) for text in questions()[:4]]
        if fate == "fails":
            with pytest.raises(ValueError, match="fails"):
                next(leader)
        else:
            leader.close()

    assert {"".join(one.result()) for one in followers} == {"whole 1 2"}


async def test_an_async_stream_that_is_left_hands_its_turn_on(patient_cache: ResponseCache) -> None:
    fates: Iterator[str] = iter(["left", "whole"])

    async def parts(_: AsyncIterator[Any]) -> AsyncIterator[str]:
        yield f"{next(fates)} 1 "
        yield "2"

    support = cached(RunnableGenerator(parts), version="1", cache=patient_cache)
    leader: Any = support.astream(QUESTION)
    assert await anext(leader) == "left 1 "

    async def read(question: str) -> str:
        return "".join([chunk async for chunk in support.astream(question)])

    followers = [asyncio.create_task(read(question)) for question in questions()[:4]]
    await asyncio.sleep(0)
    await leader.aclose()

    assert await asyncio.gather(*followers) == ["whole 1 2"] * 4


def test_a_chain_that_asks_itself_does_not_wait_for_itself(patient_cache: ResponseCache) -> None:
    inner = cached(RunnableLambda(lambda _: "inner"), version="1", cache=patient_cache)
    steps = RunnableLambda(lambda question: question) | {"one": inner, "two": inner} | RunnableLambda(str)
    outer = cached(steps, version="1", cache=patient_cache)

    assert outer.invoke(QUESTION) == "{'one': 'inner', 'two': 'inner'}"


async def test_an_async_chain_that_asks_itself_does_not_wait_for_itself(patient_cache: ResponseCache) -> None:
    inner = cached(RunnableLambda(lambda _: "inner"), version="1", cache=patient_cache)
    outer = cached(inner | RunnableLambda(str.upper), version="1", cache=patient_cache)

    assert await outer.ainvoke(QUESTION) == "INNER"
    patient_cache.invalidate("nothing")
    assert [chunk async for chunk in cached(inner, version="2", cache=patient_cache).astream(QUESTION)] == ["INNER"]


def test_langchains_cache_hook_makes_nobody_wait(patient_cache: ResponseCache) -> None:
    """LangChain does not say when a call fails, so a look-up there promises no answer."""
    cache = CostkitSemanticCache(cache=patient_cache)

    assert [cache.lookup("hello", "llm") for _ in range(3)] == [None] * 3
    cache.update("hello", "llm", [Generation(text="hi")])
    assert cache.lookup("hello", "llm") == [Generation(text="hi")]


class State(TypedDict, total=False):
    question: str
    answer: str


async def test_a_crowd_of_graphs_makes_one_call(crowd: Crowd, crowd_cache: ResponseCache) -> None:
    support = cached(RunnableLambda(crowd, crowd.later), version="1", cache=crowd_cache)

    def respond(state: State, config: RunnableConfig) -> State:
        return {"answer": support.invoke(state["question"], config)}

    async def arespond(state: State, config: RunnableConfig) -> State:
        return {"answer": await support.ainvoke(state["question"], config)}

    graphs: list[Any] = [
        StateGraph(State).add_node("respond", node).add_edge(START, "respond").compile() for node in (respond, arespond)
    ]
    texts = questions()
    with ThreadPoolExecutor(CROWD // 2) as pool:
        loop = asyncio.get_running_loop()
        states: list[State] = await asyncio.gather(
            *(loop.run_in_executor(pool, graphs[0].invoke, {"question": text}) for text in texts[::2]),
            *(graphs[1].ainvoke({"question": text}) for text in texts[1::2]),
        )

    assert {state["answer"] for state in states} == {"answer number 1"}
    assert len(crowd.calls) == 1


async def test_every_way_of_streaming_replays_in_chunks(response_cache: ResponseCache) -> None:
    model = GenericFakeChatModel(messages=iter([AIMessage("paid within 14 days")]))
    support = cached(model | StrOutputParser(), version="1", cache=response_cache)
    pieces = ["paid ", "within ", "14 ", "days"]
    assert "".join(support.stream(QUESTION)) == "paid within 14 days"

    async def one(value: str) -> AsyncIterator[str]:
        yield value

    events = [event async for event in support.astream_events(QUESTION)]

    assert list(support.stream(QUESTION)) == pieces
    assert list(support.transform(iter([QUESTION]))) == pieces
    assert [chunk async for chunk in support.astream(QUESTION)] == pieces
    assert [chunk async for chunk in support.atransform(one(QUESTION))] == pieces
    assert [event["data"]["chunk"] for event in events if event["event"] == "on_chain_stream"] == pieces
    assert [chunk for chunk in (RunnableLambda(str) | support).stream(QUESTION)] == pieces  # noqa: C416


class Cut(GenericFakeChatModel):
    """Says with its last chunk that the answer was cut."""

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=AIMessageChunk("half an "))
        metadata = {"stop_reason": "max_tokens"}
        yield ChatGenerationChunk(
            message=AIMessageChunk(next(self.messages), response_metadata=metadata, chunk_position="last")  # type: ignore[arg-type]
        )


@pytest.mark.parametrize("parsed", [False, True], ids=["messages", "text"])
async def test_a_stream_that_was_cut_by_its_length_is_not_kept(response_cache: ResponseCache, parsed: bool) -> None:
    model = Cut(messages=iter(["one", "two", "three"]))  # type: ignore[arg-type]
    chain: Any = model | StrOutputParser() if parsed else model
    support = cached(chain, version="1", cache=response_cache)

    def text(chunk: Any) -> str:
        return chunk if isinstance(chunk, str) else str(chunk.text)

    streams = ["".join(map(text, support.stream(QUESTION)))]
    streams += ["".join([text(chunk) async for chunk in support.astream(QUESTION)]) for _ in range(2)]

    assert streams == ["half an one", "half an two", "half an three"]


@pytest.mark.parametrize("fate", ["left", "fails"])
async def test_an_async_stream_that_is_left_or_fails_keeps_nothing(response_cache: ResponseCache, fate: str) -> None:
    fates: Iterator[str] = iter([fate, "whole"])

    async def parts(_: AsyncIterator[Any]) -> AsyncIterator[str]:
        kind = next(fates)
        yield f"{kind} 1 "
        if kind == "fails":
            raise ValueError(kind)
        yield "2"

    support = cached(RunnableGenerator(parts), version="1", cache=response_cache)
    broken: Any = support.astream(QUESTION)
    assert await anext(broken) == f"{fate} 1 "
    if fate == "fails":
        with pytest.raises(ValueError, match="fails"):
            await anext(broken)
    else:
        await broken.aclose()

    assert await support.ainvoke(QUESTION) == "whole 1 2"
    assert await support.ainvoke(QUESTION) == "whole 1 2"


async def test_an_event_stream_that_is_left_keeps_nothing(response_cache: ResponseCache) -> None:
    fates: Iterator[str] = iter(["left", "whole"])
    go = asyncio.Event()

    async def parts(_: AsyncIterator[Any]) -> AsyncIterator[str]:
        kind = next(fates)
        yield f"{kind} 1 "
        if kind == "left":
            await go.wait()
        yield "2"

    support = cached(RunnableGenerator(parts), version="1", cache=response_cache)
    events: Any = support.astream_events(QUESTION)
    async for event in events:
        if event["event"] == "on_chain_stream":
            break
    await events.aclose()

    assert await support.ainvoke(QUESTION) == "whole 1 2"


class Model(GenericFakeChatModel):
    """Gives scripted answers and takes tools."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"name": "scripted"}


def agent(cache: ResponseCache, answers: Iterator[AIMessage]) -> Any:
    return create_agent(Model(messages=answers), tools=[], middleware=[CostkitMiddleware(cache=cache)])


def asked(question: str) -> dict[str, Any]:
    return {"messages": [HumanMessage(question)]}


def test_an_agent_streams_an_earlier_answer_in_message_chunks(
    response_cache: ResponseCache, recorder: ListRecorder
) -> None:
    support = agent(response_cache, iter([AIMessage("paid within 14 days")]))
    config: Any = {"callbacks": [CostkitUsageHandler(recorder=recorder)]}

    fresh, hit = ([one for one, _ in support.stream(asked(QUESTION), config, stream_mode="messages")] for _ in range(2))

    assert {type(one) for one in fresh + hit} == {AIMessageChunk}
    assert [one.content for one in hit] == ["paid ", "within ", "14 ", "days", ""]
    assert hit[-1].response_metadata["costkit"]["decision"] == "hit"
    assert [event.kind for event in recorder.events] == ["cache", "model", "cache"], "a replay is no call of a model"


async def test_an_agent_streams_an_earlier_answer_in_async_calls_too(response_cache: ResponseCache) -> None:
    support = agent(response_cache, iter([AIMessage("paid within 14 days")]))
    await support.ainvoke(asked(QUESTION))

    chunks = [one async for one, _ in support.astream(asked(QUESTION), stream_mode="messages")]
    events = [event async for event in support.astream_events(asked(QUESTION))]
    told = [event["data"]["chunk"] for event in events if event["event"] == "on_chat_model_stream"]
    whole = (await support.ainvoke(asked(QUESTION)))["messages"][-1]

    assert [one.content for one in chunks] == [one.content for one in told] == ["paid ", "within ", "14 ", "days", ""]
    assert (whole.content, whole.response_metadata["costkit"]["kind"]) == ("paid within 14 days", "exact")


def test_an_agents_stream_that_fails_or_is_cut_keeps_nothing(response_cache: ResponseCache) -> None:
    class Failing(Model):
        def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
            fate = next(self.messages)
            yield ChatGenerationChunk(message=AIMessageChunk("half an "))
            if fate == "fails":
                raise ValueError("down")
            facts = {"stop_reason": "max_tokens" if fate == "cut" else "end_turn"}
            yield ChatGenerationChunk(message=AIMessageChunk(str(fate), response_metadata=facts, chunk_position="last"))

    model = Failing(messages=iter(["fails", "cut", "whole"]))  # type: ignore[arg-type]
    support = create_agent(model, tools=[], middleware=[CostkitMiddleware(cache=response_cache)])

    def stream() -> str:
        return "".join(str(one.text) for one, _ in support.stream(asked(QUESTION), stream_mode="messages"))  # type: ignore[call-overload]

    with pytest.raises(ValueError, match="down"):
        stream()
    assert [stream() for _ in range(3)] == ["half an cut", "half an whole", "half an whole"]


async def test_a_crowd_of_agents_makes_one_call(crowd: Crowd, crowd_cache: ResponseCache) -> None:
    def answers() -> Iterator[AIMessage]:
        while True:
            yield AIMessage(crowd(None))

    support = agent(crowd_cache, answers())
    with ThreadPoolExecutor(CROWD // 2) as pool:
        loop = asyncio.get_running_loop()
        texts = questions()
        states = await asyncio.gather(
            *(loop.run_in_executor(pool, support.invoke, asked(text)) for text in texts[::2]),
            *(support.ainvoke(asked(text)) for text in texts[1::2]),
        )

    assert {state["messages"][-1].content for state in states} == {"answer number 1"}
    assert len(crowd.calls) == 1
