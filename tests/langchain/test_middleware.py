"""``CostkitMiddleware`` in LangChain agents, and what importing the package loads."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from langchain.agents import AgentState, create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda
from pydantic import SecretStr

from costkit import Scope
from costkit.cache import ResponseCache
from costkit.scope import use
from costkit.testing import ListRecorder, MessagesServer, WordCounter
from langchain_costkit import CostkitUsageHandler, cached
from langchain_costkit.middleware import CostkitMiddleware

QUESTION = "how long does a refund of my order take"
SAME_WORDS = "a refund of my order take how long does"


class Model(GenericFakeChatModel):
    """Gives scripted answers and takes tools."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"name": "scripted"}


class Opaque(BaseChatModel):
    """A model as an application writes it: it has a setting and tells nobody."""

    words: str

    @property
    def _llm_type(self) -> str:
        return "opaque"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self.words))])


def search(text: str) -> str:
    """Search the handbook."""
    return f"{text}: 14 days"


def agent(cache: ResponseCache, *answers: str | AIMessage, prompt: str = "Be brief.", **options: Any) -> Any:
    messages = (AIMessage(answer) if isinstance(answer, str) else answer for answer in answers)
    model = Model(messages=messages)
    return create_agent(
        model, tools=[search], system_prompt=prompt, middleware=[CostkitMiddleware(cache=cache)], **options
    )


def ask(runnable: Any, question: str, **config: Any) -> AIMessage:
    answer: AIMessage = runnable.invoke({"messages": [HumanMessage(question)]}, config)["messages"][-1]
    return answer


def test_a_question_is_answered_once(response_cache: ResponseCache) -> None:
    support = agent(response_cache, "14 days", "30 days")

    fresh, hit = ask(support, QUESTION), ask(support, SAME_WORDS)

    assert [fresh.content, hit.content] == ["14 days", "14 days"]
    assert hit.response_metadata["costkit"]["kind"] == "semantic"
    assert ask(support, "where is the cafeteria").content == "30 days"


async def test_async_calls_share_the_cache(response_cache: ResponseCache) -> None:
    support = agent(response_cache, "14 days")

    answers = [(await support.ainvoke({"messages": [HumanMessage(QUESTION)]}))["messages"][-1] for _ in range(2)]

    assert [answer.content for answer in answers] == ["14 days"] * 2


def test_a_turn_with_tools_runs_in_full(response_cache: ResponseCache) -> None:
    calls = [AIMessage("", tool_calls=[{"name": "search", "args": {"text": "x"}, "id": str(n)}]) for n in range(2)]
    support = agent(response_cache, calls[0], "14 days", calls[1], "30 days")

    assert [ask(support, QUESTION).content for _ in range(2)] == ["14 days", "30 days"]


def test_another_system_prompt_history_or_tenant_is_another_question(response_cache: ResponseCache) -> None:
    support = agent(response_cache, "one", "two", "three")
    other = agent(response_cache, "other", prompt="Be long.")

    assert ask(support, QUESTION).content == "one"
    assert ask(other, QUESTION).content == "other"
    history = [HumanMessage("hello"), AIMessage("hi"), HumanMessage(QUESTION)]
    assert support.invoke({"messages": history})["messages"][-1].content == "two"
    with use(Scope(tenant="acme")):
        assert ask(support, QUESTION).content == "three"
    assert ask(support, QUESTION, metadata={"costkit_tenant": "acme"}).content == "three"


def test_a_model_that_does_not_tell_its_settings_is_told_by_its_fields(response_cache: ResponseCache) -> None:
    by_hand, by_mail = (
        create_agent(Opaque(words=words), middleware=[CostkitMiddleware(cache=response_cache)])
        for words in ("by hand", "by mail")
    )

    assert [ask(one, QUESTION).content for one in (by_hand, by_mail, by_hand)] == ["by hand", "by mail", "by hand"]


def test_an_image_or_a_name_beside_the_question_is_another_question(response_cache: ResponseCache) -> None:
    support = agent(response_cache, "one", "two", "three")

    def about(image: str, name: str | None = None) -> object:
        blocks: list[str | dict[Any, Any]] = [{"type": "text", "text": QUESTION}, {"type": "image", "url": image}]
        return support.invoke({"messages": [HumanMessage(blocks, name=name)]})["messages"][-1].content

    assert [about("a"), about("b"), about("a", "ann"), about("b")] == ["one", "two", "three", "two"]


class Reading(AgentState[Any]):
    """An agent's state with what was retrieved for it."""

    context: list[Document]


@pytest.mark.parametrize("name", ["refunds#0", "refunds.md"])
def test_an_answer_rests_on_the_documents_in_the_state(
    response_cache: ResponseCache, documents: list[Document], name: str
) -> None:
    support = agent(response_cache, "14 days", "30 days", state_schema=Reading)

    def answer() -> object:
        return support.invoke({"messages": [HumanMessage(QUESTION)], "context": documents})["messages"][-1].content

    assert [answer(), answer()] == ["14 days"] * 2
    response_cache.invalidate(name)
    assert answer() == "30 days"


def test_an_answer_rests_on_what_a_tool_of_an_earlier_turn_returned(
    response_cache: ResponseCache, documents: list[Document]
) -> None:
    support = agent(response_cache, "14 days", "30 days")
    earlier: list[BaseMessage] = [
        HumanMessage("what do you know"),
        AIMessage("", tool_calls=[{"name": "search", "args": {"text": "x"}, "id": "1"}]),
        ToolMessage("Refunds are paid within 14 days.", tool_call_id="1", artifact=documents),
        AIMessage("this and that"),
    ]

    def answer() -> object:
        return support.invoke({"messages": [*earlier, HumanMessage(QUESTION)]})["messages"][-1].content

    assert [answer(), answer()] == ["14 days"] * 2
    response_cache.invalidate("shipping.md")
    assert answer() == "30 days"


def test_what_an_agent_is_served_is_evidence_of_a_cached_chain_around_it(
    response_cache: ResponseCache, documents: list[Document]
) -> None:
    support = agent(response_cache, "14 days", "30 days", state_schema=Reading)

    def answer(question: str) -> str:
        state = {"messages": [HumanMessage(question)], "context": documents}
        return str(support.invoke(state)["messages"][-1].content)

    answer(QUESTION)
    outer = cached(RunnableLambda(answer), version="outer-1", cache=response_cache)

    assert [outer.invoke(QUESTION) for _ in range(2)] == ["14 days"] * 2
    response_cache.invalidate("refunds.md")
    assert outer.invoke(QUESTION) == "30 days"


async def test_the_events_of_one_question_are_grouped(response_cache: ResponseCache, recorder: ListRecorder) -> None:
    support = agent(response_cache, "14 days", "30 days")

    ask(support, QUESTION, callbacks=[CostkitUsageHandler(recorder=recorder)])
    config: Any = {"callbacks": [CostkitUsageHandler(recorder=recorder)]}
    await support.ainvoke({"messages": [HumanMessage("where is the cafeteria")]}, config)

    assert [event.kind for event in recorder.events] == ["cache", "model"] * 2
    runs = [event.run_id for event in recorder.events]
    assert runs[0] == runs[1] != runs[2] == runs[3]
    assert None not in runs


def test_a_broken_store_steps_aside(broken_cache: ResponseCache) -> None:
    support = agent(broken_cache, "one", "two")

    assert [ask(support, QUESTION).content for _ in range(2)] == ["one", "two"]


@pytest.mark.parametrize("absent", [False, True])
def test_the_package_loads_no_agents_code_and_the_middleware_names_its_extra(absent: bool) -> None:
    script = """
import sys
import langchain_costkit
for name in langchain_costkit.__all__:
    getattr(langchain_costkit, name)
loaded = {name.split(".")[0] for name in sys.modules} & {"langchain", "langgraph", "anthropic"}
assert not loaded, loaded
"""
    if absent:
        script += """
from costkit import MissingExtraError
sys.modules["langchain.agents.middleware"] = None
try:
    import langchain_costkit.middleware
except MissingExtraError as error:
    assert "langchain-costkit[agents]" in str(error)
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_system_prompt_is_marked_unless_it_is_new_every_time(response_cache: ResponseCache) -> None:
    rules = "Answer from the handbook and cite it. " * 1000

    def system_blocks(prompts: list[str]) -> list[bool]:
        middleware = CostkitMiddleware(cache=response_cache)
        with MessagesServer(lambda _: "14 days", counter=WordCounter()) as server:
            model = ChatAnthropic(model_name="claude-sonnet-5-5", base_url=server.url, api_key=SecretStr("local"))
            for number, prompt in enumerate(prompts):
                support = create_agent(model, tools=[], system_prompt=prompt, middleware=[middleware])
                ask(support, f"question number {number}")
            return ["cache_control" in str(request.body["system"]) for request in server.requests]

    assert system_blocks([rules] * 3) == [True, True, True]
    assert system_blocks([f"It is {hour} o'clock. {rules}" for hour in range(3)]) == [True, False, False]
    assert system_blocks(["Be brief."] * 2) == [False, False]
