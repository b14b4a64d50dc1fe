"""Questions asked within a conversation, through every LangChain door to the response cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    get_buffer_string,
)
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnablePassthrough
from langchain_core.runnables.history import RunnableWithMessageHistory
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages

from costkit.cache import ResponseCache
from costkit.testing import ListRecorder
from langchain_costkit import CostkitSemanticCache, cached
from langchain_costkit.middleware import CostkitMiddleware

SOLO: list[BaseMessage] = [HumanMessage("What does the Solo plan cost?"), AIMessage("10 euros.")]
TEAM: list[BaseMessage] = [HumanMessage("What does the Team plan cost?"), AIMessage("40 euros.")]
FOLLOW_UP = "And how many seats does it have?"
NAMED = "How many seats does the Pro plan have?"


class Chain:
    """Counts its calls and answers with the number of the call."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def __call__(self, value: object) -> str:
        self.calls.append(value)
        return f"answer number {len(self.calls)}"


@pytest.fixture
def support(response_cache: ResponseCache) -> Any:
    return cached(RunnableLambda(Chain()), version="1", cache=response_cache)


def decisions(recorder: ListRecorder) -> list[str]:
    return [event.decision for event in recorder.events]


def ask(support: Runnable[Any, Any], question: str, history: object = None, **more: object) -> object:
    return support.invoke({"question": question, "chat_history": history, **more})


@pytest.mark.parametrize(
    "value",
    [
        FOLLOW_UP,
        [HumanMessage(FOLLOW_UP)],
        [SystemMessage("Be brief."), HumanMessage(FOLLOW_UP)],
        {"question": FOLLOW_UP},
        {"question": FOLLOW_UP, "chat_history": []},
        {"question": FOLLOW_UP, "history": "", "language": "en"},
        {"messages": [HumanMessage(FOLLOW_UP)]},
        {"question": FOLLOW_UP, "messages": [HumanMessage(FOLLOW_UP)]},
    ],
    ids=repr,
)
def test_a_follow_up_without_its_conversation_bypasses(support: Any, recorder: ListRecorder, value: object) -> None:
    assert support.invoke(value) != support.invoke(value)
    assert decisions(recorder) == ["bypass", "bypass"]
    assert 'opens with "and"' in recorder.events[0].reason


async def test_every_way_of_calling_bypasses_alike(support: Any, recorder: ListRecorder) -> None:
    for _ in range(2):
        await support.ainvoke(FOLLOW_UP)
        assert list(support.stream(FOLLOW_UP))
        assert [chunk async for chunk in support.astream(FOLLOW_UP)]
        support.batch([FOLLOW_UP])

    assert decisions(recorder) == ["bypass"] * 8


FORMS: dict[str, Any] = {
    "messages": lambda said: said,
    "tuples": lambda said: [(one.type, one.content) for one in said],
    "dicts": lambda said: [{"role": one.type, "content": one.content} for one in said],
    "transcript": get_buffer_string,
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_follow_up_is_served_in_an_equal_conversation_alone(support: Any, form: Any) -> None:
    first = ask(support, FOLLOW_UP, form(SOLO))

    assert ask(support, FOLLOW_UP, SOLO) == first
    assert ask(support, FOLLOW_UP, form(TEAM)) != first
    assert ask(support, FOLLOW_UP, form([*TEAM, *SOLO])) != first


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_question_that_names_its_subject_is_shared_by_conversations(support: Any, form: Any) -> None:
    first = ask(support, NAMED, form(SOLO))

    assert [ask(support, NAMED, form(TEAM)), ask(support, NAMED)] == [first, first]
    assert support.invoke({"question": NAMED}) == first
    assert ask(support, NAMED, form([HumanMessage("We are a school."), AIMessage("I see.")])) != first


@pytest.mark.parametrize("history", [[("q1", "a1"), ("q2", "a2")], "Summary: prices were spoken of.", {"turns": 3}])
def test_a_history_of_unknown_form_is_equal_to_itself_alone(support: Any, history: object) -> None:
    first = ask(support, NAMED, history)

    assert ask(support, NAMED, history) == first
    assert ask(support, FOLLOW_UP, history) == ask(support, FOLLOW_UP, history)
    assert len({first, ask(support, NAMED), ask(support, NAMED, {"turns": 4}), ask(support, NAMED, "Other.")}) == 4


def test_tool_calls_and_images_keep_an_answer_in_its_conversation(support: Any) -> None:
    call = AIMessage("", tool_calls=[{"name": "search", "args": {"text": "x"}, "id": "1"}])
    image: list[str | dict[Any, Any]] = [{"type": "image", "url": "a"}, {"type": "text", "text": "What is it?"}]
    worked: list[list[BaseMessage]] = [[*SOLO, call, ToolMessage("x", tool_call_id="1")], [HumanMessage(image)]]

    assert len({ask(support, NAMED, history) for history in (*worked, [], *worked)}) == 3


def test_what_an_image_shows_is_what_a_question_beside_it_speaks_of(support: Any) -> None:
    def about(image: str) -> object:
        blocks: list[str | dict[Any, Any]] = [
            {"type": "image", "url": image},
            {"type": "text", "text": "What is this?"},
        ]
        return support.invoke([HumanMessage(blocks)])

    assert [about("a"), about("b"), about("a")] == ["answer number 1", "answer number 2", "answer number 1"]


def test_instructions_are_no_conversation_and_still_identity(support: Any, recorder: ListRecorder) -> None:
    def answer(instruction: str, *before: BaseMessage) -> object:
        return support.invoke({"messages": [SystemMessage(instruction), *before, HumanMessage(NAMED)]})

    brief = answer("Be brief.", *SOLO)

    assert answer("Be brief.", *TEAM) == answer("Be brief.") == brief
    assert answer("Be long.", *SOLO) != brief
    assert ask(support, NAMED, [SystemMessage("Be long."), *SOLO]) != ask(support, NAMED, SOLO)


# --- rewrites --------------------------------------------------------------------------------------------------------


def condense(value: dict[str, Any]) -> str:
    """Stand in for the model that rewrites a question: here it just knows the plan that was spoken of last."""
    told = get_buffer_string(value["chat_history"])
    plan = max(("Solo", "Team"), key=told.rfind)
    return f"How many seats does the {plan} plan have?" if told else value["question"]


def test_a_condensed_question_is_the_key(response_cache: ResponseCache, recorder: ListRecorder) -> None:
    chain = Chain()
    answers = cached(RunnableLambda(chain), version="1", cache=response_cache, standalone_key="standalone_question")
    support = RunnablePassthrough.assign(standalone_question=RunnableLambda(condense)) | answers

    first = ask(support, FOLLOW_UP, SOLO)
    assert ask(support, "So how many people can use it?", [*TEAM, *SOLO]) == first
    assert ask(support, "How many seats does the Solo plan have?", []) == first
    assert ask(support, FOLLOW_UP, TEAM) != first

    assert chain.calls[0]["question"] == FOLLOW_UP, "the chain gets its input as it came"
    assert decisions(recorder) == ["miss", "hit", "hit", "miss"]
    assert recorder.events[1].details["matched_question"] == "How many seats does the Solo plan have?"


def test_a_rewrite_that_is_missing_or_stands_not_alone_changes_nothing(response_cache: ResponseCache) -> None:
    support = cached(RunnableLambda(Chain()), version="1", cache=response_cache, standalone_key="alone")

    for rewrite in (None, "", FOLLOW_UP):
        first = ask(support, FOLLOW_UP, SOLO, alone=rewrite)
        assert ask(support, FOLLOW_UP, SOLO, alone=rewrite) == first
        assert ask(support, FOLLOW_UP, TEAM, alone=rewrite) != first
        assert support.invoke({"question": FOLLOW_UP, "alone": rewrite}) != first
    assert support.invoke({"question": NAMED}) == support.invoke({"question": NAMED, "alone": None})


def test_a_rewrite_that_is_no_text_is_named(response_cache: ResponseCache, recorder: ListRecorder) -> None:
    support = cached(RunnableLambda(Chain()), version="1", cache=response_cache, standalone_key="alone")

    ask(support, NAMED, alone=["not", "text"])

    assert decisions(recorder) == ["bypass"]
    assert "standalone_key='alone' holds ['not', 'text']" in recorder.events[0].reason


# --- where conversations come from -----------------------------------------------------------------------------------


def talk(response_cache: ResponseCache, kept: dict[str, InMemoryChatMessageHistory], *answers: str) -> Any:
    """Put LangChain's own history around a cached chain."""
    prompt = ChatPromptTemplate([("system", "Be brief."), MessagesPlaceholder("history"), ("user", "{question}")])
    model = GenericFakeChatModel(messages=iter(answers))
    return RunnableWithMessageHistory(
        cached(prompt | model | StrOutputParser(), version="1", cache=response_cache),
        lambda session_id: kept.setdefault(session_id, InMemoryChatMessageHistory()),
        input_messages_key="question",
        history_messages_key="history",
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_langchains_own_history_goes_around_a_cached_chain(
    response_cache: ResponseCache, recorder: ListRecorder
) -> None:
    kept: dict[str, InMemoryChatMessageHistory] = {}
    support = talk(response_cache, kept, "solo", "one seat", "team", "ten seats")

    def say(session: str, *questions: str) -> list[str]:
        config: RunnableConfig = {"configurable": {"session_id": session}}
        return [support.invoke({"question": question}, config) for question in questions]

    solo, team = "What does the Solo plan cost?", "What does the Team plan cost?"
    assert say("ann", solo, FOLLOW_UP) == ["solo", "one seat"]
    assert say("bob", team, FOLLOW_UP) == ["team", "ten seats"]
    assert say("eve", solo, FOLLOW_UP) == ["solo", "one seat"]
    assert say("eve", team) == ["team"]

    assert decisions(recorder) == ["miss"] * 4 + ["hit"] * 3
    assert [message.content for message in kept["eve"].messages] == [solo, "solo", FOLLOW_UP, "one seat", team, "team"]


class State(TypedDict):
    """A graph's conversation."""

    messages: Annotated[list[AnyMessage], add_messages]


def test_a_node_of_a_graph_asks_within_the_graphs_conversation(
    response_cache: ResponseCache, recorder: ListRecorder
) -> None:
    model = GenericFakeChatModel(messages=iter(["solo", "one seat", "team", "ten seats"]))
    answers = cached(model, version="1", cache=response_cache)
    graph = StateGraph(State)
    graph.add_node("answer", lambda state: {"messages": [answers.invoke(state["messages"])]})
    graph.add_edge(START, "answer")
    app = graph.compile()

    def say(*questions: str) -> list[object]:
        state: Any = {"messages": []}
        for question in questions:
            state = app.invoke({"messages": [*state["messages"], HumanMessage(question)]})
        return [message.content for message in state["messages"][1::2]]

    assert say("What does the Solo plan cost?", FOLLOW_UP) == ["solo", "one seat"]
    assert say("What does the Team plan cost?", FOLLOW_UP) == ["team", "ten seats"]
    assert say("What does the Solo plan cost?", FOLLOW_UP) == ["solo", "one seat"]
    assert decisions(recorder) == ["miss"] * 4 + ["hit"] * 2


def test_an_agents_follow_up_is_served_in_an_equal_conversation_alone(
    response_cache: ResponseCache, recorder: ListRecorder
) -> None:
    model = GenericFakeChatModel(messages=iter(["one", "two", "three", "four"]))
    agent: Any = create_agent(model, [], middleware=[CostkitMiddleware(cache=response_cache)])

    def answer(question: str, before: Sequence[BaseMessage]) -> object:
        return agent.invoke({"messages": [*before, HumanMessage(question)]})["messages"][-1].content

    assert [answer(FOLLOW_UP, SOLO), answer(FOLLOW_UP, TEAM), answer(FOLLOW_UP, SOLO)] == ["one", "two", "one"]
    assert [answer(NAMED, SOLO), answer(NAMED, TEAM)] == ["three", "three"]
    assert answer(FOLLOW_UP, []) == "four"
    assert decisions(recorder)[-1] == "bypass"


# --- around a model --------------------------------------------------------------------------------------------------


def served(model_cache: CostkitSemanticCache, messages: Sequence[BaseMessage]) -> bool:
    """Say whether the second of two equal calls of a model is served."""
    model = GenericFakeChatModel(messages=iter(["one", "two"]), cache=model_cache)
    return model.invoke(list(messages)).content == model.invoke(list(messages)).content


def test_a_model_serves_a_follow_up_with_all_that_it_was_asked_with(response_cache: ResponseCache) -> None:
    plain, marked = (
        CostkitSemanticCache(cache=response_cache),
        CostkitSemanticCache(question="Q:", cache=response_cache),
    )

    assert not served(plain, [HumanMessage(FOLLOW_UP)])
    assert not served(plain, [SystemMessage("Be brief."), HumanMessage(FOLLOW_UP)])
    assert not served(marked, [HumanMessage(f"Q:{FOLLOW_UP}")])
    assert served(plain, [*SOLO, HumanMessage(FOLLOW_UP)])
    assert served(marked, [HumanMessage(f"The Solo plan costs 10 euros.\nQ:{FOLLOW_UP}")])
    assert served(plain, [HumanMessage(f"The Solo plan costs 10 euros.\n\nAnd that is all.\n\n{FOLLOW_UP}")])
    assert served(plain, [HumanMessage(NAMED)])


def test_a_models_follow_up_meets_no_other_conversation(response_cache: ResponseCache) -> None:
    cache = CostkitSemanticCache(cache=response_cache)
    model = GenericFakeChatModel(messages=iter(["one", "two", "three"]), cache=cache)

    answers = [model.invoke([*before, HumanMessage(FOLLOW_UP)]).content for before in (SOLO, TEAM, SOLO, [])]

    assert answers == ["one", "two", "one", "three"]
