"""``CacheBreakpointPromptTemplate.from_prompt(prompt)``: the stable beginning of a prompt is marked for the cache."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.base.llms.types import CacheControl, CachePoint, ChatMessage, ImageBlock, TextBlock
from llama_index.core.llms import MockLLM
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate, RichPromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode, get_response_synthesizer
from llama_index.core.types import BaseOutputParser
from llama_index.llms.anthropic import Anthropic

from costkit import ConfigurationError
from costkit.cache import ResponseCache
from costkit.testing import ListRecorder, MessagesServer, WordCounter
from llamaindex_costkit import CacheBreakpointPromptTemplate, CostkitCachedLLM, CostkitRouterLLM
from llamaindex_costkit.prompt import _tell_once

LONG = "Answer from the handbook alone and cite each document that you use. " * 500
MODEL = "claude-sonnet-4-5"


def chat(user: str, system: str = LONG) -> ChatPromptTemplate:
    return ChatPromptTemplate([ChatMessage(role="system", content=system), ChatMessage(role="user", content=user)])


def shape(message: ChatMessage) -> list[str]:
    return [block.text if isinstance(block, TextBlock) else block.cache_control.ttl for block in message.blocks]  # type: ignore[union-attr]


def test_one_line_marks_the_fixed_beginning_of_the_user_message() -> None:
    prompt = CacheBreakpointPromptTemplate.from_prompt(chat("Context:\n{context_str}\nQuestion: {query_str}"))

    system, user = prompt.format_messages(context_str="passages", query_str="why?")

    assert shape(system) == [LONG]
    assert shape(user) == ["Context:\n", "5m", "passages\nQuestion: why?"]


def test_a_text_prompt_becomes_the_user_message() -> None:
    prompt = CacheBreakpointPromptTemplate.from_prompt(PromptTemplate(f"{LONG}Context: {{context_str}}"))

    (user,) = prompt.format_messages(context_str="passages")

    assert shape(user) == [f"{LONG}Context: ", "5m", "passages"]


def test_a_short_beginning_is_not_marked() -> None:
    prompt = CacheBreakpointPromptTemplate.from_prompt(chat("Context: {context_str}", system="Be brief."))

    assert shape(prompt.format_messages(context_str="passages")[1]) == ["Context: passages"]


def test_each_level_of_stability_gets_its_mark() -> None:
    prompt = CacheBreakpointPromptTemplate.from_prompt(
        chat("Rules:\n{rules}\nCase:\n{case}\nQuestion: {query_str}"),
        stability={"rules": "daily", "case": "session"},
        ttl={"static": "1h", "daily": "1h"},
    )

    user = prompt.format_messages(rules="be kind", case="a refund", query_str="why?")[1]

    assert shape(user) == ["Rules:\n", "1h", "be kind\nCase:\n", "1h", "a refund\nQuestion: ", "5m", "why?"]


def test_a_user_message_that_begins_with_a_variable_leaves_no_place_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    _tell_once.cache_clear()
    prompt = CacheBreakpointPromptTemplate.from_prompt(chat("{context_str} {query_str}"))

    with caplog.at_level(logging.WARNING, "costkit.prompt"):
        messages = [prompt.format_messages(context_str="passages", query_str="why?") for _ in range(2)]

    assert [shape(message) for message in messages[0]] == [[LONG], ["passages why?"]]
    assert [record.message.startswith("no cache breakpoint was placed") for record in caplog.records] == [True]


def test_partial_values_given_per_question_are_not_taken_for_stable() -> None:
    prompt = CacheBreakpointPromptTemplate.from_prompt(
        chat("Company: {company}\nQuestion: {query_str}\n{context_str}").partial_format(company="Acme")
    )

    partial = prompt.partial_format(query_str="why?")

    assert isinstance(partial, CacheBreakpointPromptTemplate)
    assert shape(partial.format_messages(context_str="passages")[1]) == [
        "Company: Acme\nQuestion: ",
        "5m",
        "why?\npassages",
    ]


def test_mappings_of_the_prompt_hold() -> None:
    plain = PromptTemplate(
        f"{LONG} {{ctx}} {{shout}}",
        template_var_mappings={"context_str": "ctx"},
        function_mappings={"shout": lambda **values: str(values["query_str"]).upper()},
    )
    prompt = CacheBreakpointPromptTemplate.from_prompt(plain, stability={"ctx": "session"})

    (user,) = prompt.format_messages(context_str="passages", query_str="why?")

    assert shape(user) == [f"{LONG} ", "5m", "passages ", "5m", "WHY?"]


def test_a_models_own_dialect_decides(make_llm: Any) -> None:
    prompt = CacheBreakpointPromptTemplate.from_prompt(chat("Context: {context_str}"), model="gpt-5")

    assert len(prompt.format_messages(context_str="p")[1].blocks) == 1
    assert len(prompt.format_messages(llm=MockLLM(), context_str="p")[1].blocks) == 1
    assert len(prompt.format_messages(llm=make_llm(model=MODEL), context_str="p")[1].blocks) == 3


def test_behind_a_router_every_model_must_read_the_marks(make_llm: Any, response_cache: ResponseCache) -> None:
    def blocks(system: str, *models: str) -> int:
        router = CostkitRouterLLM([make_llm(model=model) for model in models])
        cached = CostkitCachedLLM(router, version="1", cache=response_cache)
        prompt = CacheBreakpointPromptTemplate.from_prompt(chat("Context: {context_str}", system=system))
        seen = {len(prompt.format_messages(llm=llm, context_str="p")[1].blocks) for llm in (router, cached)}
        assert len(seen) == 1
        return seen.pop()

    assert blocks(LONG, "claude-haiku-4-5", "claude-opus-4-5") == 3
    assert blocks(LONG, "claude-haiku-4-5", "custom-model") == 1, "the other provider does not know the marks"
    middling = LONG[: len(LONG) // 3]
    assert blocks(middling, "claude-sonnet-4-5", "claude-opus-4-1") == 3
    assert blocks(middling, "claude-sonnet-4-5", "claude-opus-4-5") == 1, "the largest minimum holds"


def test_marks_of_your_own_are_left_alone() -> None:
    point = CachePoint(cache_control=CacheControl(type="ephemeral", ttl="1h"))
    plain = ChatPromptTemplate([ChatMessage(blocks=[TextBlock(text=LONG), point, TextBlock(text="{query_str}")])])

    assert CacheBreakpointPromptTemplate.from_prompt(plain).format_messages(query_str="why?") == plain.format_messages(
        query_str="why?"
    )


def test_blocks_that_are_no_text_stay_in_place() -> None:
    image = ImageBlock(url="https://example.org/plan.png")
    plain = ChatPromptTemplate([ChatMessage(blocks=[TextBlock(text=LONG), image, TextBlock(text="Look: {query_str}")])])

    (user,) = CacheBreakpointPromptTemplate.from_prompt(plain).format_messages(query_str="why?")

    assert [block.block_type for block in user.blocks] == ["text", "image", "text", "cache", "text"]


def test_an_output_parser_still_adds_its_instructions() -> None:
    class Json(BaseOutputParser):
        def parse(self, output: str) -> Any:
            return output

        def format(self, query: str) -> str:
            return f"{query}\nAnswer in JSON."

    plain = PromptTemplate(f"{LONG} {{query_str}}", output_parser=Json())

    (user,) = CacheBreakpointPromptTemplate.from_prompt(plain).format_messages(query_str="why?")

    assert str(user.content).endswith("why?\nAnswer in JSON.")


def test_as_one_text_the_prompt_is_the_plain_one() -> None:
    plain = chat("Context: {context_str}")

    assert CacheBreakpointPromptTemplate.from_prompt(plain).format(context_str="p") == plain.format(context_str="p")
    assert CacheBreakpointPromptTemplate.from_prompt(plain).get_template() == plain.get_template()


@given(st.text(max_size=20), st.text(max_size=20), st.sampled_from(["", " ", "\n", "Context:\n", LONG, "{braces"]))
def test_marks_never_change_a_word(context: str, question: str, fixed: str) -> None:
    plain = ChatPromptTemplate(
        [
            ChatMessage(role="system", content=LONG),
            ChatMessage(role="user", content=fixed + "{context_str}\n{query_str} {unknown}"),
        ]
    )
    prompt = CacheBreakpointPromptTemplate.from_prompt(plain, stability={"context_str": "session"})

    expected = plain.format_messages(context_str=context, query_str=question)
    made = prompt.format_messages(context_str=context, query_str=question)

    for one, other in zip(made, expected, strict=True):
        texts = [block.text for block in one.blocks if isinstance(block, TextBlock)]
        assert "".join(texts) == other.content
        assert len(texts) == 1 or all(text.strip() for text in texts), "the provider refuses blank blocks"


def test_wrong_prompts_and_options_are_named() -> None:
    with pytest.raises(ConfigurationError, match="got RichPromptTemplate"):
        CacheBreakpointPromptTemplate.from_prompt(RichPromptTemplate("{{ query_str }}"))
    with pytest.raises(ConfigurationError, match="stability\\['nobody'\\]"):
        CacheBreakpointPromptTemplate.from_prompt(chat("{query_str}"), stability={"nobody": "static"})
    with pytest.raises(ConfigurationError, match="one-hour"):
        CacheBreakpointPromptTemplate.from_prompt(chat("{query_str}"), ttl={"static": "5m", "daily": "1h"})


@pytest.fixture
def server() -> Iterator[MessagesServer]:
    with MessagesServer(answer=lambda request: "fourteen days", counter=WordCounter()) as running:
        yield running


@pytest.mark.parametrize("mode", [ResponseMode.COMPACT, ResponseMode.SIMPLE_SUMMARIZE, ResponseMode.REFINE])
@pytest.mark.parametrize("routed", [False, True])
def test_the_second_question_reads_the_beginning_from_the_providers_cache(
    server: MessagesServer, retriever: Any, recorder: ListRecorder, mode: ResponseMode, routed: bool
) -> None:
    llm: Any = Anthropic(model=MODEL, base_url=server.url, api_key="key", max_retries=0)
    if routed:
        llm = CostkitRouterLLM([llm], recorder=recorder)
    prompt = CacheBreakpointPromptTemplate.from_prompt(chat("Context:\n{context_str}\nQuestion: {query_str}"))
    synthesizer = get_response_synthesizer(llm=llm, text_qa_template=prompt, response_mode=mode)
    engine = RetrieverQueryEngine(type(retriever)(retriever.nodes[:1]), response_synthesizer=synthesizer)

    answers = [str(engine.query(question)) for question in ("how long?", "and when?")]

    assert answers == ["fourteen days"] * 2
    first, second = (request.usage for request in server.requests)
    assert first is not None
    assert second is not None
    assert first.cache_write_5m_tokens == second.cache_read_tokens == len(LONG.split()) + 1
    assert second.cache_write_tokens == 0
