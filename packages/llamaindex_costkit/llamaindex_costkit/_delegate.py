"""The language model interface of LlamaIndex handed on to another model, method by method.

``LLM.predict``, the structured and the tool-calling methods are handed on whole, so that the answering model's own
system prompt, parsers and wire format hold: the defaults of the base class would prepare a request in the wrapper
and miss them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    MessageRole,
)
from llama_index.core.llms import LLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.prompts import BasePromptTemplate, PromptTemplate
from llama_index.core.types import Model, TokenAsyncGen, TokenGen

from costkit.errors import ConfigurationError
from costkit.route import question_in
from llamaindex_costkit._calls import decided
from llamaindex_costkit._streams import astepwise, here, stepwise

if TYPE_CHECKING:
    from llama_index.core.chat_engine.types import AgentChatResponse
    from llama_index.core.tools.types import BaseTool

Response = TypeVar("Response", ChatResponse, CompletionResponse)
Tools = Sequence["BaseTool"]
Said = str | ChatMessage | None
History = list[ChatMessage] | None
Options = dict[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a call asks, as far as it can be told apart from the prompt around it.

    Attributes:
        question: The user's question.
        passages: Retrieved passages.
        prompt: Everything the model will read, for its size.
    """

    question: str
    passages: tuple[str, ...] = ()
    prompt: str = ""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Which model answers, and the decision as it is written on the response."""

    llm: LLM
    mark: Mapping[str, object] = field(default_factory=dict)


def asked_in(messages: Sequence[ChatMessage]) -> Asked:
    """Return the question of the last user message, which may be a filled prompt."""
    texts = [message.content or "" for message in messages]
    users = [text for message, text in zip(messages, texts, strict=True) if message.role == MessageRole.USER]
    return _asked_of(users[-1] if users else (texts[-1] if texts else ""), prompt="\n".join(texts))


def _asked_of(text: str, *, prompt: str) -> Asked:
    found = question_in(text)
    return Asked(question=found.question, passages=found.passages, prompt=prompt)


def asked_by(prompt: BasePromptTemplate, values: Mapping[str, object]) -> Asked:
    """Return the question and the passages that a prompt template is filled with."""
    given = {**prompt.kwargs, **values}
    text = "\n".join(str(value) for value in given.values())
    question, context = given.get("query_str"), given.get("context_str")
    passages = tuple(part for part in str(context).split("\n\n") if part.strip()) if context else ()
    return Asked(
        question=str(question) if question else text, passages=passages, prompt=f"{prompt.get_template()}\n{text}"
    )


class DelegatingLLM(FunctionCallingLLM):
    """Answers with the model that ``_choose`` names for each call, and marks the response with the decision."""

    @property
    def model_names(self) -> tuple[str, ...]:
        """The ids of the models that may answer."""
        raise NotImplementedError

    def _choose(self, asked: Asked) -> Chosen:
        raise NotImplementedError

    @contextmanager
    def _chosen(self, asked: Asked) -> Iterator[Chosen]:
        """Choose the model of one call; the calls of the block carry the decision."""
        chosen = self._choose(asked)
        with decided(chosen.mark):
            yield chosen

    # -- chat and completion --

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        with self._chosen(asked_in(messages)) as chosen:
            return marked(chosen.llm.chat(messages, **kwargs), chosen.mark)

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        with self._chosen(asked_in(messages)) as chosen:
            return marked(await chosen.llm.achat(messages, **kwargs), chosen.mark)

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        with self._chosen(asked_in(messages)) as chosen:
            return _marked_stream(chosen.llm.stream_chat(messages, **kwargs), chosen.mark)

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        with self._chosen(asked_in(messages)) as chosen:
            return _amarked_stream(await chosen.llm.astream_chat(messages, **kwargs), chosen.mark)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        with self._chosen(_asked_of(prompt, prompt=prompt)) as chosen:
            return marked(chosen.llm.complete(prompt, formatted=formatted, **kwargs), chosen.mark)

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        with self._chosen(_asked_of(prompt, prompt=prompt)) as chosen:
            return marked(await chosen.llm.acomplete(prompt, formatted=formatted, **kwargs), chosen.mark)

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        with self._chosen(_asked_of(prompt, prompt=prompt)) as chosen:
            return _marked_stream(chosen.llm.stream_complete(prompt, formatted=formatted, **kwargs), chosen.mark)

    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        with self._chosen(_asked_of(prompt, prompt=prompt)) as chosen:
            chunks = await chosen.llm.astream_complete(prompt, formatted=formatted, **kwargs)
            return _amarked_stream(chunks, chosen.mark)

    # -- prompts --

    def predict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        with self._chosen(asked_by(prompt, prompt_args)) as chosen:
            return chosen.llm.predict(prompt, **prompt_args)

    async def apredict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        with self._chosen(asked_by(prompt, prompt_args)) as chosen:
            return await chosen.llm.apredict(prompt, **prompt_args)

    def stream(self, prompt: BasePromptTemplate, **prompt_args: Any) -> TokenGen:
        with self._chosen(asked_by(prompt, prompt_args)) as chosen:
            return stepwise(chosen.llm.stream(prompt, **prompt_args), here(mark=chosen.mark))

    async def astream(self, prompt: BasePromptTemplate, **prompt_args: Any) -> TokenAsyncGen:
        with self._chosen(asked_by(prompt, prompt_args)) as chosen:
            return astepwise(await chosen.llm.astream(prompt, **prompt_args), here(mark=chosen.mark))

    def structured_predict(
        self, output_cls: type[Model], prompt: PromptTemplate, llm_kwargs: Options = None, **prompt_args: Any
    ) -> Model:
        with self._chosen(asked_by(prompt, prompt_args)) as chosen:
            answer: Model = chosen.llm.structured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
        return answer

    async def astructured_predict(
        self, output_cls: type[Model], prompt: PromptTemplate, llm_kwargs: Options = None, **prompt_args: Any
    ) -> Model:
        with self._chosen(asked_by(prompt, prompt_args)) as chosen:
            answer: Model = await chosen.llm.astructured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
        return answer

    def stream_structured_predict(
        self, output_cls: type[Model], prompt: PromptTemplate, llm_kwargs: Options = None, **prompt_args: Any
    ) -> Generator[Any, None, None]:
        with self._chosen(asked_by(prompt, prompt_args)) as chosen:
            chunks = chosen.llm.stream_structured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
            return stepwise(chunks, here(mark=chosen.mark))

    async def astream_structured_predict(
        self, output_cls: type[Model], prompt: PromptTemplate, llm_kwargs: Options = None, **prompt_args: Any
    ) -> AsyncGenerator[Any, None]:
        with self._chosen(asked_by(prompt, prompt_args)) as chosen:
            chunks = await chosen.llm.astream_structured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
            return astepwise(chunks, here(mark=chosen.mark))

    # -- tools: what is not read here is handed on as it came --

    def chat_with_tools(
        self, tools: Tools, user_msg: Said = None, chat_history: History = None, *args: Any, **kwargs: Any
    ) -> ChatResponse:
        with self._chosen(_asked_with(user_msg, chat_history)) as chosen:
            response = _calling(chosen.llm).chat_with_tools(tools, user_msg, chat_history, *args, **kwargs)
            return marked(response, chosen.mark)

    async def achat_with_tools(
        self, tools: Tools, user_msg: Said = None, chat_history: History = None, *args: Any, **kwargs: Any
    ) -> ChatResponse:
        with self._chosen(_asked_with(user_msg, chat_history)) as chosen:
            response = await _calling(chosen.llm).achat_with_tools(tools, user_msg, chat_history, *args, **kwargs)
            return marked(response, chosen.mark)

    def stream_chat_with_tools(
        self, tools: Tools, user_msg: Said = None, chat_history: History = None, *args: Any, **kwargs: Any
    ) -> ChatResponseGen:
        with self._chosen(_asked_with(user_msg, chat_history)) as chosen:
            chunks = _calling(chosen.llm).stream_chat_with_tools(tools, user_msg, chat_history, *args, **kwargs)
            return _marked_stream(chunks, chosen.mark)

    async def astream_chat_with_tools(
        self, tools: Tools, user_msg: Said = None, chat_history: History = None, *args: Any, **kwargs: Any
    ) -> ChatResponseAsyncGen:
        with self._chosen(_asked_with(user_msg, chat_history)) as chosen:
            chunks = await _calling(chosen.llm).astream_chat_with_tools(tools, user_msg, chat_history, *args, **kwargs)
            return _amarked_stream(chunks, chosen.mark)

    def predict_and_call(
        self, tools: Tools, user_msg: Said = None, chat_history: History = None, *args: Any, **kwargs: Any
    ) -> AgentChatResponse:
        with self._chosen(_asked_with(user_msg, chat_history)) as chosen:
            return _calling(chosen.llm).predict_and_call(tools, user_msg, chat_history, *args, **kwargs)

    async def apredict_and_call(
        self, tools: Tools, user_msg: Said = None, chat_history: History = None, *args: Any, **kwargs: Any
    ) -> AgentChatResponse:
        with self._chosen(_asked_with(user_msg, chat_history)) as chosen:
            return await _calling(chosen.llm).apredict_and_call(tools, user_msg, chat_history, *args, **kwargs)

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        llm = _calling(self._answered(response))
        return llm.get_tool_calls_from_response(response, error_on_no_tool_call=error_on_no_tool_call, **kwargs)

    def _answered(self, response: ChatResponse) -> LLM:
        """Return the model that gave a response."""
        raise NotImplementedError

    def _prepare_chat_with_tools(
        self,
        tools: Tools,
        user_msg: Said = None,
        chat_history: History = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        llm = _calling(self._choose(_asked_with(user_msg, chat_history)).llm)
        return llm._prepare_chat_with_tools_compat(
            tools,
            user_msg=user_msg,
            chat_history=chat_history,
            verbose=verbose,
            allow_parallel_tool_calls=allow_parallel_tool_calls,
            tool_required=tool_required,
            **kwargs,
        )


def names_of(llm: BaseLLM) -> tuple[str, ...]:
    """Return the ids of all models that may answer for ``llm``."""
    return llm.model_names if isinstance(llm, DelegatingLLM) else (llm.metadata.model_name,)


def marked(response: Response, mark: Mapping[str, object]) -> Response:
    """Return a copy of ``response`` with ``additional_kwargs["costkit"]`` set, or itself where there is no mark."""
    if not mark:
        return response
    return response.model_copy(update={"additional_kwargs": {**response.additional_kwargs, "costkit": dict(mark)}})


def _marked_stream(
    chunks: Generator[Response, None, None], mark: Mapping[str, object]
) -> Generator[Response, None, None]:
    return stepwise(chunks, here(mark=mark), each=partial(marked, mark=mark))


def _amarked_stream(
    chunks: AsyncGenerator[Response, None], mark: Mapping[str, object]
) -> AsyncGenerator[Response, None]:
    return astepwise(chunks, here(mark=mark), each=partial(marked, mark=mark))


def _asked_with(user_msg: Said, chat_history: History) -> Asked:
    last = [ChatMessage(content=user_msg)] if isinstance(user_msg, str) else [user_msg] if user_msg else []
    return asked_in([*(chat_history or []), *last])


def _calling(llm: LLM) -> FunctionCallingLLM:
    if not isinstance(llm, FunctionCallingLLM):
        raise ConfigurationError(
            f"{llm.class_name()} cannot call tools; use a model class that is a FunctionCallingLLM, such as Anthropic"
        )
    return llm
