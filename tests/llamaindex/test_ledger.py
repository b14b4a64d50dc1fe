"""``CostkitEventHandler()``: every call to a model is booked once, as billed."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import ChatMessage, CompletionResponse, CompletionResponseGen, LLMMetadata
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.query_engine import RetrieverQueryEngine

from costkit import Scope
from costkit.cache import ResponseCache
from costkit.ledger import Ledger
from costkit.ledger.usage import Usage
from costkit.prices import PriceBook, Rates
from costkit.scope import use
from costkit.testing import ListRecorder
from costkit.tokens import default_counter
from llamaindex_costkit import CostkitEventHandler, CostkitQueryEngine

PAID = Usage(uncached_input_tokens=10, cache_read_tokens=100, cache_write_5m_tokens=5, output_tokens=2)
MESSAGES = [ChatMessage(content="hello")]


@pytest.fixture(autouse=True)
def handler(recorder: ListRecorder) -> CostkitEventHandler:
    made = CostkitEventHandler(recorder=recorder)
    get_dispatcher().add_event_handler(made)
    return made


class Custom(CustomLLM):
    """A ``CustomLLM`` without usage: its ``chat`` emits a chat pair around a completion pair."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="mine")

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        if "fail" in prompt:
            raise RuntimeError("no")
        return CompletionResponse(text="done")

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        def gen() -> CompletionResponseGen:
            yield CompletionResponse(text="do", delta="do")
            if "fail" in prompt:
                raise RuntimeError("no")
            yield CompletionResponse(text="done", delta="ne")

        return gen()


async def test_each_way_of_asking_is_booked_once_as_billed(llm: Any, recorder: ListRecorder) -> None:
    llm.chat(MESSAGES)
    await llm.achat(MESSAGES)
    list(llm.stream_chat(MESSAGES))
    assert [chunk async for chunk in await llm.astream_chat(MESSAGES)]
    llm.complete("hello")
    await llm.acomplete("hello")
    list(llm.stream_complete("hello"))
    assert [chunk async for chunk in await llm.astream_complete("hello")]

    assert len(recorder.events) == 8
    for event in recorder.events:
        assert (event.kind, event.model, event.usage, event.status) == ("model", "claude-haiku-4-5", PAID, "ok")
        assert event.cost_nano_usd == 10 * 1000 + 100 * 100 + 5 * 1250 + 2 * 5000
        assert event.price_snapshot


async def test_a_custom_model_is_booked_once_though_it_emits_twice(recorder: ListRecorder) -> None:
    llm = Custom()

    llm.chat(MESSAGES)
    await llm.achat(MESSAGES)
    list(llm.stream_chat(MESSAGES))
    assert [chunk async for chunk in await llm.astream_chat(MESSAGES)]

    assert [(event.model, event.cost_nano_usd) for event in recorder.events] == [("mine", None)] * 4
    assert recorder.events[0].reason == "the provider reported no usage"


def test_a_failed_call_is_booked_once_as_failed(llm: Any, recorder: ListRecorder) -> None:
    llm.fails = True
    with pytest.raises(RuntimeError):
        llm.complete("hello")
    with pytest.raises(RuntimeError):
        Custom().chat([ChatMessage(content="fail")])
    with pytest.raises(RuntimeError):
        list(Custom().stream_chat([ChatMessage(content="fail")]))

    assert [(event.status, event.decision) for event in recorder.events] == [("failed", "failed")] * 3
    assert "the provider is down" in recorder.events[0].reason


def test_an_abandoned_stream_is_booked_as_failed(llm: Any, recorder: ListRecorder) -> None:
    stream = llm.stream_chat(MESSAGES)
    next(stream)
    stream.close()

    assert [event.status for event in recorder.events] == ["failed"]


async def test_an_http_error_answer_costs_nothing(make_llm: Any, recorder: ListRecorder) -> None:
    class RefusedError(Exception):
        status_code = 529

    class Busy(make_llm):  # type: ignore[misc]
        def _answer(self, messages: Any, tools: Any) -> Any:
            raise RefusedError

    with pytest.raises(RefusedError):
        Busy().complete("hello")
    with pytest.raises(RefusedError):
        await Busy().achat(MESSAGES)
    with pytest.raises(RefusedError):
        list(Busy().stream_chat(MESSAGES))

    assert [(event.status, event.cost_nano_usd) for event in recorder.events] == [("failed", 0)] * 3


def test_a_book_of_your_own_prices_calls(llm: Any, recorder: ListRecorder) -> None:
    rates = Rates(input_usd_per_mtok=Decimal(2), output_usd_per_mtok=Decimal(0))
    get_dispatcher().event_handlers.clear()
    get_dispatcher().add_event_handler(
        CostkitEventHandler(recorder=recorder, book=PriceBook(overrides={"claude-haiku-4-5": rates}))
    )

    llm.chat(MESSAGES)

    assert recorder.events[0].cost_nano_usd == PriceBook(overrides={"m": rates}).price("m", PAID).cost_nano_usd


def test_handlers_added_twice_book_each_call_once(llm: Any, tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    for _ in range(2):
        get_dispatcher().add_event_handler(CostkitEventHandler(recorder=ledger))

    llm.complete("hello")
    list(llm.stream_chat(MESSAGES))

    assert [event.usage for event in ledger.events()] == [PAID, PAID]
    ledger.close()


def test_the_scope_is_the_one_of_the_call_even_for_streams(llm: Any, recorder: ListRecorder) -> None:
    with use(Scope(tenant="acme", feature="chat")):
        stream = llm.stream_chat(MESSAGES)
    with use(Scope(tenant="globex")):
        list(stream)

    assert [event.scope for event in recorder.events] == [Scope(tenant="acme", feature="chat")]


def test_two_streams_read_in_turn_are_both_booked(llm: Any, recorder: ListRecorder) -> None:
    first, second = llm.stream_chat(MESSAGES), llm.stream_chat(MESSAGES)
    for _ in zip(first, second, strict=False):
        pass
    list(second)

    assert [event.usage for event in recorder.events] == [PAID, PAID]


def test_many_threads_and_tasks_are_all_booked(llm: Any, recorder: ListRecorder) -> None:
    async def many() -> None:
        await asyncio.gather(*(llm.achat(MESSAGES) for _ in range(20)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: llm.chat(MESSAGES), range(40)))
    asyncio.run(many())

    assert len(recorder.events) == 60


class Vectors(BaseEmbedding):
    """An embedding model whose vectors say how long a text is."""

    fails: bool = False

    def _get_text_embedding(self, text: str) -> list[float]:
        if self.fails:
            raise RuntimeError("no")
        return [float(len(text)), 1.0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


VECTORS = Vectors(model_name="my-vectors", embed_batch_size=2)
TEXTS = ["Refunds are paid within 14 days.", "Parcels are shipped on Monday.", "The office is closed."]


async def test_each_batch_of_embeddings_is_booked_with_the_tokens_of_its_texts(recorder: ListRecorder) -> None:
    with use(Scope(tenant="acme")):
        VECTORS.get_query_embedding(TEXTS[0])
        await VECTORS.aget_query_embedding(TEXTS[0])
        VECTORS.get_text_embedding(TEXTS[0])
        VECTORS.get_text_embedding_batch(TEXTS)
        await VECTORS.aget_text_embedding_batch(TEXTS)

    one, two, three = (default_counter().count(text) for text in TEXTS)
    assert [event.usage.input_tokens for event in recorder.events] == [one] * 3 + [one + two, three] * 2
    for event in recorder.events:
        assert (event.kind, event.decision, event.model) == ("embedding", "embedded", "my-vectors")
        assert event.scope == Scope(tenant="acme")
        assert event.cost_nano_usd is None
    assert len({event.id for event in recorder.events}) == 7


def test_embeddings_take_a_price_of_your_own(recorder: ListRecorder) -> None:
    rates = Rates(input_usd_per_mtok=Decimal("0.02"), output_usd_per_mtok=Decimal(0))
    get_dispatcher().event_handlers.clear()
    get_dispatcher().add_event_handler(
        CostkitEventHandler(recorder=recorder, book=PriceBook(overrides={"my-vectors": rates}))
    )

    VECTORS.get_text_embedding(TEXTS[0])

    (event,) = recorder.events
    assert event.cost_nano_usd == 20 * event.usage.input_tokens > 0


async def test_embeddings_that_fail_are_booked_as_failed(recorder: ListRecorder) -> None:
    broken = Vectors(model_name="my-vectors", embed_batch_size=2, fails=True)

    with pytest.raises(RuntimeError, match="no"):
        broken.get_text_embedding_batch(TEXTS)
    with pytest.raises(RuntimeError, match="no"):
        await broken.aget_text_embedding_batch(TEXTS)

    assert [(event.kind, event.status, event.reason) for event in recorder.events] == [
        ("embedding", "failed", "no")
    ] * 3, "one batch had begun in the first call, two in the second"


def test_the_embedding_of_a_question_belongs_to_its_events(
    response_cache: ResponseCache, recorder: ListRecorder, nodes: Any, llm: Any
) -> None:
    engine = VectorStoreIndex([one.node for one in nodes], embed_model=VECTORS).as_query_engine(llm=llm)
    indexed = len(recorder.events)

    CostkitQueryEngine(engine, version="1", cache=response_cache).query("how long")

    assert {event.kind for event in recorder.events[:indexed]} == {"embedding"}
    asked = recorder.events[indexed:]
    assert [event.kind for event in asked] == ["cache", "embedding", "model"]
    assert len({event.run_id for event in asked}) == 1


@pytest.mark.parametrize("streaming", [False, True])
def test_a_query_engine_groups_its_cache_decision_and_its_model_calls(
    response_cache: ResponseCache, recorder: ListRecorder, retriever: Any, llm: Any, streaming: bool
) -> None:
    engine = RetrieverQueryEngine.from_args(retriever, llm=llm, streaming=streaming)
    cached = CostkitQueryEngine(engine, version="1", cache=response_cache)

    str(cached.query("how long"))
    str(cached.query("another thing"))

    assert [event.kind for event in recorder.events] == ["cache", "model"] * 2
    runs = [event.run_id for event in recorder.events]
    assert runs[0] == runs[1] != runs[2] == runs[3]
    assert runs[0] is not None


def test_one_line_is_enough_and_a_recorder_that_fails_breaks_nothing(
    llm: Any, recorder: ListRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed() -> ListRecorder:
        raise OSError("read-only")

    get_dispatcher().event_handlers.clear()
    monkeypatch.setattr("llamaindex_costkit.ledger.default_recorder", closed)
    get_dispatcher().add_event_handler(CostkitEventHandler())

    assert llm.chat(MESSAGES).message.content == "answer 1"
    monkeypatch.setattr("llamaindex_costkit.ledger.default_recorder", lambda: recorder)
    llm.chat(MESSAGES)

    assert [event.usage for event in recorder.events] == [PAID]
    assert CostkitEventHandler.class_name() == "CostkitEventHandler"
