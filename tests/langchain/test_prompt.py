"""``CacheBreakpointPromptTemplate``: the stable beginning of a prompt is marked, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_anthropic import ChatAnthropic
from langchain_core.load import dumps, loads
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.prompts import (
    ChatPromptTemplate,
    HumanMessagePromptTemplate,
    MessagesPlaceholder,
    PromptTemplate,
    SystemMessagePromptTemplate,
)
from pydantic import SecretStr

from costkit import ConfigurationError
from costkit.testing import MessagesServer, WordCounter
from langchain_costkit import CacheBreakpointPromptTemplate

RULES = "Answer only from the context. Cite what you use, and say so plainly if it is not there. " * 100
MARK = {"type": "ephemeral"}
HISTORY = [HumanMessage("hello"), AIMessage("hi, what can I do for you?")]


def texts(messages: list[BaseMessage]) -> list[str]:
    return [str(message.text) for message in messages]


def marks(messages: list[BaseMessage]) -> list[tuple[int, str, dict[str, str]]]:
    """Return (message, last words of the block, mark) of every marked block."""
    return [
        (at, block["text"].strip()[-12:], block["cache_control"])
        for at, message in enumerate(messages)
        for block in (message.content if isinstance(message.content, list) else [])
        if isinstance(block, dict) and "cache_control" in block
    ]


def test_a_stable_system_prompt_is_marked_and_the_rest_is_left_alone() -> None:
    plain = ChatPromptTemplate.from_messages([("system", RULES), ("human", "{context}\n\n{question}")])
    prompt = CacheBreakpointPromptTemplate.from_prompt(plain)

    messages = prompt.format_messages(context="c", question="q")

    assert marks(messages) == [(0, RULES.strip()[-12:], MARK)]
    assert messages[1] == HumanMessage("c\n\nq")
    assert plain.format_messages(context="c", question="q")[0].content == RULES


async def test_async_and_prompt_values_are_the_same() -> None:
    prompt = CacheBreakpointPromptTemplate.from_prompt(
        ChatPromptTemplate.from_messages([("system", RULES), ("human", "{question}")])
    )

    messages = prompt.format_messages(question="q")

    assert await prompt.aformat_messages(question="q") == messages
    assert prompt.invoke({"question": "q"}).to_messages() == messages
    assert (await prompt.ainvoke({"question": "q"})).to_messages() == messages


def test_a_variable_in_the_system_prompt_ends_the_stable_beginning() -> None:
    prompt = CacheBreakpointPromptTemplate.from_prompt(
        ChatPromptTemplate.from_messages([("system", RULES + "\nContext: {context}"), ("human", "{question}")])
    )

    messages = prompt.format_messages(context="c", question="q")

    assert marks(messages) == [(0, "e. \nContext:", MARK)]
    assert str(messages[0].text) == RULES + "\nContext: c"


def test_a_variable_that_comes_first_leaves_nothing_to_mark() -> None:
    plain = ChatPromptTemplate.from_messages([("system", "Today is {today}. " + RULES), ("human", "{question}")])
    prompt = CacheBreakpointPromptTemplate.from_prompt(plain)

    values = {"today": "Monday", "question": "q"}

    assert prompt.format_messages(**values) == plain.format_messages(**values)


def test_the_end_of_a_history_is_marked() -> None:
    prompt = CacheBreakpointPromptTemplate.from_prompt(
        ChatPromptTemplate.from_messages([("system", RULES), MessagesPlaceholder("history"), ("human", "{question}")])
    )

    messages = prompt.format_messages(history=HISTORY, question="q")

    assert [(at, mark) for at, _, mark in marks(messages)] == [(0, MARK), (2, MARK)]
    assert HISTORY[1].content == "hi, what can I do for you?"


def test_a_history_behind_changing_text_is_not_marked() -> None:
    prompt = CacheBreakpointPromptTemplate.from_prompt(
        ChatPromptTemplate.from_messages([("system", RULES + "{context}"), MessagesPlaceholder("history")])
    )

    assert [at for at, _, _ in marks(prompt.format_messages(history=HISTORY, context="c"))] == [0]


@pytest.mark.parametrize(
    ("model", "words", "marked"),
    [
        (None, 300, False),
        (None, 1500, True),
        ("claude-haiku-4-5", 1500, False),
        ("claude-sonnet-4-5", 1500, True),
        ("gpt-5", 9000, False),
    ],
)
def test_a_prefix_below_the_models_minimum_is_not_marked(model: str | None, words: int, marked: bool) -> None:
    plain = ChatPromptTemplate.from_messages([("system", "word " * words), ("human", "{question}")])
    prompt = CacheBreakpointPromptTemplate.from_prompt(plain, model=model)

    messages = prompt.format_messages(question="q")

    assert bool(marks(messages)) is marked
    assert marked or messages == plain.format_messages(question="q")


def test_partial_values_are_stable_and_functions_are_not() -> None:
    plain = ChatPromptTemplate.from_messages([("system", "You serve {firm}. " + RULES), ("human", "{question}")])
    prompt = CacheBreakpointPromptTemplate.from_prompt(plain)

    fixed = prompt.partial(firm="Acme")
    computed = prompt.partial(firm=lambda: "Acme")

    assert isinstance(fixed, CacheBreakpointPromptTemplate)
    assert len(marks(fixed.format_messages(question="q"))) == 1
    assert marks(computed.format_messages(question="q")) == []


def test_the_user_says_how_stable_a_variable_is_and_how_long_marks_live() -> None:
    prompt = CacheBreakpointPromptTemplate.from_prompt(
        ChatPromptTemplate.from_messages([("system", RULES + "News: {news}"), ("human", "{question}")]),
        stability={"news": "daily"},
        ttl={"static": "1h", "daily": "5m"},
    )

    messages = prompt.format_messages(news="none " * 600, question="q")

    assert [mark for _, _, mark in marks(messages)] == [{"type": "ephemeral", "ttl": "1h"}, MARK]


def test_marks_of_the_users_own_are_respected() -> None:
    block = {"type": "text", "text": "{context}", "cache_control": MARK}
    plain = ChatPromptTemplate.from_messages([("system", RULES), ("human", [block])])
    prompt = CacheBreakpointPromptTemplate.from_prompt(plain)

    assert prompt.format_messages(context="c") == plain.format_messages(context="c")


def test_blocks_of_a_list_are_marked_where_they_stand() -> None:
    blocks = [{"type": "text", "text": RULES}, {"type": "text", "text": "Context: {context}"}]
    prompt = CacheBreakpointPromptTemplate.from_prompt(
        ChatPromptTemplate.from_messages([("system", blocks), ("human", "{question}")])
    )

    (system, _) = prompt.format_messages(context="c", question="q")

    assert system.content == [
        {"type": "text", "text": RULES, "cache_control": MARK},
        {"type": "text", "text": "Context: c"},
    ]


def test_adding_messages_keeps_the_marks() -> None:
    start = CacheBreakpointPromptTemplate.from_prompt(ChatPromptTemplate.from_messages([("system", RULES)]))

    joined = start + HumanMessagePromptTemplate.from_template("{question}")

    assert isinstance(joined, CacheBreakpointPromptTemplate)
    assert joined.input_variables == ["question"]
    assert len(marks(joined.format_messages(question="q"))) == 1


def test_a_text_prompt_becomes_the_human_message() -> None:
    prompt = CacheBreakpointPromptTemplate.from_prompt(PromptTemplate.from_template(RULES + "{question}"))

    (message,) = prompt.format_messages(question="q")

    assert isinstance(message, HumanMessage)
    assert message.content == [
        {"type": "text", "text": RULES, "cache_control": MARK},
        {"type": "text", "text": "q"},
    ]


def test_templates_of_other_formats_are_marked_as_a_whole_or_not() -> None:
    plain = ChatPromptTemplate.from_messages(
        [("system", RULES), ("human", RULES + "{{question}}")], template_format="mustache"
    )

    messages = CacheBreakpointPromptTemplate.from_prompt(plain).format_messages(question="q")

    assert [at for at, _, _ in marks(messages)] == [0]
    assert messages[1].content == RULES + "q"


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
def test_it_serialises() -> None:
    prompt = CacheBreakpointPromptTemplate.from_prompt(
        ChatPromptTemplate.from_messages([("system", RULES), ("human", "{question}")]), model="claude-sonnet-4-5"
    )

    loaded = loads(
        dumps(prompt),
        allowed_objects=[
            CacheBreakpointPromptTemplate,
            SystemMessagePromptTemplate,
            HumanMessagePromptTemplate,
            PromptTemplate,
        ],
        valid_namespaces=["langchain_costkit"],
    )

    assert isinstance(loaded, CacheBreakpointPromptTemplate)
    assert loaded.model == "claude-sonnet-4-5"
    assert loaded.format_messages(question="q") == prompt.format_messages(question="q")


def test_wrong_arguments_name_themselves() -> None:
    prompt = ChatPromptTemplate.from_messages([("human", "{question}")])

    with pytest.raises(ConfigurationError, match="'quest'"):
        CacheBreakpointPromptTemplate.from_prompt(prompt, stability={"quest": "daily"})
    with pytest.raises(ConfigurationError, match="template"):
        CacheBreakpointPromptTemplate.from_prompt("text")  # type: ignore[arg-type]


_WORDS = st.text(alphabet="ab {}\n.", max_size=12).map(lambda text: text.replace("{", "{{").replace("}", "}}"))
_NAMES = st.sampled_from(["x", "y", "z"])


@given(
    parts=st.lists(st.tuples(_WORDS, _NAMES), max_size=4),
    tail=_WORDS,
    values=st.fixed_dictionaries({name: st.text(max_size=8) for name in "xyz"}),
    long=st.booleans(),
)
def test_the_model_reads_the_same_text_with_and_without_marks(
    parts: list[tuple[str, str]], tail: str, values: dict[str, Any], long: bool
) -> None:
    template = (RULES if long else "") + "".join(f"{text}{{{name}}}" for text, name in parts) + tail
    plain = ChatPromptTemplate.from_messages([("system", template), ("human", "{x}" + template)])
    prompt = CacheBreakpointPromptTemplate.from_prompt(plain, stability={"x": "daily"})

    expected, messages = plain.format_messages(**values), prompt.format_messages(**values)

    assert texts(messages) == texts(expected)
    assert len(marks(messages)) <= 4
    for message in messages:
        if isinstance(message.content, list):
            assert all(block["text"].strip() for block in message.content if isinstance(block, dict))


@pytest.fixture
def server() -> Iterator[MessagesServer]:
    with MessagesServer(lambda _: "14 days", counter=WordCounter()) as running:
        yield running


def test_a_second_request_reads_what_the_first_has_written(server: MessagesServer) -> None:
    plain = ChatPromptTemplate.from_messages(
        [("system", RULES * 4), MessagesPlaceholder("history", optional=True), ("human", "{question}")]
    )
    llm = ChatAnthropic(model_name="claude-sonnet-5-5", base_url=server.url, api_key=SecretStr("local"))
    chain = CacheBreakpointPromptTemplate.from_prompt(plain) | llm

    first = chain.invoke({"question": "How long?"})
    chain.invoke({"question": "And now?", "history": [HumanMessage("How long?"), first]})

    usages = [request.usage for request in server.requests]
    assert usages[0] is not None
    assert usages[1] is not None
    assert usages[0].cache_write_5m_tokens > 5000
    assert usages[1].cache_read_tokens == usages[0].cache_write_5m_tokens
    assert 0 < usages[1].cache_write_5m_tokens < 50
    assert isinstance(server.requests[0].body["system"], list)
