"""``cached(chain)``: one line puts the response cache in front of any runnable."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import (
    ConfigurableField,
    RunnableConfig,
    RunnableGenerator,
    RunnableLambda,
    RunnablePassthrough,
)
from langchain_core.runnables.history import RunnableWithMessageHistory
from pydantic import Field

from costkit import ConfigurationError, Scope
from costkit.cache import EdgeIndex, ResponseCache
from costkit.context import ContextReducer
from costkit.scope import use
from costkit.testing import HashEmbedder, ListRecorder
from langchain_costkit import CostkitRetriever, cached
from langchain_costkit._witness import Witness

QUESTION = "how long does a refund of my order take"
SAME_WORDS = "a refund of my order take how long does"


class Chain:
    """Counts its calls and answers with the number of the call."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def __call__(self, value: object) -> str:
        self.calls.append(value)
        return f"answer number {len(self.calls)}"


class Down(FakeListChatModel):
    """A model whose provider is down; counts its calls."""

    responses: list[str] = Field(default_factory=list)
    calls: int = 0

    def _call(self, *args: Any, **kwargs: Any) -> str:
        self.calls += 1
        raise ValueError("down")


class Seen(BaseCallbackHandler):
    """Keeps the custom events of a call."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def on_custom_event(self, name: str, data: Any, **kwargs: Any) -> None:
        self.events.append({"name": name, **data})


def rag(retriever: BaseRetriever, *answers: str) -> Any:
    prompt = ChatPromptTemplate.from_template("{context}\n\n{question}")
    model = FakeListChatModel(responses=list(answers))
    return {"context": retriever, "question": RunnablePassthrough()} | prompt | model | StrOutputParser()


def test_the_same_question_is_answered_once(response_cache: ResponseCache) -> None:
    chain = Chain()
    support = cached(RunnableLambda(chain), version="support-3", cache=response_cache)

    answers = [support.invoke({"question": QUESTION}) for _ in range(3)]

    assert answers == ["answer number 1"] * 3
    assert len(chain.calls) == 1


def test_a_question_in_nearly_the_same_words_is_a_hit_and_another_is_not(response_cache: ResponseCache) -> None:
    support = cached(RunnableLambda(Chain()), version="support-3", cache=response_cache)

    assert support.invoke(QUESTION) == support.invoke(SAME_WORDS) == "answer number 1"
    assert support.invoke("where is the cafeteria") == "answer number 2"


@pytest.mark.parametrize("key", ["question", "input", "query"])
def test_the_question_is_found_under_the_usual_keys(response_cache: ResponseCache, key: str) -> None:
    support = cached(RunnableLambda(Chain()), version="1", cache=response_cache)

    assert support.invoke({key: QUESTION, "lang": "en"}) == support.invoke({key: SAME_WORDS, "lang": "en"})


def test_all_other_input_is_identity(response_cache: ResponseCache) -> None:
    support = cached(RunnableLambda(Chain()), version="1", cache=response_cache)

    answers = {support.invoke({"question": QUESTION, "lang": lang}) for lang in ("en", "de")}

    assert len(answers) == 2


def test_a_named_key_is_the_question_and_the_usual_keys_are_identity_then(response_cache: ResponseCache) -> None:
    support = cached(RunnableLambda(Chain()), version="1", cache=response_cache, question_key="ask")

    first = support.invoke({"ask": QUESTION, "question": "a"})

    assert support.invoke({"ask": SAME_WORDS, "question": "a"}) == first
    assert support.invoke({"ask": QUESTION, "question": "b"}) != first


def test_message_lists_are_asked_by_their_last_human_message_within_the_same_history(
    response_cache: ResponseCache,
) -> None:
    support = cached(RunnableLambda(Chain()), version="1", cache=response_cache)
    history = [HumanMessage("hello", id="1"), AIMessage("hi", id="2")]
    same = [HumanMessage("hello", id="3"), AIMessage("hi", id="4")]

    first = support.invoke({"messages": [*history, HumanMessage(QUESTION)]})

    assert support.invoke({"messages": [*same, HumanMessage(SAME_WORDS)]}) == first
    assert support.invoke({"messages": [HumanMessage(QUESTION)]}) != first


def with_image(question: str, image: str) -> list[HumanMessage]:
    return [HumanMessage([{"type": "text", "text": question}, {"type": "image", "base64": image}])]


def test_what_stands_beside_the_words_of_a_question_is_identity(response_cache: ResponseCache) -> None:
    support = cached(RunnableLambda(Chain()), version="1", cache=response_cache)
    asked: list[Any] = [
        with_image(QUESTION, "a"),
        with_image(QUESTION, "b"),
        [HumanMessage(QUESTION)],
        [HumanMessage(QUESTION, name="ann")],
        [HumanMessage(QUESTION, additional_kwargs={"region": "EU"})],
    ]

    answers = [support.invoke(messages) for messages in asked]

    assert len(set(answers)) == len(asked)
    assert support.invoke(with_image(SAME_WORDS, "b")) == answers[1]


def test_words_between_images_are_identity(response_cache: ResponseCache) -> None:
    support = cached(RunnableLambda(Chain()), version="1", cache=response_cache)

    def ask(*order: str) -> str:
        image = {"type": "image", "base64": "a"}
        return support.invoke([HumanMessage([order[0], image, order[1], image])])

    assert ask("before", "after") != ask("after", "before")


def test_input_without_a_json_form_bypasses_and_says_so(response_cache: ResponseCache, recorder: ListRecorder) -> None:
    support = cached(RunnableLambda(Chain()), version="1", cache=response_cache)

    answers = {support.invoke({"question": QUESTION, "user": object()}) for _ in range(2)}

    assert len(answers) == 2
    assert {event.decision for event in recorder.events} == {"bypass"}
    assert "JSON" in recorder.events[0].reason


def test_input_without_a_question_bypasses_and_names_the_option(
    response_cache: ResponseCache, recorder: ListRecorder
) -> None:
    support = cached(RunnableLambda(Chain()), version="1", cache=response_cache)

    assert support.invoke({"topic": QUESTION}) == "answer number 1"
    assert recorder.events[0].decision == "bypass"
    assert "question_key" in recorder.events[0].reason


def test_tenants_never_share_an_answer(response_cache: ResponseCache) -> None:
    support = cached(RunnableLambda(Chain()), version="1", cache=response_cache)

    def ask(tenant: str) -> str:
        with use(Scope(tenant=tenant)):
            return support.invoke(QUESTION)

    assert ask("acme") == ask("acme") == "answer number 1"
    assert ask("globex") == "answer number 2"


def test_the_tenant_may_come_from_the_config_and_keeps_the_rest_of_the_scope(
    response_cache: ResponseCache, recorder: ListRecorder
) -> None:
    support = cached(RunnableLambda(Chain()), version="1", cache=response_cache)

    with use(Scope(tenant="acme", feature="chat")):
        first = support.invoke(QUESTION, {"metadata": {"costkit_user": "ann"}})
    other = support.invoke(QUESTION, {"metadata": {"costkit_tenant": "globex"}})

    assert first != other
    assert recorder.events[0].scope == Scope(tenant="acme", feature="chat", user="ann")
    assert recorder.events[1].scope == Scope(tenant="globex")


def test_a_mistyped_scope_key_is_an_error(response_cache: ResponseCache) -> None:
    support = cached(RunnableLambda(Chain()), version="1", cache=response_cache)

    with pytest.raises(ConfigurationError, match="costkit_tennant"):
        support.invoke(QUESTION, {"metadata": {"costkit_tennant": "acme"}})


def test_require_tenant_bypasses_without_one(
    shared_index: EdgeIndex, recorder: ListRecorder, response_cache: ResponseCache
) -> None:
    cache = ResponseCache(
        version="1", embedder=HashEmbedder(), index=shared_index, recorder=recorder, require_tenant=True
    )
    support = cached(RunnableLambda(Chain()), version="1", cache=cache, require_tenant=True)

    assert support.invoke(QUESTION) != support.invoke(QUESTION)
    assert {event.decision for event in recorder.events} == {"bypass"}
    with pytest.raises(ConfigurationError, match="require_tenant"):
        cached(RunnableLambda(Chain()), version="1", cache=response_cache, require_tenant=True)


def test_two_chains_on_one_cache_are_told_apart_by_version(response_cache: ResponseCache) -> None:
    one = cached(RunnableLambda(lambda _: "one"), version="a-1", cache=response_cache)
    two = cached(RunnableLambda(lambda _: "two"), version="b-1", cache=response_cache)

    assert [one.invoke(QUESTION), two.invoke(QUESTION)] == ["one", "two"]


def test_an_opaque_chain_needs_a_version_on_a_given_cache_too(response_cache: ResponseCache) -> None:
    for cache in (None, response_cache):
        with pytest.raises(ConfigurationError, match="give version='support-1'"):
            cached(RunnableLambda(lambda _: "x"), cache=cache)


def session(of: str, **more: object) -> RunnableConfig:
    return {"configurable": {"session_id": of, **more}}


def test_what_a_chain_reads_from_its_config_is_identity(response_cache: ResponseCache) -> None:
    def answer(_: object, config: RunnableConfig) -> str:
        return f"for {config['configurable']['session_id']}"

    support = cached(RunnableLambda(answer), version="1", cache=response_cache)

    assert [support.invoke(QUESTION, session(name)) for name in "ab"] == ["for a", "for b"]
    assert [list(support.stream(QUESTION, session(name))) for name in "ca"] == [["for c"], ["for ", "a"]]


async def test_what_a_chain_reads_from_its_config_is_identity_in_async_calls(response_cache: ResponseCache) -> None:
    support = cached(RunnableLambda(Chain()), version="1", cache=response_cache)

    answers = [await support.ainvoke(QUESTION, session(name)) for name in "aba"]

    assert answers[0] == answers[2] != answers[1]


def test_the_chosen_alternative_is_identity(response_cache: ResponseCache) -> None:
    model = FakeListChatModel(responses=["from a"]).configurable_alternatives(
        ConfigurableField(id="llm"), default_key="a", b=FakeListChatModel(responses=["from b"])
    )
    support = cached(model | StrOutputParser(), version="1", cache=response_cache)

    assert [support.with_config(configurable={"llm": key}).invoke(QUESTION) for key in "ab"] == ["from a", "from b"]
    assert [spec.id for spec in support.config_specs] == ["llm"]


def test_langgraphs_own_keys_are_no_identity_unless_the_chain_declares_them(response_cache: ResponseCache) -> None:
    support = cached(RunnableLambda(Chain()), version="1", cache=response_cache)
    field = ConfigurableField(id="thread_id")
    model = FakeListChatModel(responses=["one"]).configurable_alternatives(
        field, default_key="a", b=FakeListChatModel(responses=["two"])
    )
    declares = cached(model | StrOutputParser(), version="2", cache=response_cache)

    def ask(chain: Any, thread: str) -> str:
        own = {"__pregel_send": print, "checkpoint_ns": thread, "thread_id": thread}
        return str(chain.invoke(QUESTION, {"configurable": own}))

    assert [ask(support, thread) for thread in "ab"] == ["answer number 1"] * 2
    assert [ask(declares, thread) for thread in "ab"] == ["one", "two"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_chain_that_keeps_a_conversation_bypasses_and_says_so(
    response_cache: ResponseCache, recorder: ListRecorder
) -> None:
    store: dict[str, InMemoryChatMessageHistory] = {}
    model = FakeListChatModel(responses=["one", "two"])
    talk = RunnableWithMessageHistory(
        model, lambda session_id: store.setdefault(session_id, InMemoryChatMessageHistory())
    )
    support = cached(RunnableLambda(lambda value: value) | talk | StrOutputParser(), version="1", cache=response_cache)

    assert [support.invoke([HumanMessage(QUESTION)], session("a")) for _ in range(2)] == ["one", "two"]
    assert len(store["a"].messages) == 4
    assert {(event.decision, "keeps a conversation" in event.reason) for event in recorder.events} == {("bypass", True)}


def test_a_serialisable_chain_is_its_own_version(monkeypatch: pytest.MonkeyPatch) -> None:
    from langchain_anthropic import ChatAnthropic

    from langchain_costkit._hits import fingerprint

    monkeypatch.setenv("ANTHROPIC_API_KEY", "not-a-key")

    def chain(text: str, model: str) -> Any:
        return ChatPromptTemplate.from_template(text) | ChatAnthropic(model_name=model) | StrOutputParser()

    prints = {fingerprint(chain(*of)) for of in (("{question}", "a"), ("{question}!", "a"), ("{question}", "b"))}

    assert len(prints) == 3
    assert None not in prints
    assert fingerprint(chain("{question}", "a")) in prints


def test_messages_round_trip_marked_as_hits_without_id_or_usage(response_cache: ResponseCache) -> None:
    answer = AIMessage(
        "within 14 days",
        id="run-1",
        response_metadata={"model_name": "claude-haiku-4-5", "stop_reason": "end_turn"},
        usage_metadata={"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
    )
    support = cached(GenericFakeChatModel(messages=iter([answer])), version="1", cache=response_cache)

    fresh, hit = support.invoke(QUESTION), support.invoke(QUESTION)

    assert "costkit" not in fresh.response_metadata
    assert hit.content == "within 14 days"
    assert hit.id is None
    assert hit.usage_metadata == {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    assert hit.response_metadata["model_name"] == "claude-haiku-4-5"
    assert hit.response_metadata["costkit"]["decision"] == "hit"
    assert hit.response_metadata["costkit"]["matched_question"] == QUESTION


def test_a_dict_with_an_answer_round_trips_with_its_documents(
    response_cache: ResponseCache, documents: list[Document]
) -> None:
    result = {"input": QUESTION, "context": documents, "answer": "within 14 days", "scores": [0.5, None]}
    calls: list[object] = []
    support = cached(RunnableLambda(lambda v: (calls.append(v), result)[1]), version="1", cache=response_cache)

    assert [support.invoke({"input": QUESTION}) for _ in range(2)] == [result, result]
    assert len(calls) == 1


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "  ",
        {"other": "x"},
        {"answer": "x", "by": {1, 2}},
        AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "1"}]),
        AIMessage("cut", response_metadata={"stop_reason": "max_tokens"}),
        AIMessage("no", response_metadata={"stop_reason": "refusal"}),
        7,
    ],
)
def test_what_is_no_complete_answer_passes_through_and_is_not_kept(response_cache: ResponseCache, answer: Any) -> None:
    calls: list[object] = []
    support = cached(RunnableLambda(lambda v: (calls.append(v), answer)[1]), version="1", cache=response_cache)

    assert [support.invoke(QUESTION) for _ in range(2)] == [answer, answer]
    assert len(calls) == 2


def test_a_refusal_behind_a_parser_is_not_kept(response_cache: ResponseCache) -> None:
    refusals = [AIMessage("I cannot", response_metadata={"stop_reason": "refusal"}) for _ in range(2)]
    model = GenericFakeChatModel(messages=iter(refusals))
    support = cached(model | StrOutputParser(), version="1", cache=response_cache)

    assert [support.invoke(QUESTION) for _ in range(2)] == ["I cannot"] * 2


@pytest.mark.parametrize(
    ("instead", "calls"),
    [
        (RunnableLambda(lambda _: "Try again later."), 2),
        (FakeListChatModel(responses=["14 days"]) | StrOutputParser(), 1),
    ],
)
def test_what_is_said_after_a_failed_call_is_not_kept_unless_another_model_says_it(
    response_cache: ResponseCache, instead: Any, calls: int
) -> None:
    down = Down()
    support = cached((down | StrOutputParser()).with_fallbacks([instead]), version="1", cache=response_cache)

    first, second = (support.invoke(QUESTION) for _ in range(2))

    assert first == second
    assert down.calls == calls


def test_a_failing_chain_raises_and_keeps_nothing(response_cache: ResponseCache) -> None:
    answers: Iterator[Any] = iter([ValueError("down"), "up"])

    def answer(_: object) -> str:
        value = next(answers)
        if isinstance(value, Exception):
            raise value
        return str(value)

    support = cached(RunnableLambda(answer), version="1", cache=response_cache)

    with pytest.raises(ValueError, match="down"):
        support.invoke(QUESTION)
    assert [support.invoke(QUESTION) for _ in range(2)] == ["up", "up"]


def test_a_broken_store_steps_aside(broken_cache: ResponseCache, recorder: ListRecorder) -> None:
    support = cached(RunnableLambda(Chain()), version="1", cache=broken_cache)

    assert [support.invoke(QUESTION) for _ in range(2)] == ["answer number 1", "answer number 2"]
    assert {event.decision for event in recorder.events} == {"bypass"}


@pytest.mark.parametrize("name", ["refunds#0", "refunds.md"])
def test_an_answer_ends_with_a_document_it_rests_on(
    response_cache: ResponseCache, retriever: BaseRetriever, name: str
) -> None:
    support = cached(rag(retriever, "14 days", "30 days"), version="1", cache=response_cache)

    assert [support.invoke(QUESTION) for _ in range(2)] == ["14 days"] * 2
    support.cache.invalidate(name)
    assert support.invoke(QUESTION) == "30 days"


def test_a_document_that_was_not_read_invalidates_nothing(
    response_cache: ResponseCache, retriever: BaseRetriever
) -> None:
    support = cached(rag(retriever, "14 days", "30 days"), version="1", cache=response_cache)
    support.invoke(QUESTION)

    support.cache.invalidate("holidays.md")

    assert support.invoke(QUESTION) == "14 days"


def test_a_document_is_hashed_as_it_was_found_and_not_as_it_was_cut(
    documents: list[Document], retriever: BaseRetriever
) -> None:
    reducer = ContextReducer(budget_tokens=12, embedder=HashEmbedder(), recorder=ListRecorder())
    witness = Witness()

    reduced = CostkitRetriever(retriever, reducer=reducer).invoke(QUESTION, {"callbacks": [witness]})

    assert sum(len(one.page_content) for one in reduced) < sum(len(one.page_content) for one in documents)
    hashes = {one.document_id: one.content_hash for one in witness.evidence()}
    assert hashes.keys() == {"refunds#0", "refunds.md", "shipping#0", "shipping.md"}
    digest = hashlib.sha256(documents[0].page_content.encode()).hexdigest()
    assert hashes["refunds#0"] == hashes["refunds.md"] == digest


async def test_evidence_is_seen_in_async_calls_and_streams(
    response_cache: ResponseCache, retriever: BaseRetriever
) -> None:
    support = cached(rag(retriever, "14 days", "30 days", "40 days"), version="1", cache=response_cache)

    assert await support.ainvoke(QUESTION) == "14 days"
    await support.cache.ainvalidate("refunds.md")
    assert "".join([chunk async for chunk in support.astream(QUESTION)]) == "30 days"
    support.cache.invalidate("shipping.md")
    assert "".join(support.stream(QUESTION)) == "40 days"
    assert support.invoke(QUESTION) == "40 days"


def test_an_answer_rests_on_what_a_cached_part_of_it_rests_on(
    response_cache: ResponseCache, retriever: BaseRetriever
) -> None:
    inner = cached(rag(retriever, "14 days", "30 days"), version="inner-1", cache=response_cache)
    inner.invoke(QUESTION)
    outer = cached(inner | RunnableLambda(str.upper), version="outer-1", cache=response_cache)

    assert [outer.invoke(QUESTION) for _ in range(2)] == ["14 DAYS"] * 2
    response_cache.invalidate("refunds.md")
    assert outer.invoke(QUESTION) == "30 DAYS"


def test_a_hit_books_the_tokens_and_the_cost_it_saves(response_cache: ResponseCache, recorder: ListRecorder) -> None:
    answer = AIMessage(
        "within 14 days",
        response_metadata={"model_name": "claude-haiku-4-5"},
        usage_metadata={"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100},
    )
    model = GenericFakeChatModel(messages=iter([answer]))
    support = cached(model | StrOutputParser(), version="1", cache=response_cache)

    support.invoke(QUESTION)
    support.invoke(QUESTION)

    hit = recorder.events[-1]
    assert (hit.decision, hit.saved.uncached_input_tokens, hit.saved.output_tokens) == ("hit", 1000, 100)
    assert hit.saved_nano_usd == 1_500_000


def test_a_hit_on_an_answer_whose_model_calls_were_not_seen_is_unpriced(
    response_cache: ResponseCache, recorder: ListRecorder
) -> None:
    support = cached(RunnableLambda(Chain()), version="1", cache=response_cache)

    support.invoke(QUESTION)
    support.invoke(QUESTION)

    assert recorder.events[-1].decision == "hit"
    assert recorder.events[-1].saved_nano_usd is None


def test_every_decision_is_a_custom_event(response_cache: ResponseCache) -> None:
    seen = Seen()
    support = cached(RunnableLambda(Chain()), version="1", cache=response_cache)

    for question in (QUESTION, QUESTION, SAME_WORDS):
        support.invoke(question, {"callbacks": [seen]})

    assert [event["kind"] for event in seen.events] == ["miss", "exact", "semantic"]
    assert {event["name"] for event in seen.events} == {"costkit_cache"}


def test_a_stream_passes_through_then_replays_in_chunks(response_cache: ResponseCache) -> None:
    model = GenericFakeChatModel(messages=iter([AIMessage("paid within 14 days")]))
    support = cached(model | StrOutputParser(), version="1", cache=response_cache)

    fresh, hit = list(support.stream(QUESTION)), list(support.stream(QUESTION))

    assert "".join(fresh) == "".join(hit) == support.invoke(QUESTION) == "paid within 14 days"
    assert len(hit) == 4


async def test_message_streams_replay_as_message_chunks(response_cache: ResponseCache) -> None:
    model = GenericFakeChatModel(messages=iter([AIMessage("paid within 14 days")]))
    support = cached(model, version="1", cache=response_cache)

    fresh = [chunk async for chunk in support.astream([HumanMessage(QUESTION)])]
    hit = [chunk async for chunk in support.astream([HumanMessage(QUESTION)])]

    assert {type(chunk) for chunk in fresh + hit} == {AIMessageChunk}
    total = hit[0]
    for chunk in hit[1:]:
        total += chunk
    assert total.content == "paid within 14 days"
    assert total.response_metadata["costkit"]["kind"] == "exact"


def test_dict_streams_replay_key_by_key(response_cache: ResponseCache) -> None:
    def parts(_: Iterator[Any]) -> Iterator[dict[str, str]]:
        from langchain_core.runnables.utils import AddableDict

        yield AddableDict(input=QUESTION)
        yield AddableDict(answer="within ")
        yield AddableDict(answer="14 days")

    support = cached(RunnableGenerator(parts), version="1", cache=response_cache)

    list(support.stream({"input": QUESTION}))
    hit = list(support.stream({"input": QUESTION}))

    assert hit == [{"input": QUESTION}, {"answer": "within "}, {"answer": "14 "}, {"answer": "days"}]


def test_a_stream_that_is_left_or_fails_keeps_nothing(response_cache: ResponseCache) -> None:
    rounds: Iterator[str] = iter(["left", "fails", "whole", "again"])

    def parts(_: Iterator[Any]) -> Iterator[str]:
        kind = next(rounds)
        yield f"{kind} 1 "
        if kind == "fails":
            raise ValueError(kind)
        yield "2"

    support = cached(RunnableGenerator(parts), version="1", cache=response_cache)

    left = support.stream(QUESTION)
    assert next(left) == "left 1 "
    left.close()  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="fails"):
        list(support.stream(QUESTION))
    assert "".join(support.stream(QUESTION)) == "whole 1 2"
    assert "".join(support.stream(QUESTION)) == "whole 1 2"


async def test_a_cancelled_stream_keeps_nothing(response_cache: ResponseCache) -> None:
    started = asyncio.Event()
    rounds: Iterator[bool] = iter([True, False])

    async def parts(_: AsyncIterator[Any]) -> AsyncIterator[str]:
        yield "one "
        if next(rounds):
            started.set()
            await asyncio.sleep(3600)
        yield "two"

    support = cached(RunnableGenerator(parts), version="1", cache=response_cache)

    async def consume() -> list[str]:
        return [chunk async for chunk in support.astream(QUESTION)]

    task = asyncio.create_task(consume())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await consume() == ["one ", "two"]
    assert await support.ainvoke(QUESTION) == "one two"


async def test_streams_keep_the_scope_of_their_call(response_cache: ResponseCache, recorder: ListRecorder) -> None:
    support = cached(RunnableLambda(Chain()), version="1", cache=response_cache)

    with use(Scope(tenant="acme")):
        sync, asynchronous = support.stream(QUESTION), support.astream(QUESTION)
        events = support.astream_events(QUESTION)
    with use(Scope(tenant="globex")):
        list(sync)
        [chunk async for chunk in asynchronous]
        seen = [event async for event in events]

    assert [(event.scope.tenant, event.decision) for event in recorder.events] == [
        ("acme", "miss"),
        ("acme", "hit"),
        ("acme", "hit"),
    ]
    assert [event["data"]["kind"] for event in seen if event["event"] == "on_custom_event"] == ["exact"]
    assert "".join(e["data"]["chunk"] for e in seen if e["event"] == "on_chain_stream" and not e["parent_ids"]) == (
        "answer number 1"
    )


async def test_batches_answer_each_input(response_cache: ResponseCache) -> None:
    support = cached(RunnableLambda(lambda value: f"about {value}"), version="1", cache=response_cache)
    with use(Scope(tenant="acme")):
        first = support.batch(["refunds", "parcels"])
        second = await support.abatch(["parcels", "refunds"])

    assert first == ["about refunds", "about parcels"]
    assert second == ["about parcels", "about refunds"]


def test_it_composes_like_any_runnable(response_cache: ResponseCache) -> None:
    chain = Chain()
    support = RunnableLambda(lambda value: {"question": value}) | cached(
        RunnableLambda(chain), version="1", cache=response_cache
    )
    shouted = support | RunnableLambda(str.upper)

    assert [shouted.invoke(QUESTION), "".join(shouted.stream(QUESTION))] == ["ANSWER NUMBER 1"] * 2
    assert len(chain.calls) == 1


def test_call_options_are_identity(response_cache: ResponseCache) -> None:
    model = GenericFakeChatModel(messages=iter([AIMessage("one"), AIMessage("two")]))
    support = cached(model, version="1", cache=response_cache)

    assert support.invoke(QUESTION).content == "one"
    assert support.invoke(QUESTION, stop=["x"]).content == "two"
    assert support.invoke(QUESTION, stop=["x"]).content == "two"


def test_an_audited_hit_gets_a_fresh_answer_that_only_the_judge_sees(tmp_path: Path) -> None:
    judged: list[tuple[str, str, str]] = []
    chain = Chain()
    recorder = ListRecorder()
    cache = ResponseCache(
        version="v1",
        embedder=HashEmbedder(),
        path=tmp_path / "cache",
        recorder=recorder,
        audit_share=1.0,
        judge=lambda *seen: bool(judged.append(seen)),
    )
    support = cached(RunnableLambda(chain), version="support-3", cache=cache)

    assert support.invoke(QUESTION) == support.invoke(SAME_WORDS) == "answer number 1"
    cache.close()

    assert judged == [(SAME_WORDS, "answer number 1", "answer number 2")]
    assert [event.decision for event in recorder.events] == ["miss", "hit", "wrong"]
