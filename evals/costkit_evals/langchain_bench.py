"""The pipelines as LangChain chains: what a LangChain user has, with costkit's parts added by their one line each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from operator import itemgetter

from langchain_core.callbacks import CallbackManagerForLLMRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnablePassthrough
from pydantic import PrivateAttr

from costkit.cache import ResponseCache
from costkit_evals.pipelines import MAX_OUTPUT_TOKENS, Asked, Bench, Piece, Pipeline, cache_hit
from costkit_evals.prompts import SYSTEM, USER, passage
from langchain_costkit import (
    CacheBreakpointPromptTemplate,
    CostkitRetriever,
    CostkitRouterChatModel,
    CostkitUsageHandler,
    cached,
)

__all__ = ["ExtractiveChatModel", "LangChainChain"]


class ChunkRetriever(BaseRetriever):
    """Searches the bench's corpus."""

    k: int
    _bench: Bench = PrivateAttr()

    def __init__(self, bench: Bench, *, k: int) -> None:
        super().__init__(k=k)  # type: ignore[call-arg]
        self._bench = bench

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return [
            Document(
                id=found.chunk.id,
                page_content=found.chunk.text,
                metadata={"doc_id": found.chunk.doc_id, "title": found.chunk.title, "start": found.chunk.start},
            )
            for found in self._bench.retrieve(query, k=self.k)
        ]


class ExtractiveChatModel(BaseChatModel):
    """A chat model without a language model: a reader answers from the prompt, a simulated provider bills it."""

    model: str
    _bench: Bench = PrivateAttr()

    def __init__(self, bench: Bench, *, model: str) -> None:
        super().__init__(model=model)  # type: ignore[call-arg]
        self._bench = bench

    @property
    def _llm_type(self) -> str:
        return "costkit-extractive"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> ChatResult:
        reply = self._bench.respond(_request(self.model, messages))
        usage = reply.usage
        message = AIMessage(
            content=reply.text,
            response_metadata={"model_name": reply.model, "citations": list(reply.citations)},
            usage_metadata={
                "input_tokens": usage.input_tokens,
                "output_tokens": usage.output_tokens,
                "total_tokens": usage.input_tokens + usage.output_tokens,
                "input_token_details": {
                    "cache_read": usage.cache_read_tokens,
                    "cache_creation": usage.cache_write_5m_tokens,
                },
            },
        )
        return ChatResult(generations=[ChatGeneration(message=message)])


class LangChainChain:
    """One pipeline as a LangChain chain.

    Args:
        pipeline: Its parts.
        bench: What it is built on.
    """

    def __init__(self, pipeline: Pipeline, bench: Bench) -> None:
        self._bench = bench
        self._cache: ResponseCache | None = None
        self._chain = self._build(pipeline, _models(bench))
        self._callbacks = [CostkitUsageHandler(recorder=bench)] if bench.settings.real_models else []

    def ask(self, question: str, history: Sequence[tuple[str, str]] = ()) -> Asked:
        """Answer one question, given the earlier questions and answers of its conversation."""
        trace = self._bench.begin()
        messages = [message for asked, told in history for message in (HumanMessage(asked), AIMessage(told))]
        began = time.perf_counter()
        answer = self._chain.invoke({"question": question, "history": messages}, {"callbacks": list(self._callbacks)})
        seconds = time.perf_counter() - began
        if self._bench.settings.real_models:
            self._bench.book_calls(question=question, history=history)
        hit, matched = cache_hit(answer.response_metadata.get("costkit"))
        return Asked(
            answer=answer.text,
            hit=hit,
            matched_question=matched,
            trace=trace,
            seconds=seconds,
        )

    def close(self) -> None:
        """Release the response cache."""
        if self._cache is not None:
            self._cache.close()

    def _build(
        self, pipeline: Pipeline, models: tuple[BaseChatModel, BaseChatModel]
    ) -> Runnable[dict[str, object], AIMessage]:
        bench, settings = self._bench, self._bench.settings
        prompt = ChatPromptTemplate([("system", SYSTEM), MessagesPlaceholder("history"), ("user", USER)])
        retriever: BaseRetriever = ChunkRetriever(bench, k=settings.naive_k)
        model = models[1]
        if "context" in pipeline.parts:
            retriever = CostkitRetriever(ChunkRetriever(bench, k=settings.candidates_k), reducer=bench.reducer())
        if "prompt" in pipeline.parts:
            prompt = CacheBreakpointPromptTemplate.from_prompt(prompt, model=settings.strong_model)
        if "route" in pipeline.parts:
            model = CostkitRouterChatModel(list(models), recorder=bench)
        chain: Runnable[dict[str, object], AIMessage] = (
            RunnablePassthrough.assign(context=itemgetter("question") | retriever | self._join) | prompt | model
        )
        if "cache" in pipeline.parts:
            self._cache = bench.response_cache()
            chain = cached(chain, version="handbook", cache=self._cache)
        return chain

    def _join(self, documents: list[Document]) -> str:
        self._bench.trace.context.extend(piece for document in documents for piece in _pieces(document))
        joined = "\n".join(
            passage(doc_id=one.metadata["doc_id"], title=one.metadata["title"], text=one.page_content)
            for one in documents
        )
        self._bench.trace.context_text = joined
        return joined


def _models(bench: Bench) -> tuple[BaseChatModel, BaseChatModel]:
    """Return the chat models of the cheap and the strong tier."""
    settings = bench.settings
    if settings.real_models:
        from langchain_anthropic import ChatAnthropic

        cheap, strong = (
            ChatAnthropic(model_name=model, max_tokens_to_sample=MAX_OUTPUT_TOKENS, timeout=None, stop=None)
            for model in (settings.cheap_model, settings.strong_model)
        )
        return cheap, strong
    return ExtractiveChatModel(bench, model=settings.cheap_model), ExtractiveChatModel(
        bench, model=settings.strong_model
    )


def _pieces(document: Document) -> list[Piece]:
    """Return what a retrieved or reduced document covers, in characters of its source document."""
    meta = document.metadata
    spans = meta.get("costkit_spans") or [[0, len(document.page_content)]]
    return [Piece(doc_id=meta["doc_id"], start=meta["start"] + start, end=meta["start"] + end) for start, end in spans]


def _request(model: str, messages: Sequence[BaseMessage]) -> dict[str, object]:
    system = [block for message in messages if isinstance(message, SystemMessage) for block in _blocks(message)]
    return {
        "model": model,
        "max_tokens": MAX_OUTPUT_TOKENS,
        "system": system,
        "messages": [
            {"role": "assistant" if isinstance(message, AIMessage) else "user", "content": _blocks(message)}
            for message in messages
            if not isinstance(message, SystemMessage)
        ],
    }


def _blocks(message: BaseMessage) -> list[dict[str, object]]:
    if isinstance(message.content, str):
        return [{"type": "text", "text": message.content}]
    return [{"type": "text", "text": block} if isinstance(block, str) else block for block in message.content]
