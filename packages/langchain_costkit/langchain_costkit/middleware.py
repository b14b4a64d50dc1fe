"""costkit for LangChain agents: ``create_agent(model, tools, middleware=[CostkitMiddleware()])``.

Needs the extra ``agents``; nothing else in this package imports it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext
from typing import Any, cast

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration

from costkit.cache import Lookup, ResponseCache
from costkit.cache.doors import cache_for
from costkit.cache.evidence import evidence_of
from costkit.cache.flight import Steps, afinish, finish
from costkit.errors import DataError, MissingExtraError
from costkit.prompt.template import takes_breakpoints
from langchain_costkit._calls import paid_for
from langchain_costkit._decided import id_of
from langchain_costkit._encoding import decode, encode, in_words, is_complete, marked
from langchain_costkit._hits import settings_of
from langchain_costkit._question import asked_by, plain
from langchain_costkit._replay import Replay
from langchain_costkit._scoped import group_here, scope_of
from langchain_costkit._witness import documents_in, read_in
from langchain_costkit.prompt import has_marks, mark, pieces_of
from langchain_costkit.route import CostkitRouterChatModel

try:
    from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
except ImportError as error:
    raise MissingExtraError(
        feature="CostkitMiddleware", package="langchain", install="langchain-costkit[agents]"
    ) from error

__all__ = ["CostkitMiddleware"]

MOST_PROMPTS = 256

_log = logging.getLogger("costkit.cache")


class CostkitMiddleware(AgentMiddleware[Any, Any, Any]):
    """Response cache and prompt-cache breakpoints for an agent's model calls.

    The cache serves and keeps only answers that the agent gives at once: a turn in which a tool was called always
    runs in full. Where the agent is streamed, an earlier answer comes in message chunks, as from a model. The model,
    the system prompt and the tools must be equal for a hit, and the conversation so far unless the question names its
    subject and the user has only asked before. Answers rest on the documents that stand in the agent's state, or in the
    ``artifact`` of an earlier tool message; ``cache.invalidate(document_id)`` drops them.
    To route, give the agent a ``CostkitRouterChatModel``. Put this middleware last, after all that edit the prompt.

    Args:
        cache: Where answers live. Default: Qdrant Edge in ``.costkit/cache``.
        require_tenant: True stands aside where the scope names no tenant. With ``cache`` it is set there.
    """

    def __init__(self, *, cache: ResponseCache | None = None, require_tenant: bool = False) -> None:
        super().__init__()
        self.cache = cache_for(cache, version="langchain-agent-1", require_tenant=require_tenant)
        # System prompts seen so far: one that is never seen again would be written to the provider's cache in vain.
        self._prompts: dict[str, None] = {}

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any] | AIMessage:
        """Serve an earlier answer, else call the model with a marked prompt and keep its answer."""
        found, answer = finish(self._look_up(request))
        if answer is not None:
            return Replay(answer=answer).invoke(request.messages)
        with found or nullcontext():
            response = handler(self._marked(request))
            self._keep(found, request, response)
            return response

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any] | AIMessage:
        """Do what ``wrap_model_call`` does, without blocking."""
        found, answer = await afinish(self._look_up(request))
        if answer is not None:
            return await Replay(answer=answer).ainvoke(request.messages)
        with found or nullcontext():
            response = await handler(self._marked(request))
            await asyncio.to_thread(self._keep, found, request, response)
            return response

    def _look_up(self, request: ModelRequest[Any]) -> Steps[tuple[Lookup | None, AIMessage | None]]:
        """Return the decision and the answer of a hit; no decision where this call is no fresh question."""
        last = request.messages[-1] if request.messages else None
        if not isinstance(last, HumanMessage) or request.response_format is not None:
            return None, None
        asked = asked_by(request.messages, question_key=None)
        inputs = {
            "model": settings_of(request.model),
            "system": None if request.system_message is None else plain(request.system_message),
            "tools": [
                tool if isinstance(tool, dict) else [tool.name, tool.description, tool.args] for tool in request.tools
            ],
            "choice": request.tool_choice,
            "settings": request.model_settings,
            "asked": asked.inputs,
        }
        run_id = group_here()
        found = yield from self.cache.joining(
            asked.question, inputs=inputs, conversation=asked.conversation, scope=scope_of(None), run_id=run_id
        )
        if found.answer is None:
            return found, None
        try:
            answer = marked(decode(found.answer), found.mark)
        except (ValueError, KeyError, TypeError) as error:
            reason = f"a kept answer cannot be read: {error!r}"
            return self.cache.bypass(reason, scope=scope_of(None), run_id=run_id), None
        return found, answer if isinstance(answer, AIMessage) else None

    def _keep(self, found: Lookup | None, request: ModelRequest[Any], response: ModelResponse[Any]) -> None:
        if found is None or len(response.result) != 1 or not is_complete(response.result[0]):
            return
        try:
            text = encode(response.result[0])
        except DataError as error:
            _log.info("an answer was not cached: %s", error)
            return
        usage, cost = paid_for([ChatGeneration(message=response.result[0])])
        evidence = evidence_of(read_in(_documents(request)))
        words = in_words(response.result[0])
        self.cache.store(found.ticket, text, words=words, evidence=evidence, usage=usage, cost_nano_usd=cost)

    def _marked(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        """Mark the system prompt for a Claude model, unless it is new every time."""
        system = request.system_message
        ids = _ids(request.model)
        if system is None or not ids or not all(map(takes_breakpoints, ids)) or has_marks([system, *request.messages]):
            return request
        digest = hashlib.sha256(str(system.content).encode("utf-8", "replace")).hexdigest()
        unknown = bool(self._prompts) and digest not in self._prompts
        self._prompts[digest] = None
        while len(self._prompts) > MOST_PROMPTS:
            self._prompts.pop(next(iter(self._prompts)), None)
        if unknown:
            return request
        (made,) = mark([system], [pieces_of(system, "static")], model=ids[0])
        return request.override(system_message=cast("SystemMessage", made))


def _documents(request: ModelRequest[Any]) -> Iterator[Document]:
    """Yield the documents that an answer may rest on: what tools returned beside their text, and what the state lists."""
    artifacts = [message.artifact for message in request.messages if isinstance(message, ToolMessage)]
    for value in [*artifacts, *request.state.values()]:
        yield from documents_in(value)


def _ids(model: object) -> list[str]:
    if isinstance(model, CostkitRouterChatModel):
        return [tier.model for tier in model.tiers]
    found = id_of(model)
    return [] if found is None else [found]
