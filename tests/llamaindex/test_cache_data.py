"""A kept answer is data in LlamaIndex: no door of the cache reads it as a template."""

from __future__ import annotations

from typing import Any

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import Response
from llama_index.core.llms import MockLLM
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from costkit.cache import ResponseCache
from llamaindex_costkit import CostkitCachedLLM, CostkitQueryEngine

QUESTION = "how long does a refund of my order take"
SAID = "{x} {query_str} {{ 7 * 7 }} {% for a in b %} %s ${HOME} {0} {{{"


class Engine(BaseQueryEngine):
    """Answers with what looks like a template, from a source that does."""

    def __init__(self) -> None:
        self.calls = 0
        super().__init__(callback_manager=None)

    def _get_prompt_modules(self) -> dict[str, Any]:
        return {}

    def _query(self, query_bundle: QueryBundle) -> Response:
        self.calls += 1
        node = TextNode(text=SAID, metadata={"title": SAID})
        return Response(response=SAID, source_nodes=[NodeWithScore(node=node, score=1.0)])

    async def _aquery(self, query_bundle: QueryBundle) -> Response:
        return self._query(query_bundle)


async def test_an_answer_and_its_sources_come_back_byte_for_byte(response_cache: ResponseCache) -> None:
    engine = Engine()
    support = CostkitQueryEngine(engine, version="1", cache=response_cache)

    for response in (support.query(QUESTION), support.query(QUESTION), await support.aquery(QUESTION)):
        assert response.response == SAID
        assert response.source_nodes[0].node.get_content() == SAID
        assert response.source_nodes[0].node.metadata["title"] == SAID
    assert engine.calls == 1


def test_a_served_answer_fills_a_later_prompt_as_it_is(response_cache: ResponseCache) -> None:
    llm = CostkitCachedLLM(MockLLM(), version="1", cache=response_cache)

    said = [llm.complete(SAID).text for _ in range(2)]
    streamed = "".join(chunk.delta or "" for chunk in llm.stream_complete(SAID))

    assert [*said, streamed] == [SAID] * 3  # the model repeats its prompt
    assert PromptTemplate("Check this: {said}").format(said=said[1]) == f"Check this: {SAID}"
