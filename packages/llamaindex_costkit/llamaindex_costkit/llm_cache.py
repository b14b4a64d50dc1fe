"""The response cache around one language model."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from llama_index.core.base.llms.types import (
    CachePoint,
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.llms import LLM
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.types import TokenAsyncGen, TokenGen
from pydantic import PrivateAttr

from costkit.cache import Conversation, Lookup, ResponseCache
from costkit.cache.doors import cache_for, pieces, question_span
from costkit.cache.flight import Steps, afinish, finish
from costkit.ledger.usage import Usage
from costkit.prices import default_book
from llamaindex_costkit._calls import LLMResponse, calls_tools, model_of, run_id, stopped_early, usage_of
from llamaindex_costkit._delegate import Asked, Chosen, DelegatingLLM, asked_by, marked, names_of
from llamaindex_costkit._kept import version_of
from llamaindex_costkit._streams import astepwise, here, stepwise

__all__ = ["CostkitCachedLLM"]

_FORMAT = "llamaindex-llm-2"

_log = logging.getLogger("costkit.cache")
_asked: ContextVar[Asked | None] = ContextVar("costkit_llamaindex_asked", default=None)
Answered = TypeVar("Answered", ChatResponse, CompletionResponse)


class CostkitCachedLLM(DelegatingLLM):
    """A language model behind the response cache.

    The question is what a prompt template was filled with as ``query_str``, else the last user message. Everything
    around it must be equal for a hit; only the question may differ in wording. A message of several paragraphs or
    over 100 tokens in which no question is marked is served word for word only. Calls with tools and structured
    predictions go straight to the model. A hit says so in ``response.additional_kwargs["costkit"]`` and emits no
    event of a model call. Of those who ask the same at the same time, one calls the model and the others wait.

    Args:
        llm: The model that answers.
        version: Version of everything that shapes an answer and stands in no message: model, settings. Required;
            it also tells models on one ``cache`` apart.
        cache: Where answers live. Default: Qdrant Edge in ``.costkit/cache``.
        require_tenant: True stands aside where the scope names no tenant. With ``cache`` it is set there.

    Raises:
        ConfigurationError: No ``version`` is given, or ``require_tenant`` contradicts ``cache``.
        StoreLockedError: Another process holds the folder of the default cache.
    """

    _llm: LLM = PrivateAttr()
    _cache: ResponseCache = PrivateAttr()
    _version: str = PrivateAttr()
    _told: bool = PrivateAttr(default=False)

    def __init__(
        self,
        llm: LLM,
        *,
        version: str | None = None,
        cache: ResponseCache | None = None,
        require_tenant: bool = False,
    ) -> None:
        known = version_of(llm, version)
        opened = cache_for(cache, version=known, require_tenant=require_tenant)
        # A prompt is filled here, so that what the model would add to it becomes part of the identity.
        super().__init__(
            callback_manager=llm.callback_manager,
            system_prompt=llm.system_prompt,
            messages_to_prompt=llm.messages_to_prompt,
            completion_to_prompt=llm.completion_to_prompt,
            output_parser=llm.output_parser,
            pydantic_program_mode=llm.pydantic_program_mode,
            query_wrapper_prompt=llm.query_wrapper_prompt,
        )
        self._llm, self._cache, self._version = llm, opened, known

    @classmethod
    def class_name(cls) -> str:
        """Return the serialisation id."""
        return "CostkitCachedLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """The model's own."""
        return self._llm.metadata

    @property
    def model_names(self) -> tuple[str, ...]:
        """The ids of the models behind the cache."""
        return names_of(self._llm)

    @property
    def cache(self) -> ResponseCache:
        """Where answers live."""
        return self._cache

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Serve an earlier answer, else ask the model and keep its answer."""
        with finish(self._look_up(messages, kwargs)) as found:
            if found.answer is not None:
                return _chat_response(found.answer, found)
            return self._keep(found, self._llm.chat(messages, **kwargs))

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Do what ``chat`` does, without blocking."""
        with await afinish(self._look_up(messages, kwargs)) as found:
            if found.answer is not None:
                return _chat_response(found.answer, found)
            response = await self._llm.achat(messages, **kwargs)
            return await asyncio.to_thread(self._keep, found, response)

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Stream an earlier answer in pieces, else the model's own chunks; the answer is kept once it is complete."""
        with ExitStack() as turn:
            found = turn.enter_context(finish(self._look_up(messages, kwargs)))
            if found.answer is not None:
                return _replay(found.answer, found, _chat_response)
            chunks = self._llm.stream_chat(messages, **kwargs)
            return stepwise(chunks, here(), done=self._keeper(found), until=turn.pop_all())

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """Do what ``stream_chat`` does, without blocking."""
        with ExitStack() as turn:
            found = turn.enter_context(await afinish(self._look_up(messages, kwargs)))
            if found.answer is not None:
                return _areplay(found.answer, found, _chat_response)
            chunks = await self._llm.astream_chat(messages, **kwargs)
            return astepwise(chunks, here(), done=self._keeper(found), until=turn.pop_all())

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Serve an earlier answer, else ask the model and keep its answer."""
        with finish(self._look_up(prompt, {**kwargs, "formatted": formatted})) as found:
            if found.answer is not None:
                return _completion(found.answer, found)
            return self._keep(found, self._llm.complete(prompt, formatted=formatted, **kwargs))

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Do what ``complete`` does, without blocking."""
        with await afinish(self._look_up(prompt, {**kwargs, "formatted": formatted})) as found:
            if found.answer is not None:
                return _completion(found.answer, found)
            response = await self._llm.acomplete(prompt, formatted=formatted, **kwargs)
            return await asyncio.to_thread(self._keep, found, response)

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """Stream an earlier answer in pieces, else the model's own chunks; the answer is kept once it is complete."""
        with ExitStack() as turn:
            found = turn.enter_context(finish(self._look_up(prompt, {**kwargs, "formatted": formatted})))
            if found.answer is not None:
                return _replay(found.answer, found, _completion)
            chunks = self._llm.stream_complete(prompt, formatted=formatted, **kwargs)
            return stepwise(chunks, here(), done=self._keeper(found), until=turn.pop_all())

    async def astream_complete(
        self,
        prompt: str,
        formatted: bool = False,
        **kwargs: Any,
    ) -> CompletionResponseAsyncGen:
        """Do what ``stream_complete`` does, without blocking."""
        with ExitStack() as turn:
            found = turn.enter_context(await afinish(self._look_up(prompt, {**kwargs, "formatted": formatted})))
            if found.answer is not None:
                return _areplay(found.answer, found, _completion)
            chunks = await self._llm.astream_complete(prompt, formatted=formatted, **kwargs)
            return astepwise(chunks, here(), done=self._keeper(found), until=turn.pop_all())

    def predict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        """Fill the prompt and answer it, its ``query_str`` being the question."""
        with _asking(prompt, prompt_args):
            return LLM.predict(self, prompt, **prompt_args)

    async def apredict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        """Do what ``predict`` does, without blocking."""
        with _asking(prompt, prompt_args):
            return await LLM.apredict(self, prompt, **prompt_args)

    def stream(self, prompt: BasePromptTemplate, **prompt_args: Any) -> TokenGen:
        """Fill the prompt and stream the answer, its ``query_str`` being the question."""
        with _asking(prompt, prompt_args):
            return LLM.stream(self, prompt, **prompt_args)

    async def astream(self, prompt: BasePromptTemplate, **prompt_args: Any) -> TokenAsyncGen:
        """Do what ``stream`` does, without blocking."""
        with _asking(prompt, prompt_args):
            return await LLM.astream(self, prompt, **prompt_args)

    def _choose(self, asked: Asked) -> Chosen:
        return Chosen(llm=self._llm)

    def _answered(self, response: ChatResponse) -> LLM:
        return self._llm

    def _look_up(self, prompt: str | Sequence[ChatMessage], options: Mapping[str, object]) -> Steps[Lookup]:
        if "tools" in options or "functions" in options:
            return self._cache.bypass("calls with tools are never cached", run_id=run_id())
        key = (prompt, None, []) if isinstance(prompt, str) else _key_of(prompt)
        if key is None:
            return self._cache.bypass("a message holds more than text", run_id=run_id())
        text, around, said = key
        start, end, exact_only = self._spot(text)
        beside = text if exact_only else text[:start] + text[end:]
        inputs = {
            "form": _FORMAT,
            "model": self._version,
            "class": f"{type(self._llm).__module__}.{type(self._llm).__qualname__}",
            "llm": self._llm.metadata.model_name,
            "around": around,
            "before": text[:start],
            "after": text[end:],
            "options": dict(options),
        }
        # What a question can refer to is all the rest of its prompt, for a model remembers nothing else.
        conversation = Conversation(whole=[*said, beside] if beside.strip() else said)
        return (
            yield from self._cache.joining(
                text[start:end], inputs=inputs, conversation=conversation, run_id=run_id(), exact_only=exact_only
            )
        )

    def _spot(self, text: str) -> tuple[int, int, bool]:
        """Return where the question stands in the last user text, and whether only the same words may be served."""
        asked = _asked.get()
        spot = (None if asked is None else question_span(text, asked.question)) or question_span(text)
        if spot is not None:
            return *spot, False
        if not self._told:
            self._told = True
            _log.warning(
                "the last user message is a filled prompt, so only the same prompt word for word is served; fill the "
                "question in as query_str of a prompt template, or use CostkitQueryEngine"
            )
        return 0, len(text), True

    def _keep(self, found: Lookup, response: Answered, text: str | None = None) -> Answered:
        """Keep a complete answer in words and return it; anything else just passes through."""
        if found.ticket is None or calls_tools(response) or stopped_early(response):
            return response
        words = text or _text_of(response)
        usage = usage_of(response)
        model = model_of(response) or self._llm.metadata.model_name
        cost = None if usage is None else default_book().price(model, usage).cost_nano_usd
        self._cache.store(found.ticket, words or "", usage=usage or Usage(), cost_nano_usd=cost)
        return response

    def _keeper(self, found: Lookup) -> Callable[[list[Any]], None]:
        def keep(chunks: list[Any]) -> None:
            if chunks:
                self._keep(found, chunks[-1], "".join(chunk.delta or "" for chunk in chunks))

        return keep


@contextmanager
def _asking(prompt: BasePromptTemplate, values: Mapping[str, object]) -> Iterator[None]:
    """Let the calls of the block know which part of their prompt is the question."""
    filled = {**prompt.kwargs, **values}
    token = _asked.set(asked_by(prompt, values) if filled.get("query_str") else None)
    try:
        yield
    finally:
        _asked.reset(token)


def _key_of(messages: Sequence[ChatMessage]) -> tuple[str, object, list[object]] | None:
    """Return the last user text, all else as plain values, and of this what was said before the text.

    None where a message holds more than text.
    """
    at = next((at for at in reversed(range(len(messages))) if messages[at].role == MessageRole.USER), None)
    known = (TextBlock, CachePoint, ThinkingBlock, ToolCallBlock)
    if at is None or not all(isinstance(block, known) for message in messages for block in message.blocks):
        return None
    around = [None if place == at else _plain(message) for place, message in enumerate(messages)]
    said: list[object] = [_plain(message) for message in messages[:at] if message.role != MessageRole.SYSTEM]
    return messages[at].content or "", [around, messages[at].additional_kwargs], said


def _plain(message: ChatMessage) -> dict[str, object]:
    """Return a message as plain values; cache points say nothing about the answer."""
    blocks = [block.model_dump(mode="json") for block in message.blocks if not isinstance(block, CachePoint)]
    return {"role": message.role.value, "blocks": blocks, "additional_kwargs": message.additional_kwargs}


def _text_of(response: LLMResponse) -> str | None:
    return response.text if isinstance(response, CompletionResponse) else response.message.content


def _chat_response(text: str, found: Lookup, delta: str | None = None) -> ChatResponse:
    message = ChatMessage(role=MessageRole.ASSISTANT, content=text)
    return marked(ChatResponse(message=message, delta=delta), found.mark)


def _completion(text: str, found: Lookup, delta: str | None = None) -> CompletionResponse:
    return marked(CompletionResponse(text=text, delta=delta), found.mark)


def _replay(text: str, found: Lookup, make: Callable[..., Answered]) -> Generator[Answered, None, None]:
    seen = ""
    for piece in pieces(text):
        seen += piece
        yield make(seen, found, piece)


async def _areplay(text: str, found: Lookup, make: Callable[..., Answered]) -> AsyncGenerator[Answered, None]:
    for chunk in _replay(text, found, make):
        yield chunk
