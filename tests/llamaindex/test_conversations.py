"""Questions asked within a conversation, through LlamaIndex's chat engines and the doors to the response cache."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.base.response.schema import Response
from llama_index.core.chat_engine import CondensePlusContextChatEngine, CondenseQuestionChatEngine
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import QueryBundle

from costkit.cache import ResponseCache
from costkit.testing import ListRecorder
from llamaindex_costkit import CostkitCachedLLM, CostkitQueryEngine

FOLLOW_UP = "And how many seats does it have?"
SOLO, TEAM = "What does the Solo plan cost?", "What does the Team plan cost?"


class Engine(BaseQueryEngine):
    """Keeps what it is asked and answers with the number of the call."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__(callback_manager=None)

    def _get_prompt_modules(self) -> dict[str, Any]:
        return {}

    def _query(self, query_bundle: QueryBundle) -> Response:
        self.asked.append(query_bundle.query_str)
        return Response(response=f"answer {len(self.asked)}")

    async def _aquery(self, query_bundle: QueryBundle) -> Response:
        return self._query(query_bundle)


@pytest.fixture
def condensing(make_llm: Any) -> Any:
    """A model that rewrites a follow-up with the plan that was spoken of last, or fails to."""

    class Condensing(make_llm):  # type: ignore[misc]
        forgets: bool = False

        def _answer(self, messages: Any, tools: Any) -> Any:
            response = super()._answer(messages, tools)
            told = str(messages[-1].content)
            plan = max(("Solo", "Team"), key=told.rfind)
            text = FOLLOW_UP if self.forgets else f"How many seats does the {plan} plan have?"
            return response.model_copy(update={"message": ChatMessage(role=MessageRole.ASSISTANT, content=text)})

    return Condensing


def memory() -> ChatMemoryBuffer:
    return ChatMemoryBuffer.from_defaults(token_limit=1000)


def test_a_query_engine_bypasses_what_needs_a_conversation(
    response_cache: ResponseCache, recorder: ListRecorder
) -> None:
    engine = Engine()
    cached = CostkitQueryEngine(engine, version="1", cache=response_cache)

    assert str(cached.query(FOLLOW_UP)) != str(cached.query(FOLLOW_UP))
    assert [event.decision for event in recorder.events] == ["bypass", "bypass"]


def test_a_chat_engine_is_keyed_by_the_condensed_question(
    response_cache: ResponseCache, recorder: ListRecorder, condensing: Any
) -> None:
    engine = Engine()
    cached = CostkitQueryEngine(engine, version="1", cache=response_cache)

    def say(*messages: str) -> list[str]:
        chat = CondenseQuestionChatEngine.from_defaults(cached, llm=condensing(), memory=memory())
        return [str(chat.chat(message)) for message in messages]

    assert say(SOLO, FOLLOW_UP) == ["answer 1", "answer 2"]
    assert say(TEAM, FOLLOW_UP) == ["answer 3", "answer 4"]
    assert say(SOLO, "So how many people can use it?") == ["answer 1", "answer 2"]
    assert say("How many seats does the Team plan have?") == ["answer 4"]

    assert engine.asked[1::2] == [f"How many seats does the {plan} plan have?" for plan in ("Solo", "Team")]
    assert [event.decision for event in recorder.events] == ["miss"] * 4 + ["hit"] * 3


async def test_a_condensed_question_that_still_needs_its_conversation_bypasses(
    response_cache: ResponseCache, recorder: ListRecorder, condensing: Any
) -> None:
    """Also the very first message, which a chat engine asks as it is."""
    cached = CostkitQueryEngine(Engine(), version="1", cache=response_cache)

    async def say(*messages: str) -> list[str]:
        chat = CondenseQuestionChatEngine.from_defaults(cached, llm=condensing(forgets=True), memory=memory())
        return [str(await chat.achat(message)) for message in messages]

    assert await say(SOLO, FOLLOW_UP) == ["answer 1", "answer 2"]
    assert await say(TEAM, FOLLOW_UP) == ["answer 3", "answer 4"]
    assert await say(FOLLOW_UP) == ["answer 5"]
    assert [event.decision for event in recorder.events] == ["miss", "bypass", "miss", "bypass", "bypass"]


async def test_a_chat_engine_streams_what_the_cache_serves(
    response_cache: ResponseCache, recorder: ListRecorder, retriever: Any, llm: Any, condensing: Any
) -> None:
    """The engine inside must be made with streaming=True: LlamaIndex switches it on for its own class alone."""
    engine = RetrieverQueryEngine.from_args(retriever, llm=llm, streaming=True)
    cached = CostkitQueryEngine(engine, version="1", cache=response_cache)

    def chat() -> CondenseQuestionChatEngine:
        return CondenseQuestionChatEngine.from_defaults(cached, llm=condensing(), memory=memory())

    fresh, again, other = chat(), chat(), chat()
    first = ["".join(fresh.stream_chat(message).response_gen) for message in (SOLO, FOLLOW_UP)]
    second = ["".join(again.stream_chat(message).response_gen) for message in (SOLO, FOLLOW_UP)]
    third = [
        "".join([token async for token in (await other.astream_chat(message)).async_response_gen()])
        for message in (SOLO, FOLLOW_UP)
    ]

    assert first == second == third == ["answer 1", "answer 2"]
    assert str(again.chat_history[-1].content) == "answer 2"
    assert [event.decision for event in recorder.events] == ["miss"] * 2 + ["hit"] * 4


def test_a_model_serves_a_follow_up_with_all_that_it_was_asked_with(
    response_cache: ResponseCache, recorder: ListRecorder, llm: Any
) -> None:
    cached = CostkitCachedLLM(llm, version="1", cache=response_cache)

    def say(*texts: str, system: str = "Be brief.") -> str:
        roles = [MessageRole.USER, MessageRole.ASSISTANT, MessageRole.USER]
        said = [ChatMessage(role=role, content=text) for role, text in zip(roles, texts, strict=False)]
        return str(cached.chat([ChatMessage(role=MessageRole.SYSTEM, content=system), *said]).message.content)

    assert say(SOLO, "10 euros.", FOLLOW_UP) == say(SOLO, "10 euros.", FOLLOW_UP)
    assert say(SOLO, "10 euros.", FOLLOW_UP) != say(TEAM, "40 euros.", FOLLOW_UP)
    assert say(FOLLOW_UP) != say(FOLLOW_UP)
    assert cached.complete(FOLLOW_UP).text != cached.complete(FOLLOW_UP).text
    assert [event.decision for event in recorder.events] == ["miss", "hit", "hit", "miss"] + ["bypass"] * 4


def test_a_condensing_chat_engine_with_context_asks_a_cached_model(
    response_cache: ResponseCache, recorder: ListRecorder, retriever: Any, llm: Any
) -> None:
    cached = CostkitCachedLLM(llm, version="1", cache=response_cache)

    def say(*messages: str) -> list[str]:
        chat = CondensePlusContextChatEngine.from_defaults(retriever, llm=cached, memory=memory())
        return [str(chat.chat(message)) for message in messages]

    first, other, again = say(SOLO, FOLLOW_UP), say(TEAM, FOLLOW_UP), say(SOLO, FOLLOW_UP)

    assert first == again
    assert not {*first} & {*other}
    assert {event.decision for event in recorder.events[-3:]} == {"hit"}
