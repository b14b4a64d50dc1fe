"""The pipelines as LlamaIndex query engines: what a LlamaIndex user has, with costkit's parts added by their one line each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape

from llama_index.core import QueryBundle
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.llms import LLM, CustomLLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts import ChatPromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode, get_response_synthesizer
from llama_index.core.schema import MetadataMode, NodeRelationship, NodeWithScore, RelatedNodeInfo, TextNode
from llama_index_instrumentation import get_dispatcher
from pydantic import PrivateAttr

from costkit.cache import ResponseCache
from costkit_evals.pipelines import MAX_OUTPUT_TOKENS, Asked, Bench, Piece, Pipeline, cache_hit
from costkit_evals.prompts import SYSTEM, USER
from llamaindex_costkit import (
    CacheBreakpointPromptTemplate,
    CostkitEventHandler,
    CostkitNodePostprocessor,
    CostkitQueryEngine,
    CostkitRouterLLM,
)

__all__ = ["ExtractiveLLM", "LlamaIndexChain"]

CONTEXT_WINDOW_TOKENS = 200_000
# The passage as the prompt shows it; LlamaIndex fills {content}.
_NODE_TEMPLATE = '<document id="{id}" title="{title}">\n{{content}}\n</document>'


class ChunkRetriever(BaseRetriever):
    """Searches the bench's corpus."""

    def __init__(self, bench: Bench, *, k: int) -> None:
        self._bench = bench
        self._k = k
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [
            NodeWithScore(
                node=_node(found.chunk.id, found.chunk.doc_id, found.chunk.title, found.chunk.start, found.chunk.text),
                score=found.score,
            )
            for found in self._bench.retrieve(query_bundle.query_str, k=self._k)
        ]


class ExtractiveLLM(CustomLLM):
    """An LLM class without a language model: a reader answers from the prompt, a simulated provider bills it."""

    model: str
    _bench: Bench = PrivateAttr()

    def __init__(self, bench: Bench, *, model: str) -> None:
        super().__init__(model=model)
        self._bench = bench

    @classmethod
    def class_name(cls) -> str:
        """Return the serialisation id."""
        return "ExtractiveLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """Describe the model."""
        return LLMMetadata(model_name=self.model, context_window=CONTEXT_WINDOW_TOKENS, is_chat_model=True)

    def chat(self, messages: Sequence[ChatMessage], **kwargs: object) -> ChatResponse:
        """Answer a chat."""
        reply = self._bench.respond(_request(self.model, messages))
        usage = reply.usage
        raw = {
            "model": reply.model,
            "usage": {
                "input_tokens": usage.uncached_input_tokens,
                "cache_read_input_tokens": usage.cache_read_tokens,
                "cache_creation_input_tokens": usage.cache_write_tokens,
                "output_tokens": usage.output_tokens,
            },
        }
        return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=reply.text), raw=raw)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: object) -> CompletionResponse:
        """Answer a bare prompt."""
        response = self.chat([ChatMessage(role=MessageRole.USER, content=prompt)])
        return CompletionResponse(text=response.message.content or "", raw=response.raw)

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: object) -> CompletionResponseGen:
        """Answer a bare prompt in one chunk."""
        whole = self.complete(prompt)
        yield CompletionResponse(text=whole.text, delta=whole.text, raw=whole.raw)

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: object) -> ChatResponseGen:
        """Answer a chat in one chunk."""
        whole = self.chat(messages)
        yield ChatResponse(message=whole.message, delta=whole.message.content, raw=whole.raw)


class LlamaIndexChain:
    """One pipeline as a LlamaIndex query engine.

    LlamaIndex query engines take one self-contained question; conversations are asked with their standalone wording,
    as a condensing chat engine would.

    Args:
        pipeline: Its parts.
        bench: What it is built on.
    """

    def __init__(self, pipeline: Pipeline, bench: Bench) -> None:
        self._bench = bench
        self._cache: ResponseCache | None = None
        self._engine = self._build(pipeline)
        if bench.settings.real_models:
            self._handler = CostkitEventHandler(recorder=bench)
            get_dispatcher().add_event_handler(self._handler)

    def ask(self, question: str, history: Sequence[tuple[str, str]] = ()) -> Asked:
        """Answer one question."""
        trace = self._bench.begin()
        began = time.perf_counter()
        response = self._engine.query(question)
        seconds = time.perf_counter() - began
        self._bench.trace.context_text = "\n".join(
            node.node.get_content(metadata_mode=MetadataMode.LLM) for node in response.source_nodes
        )
        if self._bench.settings.real_models:
            self._bench.book_calls(question=question)
        hit, matched = cache_hit((response.metadata or {}).get("costkit"))
        if not hit:
            trace.context.extend(piece for node in response.source_nodes for piece in _pieces(node))
        return Asked(
            answer=str(response),
            hit=hit,
            matched_question=matched,
            trace=trace,
            seconds=seconds,
        )

    def close(self) -> None:
        """Release the response cache and stop listening."""
        if self._cache is not None:
            self._cache.close()
        if self._bench.settings.real_models:
            get_dispatcher().event_handlers.remove(self._handler)

    def _build(self, pipeline: Pipeline) -> BaseQueryEngine:
        bench, settings = self._bench, self._bench.settings
        prompt = ChatPromptTemplate(
            message_templates=[
                ChatMessage(role=MessageRole.SYSTEM, content=SYSTEM),
                ChatMessage(
                    role=MessageRole.USER, content=USER.format(context="{context_str}", question="{query_str}")
                ),
            ]
        )
        retriever = ChunkRetriever(bench, k=settings.naive_k)
        postprocessors: list[BaseNodePostprocessor] = []
        cheap, llm = _models(bench)
        if "context" in pipeline.parts:
            retriever = ChunkRetriever(bench, k=settings.candidates_k)
            postprocessors = [CostkitNodePostprocessor(reducer=bench.reducer())]
        if "prompt" in pipeline.parts:
            prompt = CacheBreakpointPromptTemplate.from_prompt(prompt, model=settings.strong_model)
        if "route" in pipeline.parts:
            llm = CostkitRouterLLM([cheap, llm], recorder=bench)
        synthesizer = get_response_synthesizer(llm=llm, text_qa_template=prompt, response_mode=ResponseMode.COMPACT)
        engine: BaseQueryEngine = RetrieverQueryEngine(
            retriever, response_synthesizer=synthesizer, node_postprocessors=postprocessors
        )
        if "cache" in pipeline.parts:
            self._cache = bench.response_cache()
            engine = CostkitQueryEngine(engine, version="handbook", cache=self._cache)
        return engine


def _models(bench: Bench) -> tuple[LLM, LLM]:
    """Return the LLMs of the cheap and the strong tier."""
    settings = bench.settings
    if settings.real_models:
        from llama_index.llms.anthropic import Anthropic

        return (
            Anthropic(model=settings.cheap_model, max_tokens=MAX_OUTPUT_TOKENS),
            Anthropic(model=settings.strong_model, max_tokens=MAX_OUTPUT_TOKENS),
        )
    return ExtractiveLLM(bench, model=settings.cheap_model), ExtractiveLLM(bench, model=settings.strong_model)


def _node(chunk_id: str, doc_id: str, title: str, start: int, text: str) -> TextNode:
    shown = _NODE_TEMPLATE.format(id=escape(doc_id), title=escape(title).replace("{", "{{").replace("}", "}}"))
    return TextNode(
        id_=chunk_id,
        text=text,
        metadata={"doc_id": doc_id, "title": title, "start": start},
        text_template=shown,
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=doc_id)},
    )


def _pieces(found: NodeWithScore) -> list[Piece]:
    """Return what a retrieved or reduced node covers, in characters of its source document."""
    meta = found.node.metadata
    whole = [[0, len(found.node.get_content(metadata_mode=MetadataMode.NONE))]]
    spans = meta.get("costkit_spans") or whole
    return [Piece(doc_id=meta["doc_id"], start=meta["start"] + start, end=meta["start"] + end) for start, end in spans]


def _request(model: str, messages: Sequence[ChatMessage]) -> dict[str, object]:
    system = [block for message in messages if message.role == MessageRole.SYSTEM for block in _blocks(message)]
    return {
        "model": model,
        "max_tokens": MAX_OUTPUT_TOKENS,
        "system": system,
        "messages": [
            {"role": "assistant" if message.role == MessageRole.ASSISTANT else "user", "content": _blocks(message)}
            for message in messages
            if message.role != MessageRole.SYSTEM
        ],
    }


def _blocks(message: ChatMessage) -> list[dict[str, object]]:
    """Return a message's text blocks; a cache point marks the block before it."""
    blocks: list[dict[str, object]] = []
    for block in message.blocks:
        if block.block_type == "text":
            blocks.append({"type": "text", "text": block.text})
        elif block.block_type == "cache" and blocks:
            blocks[-1] = blocks[-1] | {"cache_control": block.cache_control.model_dump(exclude_none=True)}
    return blocks
