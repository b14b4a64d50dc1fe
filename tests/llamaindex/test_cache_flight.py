"""Crowds and streams in LlamaIndex: one call for many who ask the same, and only what was answered whole is kept."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.base.response.schema import AsyncStreamingResponse, Response, StreamingResponse
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import QueryBundle

from costkit.cache import EdgeIndex, ResponseCache
from costkit.testing import ListRecorder
from llamaindex_costkit import CostkitCachedLLM, CostkitQueryEngine

QUESTION = "how long does a refund of my order take"
SAME_WORDS = "a refund of my order take how long does"
CROWD = 200
PATIENCE = 60.0


class Engine(BaseQueryEngine):
    """Answers with what ``make`` returns for the number of the call."""

    def __init__(self, make: Callable[[int], Any], amake: Callable[[int], Any] | None = None) -> None:
        self.calls = 0
        self._make, self._amake = make, amake
        self._lock = threading.Lock()
        super().__init__(callback_manager=None)

    def _get_prompt_modules(self) -> dict[str, Any]:
        return {}

    def _next(self) -> int:
        with self._lock:
            self.calls += 1
            return self.calls

    def _query(self, query_bundle: QueryBundle) -> Any:
        return self._make(self._next())

    async def _aquery(self, query_bundle: QueryBundle) -> Any:
        number = self._next()
        return self._make(number) if self._amake is None else await self._amake(number)


def cache_with(embedder: Any, index: EdgeIndex, recorder: ListRecorder) -> ResponseCache:
    return ResponseCache(version=uuid4().hex, embedder=embedder, index=index, recorder=recorder, wait_seconds=PATIENCE)


@pytest.fixture
def embedder(counting_embedder: Any) -> Any:
    return counting_embedder(CROWD)


@pytest.fixture
def crowd_cache(embedder: Any, shared_index: EdgeIndex, recorder: ListRecorder) -> ResponseCache:
    return cache_with(embedder, shared_index, recorder)


@pytest.fixture
def patient_cache(counting_embedder: Any, shared_index: EdgeIndex, recorder: ListRecorder) -> ResponseCache:
    return cache_with(counting_embedder(0), shared_index, recorder)


@pytest.fixture
def crowd_llm(embedder: Any, make_llm: Any) -> Any:
    """A model that answers once everybody has asked."""

    class Patient(make_llm):  # type: ignore[misc]
        def _answer(self, messages: Sequence[ChatMessage], tools: Sequence[Any]) -> Any:
            response = super()._answer(messages, tools)
            assert embedder.all_asked.wait(PATIENCE)
            return response

        async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
            return await asyncio.to_thread(self.chat, messages)

        async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
            async def gen() -> AsyncGenerator[Any, None]:
                for chunk in await asyncio.to_thread(self._chunks, messages, ()):
                    yield chunk

            return gen()

    return Patient()


def questions(number: int = CROWD) -> list[str]:
    return [(QUESTION, SAME_WORDS)[place % 2] for place in range(number)]


def by_threads(ask: Callable[[str], Any]) -> list[Any]:
    with ThreadPoolExecutor(CROWD) as pool:
        return list(pool.map(ask, questions()))


def rag(retriever: Any, llm: Any, *, streaming: bool = False) -> RetrieverQueryEngine:
    return RetrieverQueryEngine.from_args(retriever, llm=llm, streaming=streaming)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_crowd_of_threads_makes_one_call(
    crowd_cache: ResponseCache, retriever: Any, crowd_llm: Any, recorder: ListRecorder, streaming: bool
) -> None:
    cached = CostkitQueryEngine(rag(retriever, crowd_llm, streaming=streaming), version="1", cache=crowd_cache)

    assert by_threads(lambda question: str(cached.query(question))) == ["answer 1"] * CROWD
    assert len(crowd_llm.calls) == 1
    assert sorted(event.decision for event in recorder.events) == ["hit"] * (CROWD - 1) + ["miss"]
    assert {event.saved.output_tokens for event in recorder.events if event.decision == "hit"} == {2}


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_crowd_of_tasks_makes_one_call(
    crowd_cache: ResponseCache, retriever: Any, crowd_llm: Any, streaming: bool
) -> None:
    cached = CostkitQueryEngine(rag(retriever, crowd_llm, streaming=streaming), version="1", cache=crowd_cache)

    async def ask(question: str) -> str:
        response = await cached.aquery(question)
        if isinstance(response, AsyncStreamingResponse):
            return "".join([token async for token in response.async_response_gen()])
        return str(response)

    assert await asyncio.gather(*map(ask, questions())) == ["answer 1"] * CROWD
    assert len(crowd_llm.calls) == 1


def one_by_one(chunks: Any) -> str:
    return "".join(chunk.delta or "" for chunk in chunks)


@pytest.mark.parametrize("door", ["chat", "stream_chat", "complete", "stream_complete"])
def test_a_crowd_at_a_model_makes_one_call(crowd_cache: ResponseCache, crowd_llm: Any, door: str) -> None:
    cached = CostkitCachedLLM(crowd_llm, version="1", cache=crowd_cache)
    ways: dict[str, Callable[[str], str | None]] = {
        "chat": lambda text: cached.chat([ChatMessage(content=text)]).message.content,
        "stream_chat": lambda text: one_by_one(cached.stream_chat([ChatMessage(content=text)])),
        "complete": lambda text: cached.complete(text).text,
        "stream_complete": lambda text: one_by_one(cached.stream_complete(text)),
    }

    assert by_threads(ways[door]) == ["answer 1"] * CROWD
    assert len(crowd_llm.calls) == 1


@pytest.mark.parametrize("door", ["achat", "astream_chat", "acomplete", "astream_complete"])
async def test_an_async_crowd_at_a_model_makes_one_call(crowd_cache: ResponseCache, crowd_llm: Any, door: str) -> None:
    cached = CostkitCachedLLM(crowd_llm, version="1", cache=crowd_cache)

    async def ask(text: str) -> str | None:
        message = [ChatMessage(content=text)]
        if door == "achat":
            return (await cached.achat(message)).message.content
        if door == "acomplete":
            return (await cached.acomplete(text)).text
        chunks = await (cached.astream_chat(message) if door == "astream_chat" else cached.astream_complete(text))
        return "".join([chunk.delta or "" async for chunk in chunks])

    assert await asyncio.gather(*map(ask, questions())) == ["answer 1"] * CROWD
    assert len(crowd_llm.calls) == 1


def test_a_failure_reaches_its_own_caller_only(patient_cache: ResponseCache) -> None:
    leads, fails = threading.Event(), threading.Event()

    def make(number: int) -> Response:
        if number == 1:
            leads.set()
            assert fails.wait(PATIENCE)
            raise RuntimeError("down")
        return Response(response=f"answer {number}")

    cached = CostkitQueryEngine(Engine(make), version="1", cache=patient_cache)
    with ThreadPoolExecutor(9) as pool:
        leader = pool.submit(cached.query, QUESTION)
        assert leads.wait(PATIENCE)
        followers = [pool.submit(cached.query, question) for question in questions(8)]
        fails.set()

    assert isinstance(leader.exception(), RuntimeError)
    assert [str(one.result()) for one in followers] == ["answer 2"] * 8


async def test_a_cancelled_leader_costs_one_more_call(patient_cache: ResponseCache) -> None:
    started = asyncio.Event()

    async def amake(number: int) -> Response:
        if number == 1:
            started.set()
            await asyncio.Event().wait()
        return Response(response=f"answer {number}")

    engine = Engine(lambda _: None, amake)
    cached = CostkitQueryEngine(engine, version="1", cache=patient_cache)
    leader = asyncio.create_task(cached.aquery(QUESTION))
    await started.wait()
    followers = [asyncio.create_task(cached.aquery(question)) for question in questions()]
    await asyncio.sleep(0)
    leader.cancel()

    assert {str(one) for one in await asyncio.gather(*followers)} == {"answer 2"}
    assert engine.calls == 2


def streamed(number: int) -> StreamingResponse:
    def tokens() -> Iterator[str]:
        yield "half an "
        yield f"answer {number}"

    return StreamingResponse(tokens())  # type: ignore[arg-type]


@pytest.mark.parametrize("fate", ["left", "never read"])
def test_a_stream_that_is_not_read_hands_its_turn_on(patient_cache: ResponseCache, fate: str) -> None:
    cached = CostkitQueryEngine(Engine(streamed), version="1", cache=patient_cache)
    leader: Any = cached.query(QUESTION)
    if fate == "left":
        next(leader.response_gen)
    with ThreadPoolExecutor(4) as pool:
        followers = [pool.submit(lambda text: str(cached.query(text)), text) for text in questions(4)]
        if fate == "left":
            leader.response_gen.close()
        else:
            del leader
            gc.collect()

    assert {one.result() for one in followers} == {"half an answer 2"}


def test_a_caller_with_two_unread_streams_of_one_question_reads_both(patient_cache: ResponseCache) -> None:
    cached = CostkitQueryEngine(Engine(streamed), version="1", cache=patient_cache)

    responses = [cached.query(QUESTION) for _ in range(2)]

    assert [str(response) for response in responses] == ["half an answer 1", "half an answer 2"]


def test_an_engine_within_an_engine_does_not_wait_for_it(
    patient_cache: ResponseCache, retriever: Any, llm: Any
) -> None:
    inner = CostkitQueryEngine(rag(retriever, llm), version="1", cache=patient_cache)
    outer = CostkitQueryEngine(inner, version="1", cache=patient_cache)

    assert str(outer.query(QUESTION)) == "answer 1"


def test_an_unread_stream_of_a_model_that_is_forgotten_hands_its_turn_on(
    patient_cache: ResponseCache, llm: Any
) -> None:
    cached = CostkitCachedLLM(llm, version="1", cache=patient_cache)
    unread: Any = cached.stream_chat([ChatMessage(content=QUESTION)])
    with ThreadPoolExecutor(1) as pool:
        follower = pool.submit(cached.chat, [ChatMessage(content=QUESTION)])
        del unread
        gc.collect()

    assert follower.result().message.content == "answer 1"


@pytest.mark.parametrize("fate", ["left", "fails"])
async def test_an_async_stream_that_is_left_or_fails_keeps_nothing(response_cache: ResponseCache, fate: str) -> None:
    async def amake(number: int) -> AsyncStreamingResponse:
        async def tokens() -> AsyncGenerator[str, None]:
            yield "half an "
            if number == 1 and fate == "fails":
                raise RuntimeError("cut")
            yield f"answer {number}"

        return AsyncStreamingResponse(tokens())

    cached = CostkitQueryEngine(Engine(streamed, amake), version="1", cache=response_cache)
    broken: Any = await cached.aquery(QUESTION)
    chunks = broken.response_gen
    await anext(chunks)
    if fate == "fails":
        with pytest.raises(RuntimeError, match="cut"):
            await anext(chunks)
    else:
        await chunks.aclose()

    answers = []
    for _ in range(2):
        response: Any = await cached.aquery(QUESTION)
        answers.append("".join([token async for token in response.async_response_gen()]))
    assert answers == ["half an answer 2"] * 2


@pytest.fixture
def breaking_llm(make_llm: Any) -> Callable[[str], Any]:
    """Makes a model whose first stream fails in the middle or is cut by its length."""

    def make(fate: str) -> Any:
        class Breaking(make_llm):  # type: ignore[misc]
            def _chunks(self, messages: Sequence[ChatMessage], tools: Sequence[Any]) -> Any:
                first, last = super()._chunks(messages, tools)
                yield first
                if len(self.calls) == 1 and fate == "fails":
                    raise RuntimeError("cut")
                if len(self.calls) == 1:
                    last.raw["stop_reason"] = "max_tokens"
                yield last

        return Breaking()

    return make


@pytest.mark.parametrize("fate", ["fails", "cut by its length"])
@pytest.mark.parametrize("door", ["stream_chat", "stream_complete"])
def test_a_models_stream_that_fails_or_is_cut_is_not_kept(
    response_cache: ResponseCache, breaking_llm: Callable[[str], Any], door: str, fate: str
) -> None:
    cached = CostkitCachedLLM(breaking_llm(fate), version="1", cache=response_cache)

    def stream() -> str:
        if door == "stream_complete":
            return one_by_one(cached.stream_complete(QUESTION))
        return one_by_one(cached.stream_chat([ChatMessage(content=QUESTION)]))

    if fate == "fails":
        with pytest.raises(RuntimeError, match="cut"):
            stream()
    else:
        assert stream() == "answer 1"
    assert [stream(), stream()] == ["answer 2", "answer 2"]


@pytest.mark.parametrize("fate", ["left", "fails", "cut by its length"])
@pytest.mark.parametrize("door", ["astream_chat", "astream_complete"])
async def test_a_models_async_stream_that_is_left_fails_or_is_cut_is_not_kept(
    response_cache: ResponseCache, breaking_llm: Callable[[str], Any], door: str, fate: str
) -> None:
    cached = CostkitCachedLLM(breaking_llm(fate), version="1", cache=response_cache)

    async def chunks() -> Any:
        if door == "astream_complete":
            return await cached.astream_complete(QUESTION)
        return await cached.astream_chat([ChatMessage(content=QUESTION)])

    async def stream() -> str:
        return "".join([chunk.delta or "" async for chunk in await chunks()])

    if fate == "left":
        left = await chunks()
        await anext(left)
        await left.aclose()
    elif fate == "fails":
        with pytest.raises(RuntimeError, match="cut"):
            await stream()
    else:
        assert await stream() == "answer 1"
    assert [await stream(), await stream()] == ["answer 2", "answer 2"]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_query_engines_stream_that_was_cut_by_its_length_is_not_kept(
    response_cache: ResponseCache, retriever: Any, breaking_llm: Callable[[str], Any], asynchronous: bool
) -> None:
    llm = breaking_llm("cut by its length")
    cached = CostkitQueryEngine(rag(retriever, llm, streaming=True), version="1", cache=response_cache)

    async def ask() -> str:
        if not asynchronous:
            return str(cached.query(QUESTION))
        response: Any = await cached.aquery(QUESTION)
        return "".join([token async for token in response.async_response_gen()])

    assert [await ask() for _ in range(3)] == ["answer 1", "answer 2", "answer 2"]
