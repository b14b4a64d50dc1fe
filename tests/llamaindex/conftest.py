"""Small real objects that the tests of the LlamaIndex adapter share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
    ToolCallBlock,
)
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.schema import NodeRelationship, NodeWithScore, QueryBundle, RelatedNodeInfo, TextNode
from llama_index.core.tools.types import BaseTool
from pydantic import PrivateAttr

from costkit.cache import EdgeIndex, ResponseCache
from costkit.scope import current
from costkit.testing import HashEmbedder, ListRecorder

USAGE = {"input_tokens": 10, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 5, "output_tokens": 2}


class SmallLLM(FunctionCallingLLM):
    """A model class as an integration writes it: decorated, with usage in ``raw`` and tool calls in blocks.

    It answers "answer N" to call N, or calls the first tool once where it is given tools.
    """

    model: str = "claude-haiku-4-5"
    max_tokens: int = 100
    fails: bool = False
    _calls: list[list[ChatMessage]] = PrivateAttr(default_factory=list)
    _scopes: list[Any] = PrivateAttr(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        return "SmallLLM"

    @property
    def calls(self) -> list[list[ChatMessage]]:
        return self._calls

    @property
    def scopes(self) -> list[Any]:
        return self._scopes

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(
            model_name=self.model, context_window=1000, is_chat_model=True, is_function_calling_model=True
        )

    def _answer(self, messages: Sequence[ChatMessage], tools: Sequence[Any]) -> ChatResponse:
        self._calls.append(list(messages))
        self._scopes.append(current())
        if self.fails:
            raise RuntimeError("the provider is down")
        done = any(message.role == MessageRole.TOOL for message in messages)
        raw = {"model": self.model, "usage": dict(USAGE), "stop_reason": "end_turn", "max_tokens": self.max_tokens}
        if tools and not done:
            block = ToolCallBlock(tool_call_id="t1", tool_name=tools[0], tool_kwargs={"number": 2})
            return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, blocks=[block]), raw=raw)
        text = f"answer {len(self._calls)}"
        return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=text), raw=raw)

    def _chunks(self, messages: Sequence[ChatMessage], tools: Sequence[Any]) -> list[ChatResponse]:
        whole = self._answer(messages, tools)
        text = whole.message.content or ""
        first = ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=text[:3]), delta=text[:3])
        return [first, whole.model_copy(update={"delta": text[3:]})]

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], tools: Sequence[Any] = (), **kwargs: Any) -> ChatResponse:
        return self._answer(messages, tools)

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], tools: Sequence[Any] = (), **kwargs: Any) -> ChatResponse:
        return self._answer(messages, tools)

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], tools: Sequence[Any] = (), **kwargs: Any) -> ChatResponseGen:
        def gen() -> ChatResponseGen:
            yield from self._chunks(messages, tools)

        return gen()

    @llm_chat_callback()
    async def astream_chat(
        self, messages: Sequence[ChatMessage], tools: Sequence[Any] = (), **kwargs: Any
    ) -> ChatResponseAsyncGen:
        async def gen() -> ChatResponseAsyncGen:
            for chunk in self._chunks(messages, tools):
                yield chunk

        return gen()

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return _completion(self.chat([ChatMessage(content=prompt)]))

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return _completion(await self.achat([ChatMessage(content=prompt)]))

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        chunks = self.stream_chat([ChatMessage(content=prompt)])
        return (_completion(chunk) for chunk in chunks)

    @llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        chunks = await self.astream_chat([ChatMessage(content=prompt)])
        return (_completion(chunk) async for chunk in chunks)

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        last = [ChatMessage(content=user_msg)] if isinstance(user_msg, str) else [user_msg] if user_msg else []
        return {"messages": [*(chat_history or []), *last], "tools": [tool.metadata.name for tool in tools]}

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        return [
            ToolSelection(tool_id=block.tool_call_id or "", tool_name=block.tool_name, tool_kwargs=block.tool_kwargs)
            for block in response.message.blocks
            if isinstance(block, ToolCallBlock)
        ]


def _completion(response: ChatResponse) -> CompletionResponse:
    return CompletionResponse(text=response.message.content or "", delta=response.delta, raw=response.raw)


class Shelf(BaseRetriever):
    """A retriever that returns the same nodes for every question."""

    def __init__(self, nodes: Sequence[NodeWithScore]) -> None:
        self.nodes = list(nodes)
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return list(self.nodes)


@pytest.fixture
def nodes() -> list[NodeWithScore]:
    texts = {
        "refunds": "Refunds are paid within 14 days. The office is closed on Sundays. Cats are not allowed at work.",
        "shipping": "Parcels are shipped on Monday.",
    }
    return [
        NodeWithScore(
            node=TextNode(
                id_=f"{name}#0",
                text=text,
                metadata={"page": 3},
                relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"{name}.md")},
            ),
            score=score,
        )
        for (name, text), score in zip(texts.items(), (0.9, 0.4), strict=True)
    ]


@pytest.fixture
def retriever(nodes: list[NodeWithScore]) -> Shelf:
    return Shelf(nodes)


@pytest.fixture
def llm() -> SmallLLM:
    return SmallLLM()


@pytest.fixture
def make_llm() -> type[SmallLLM]:
    return SmallLLM


@pytest.fixture
def recorder() -> ListRecorder:
    return ListRecorder()


@pytest.fixture(scope="session")
def shared_index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeIndex]:
    """One embedded store for all tests: opening one takes half a second, and versions keep the tests apart."""
    embedder = HashEmbedder()
    index = EdgeIndex.open(tmp_path_factory.mktemp("edge"), dimensions=embedder.dimensions)
    yield index
    index.close()


@pytest.fixture
def response_cache(shared_index: EdgeIndex, recorder: ListRecorder) -> ResponseCache:
    return ResponseCache(version=uuid4().hex, embedder=HashEmbedder(), index=shared_index, recorder=recorder)


@pytest.fixture
def broken_cache(tmp_path: Path, recorder: ListRecorder) -> ResponseCache:
    """A cache whose store was closed under it."""
    cache = ResponseCache(version="1", embedder=HashEmbedder(), path=tmp_path / "cache", recorder=recorder)
    cache.close()
    return cache


@pytest.fixture(autouse=True, scope="session")
def _event_loop() -> Iterator[None]:
    """LlamaIndex's sync methods take the thread's event loop, which would be made for them and never closed."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.close()


@pytest.fixture(autouse=True)
def _clean_dispatcher() -> Iterator[None]:
    """Take handlers that a test added off the process-wide dispatcher."""
    root = get_dispatcher()
    before = list(root.event_handlers)
    yield
    root.event_handlers[:] = [handler for handler in root.event_handlers if handler in before]
