"""``CostkitSemanticCache`` behind LangChain's own cache hook."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import pytest
from langchain_core.caches import BaseCache
from langchain_core.language_models import FakeListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, Generation
from langchain_tests.integration_tests import AsyncCacheTestSuite, SyncCacheTestSuite

from costkit import Scope
from costkit.cache import ResponseCache
from costkit.scope import use
from langchain_costkit import CostkitSemanticCache

QUESTION = "how long does a refund of my order take"
SAME_WORDS = "a refund of my order take how long does"
CONTEXT = "Refunds take 14 days.\n\nParcels leave on Monday.\n\nQuestion: {}"


class TestSync(SyncCacheTestSuite):
    @pytest.fixture
    def cache(self, response_cache: ResponseCache) -> BaseCache:
        return CostkitSemanticCache(cache=response_cache)


class TestAsync(AsyncCacheTestSuite):
    @pytest.fixture
    async def cache(self, response_cache: ResponseCache) -> BaseCache:
        return CostkitSemanticCache(cache=response_cache)


def model(cache: BaseCache, *answers: str) -> FakeListChatModel:
    return FakeListChatModel(responses=list(answers), cache=cache)


def test_a_chat_model_serves_near_questions_and_marks_the_hit(response_cache: ResponseCache) -> None:
    llm = model(CostkitSemanticCache(cache=response_cache), "one", "two")

    fresh, hit = llm.invoke(QUESTION), llm.invoke(SAME_WORDS)

    assert [fresh.content, hit.content] == ["one", "one"]
    assert hit.response_metadata["costkit"]["kind"] == "semantic"


async def test_it_works_in_async_calls(response_cache: ResponseCache) -> None:
    llm = model(CostkitSemanticCache(cache=response_cache), "one", "two")

    assert [(await llm.ainvoke(QUESTION)).content for _ in range(2)] == ["one", "one"]


def test_served_messages_carry_no_earlier_id(response_cache: ResponseCache) -> None:
    cache = CostkitSemanticCache(cache=response_cache)
    cache.update("hello", "llm", [ChatGeneration(message=AIMessage("hi", id="run-1"))])

    found = cache.lookup("hello", "llm")

    assert isinstance(found, list)
    assert isinstance(found[0], ChatGeneration)
    assert found[0].message.id is None


def test_the_system_prompt_and_the_model_are_identity(response_cache: ResponseCache) -> None:
    llm = model(CostkitSemanticCache(cache=response_cache), "one", "two", "three")

    answers = [
        llm.invoke([SystemMessage("Be brief."), HumanMessage(QUESTION)]),
        llm.invoke([SystemMessage("Be long."), HumanMessage(QUESTION)]),
        llm.invoke([SystemMessage("Be brief."), HumanMessage(QUESTION)], stop=["x"]),
    ]

    assert [answer.content for answer in answers] == ["one", "two", "three"]


def test_a_filled_prompt_is_served_word_for_word_only_and_that_is_said_once(
    response_cache: ResponseCache, caplog: pytest.LogCaptureFixture
) -> None:
    llm = model(CostkitSemanticCache(cache=response_cache), "one", "two", "three")

    with caplog.at_level(logging.WARNING, "costkit.cache"):
        answers = [llm.invoke(CONTEXT.format(asked)).content for asked in (QUESTION, SAME_WORDS, QUESTION)]
        answers += [llm.invoke("word " * 200).content]

    assert answers == ["one", "two", "one", "three"]
    assert sum("filled prompt" in record.message for record in caplog.records) == 1


def after_marker(messages: Sequence[BaseMessage]) -> str | None:
    return str(messages[-1].text).rpartition("Question:")[2].strip() or None


@pytest.mark.parametrize("question", ["Question:", after_marker])
def test_a_marked_question_is_compared_alone_within_the_same_context(
    response_cache: ResponseCache, question: object
) -> None:
    llm = model(CostkitSemanticCache(question=question, cache=response_cache), "one", "two")  # type: ignore[arg-type]

    assert llm.invoke(CONTEXT.format(QUESTION)).content == "one"
    assert llm.invoke(CONTEXT.format(SAME_WORDS)).content == "one"
    assert llm.invoke(CONTEXT.replace("14", "30").format(QUESTION)).content == "two"


def test_an_image_beside_the_question_is_identity(response_cache: ResponseCache) -> None:
    llm = model(CostkitSemanticCache(cache=response_cache), "one", "two")

    def ask(question: str, image: str) -> object:
        block = {"type": "image", "base64": image, "mime_type": "image/png"}
        return llm.invoke([HumanMessage([{"type": "text", "text": question}, block])]).content

    assert [ask(QUESTION, "aaaa"), ask(QUESTION, "bbbb"), ask(SAME_WORDS, "aaaa")] == ["one", "two", "one"]


def test_several_generations_round_trip(response_cache: ResponseCache) -> None:
    cache = CostkitSemanticCache(cache=response_cache)
    generations = [Generation(text="a", generation_info={"n": 1}), Generation(text="b")]

    cache.update("hello", "llm", generations)

    assert cache.lookup("hello", "llm") == generations


def test_tool_calls_are_not_kept(response_cache: ResponseCache) -> None:
    call = AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "1"}])
    cache = CostkitSemanticCache(cache=response_cache)

    cache.update("hello", "llm", [ChatGeneration(message=call)])

    assert cache.lookup("hello", "llm") is None


def test_tenants_are_apart_and_clear_drops_one_of_them(response_cache: ResponseCache) -> None:
    cache = CostkitSemanticCache(cache=response_cache)
    for tenant in ("acme", "globex"):
        with use(Scope(tenant=tenant)):
            assert cache.lookup("hello", "llm") is None
            cache.update("hello", "llm", [Generation(text=tenant)])

    with use(Scope(tenant="acme")):
        cache.clear()
        assert cache.lookup("hello", "llm") is None
    with use(Scope(tenant="globex")):
        assert cache.lookup("hello", "llm") == [Generation(text="globex")]


def test_a_broken_store_steps_aside(broken_cache: ResponseCache) -> None:
    answers: Iterator[AIMessage] = iter([AIMessage("one"), AIMessage("two")])
    llm = GenericFakeChatModel(messages=answers, cache=CostkitSemanticCache(cache=broken_cache))

    assert [llm.invoke(QUESTION).content for _ in range(2)] == ["one", "two"]
