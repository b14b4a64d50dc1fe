"""Run by .ci/run where only the wheels of costkit and llama-index-costkit are installed: all five parts, with fakes."""

from __future__ import annotations

import sys
from pathlib import Path

from llama_index.core import PromptTemplate, SummaryIndex
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.schema import TextNode

import llamaindex_costkit
from costkit.cache import ResponseCache
from costkit.context import ContextReducer, from_embedder
from costkit.testing import HashEmbedder, ListRecorder
from llamaindex_costkit import (
    CacheBreakpointPromptTemplate,
    CostkitEventHandler,
    CostkitNodePostprocessor,
    CostkitQueryEngine,
    CostkitRouterLLM,
)


class Fixed(CustomLLM):
    """Answers every question the same."""

    model: str

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name=self.model)

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: object) -> CompletionResponse:
        return CompletionResponse(text="14 days")

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: object) -> object:
        raise NotImplementedError


def main() -> None:
    assert Path(llamaindex_costkit.__file__).is_relative_to(sys.prefix), llamaindex_costkit.__file__
    recorder, embedder = ListRecorder(), HashEmbedder()
    get_dispatcher().add_event_handler(CostkitEventHandler(recorder=recorder))
    llm = CostkitRouterLLM([Fixed(model="claude-haiku-4-5"), Fixed(model="claude-opus-4-5")], recorder=recorder)
    reducer = ContextReducer(reranker=from_embedder(embedder), recorder=recorder)
    engine = SummaryIndex([TextNode(text="Refunds take 14 days. Cats stay at home.")]).as_query_engine(
        llm=llm,
        node_postprocessors=[CostkitNodePostprocessor(reducer=reducer)],
        text_qa_template=CacheBreakpointPromptTemplate.from_prompt(
            PromptTemplate("{context_str}\n\nQuestion: {query_str}")
        ),
    )
    cache = ResponseCache(version="1", embedder=embedder, path=Path("cache"), recorder=recorder)
    engine = CostkitQueryEngine(engine, version="1", cache=cache)

    answers = [str(engine.query("How long do refunds take?")) for _ in range(2)]
    cache.close()

    assert answers == ["14 days", "14 days"]
    assert [event.part for event in recorder.events].count("model") == 1
    assert {event.part for event in recorder.events} == {"cache", "context", "route", "model"}


if __name__ == "__main__":
    main()
