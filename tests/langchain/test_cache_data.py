"""A kept answer is data in LangChain: no door of the cache reads it as a template."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda

from costkit.cache import ResponseCache
from langchain_costkit import CostkitSemanticCache, cached

QUESTION = "how long does a refund of my order take"
SAID = "{x} {question} {{ 7 * 7 }} {% for a in b %} %s ${HOME} {0} {{{"


@pytest.mark.parametrize("answer", [SAID, AIMessage(SAID), {"answer": SAID, "context": [SAID]}], ids=type)
def test_an_answer_comes_back_byte_for_byte(response_cache: ResponseCache, answer: Any) -> None:
    calls: list[object] = []
    support = cached(RunnableLambda(lambda value: (calls.append(value), answer)[1]), version="1", cache=response_cache)

    first, again = support.invoke(QUESTION), support.invoke(QUESTION)
    chunks = list(support.stream(QUESTION))

    assert len(calls) == 1
    for served in (first, again):
        said = served["answer"] if isinstance(served, dict) else served
        assert (said.content if isinstance(said, AIMessage) else said) == SAID
    parts = [chunk.get("answer", "") if isinstance(chunk, dict) else chunk for chunk in chunks]
    assert "".join(str(part.content) if isinstance(part, AIMessage) else part for part in parts) == SAID


async def test_a_served_answer_fills_a_later_prompt_as_it_is(response_cache: ResponseCache) -> None:
    chain = ChatPromptTemplate.from_template("Answer: {question}") | FakeListChatModel(responses=[SAID, "never"])
    support = cached(chain | StrOutputParser(), version="1", cache=response_cache)
    checked = {"said": support} | ChatPromptTemplate.from_template("Check this: {said}")

    prompts = [(await checked.ainvoke({"question": QUESTION})).to_string() for _ in range(2)]

    assert prompts == [f"Human: Check this: {SAID}"] * 2


def test_a_models_answer_comes_back_byte_for_byte(response_cache: ResponseCache) -> None:
    model = FakeListChatModel(responses=[SAID, "never"], cache=CostkitSemanticCache(cache=response_cache))

    assert [model.invoke(QUESTION).content for _ in range(2)] == [SAID] * 2
