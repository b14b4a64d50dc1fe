"""The model router in LangChain: ``llm = CostkitRouterChatModel([haiku, opus])``, and a router of whole chains."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig, ensure_config
from langchain_core.tools import BaseTool
from pydantic import ConfigDict, PrivateAttr

from costkit.errors import ConfigurationError
from costkit.ledger.usage import Recorder
from costkit.route import Decision, Policy, Prompted, Router, Tier, allow_data_classes, question_in, tiers_of
from costkit.scope import use
from costkit.tokens import default_counter
from langchain_costkit._chain_route import CostkitRouterChain
from langchain_costkit._decided import blaming, id_of
from langchain_costkit._encoding import marked
from langchain_costkit._fields import check_fields
from langchain_costkit._hits import settings_of
from langchain_costkit._question import last_human
from langchain_costkit._scoped import ScopedEvents, ain_scope, group_of, in_scope, scope_of

__all__ = ["CostkitRouterChain", "CostkitRouterChatModel"]

Arm = Runnable[LanguageModelInput, AIMessage]
QuestionFinder = Callable[[Sequence[BaseMessage]], str]
Tools = Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool]


class CostkitRouterChatModel(ScopedEvents, BaseChatModel):  # type: ignore[misc]  # its overload v3 returns no stream
    """A chat model that sends each question to the cheapest of its models that is trusted with it.

    The answer says in ``response_metadata["costkit"]`` which tier and model answered, and why.

    Args:
        models: Chat models, cheapest first; models with bound tools or retries too.
        tiers: One per model, with caps on output, stop sequences and allowed data classes. Default: named from the
            models' own ids.
        question: Finds the question in the messages. Default: the line labelled ``Question:`` in the last human
            message, else that message.
        policies: Each may rule tiers out for a scope. Default: the tiers' own data classes.
        recorder: Where decisions are booked. Default: the process-wide ledger.

    Raises:
        ConfigurationError: No models, as many tiers as models are not given, or models not listed cheapest first.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    models: list[Arm]
    tiers: tuple[Tier, ...]
    question: QuestionFinder | None = None
    _router: Router = PrivateAttr()

    def __init__(
        self,
        models: Sequence[Arm],
        *,
        tiers: Sequence[Tier] | None = None,
        question: QuestionFinder | None = None,
        policies: Sequence[Policy] = (allow_data_classes,),
        recorder: Recorder | None = None,
        **kwargs: Any,  # the fields of BaseChatModel, such as cache and callbacks
    ) -> None:
        check_fields(type(self), kwargs)
        found = tuple(tiers) if tiers is not None else tiers_of(_ids(models))
        if len(found) != len(models):
            raise ConfigurationError(f"tiers={found!r}: give one tier per model, there are {len(models)} models")
        super().__init__(models=list(models), tiers=found, question=question, **kwargs)  # type: ignore[call-arg]
        self._router = Router(found, policies=policies, recorder=recorder)

    @property
    def _llm_type(self) -> str:
        return "costkit-router"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        # LangChain's caches key answers by this.
        return {"models": [_settings(model) for model in self.models], "tiers": [repr(tier) for tier in self.tiers]}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        name = kwargs.get("model") or "+".join(tier.model for tier in self.tiers)
        return LangSmithParams(**{**params, "ls_provider": "costkit", "ls_model_name": name})

    def get_num_tokens(self, text: str) -> int:
        """Return the number of tokens in ``text`` by costkit's own counter."""
        return default_counter().count(text)

    def bind_tools(self, tools: Tools, *, tool_choice: str | None = None, **kwargs: Any) -> Arm:
        """Bind tools to every model of the router."""
        tracing = {key: kwargs.pop(key) for key in ("ls_structured_output_format",) if key in kwargs}
        arms = []
        for model in self.models:
            if not isinstance(model, BaseChatModel):
                raise ConfigurationError(
                    f"{type(model).__name__} takes no tools; bind them before it goes to the router"
                )
            arms.append(model.bind_tools(tools, tool_choice=tool_choice, **kwargs))
        return self.model_copy(update={"models": arms}).bind(**tracing)

    def invoke(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Answer with the model of the decided tier."""
        with use(scope_of(config)):
            return super().invoke(input, config, stop=stop, **kwargs)

    async def ainvoke(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Do what ``invoke`` does, without blocking."""
        with use(scope_of(config)):
            return await super().ainvoke(input, config, stop=stop, **kwargs)

    def stream(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """Stream the answer of the decided tier, with the scope of this call."""
        config = ensure_config(config)
        return in_scope(super().stream(input, config, stop=stop, **kwargs), scope_of(config))

    def astream(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Do what ``stream`` does, without blocking."""
        config = ensure_config(config)
        return ain_scope(super().astream(input, config, stop=stop, **kwargs), scope_of(config))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._call(messages, stop, run_manager, kwargs)
        with blaming(call.mark):
            if call.model is not None:
                return call.marked(call.model._generate(messages, run_manager=run_manager, **call.options))
            return call.marked_message(call.arm.invoke(messages, _QUIET, **call.options))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._call(messages, stop, run_manager, kwargs)
        with blaming(call.mark):
            if call.model is not None:
                return call.marked(await call.model._agenerate(messages, run_manager=run_manager, **call.options))
            return call.marked_message(await call.arm.ainvoke(messages, _QUIET, **call.options))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        call = self._call(messages, stop, run_manager, kwargs)
        with blaming(call.mark):
            for position, chunk in enumerate(call.chunks(messages, run_manager)):
                yield chunk if position else call.marked_chunk(chunk)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        call = self._call(messages, stop, run_manager, kwargs)
        first = True
        with blaming(call.mark):
            async for chunk in call.achunks(messages, run_manager):
                yield call.marked_chunk(chunk) if first else chunk
                first = False

    def _call(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None,
        options: Mapping[str, Any],
    ) -> _Call:
        """Decide the tier, and set its limits where the caller set none."""
        asked = self._asked(messages)
        decision = self._router.decide(
            asked.question,
            passages=asked.passages,
            input_tokens=default_counter().count("\n".join(str(message.text) for message in messages)),
            run_id=None if run_manager is None else group_of(run_manager),
        )
        return _Call(self.models[self.tiers.index(decision.tier)], decision, stop, options)

    def _asked(self, messages: Sequence[BaseMessage]) -> Prompted:
        if self.question is not None:
            return Prompted(question=self.question(messages))
        at = last_human(messages)
        return Prompted(question="") if at is None else question_in(str(messages[at].text))


# The router's own run reports the call; a second report of the arm would count its tokens twice.
_QUIET: RunnableConfig = {"callbacks": []}


class _Call:
    """One routed call: the arm, how to call it, and what to write on its answer.

    A plain chat model is called beneath its callbacks, so that tokens and usage pass through the router's run. What
    adds behaviour of its own (retries, a cache, a rate limit) is called from outside, with its callbacks silenced.
    """

    def __init__(self, arm: Arm, decision: Decision, stop: list[str] | None, options: Mapping[str, Any]) -> None:
        self.arm = arm
        self.decision = decision
        self.model, bound = _plain_model(arm)
        tier = decision.tier
        merged = {**bound, **options}
        if tier.max_output_tokens is not None:
            merged.setdefault("max_tokens", tier.max_output_tokens)
        ends = [*(stop or merged.pop("stop", None) or []), *tier.stop_sequences]
        self.options = {**merged, "stop": ends} if ends else merged

    @property
    def mark(self) -> dict[str, object]:
        return self.decision.mark

    def marked(self, result: ChatResult) -> ChatResult:
        generations = [one.model_copy(update={"message": marked(one.message, self.mark)}) for one in result.generations]
        return ChatResult(generations=generations, llm_output=result.llm_output)

    def marked_message(self, message: AIMessage) -> ChatResult:
        return self.marked(ChatResult(generations=[ChatGeneration(message=message)]))

    def marked_chunk(self, chunk: ChatGenerationChunk) -> ChatGenerationChunk:
        return chunk.model_copy(update={"message": marked(chunk.message, self.mark)})

    def chunks(
        self, messages: list[BaseMessage], run_manager: CallbackManagerForLLMRun | None
    ) -> Iterator[ChatGenerationChunk]:
        if self.model is None:
            for message in self.arm.stream(messages, _QUIET, **self.options):
                yield _chunk(message)
        elif type(self.model)._stream is BaseChatModel._stream:
            result = self.model._generate(messages, run_manager=run_manager, **self.options)
            yield _chunk(result.generations[0].message)
        else:
            yield from self.model._stream(messages, run_manager=run_manager, **self.options)

    async def achunks(
        self, messages: list[BaseMessage], run_manager: AsyncCallbackManagerForLLMRun | None
    ) -> AsyncIterator[ChatGenerationChunk]:
        if self.model is None:
            async for message in self.arm.astream(messages, _QUIET, **self.options):
                yield _chunk(message)
        elif not _streams(self.model):
            yield _chunk((await self.model._agenerate(messages, **self.options)).generations[0].message)
        else:
            async for chunk in self.model._astream(messages, run_manager=run_manager, **self.options):
                yield chunk


def _plain_model(arm: Arm) -> tuple[BaseChatModel | None, dict[str, Any]]:
    """Return the chat model of an arm and what is bound to it, or None where the arm adds behaviour of its own."""
    bound: dict[str, Any] = {}
    model: object = arm
    if isinstance(arm, RunnableBinding) and not arm.config and not arm.config_factories:
        model, bound = arm.bound, {key: value for key, value in arm.kwargs.items() if not key.startswith("ls_")}
    if isinstance(model, BaseChatModel) and model.cache in (None, False) and model.rate_limiter is None:
        return model, bound
    return None, {}


def _streams(model: BaseChatModel) -> bool:
    kind = type(model)
    return kind._stream is not BaseChatModel._stream or kind._astream is not BaseChatModel._astream


def _chunk(message: BaseMessage) -> ChatGenerationChunk:
    if not isinstance(message, AIMessageChunk):
        message = AIMessageChunk(**message.model_dump(exclude={"type"}), chunk_position="last")
    return ChatGenerationChunk(message=message)


def _ids(models: Sequence[Arm]) -> list[str]:
    """Return the models' ids; a model that does not tell its id gets one that has no price."""
    return [id_of(model) or f"{type(model).__name__}-{position}" for position, model in enumerate(models, 1)]


def _settings(arm: Arm) -> str:
    model, bound = _plain_model(arm)
    return json.dumps([repr(arm) if model is None else settings_of(model), bound], sort_keys=True, default=repr)
