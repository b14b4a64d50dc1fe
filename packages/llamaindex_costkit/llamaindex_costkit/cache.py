"""The response cache in LlamaIndex: around any query engine, or around a language model."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import (
    RESPONSE_TYPE,
    AsyncStreamingResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.prompts.mixin import PromptDictType, PromptMixinType
from llama_index.core.schema import NodeWithScore, QueryBundle

from costkit.cache import Evidence, Fresh, Lookup, ResponseCache
from costkit.cache.doors import cache_for, pieces
from costkit.cache.evidence import still_holds
from costkit.cache.flight import Steps, afinish, finish
from costkit.errors import ConfigurationError, DataError
from llamaindex_costkit._calls import Meter, run_id, running
from llamaindex_costkit._kept import Answer, decode, encode, evidence_of, version_of
from llamaindex_costkit._streams import Turn, astepwise, here, stepwise
from llamaindex_costkit.llm_cache import CostkitCachedLLM

__all__ = ["CostkitCachedLLM", "CostkitQueryEngine", "Reuse"]

Reuse = Literal["before_retrieval", "after_retrieval"]

# Changes whenever stored answers change their form, so that older ones are never read.
_FORMAT = "llamaindex-1"
# What LlamaIndex answers where retrieval found nothing: a fact about the moment, not an answer.
_EMPTY = "Empty Response"

_log = logging.getLogger("costkit.cache")


class CostkitQueryEngine(BaseQueryEngine):
    """A query engine behind the response cache.

    A question that was answered before, in the same or nearly the same words, gets the earlier answer with its source
    nodes: the engine does not run. Answers rest on the documents of their source nodes; ``cache.invalidate(doc_id)``
    drops them. Without source nodes the time to live alone holds. A hit says so in ``response.metadata["costkit"]``.
    A question that needs a conversation ("and for the other one?") bypasses the cache: let a condensing chat engine ask.
    Streaming engines stay streaming: an earlier answer is replayed in pieces, a new one is kept once it is complete.
    Of those who ask the same at the same time, one runs the engine and the others wait, see ``ResponseCache.join``.

    Args:
        engine: The query engine that answers.
        version: Version of everything that shapes an answer: prompt, model, corpus, retriever. A LlamaIndex engine has
            no serialised form to derive it from, so it is required; it also tells engines on one ``cache`` apart.
        cache: Where answers live. Default: Qdrant Edge in ``.costkit/cache``.
        require_tenant: True stands aside where the scope names no tenant. With ``cache`` it is set there.
        reuse: ``before_retrieval`` serves an earlier answer as long as no document it rests on was invalidated;
            ``after_retrieval`` retrieves first, and serves it only if what is found still supports it. What was
            retrieved is then answered from: nothing is retrieved twice.

    Raises:
        ConfigurationError: No ``version`` is given, ``require_tenant`` contradicts ``cache``, or the engine cannot
            retrieve and ``reuse`` asks for it.
        StoreLockedError: Another process holds the folder of the default cache.
    """

    def __init__(
        self,
        engine: BaseQueryEngine,
        *,
        version: str | None = None,
        cache: ResponseCache | None = None,
        require_tenant: bool = False,
        reuse: Reuse = "before_retrieval",
    ) -> None:
        self.engine = engine
        self._rechecks = _rechecks(engine, reuse)
        self._version = version_of(engine, version)
        self.cache = cache_for(cache, version=self._version, require_tenant=require_tenant)
        super().__init__(callback_manager=engine.callback_manager)

    def retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        """Retrieve with the engine; retrieval alone is never cached."""
        return self.engine.retrieve(query_bundle)

    def synthesize(
        self,
        query_bundle: QueryBundle,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
    ) -> RESPONSE_TYPE:
        """Answer from given nodes with the engine; never cached, since the nodes are the caller's choice."""
        return self.engine.synthesize(query_bundle, nodes, additional_source_nodes)

    async def asynthesize(
        self,
        query_bundle: QueryBundle,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
    ) -> RESPONSE_TYPE:
        """Do what ``synthesize`` does, without blocking."""
        return await self.engine.asynthesize(query_bundle, nodes, additional_source_nodes)

    def _get_prompts(self) -> PromptDictType:
        return self.engine._get_prompts()

    def _get_prompt_modules(self) -> PromptMixinType:
        return self.engine._get_prompt_modules()

    def _update_prompts(self, prompts_dict: PromptDictType) -> None:
        self.engine._update_prompts(prompts_dict)

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        run = run_id() or uuid.uuid4().hex
        fresh = _Retrieval(self.engine, query_bundle)
        found, answer = finish(self._look_up(query_bundle, run, fresh))
        if answer is not None:
            self._audit(found, answer, query_bundle)
            return _replayed(answer, found, streams=self._streams(answer))
        meter = Meter()
        with ExitStack() as turn:
            turn.enter_context(found)
            with running(run, meter):
                response = fresh.answer(found)
            if isinstance(response, StreamingResponse):
                return self._watched(response, found, run, meter, turn.pop_all())
            self._keep(found, response, getattr(response, "response", None), meter)
            return response

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        run = run_id() or uuid.uuid4().hex
        fresh = _Retrieval(self.engine, query_bundle)
        found, answer = await afinish(self._look_up(query_bundle, run, fresh))
        if answer is not None:
            self._audit(found, answer, query_bundle)
            return _areplayed(answer, found, streams=self._streams(answer))
        meter = Meter()
        with ExitStack() as turn:
            turn.enter_context(found)
            with running(run, meter):
                response = await fresh.aanswer(found)
            if isinstance(response, AsyncStreamingResponse):
                return self._awatched(response, found, run, meter, turn.pop_all())
            if isinstance(response, StreamingResponse):
                return self._watched(response, found, run, meter, turn.pop_all())
            await asyncio.to_thread(self._keep, found, response, getattr(response, "response", None), meter)
            return response

    def _look_up(self, bundle: QueryBundle, run: str, fresh: _Retrieval) -> Steps[tuple[Lookup, Answer | None]]:
        """Return the decision and, for a hit, the answer."""
        inputs: dict[str, object] = {"form": _FORMAT, "engine": self._version}
        if bundle.custom_embedding_strs and bundle.custom_embedding_strs != [bundle.query_str]:
            inputs["embedding_strs"] = bundle.custom_embedding_strs
        if bundle.image_path:
            # A path has no JSON form and makes the cache stand aside: the image behind it may change.
            inputs["image_path"] = Path(bundle.image_path)
        check = fresh.check if self._rechecks else None
        found = yield from self.cache.joining(bundle.query_str, inputs=inputs, run_id=run, check=check)
        if found.answer is None:
            return found, None
        try:
            return found, decode(found.answer)
        except (ValueError, KeyError, TypeError) as error:
            return self.cache.bypass(f"a kept answer cannot be read: {error!r}", run_id=run), None

    def _audit(self, found: Lookup, served: Answer, bundle: QueryBundle) -> None:
        def fresh() -> Fresh:
            return Fresh(text=str(self.engine.query(bundle)))  # the event handler books its model calls

        self.cache.audit(found, served.text, fresh)

    def _streams(self, answer: Answer) -> bool:
        """Return whether the caller expects a stream: as the engine is set, else as the kept answer came."""
        # Query engines keep their synthesizer, and synthesizers their mode, in these attributes; there is no getter.
        streaming = getattr(getattr(self.engine, "_response_synthesizer", None), "_streaming", None)
        return answer.streamed if streaming is None else bool(streaming)

    def _watched(
        self, response: StreamingResponse, found: Lookup, run: str, meter: Meter, turn: Turn
    ) -> StreamingResponse:
        """Return the response with its stream kept once it is complete."""

        def done(parts: list[str]) -> None:
            self._keep(found, response, "".join(parts), meter)

        chunks = stepwise(response.response_gen, here(run_id=run, meter=meter), done=done, until=turn)
        return replace(response, response_gen=chunks)

    def _awatched(
        self, response: AsyncStreamingResponse, found: Lookup, run: str, meter: Meter, turn: Turn
    ) -> AsyncStreamingResponse:
        def done(parts: list[str]) -> None:
            self._keep(found, response, "".join(parts), meter)

        chunks = astepwise(response.response_gen, here(run_id=run, meter=meter), done=done, until=turn)
        return replace(response, response_gen=chunks)

    def _keep(self, found: Lookup, response: RESPONSE_TYPE, text: object, meter: Meter) -> None:
        """Keep a complete answer in words; anything else passes through."""
        if found.ticket is None or not meter.complete or not isinstance(text, str) or text.strip() in ("", _EMPTY):
            return
        nodes = response.source_nodes
        streamed = isinstance(response, (StreamingResponse, AsyncStreamingResponse))
        try:
            packed = encode(Answer(text=text, streamed=streamed, nodes=nodes, metadata=response.metadata))
        except DataError as error:
            _log.info("an answer was not cached: %s", error)
            return
        # Which nodes support an answer takes milliseconds to read, and matters to a check alone.
        told = text if self._rechecks else ""
        self.cache.store(
            found.ticket,
            packed,
            words=text,
            evidence=evidence_of(nodes, answer=told, question=found.ticket.question),
            usage=meter.usage,
            cost_nano_usd=meter.cost_nano_usd,
        )


class _Retrieval:
    """What an engine retrieves for one question, if it is asked to, and answers from then."""

    def __init__(self, engine: BaseQueryEngine, bundle: QueryBundle) -> None:
        self._engine = engine
        self._bundle = bundle
        self._nodes: list[NodeWithScore] = []

    def check(self, kept: Sequence[Evidence]) -> str | None:
        """Retrieve, and say why an answer's evidence does not hold in what is found, or None if it does."""
        self._nodes = self._engine.retrieve(self._bundle)
        return still_holds(kept, evidence_of(self._nodes))

    def answer(self, found: Lookup) -> RESPONSE_TYPE:
        """Answer with the engine, from what was retrieved if the last look at the cache ended with a check."""
        if found.unsupported:
            return self._engine.synthesize(self._bundle, self._nodes)
        return self._engine.query(self._bundle)

    async def aanswer(self, found: Lookup) -> RESPONSE_TYPE:
        """Do what ``answer`` does, without blocking."""
        if found.unsupported:
            return await self._engine.asynthesize(self._bundle, self._nodes)
        return await self._engine.aquery(self._bundle)


def _rechecks(engine: BaseQueryEngine, reuse: str) -> bool:
    """Return whether answers are checked against what is retrieved."""
    if reuse not in get_args(Reuse):
        raise ConfigurationError(f"reuse must be one of {get_args(Reuse)}, got {reuse!r}")
    if reuse == "after_retrieval" and type(engine).retrieve is BaseQueryEngine.retrieve:
        raise ConfigurationError(
            f"reuse={reuse!r}: a {type(engine).__name__} cannot retrieve apart from answering; use 'before_retrieval', "
            "or wrap the engine below it"
        )
    return reuse == "after_retrieval"


def _metadata(answer: Answer, found: Lookup) -> dict[str, object]:
    return {**(answer.metadata or {}), "costkit": found.mark}


def _replayed(answer: Answer, found: Lookup, *, streams: bool) -> RESPONSE_TYPE:
    nodes, metadata = list(answer.nodes), _metadata(answer, found)
    if streams:
        return StreamingResponse(response_gen=_replay(answer.text), source_nodes=nodes, metadata=metadata)
    return Response(response=answer.text, source_nodes=nodes, metadata=metadata)


def _areplayed(answer: Answer, found: Lookup, *, streams: bool) -> RESPONSE_TYPE:
    if not streams:
        return _replayed(answer, found, streams=False)
    return AsyncStreamingResponse(
        response_gen=_areplay(answer.text), source_nodes=list(answer.nodes), metadata=_metadata(answer, found)
    )


def _replay(text: str) -> Generator[str, None, None]:
    yield from pieces(text)


async def _areplay(text: str) -> AsyncGenerator[str, None]:
    for piece in pieces(text):
        yield piece
