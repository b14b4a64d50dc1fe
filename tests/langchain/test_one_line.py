"""One line is enough: every part with its defaults, the offline model and the ledger in the project's folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnablePassthrough
from pydantic import SecretStr

from costkit.ledger import default_ledger
from costkit.testing import MessagesServer
from langchain_costkit import (
    CacheBreakpointPromptTemplate,
    CostkitRetriever,
    CostkitRouterChatModel,
    CostkitUsageHandler,
    cached,
)


@pytest.fixture
def server() -> Iterator[MessagesServer]:
    with MessagesServer(lambda body: f"{body['model']}: 14 days") as running:
        yield running


@pytest.mark.usefixtures("minilm")
def test_five_lines_walk_one_question_through_five_parts(
    server: MessagesServer, retriever: BaseRetriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COSTKIT_EMBEDDER", "minilm")
    haiku, opus = (
        ChatAnthropic(model_name=name, base_url=server.url, api_key=SecretStr("local"))
        for name in ("claude-haiku-4-5", "claude-opus-4-5")
    )
    prompt: Any = ChatPromptTemplate.from_messages(
        [("system", "Answer from the context. " * 2000), ("human", "{context}\n\nQuestion: {question}")]
    )

    retriever = CostkitRetriever(retriever)
    prompt = CacheBreakpointPromptTemplate.from_prompt(prompt)
    llm = CostkitRouterChatModel([haiku, opus])
    fill = {"context": retriever, "question": RunnablePassthrough()}
    chain: Any = fill | prompt | llm | StrOutputParser()
    chain = cached(chain, version="support-3")
    config: Any = {"callbacks": [CostkitUsageHandler()]}

    answers = [
        chain.invoke(question, config)
        for question in ("When are refunds paid?", "When are refunds paid?", "When are parcels shipped?")
    ]

    assert answers == ["claude-haiku-4-5: 14 days"] * 3
    assert len(server.requests) == 2
    usages = [request.usage for request in server.requests]
    assert usages[0] is not None
    assert usages[1] is not None
    assert usages[1].cache_read_tokens == usages[0].cache_write_5m_tokens > 4096
    events = list(default_ledger().events())
    assert {event.part for event in events} == {"cache", "context", "route", "model"}
    assert sum(event.cost_nano_usd or 0 for event in events if event.part == "model") > 0
    chain.cache.close()
    default_ledger().close()
