"""``CostkitCachedLLM(llm)``: the response cache around one model."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import CacheControl, CachePoint, ChatMessage, ImageBlock, MessageRole, TextBlock
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool

from costkit import ConfigurationError, Scope
from costkit.cache import ResponseCache
from costkit.scope import use
from costkit.testing import ListRecorder
from llamaindex_costkit import CostkitCachedLLM, CostkitEventHandler

QUESTION = "how long does a refund of my order take"
SAME_WORDS = "a refund of my order take how long does"


@pytest.fixture
def cached(llm: Any, response_cache: ResponseCache) -> CostkitCachedLLM:
    return CostkitCachedLLM(llm, version="1", cache=response_cache)


def asking(question: str, system: str = "Be brief.", **extra: Any) -> list[ChatMessage]:
    return [ChatMessage(role="system", content=system), ChatMessage(role="user", content=question, **extra)]


def test_the_same_question_is_answered_once(cached: CostkitCachedLLM, llm: Any) -> None:
    answers = [cached.chat(asking(question)) for question in (QUESTION, QUESTION, SAME_WORDS)]

    assert [answer.message.content for answer in answers] == ["answer 1"] * 3
    assert len(llm.calls) == 1
    assert "costkit" not in answers[0].additional_kwargs
    assert [answer.additional_kwargs["costkit"]["kind"] for answer in answers[1:]] == ["exact", "semantic"]


def test_everything_around_the_question_must_be_equal(cached: CostkitCachedLLM) -> None:
    history = [ChatMessage(role="user", content="hello"), ChatMessage(role="assistant", content="hi")]
    calls: list[Any] = [
        (asking(QUESTION), {}),
        (asking(QUESTION, system="Be long."), {}),
        ([*history, *asking(QUESTION)], {}),
        (asking(QUESTION, additional_kwargs={"name": "ann"}), {}),
        (asking(QUESTION), {"temperature": 1}),
    ]

    first = [cached.chat(messages, **options).message.content for messages, options in calls]
    again = [cached.chat(messages, **options).message.content for messages, options in calls]

    assert first == again == [f"answer {number}" for number in range(1, 6)]


def test_cache_points_of_the_provider_make_no_other_question(cached: CostkitCachedLLM, llm: Any) -> None:
    point = CachePoint(cache_control=CacheControl(type="ephemeral"))
    system = ChatMessage(role="system", blocks=[TextBlock(text="Be brief.")])
    marked = ChatMessage(role="system", blocks=[TextBlock(text="Be brief."), point])

    cached.chat([system, ChatMessage(content=QUESTION)])
    cached.chat([marked, ChatMessage(content=QUESTION)])

    assert len(llm.calls) == 1


def test_completions_are_cached_apart_from_chats(cached: CostkitCachedLLM) -> None:
    chat = cached.chat([ChatMessage(content=QUESTION)]).message.content

    assert [cached.complete(QUESTION).text for _ in range(2)] == ["answer 2", "answer 2"]
    assert chat == "answer 1"
    assert cached.complete(QUESTION).additional_kwargs["costkit"]["kind"] == "exact"


async def test_every_way_of_asking_shares_the_answer(cached: CostkitCachedLLM, llm: Any) -> None:
    messages = asking(QUESTION)

    answers = [
        cached.chat(messages).message.content,
        (await cached.achat(messages)).message.content,
        "".join(chunk.delta or "" for chunk in cached.stream_chat(messages)),
        "".join([chunk.delta or "" async for chunk in await cached.astream_chat(messages)]),
    ]
    completions = [
        "".join(chunk.delta or "" for chunk in cached.stream_complete(QUESTION)),
        "".join([chunk.delta or "" async for chunk in await cached.astream_complete(QUESTION)]),
        (await cached.acomplete(QUESTION)).text,
    ]

    assert answers == ["answer 1"] * 4
    assert completions == ["answer 2"] * 3
    assert len(llm.calls) == 2


def test_a_stream_is_kept_only_when_complete(cached: CostkitCachedLLM) -> None:
    abandoned = cached.stream_chat(asking(QUESTION))
    next(abandoned)
    abandoned.close()

    fresh = list(cached.stream_chat(asking(QUESTION)))
    served = list(cached.stream_chat(asking(QUESTION)))

    assert fresh[-1].message.content == "answer 2"
    assert [chunk.delta for chunk in served] == ["answer ", "2"]
    assert [chunk.message.content for chunk in served] == ["answer ", "answer 2"]


def test_the_scope_of_the_call_holds_when_the_stream_is_read_later(cached: CostkitCachedLLM, llm: Any) -> None:
    with use(Scope(tenant="acme")):
        stream = cached.stream_chat(asking(QUESTION))
    list(stream)

    with use(Scope(tenant="globex")):
        assert cached.chat(asking(QUESTION)).message.content == "answer 2"
    with use(Scope(tenant="acme")):
        assert cached.chat(asking(QUESTION)).message.content == "answer 1"
    assert llm.scopes[0] == Scope(tenant="acme")


def test_a_filled_prompt_is_served_word_for_word_only(
    cached: CostkitCachedLLM, caplog: pytest.LogCaptureFixture
) -> None:
    filled = "Context: refunds take 14 days.\n\nQuestion: {}"

    with caplog.at_level(logging.WARNING, "costkit.cache"):
        answers = [cached.complete(filled.format(text)).text for text in (QUESTION, SAME_WORDS, QUESTION)]

    assert answers == ["answer 1", "answer 2", "answer 1"]
    assert len([record for record in caplog.records if "filled prompt" in record.message]) == 1


def test_a_template_says_which_part_is_the_question(cached: CostkitCachedLLM) -> None:
    template = PromptTemplate("Context: {context_str}\n\nQuestion: {query_str}")
    refunds, shipping = "refunds take 14 days", "parcels leave on Monday"

    answers = [
        cached.predict(template, query_str=QUESTION, context_str=refunds),
        cached.predict(template.partial_format(query_str=SAME_WORDS), context_str=refunds),
        cached.predict(template, query_str=QUESTION, context_str=shipping),
        "".join(cached.stream(template, query_str=SAME_WORDS, context_str=shipping)),
    ]

    assert answers == ["answer 1", "answer 1", "answer 2", "answer 2"]


async def test_a_template_says_so_in_async_calls_too(cached: CostkitCachedLLM) -> None:
    template = PromptTemplate("Context: {context_str}\n\nQuestion: {query_str}")

    answers = [
        await cached.apredict(template, query_str=QUESTION, context_str="14 days"),
        "".join([token async for token in await cached.astream(template, query_str=SAME_WORDS, context_str="14 days")]),
    ]

    assert answers == ["answer 1", "answer 1"]


def test_a_message_with_an_image_is_never_cached(cached: CostkitCachedLLM, recorder: ListRecorder) -> None:
    image = ImageBlock(url="https://example.org/p.png")
    message = ChatMessage(role=MessageRole.USER, blocks=[TextBlock(text=QUESTION), image])

    assert [cached.chat([message]).message.content for _ in range(2)] == ["answer 1", "answer 2"]
    assert [event.decision for event in recorder.events] == ["bypass", "bypass"]


def test_what_the_model_adds_to_a_prompt_is_kept(response_cache: ResponseCache, make_llm: Any) -> None:
    llm = make_llm(system_prompt="Answer in French.")
    cached = CostkitCachedLLM(llm, version="1", cache=response_cache)

    cached.predict(PromptTemplate("{query_str}"), query_str=QUESTION)

    assert [message.content for message in llm.calls[0]] == ["Answer in French.", QUESTION]


def test_tools_go_straight_to_the_model(cached: CostkitCachedLLM, llm: Any) -> None:
    tool = FunctionTool.from_defaults(fn=double, name="double")

    responses = [cached.chat_with_tools([tool], user_msg=QUESTION) for _ in range(2)]
    calls = cached.get_tool_calls_from_response(responses[0])
    result = cached.predict_and_call([tool], user_msg=QUESTION)

    assert [(call.tool_name, call.tool_kwargs) for call in calls] == [("double", {"number": 2})]
    assert str(result) == "4"
    assert len(llm.calls) == 3


def test_options_with_tools_are_never_cached(cached: CostkitCachedLLM, llm: Any) -> None:
    for _ in range(2):
        cached.chat(asking(QUESTION), tools=["double"])

    assert len(llm.calls) == 2


# LlamaIndex's workflows read deprecated pydantic attributes of every agent.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_function_agent_works_through_the_cache(cached: CostkitCachedLLM, llm: Any) -> None:
    agent = FunctionAgent(tools=[FunctionTool.from_defaults(fn=double, name="double")], llm=cached)

    result = await agent.run("double two", memory=ChatMemoryBuffer.from_defaults(token_limit=1000))

    assert str(result) == "answer 2"
    assert llm.calls[1][-1].content == "4"


def test_a_hit_is_no_call_of_the_model(cached: CostkitCachedLLM, recorder: ListRecorder) -> None:
    get_dispatcher().add_event_handler(CostkitEventHandler(recorder=recorder))

    for _ in range(3):
        cached.chat(asking(QUESTION))

    assert [event.kind for event in recorder.events] == ["cache", "model", "cache", "cache"]
    assert recorder.events[-1].saved == recorder.events[1].usage


def test_a_broken_store_leaves_the_model_working(llm: Any, broken_cache: ResponseCache) -> None:
    cached = CostkitCachedLLM(llm, version="1", cache=broken_cache)

    assert [cached.chat(asking(QUESTION)).message.content for _ in range(2)] == ["answer 1", "answer 2"]


def test_an_error_of_the_model_reaches_the_caller_and_keeps_nothing(cached: CostkitCachedLLM, llm: Any) -> None:
    llm.fails = True
    with pytest.raises(RuntimeError, match="down"):
        cached.chat(asking(QUESTION))
    llm.fails = False

    assert cached.chat(asking(QUESTION)).message.content == "answer 2"


def test_a_version_is_required_with_a_cache_too(llm: Any, response_cache: ResponseCache) -> None:
    with pytest.raises(ConfigurationError, match=r"version=None.*SmallLLM"):
        CostkitCachedLLM(llm)
    with pytest.raises(ConfigurationError, match="version=None"):
        CostkitCachedLLM(llm, cache=response_cache)


def test_models_of_two_classes_with_one_name_never_answer_for_each_other(
    make_llm: Any, response_cache: ResponseCache
) -> None:
    class Other(make_llm):  # type: ignore[misc]
        pass

    own, other = make_llm(), Other()
    for llm in (own, other):
        CostkitCachedLLM(llm, version="1", cache=response_cache).chat(asking(QUESTION))

    assert (len(own.calls), len(other.calls)) == (1, 1)


def test_it_describes_itself_as_the_model_it_wraps(cached: CostkitCachedLLM, llm: Any) -> None:
    assert cached.metadata == llm.metadata
    assert cached.class_name() == "CostkitCachedLLM"
    assert "_llm" not in cached.to_dict()


def double(number: int) -> int:
    """Double a number."""
    return number * 2
