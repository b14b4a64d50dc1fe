"""One line is enough: every part with its defaults, the offline model and the ledger in the project's folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.prompts import ChatPromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.llms.anthropic import Anthropic

from costkit.ledger import default_ledger
from costkit.testing import MessagesServer
from llamaindex_costkit import (
    CacheBreakpointPromptTemplate,
    CostkitEventHandler,
    CostkitNodePostprocessor,
    CostkitQueryEngine,
    CostkitRouterLLM,
)


@pytest.fixture
def server() -> Iterator[MessagesServer]:
    with MessagesServer(lambda body: f"{body['model']}: 14 days") as running:
        yield running


@pytest.mark.usefixtures("minilm")
def test_five_lines_walk_one_question_through_five_parts(
    server: MessagesServer, retriever: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COSTKIT_EMBEDDER", "minilm")
    haiku, opus = (
        Anthropic(model=name, base_url=server.url, api_key="local", max_retries=0)
        for name in ("claude-haiku-4-5", "claude-opus-4-5")
    )
    prompt: Any = ChatPromptTemplate(
        [
            ChatMessage(role="system", content="Answer from the context. " * 2000),
            ChatMessage(role="user", content="Context:\n{context_str}\n\nQuestion: {query_str}"),
        ]
    )

    get_dispatcher().add_event_handler(CostkitEventHandler())
    llm = CostkitRouterLLM([haiku, opus])
    prompt = CacheBreakpointPromptTemplate.from_prompt(prompt)
    reducer = CostkitNodePostprocessor()
    engine: Any = RetrieverQueryEngine.from_args(
        retriever, llm=llm, text_qa_template=prompt, node_postprocessors=[reducer]
    )
    engine = CostkitQueryEngine(engine, version="support-3")

    questions = ("When are refunds paid?", "When are refunds paid?", "When are parcels shipped?")
    answers = [engine.query(question) for question in questions]

    assert [str(answer) for answer in answers] == ["claude-haiku-4-5: 14 days"] * 3
    assert ["costkit" in (answer.metadata or {}) for answer in answers] == [False, True, False]
    assert answers[1].metadata["costkit"]["decision"] == "hit"
    assert len(server.requests) == 2
    usages = [request.usage for request in server.requests]
    assert usages[0] is not None
    assert usages[1] is not None
    assert usages[1].cache_read_tokens == usages[0].cache_write_5m_tokens > 4096
    events = list(default_ledger().events())
    assert {event.part for event in events} == {"cache", "context", "route", "model"}
    models = [event for event in events if event.part == "model"]
    assert [event.usage for event in models] == usages
    assert all(event.cost_nano_usd for event in models)
    engine.cache.close()
    default_ledger().close()
