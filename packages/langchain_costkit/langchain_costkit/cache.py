"""The response cache in LangChain, at question level: ``chain = cached(chain, version="support-3")``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, cast

from langchain_core.callbacks import CallbackManagerForChainRun, adispatch_custom_event, dispatch_custom_event
from langchain_core.callbacks.manager import AsyncCallbackManagerForChainRun
from langchain_core.documents import Document
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import merge_configs
from langchain_core.runnables.graph import Graph
from langchain_core.runnables.utils import ConfigurableFieldSpec, Input, Output

from costkit.cache import Fresh, Lookup, ResponseCache
from costkit.cache.doors import cache_for
from costkit.cache.flight import Steps, afinish, finish
from costkit.errors import ConfigurationError, DataError
from langchain_costkit._encoding import decode, encode, in_words, is_complete, marked, pieces, whole
from langchain_costkit._hits import CACHE_EVENT, fingerprint
from langchain_costkit._llm_cache import CostkitSemanticCache
from langchain_costkit._question import asked_by, plain
from langchain_costkit._recheck import recheck
from langchain_costkit._scoped import ScopedCalls, group_of
from langchain_costkit._settings import keeps_history, settings_in
from langchain_costkit._witness import Witness

__all__ = ["CachedRunnable", "CostkitSemanticCache", "cached"]

# Changes whenever stored answers change their form, so that older ones are never read.
_FORMAT = "langchain-1"

_log = logging.getLogger("costkit.cache")


def cached(
    chain: Runnable[Input, Output],
    *,
    version: str | None = None,
    question_key: str | None = None,
    standalone_key: str | None = None,
    cache: ResponseCache | None = None,
    require_tenant: bool = False,
    retriever: Runnable[str, list[Document]] | None = None,
    source_id_key: str | None = None,
) -> CachedRunnable[Input, Output]:
    """Put the response cache in front of any runnable.

    A question that was answered before, in the same or nearly the same words and with all other input equal, gets
    the earlier answer: the chain does not run. Answers rest on the documents that the chain's retrievers returned;
    ``result.cache.invalidate(document_id)`` drops them. Without a retriever the time to live alone holds.

    Args:
        chain: The runnable. Text, messages, and dicts that hold the answer under ``answer`` are cached; other results
            pass through.
        version: Version of everything that shapes an answer: prompt, model, corpus. Default: the hash of the chain's
            serialised graph, where that is complete; it tells the chains on one ``cache`` apart.
        question_key: The input's key that holds the question. Default: ``question``, ``input`` or ``query``, else the
            last human message. All other input, and ``config["configurable"]``, must be equal for a hit; for what
            was said before the question, see "Conversations" in the guide.
        standalone_key: The input's key that holds the question rewritten to stand alone, as condensing steps write it;
            it is looked up in the question's place. Where it is empty or stands for nothing, the question is.
        cache: Where answers live. Default: Qdrant Edge in ``.costkit/cache``.
        require_tenant: True stands aside where the scope names no tenant. With ``cache`` it is set there.
        retriever: The chain's retriever. With it, an earlier answer is served only if what the retriever finds now
            still supports it; otherwise the chain runs, and retrieves once more. Default: answers are served before
            retrieval.
        source_id_key: The metadata key that names the document a chunk came from, as given to ``index()``. The keys
            ``source``, ``id``, ``doc_id`` and ``document_id`` are read without it.

    Returns:
        A runnable with the same input and output.

    Raises:
        ConfigurationError: The chain has no complete serialised form and ``version`` is not given.
        StoreLockedError: Another process holds the folder of the default cache.
    """
    known = version or fingerprint(chain)
    if known is None:
        raise ConfigurationError(
            f"version={version!r}: this {type(chain).__name__} has no complete serialised form to tell its answers "
            "apart by; give version='support-1' and change it with every change of prompt, model or corpus"
        )
    cache = cache_for(cache, version=known, require_tenant=require_tenant)
    return CachedRunnable(
        chain,
        cache,
        version=known,
        question_key=question_key,
        standalone_key=standalone_key,
        retriever=retriever,
        source_id_key=source_id_key,
    )


class CachedRunnable(ScopedCalls[Input, Output]):
    """A runnable behind the response cache; make one with ``cached``.

    Each decision is dispatched as the custom event ``costkit_cache`` and booked in the ledger; an answer that is a
    message says in ``response_metadata["costkit"]`` that it was served. A stream gives an earlier answer in pieces, else
    the chain's own chunks, and the answer is kept once it is complete. Of those who ask the same at the same time, one
    runs the chain and the others wait for its answer, see ``ResponseCache.join``.

    Args:
        chain: The runnable that answers.
        cache: Where answers live.
        version: Told apart from other chains on the same cache.
        question_key: The input's key that holds the question.
        standalone_key: The input's key that holds its standalone rewrite.
        retriever: Checks an earlier answer's evidence.
        source_id_key: Names the document that a chunk came from.
    """

    def __init__(
        self,
        chain: Runnable[Input, Output],
        cache: ResponseCache,
        *,
        version: str,
        question_key: str | None = None,
        standalone_key: str | None = None,
        retriever: Runnable[str, list[Document]] | None = None,
        source_id_key: str | None = None,
    ) -> None:
        self.chain = chain
        self.cache = cache
        self._retriever = retriever
        self._source_id_key = source_id_key
        self._version = version
        self._keeps_history = keeps_history(chain)
        self._question_key = question_key
        self._standalone_key = standalone_key

    @property
    def InputType(self) -> type[Input]:  # noqa: N802  LangChain's name
        """The chain's input type."""
        return self.chain.InputType

    @property
    def OutputType(self) -> type[Output]:  # noqa: N802  LangChain's name
        """The chain's output type."""
        return self.chain.OutputType

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """What the chain reads from ``config["configurable"]``; those values must be equal for a hit."""
        return self.chain.config_specs

    def get_graph(self, config: RunnableConfig | None = None) -> Graph:
        """Return the chain's graph."""
        return self.chain.get_graph(config)

    def _invoke(
        self, value: Input, run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Output:
        found, answer = finish(self._look_up(value, config, kwargs, group_of(run_manager)))
        with found:
            dispatch_custom_event(CACHE_EVENT, found.mark, config=config)
            if found.hit:
                self._audit(found, answer, value, config, kwargs)
                return cast("Output", answer)
            witness = self._witness()
            answer = self.chain.invoke(value, merge_configs(config, {"callbacks": [witness]}), **kwargs)
            self._keep(found, answer, witness)
            return answer

    async def _ainvoke(
        self, value: Input, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Output:
        found, answer = await afinish(self._alook_up(value, config, kwargs, group_of(run_manager)))
        with found:
            await adispatch_custom_event(CACHE_EVENT, found.mark, config=config)
            if found.hit:
                self._audit(found, answer, value, config, kwargs)
                return cast("Output", answer)
            witness = self._witness()
            answer = await self.chain.ainvoke(value, merge_configs(config, {"callbacks": [witness]}), **kwargs)
            await asyncio.to_thread(self._keep, found, answer, witness)
            return answer

    def _stream(
        self,
        values: Iterator[Input],
        run_manager: CallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Iterator[Output]:
        value = next(values)
        found, answer = finish(self._look_up(value, config, kwargs, group_of(run_manager)))
        with found:
            dispatch_custom_event(CACHE_EVENT, found.mark, config=config)
            if found.hit:
                self._audit(found, answer, value, config, kwargs)
                yield from cast("Iterator[Output]", pieces(answer))
                return
            witness = self._witness()
            total = _Sum()
            for chunk in self.chain.stream(value, merge_configs(config, {"callbacks": [witness]}), **kwargs):
                total.add(chunk)
                yield chunk
            self._keep(found, total.answer, witness)

    async def _astream(
        self,
        values: AsyncIterator[Input],
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> AsyncIterator[Output]:
        value = await anext(values)
        found, answer = await afinish(self._alook_up(value, config, kwargs, group_of(run_manager)))
        with found:
            await adispatch_custom_event(CACHE_EVENT, found.mark, config=config)
            if found.hit:
                self._audit(found, answer, value, config, kwargs)
                for piece in pieces(answer):
                    yield cast("Output", piece)
                return
            witness = self._witness()
            total = _Sum()
            async for chunk in self.chain.astream(value, merge_configs(config, {"callbacks": [witness]}), **kwargs):
                total.add(chunk)
                yield chunk
            await asyncio.to_thread(self._keep, found, total.answer, witness)

    def _witness(self) -> Witness:
        return Witness(source_id_key=self._source_id_key)

    def _alook_up(
        self, value: object, config: RunnableConfig, options: Mapping[str, object], run_id: str
    ) -> Steps[tuple[Lookup, object]]:
        return self._look_up(value, config, options, run_id, asyncio.get_running_loop())

    def _look_up(
        self,
        value: object,
        config: RunnableConfig,
        options: Mapping[str, object],
        run_id: str,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> Steps[tuple[Lookup, object]]:
        """Return the decision and, for a hit, the answer in its own type."""
        if self._keeps_history:
            reason = "the chain keeps a conversation of its own; put cached() around a part that is given the history"
            return self.cache.bypass(reason, run_id=run_id), None
        try:
            asked = asked_by(value, question_key=self._question_key, standalone_key=self._standalone_key)
        except ConfigurationError as error:
            return self.cache.bypass(str(error), run_id=run_id), None
        inputs = {
            "form": _FORMAT,
            "chain": self._version,
            "input": asked.inputs,
            "options": plain(options),
            "config": settings_in(config, cast("Runnable[object, object]", self.chain)),
        }
        check = None
        if self._retriever is not None:
            question = asked.conversation.standalone or asked.question
            check = recheck(self._retriever, question, config, source_id_key=self._source_id_key, loop=loop)
        found = yield from self.cache.joining(
            asked.question, inputs=inputs, conversation=asked.conversation, run_id=run_id, check=check
        )
        if found.answer is None:
            return found, None
        try:
            return found, marked(decode(found.answer), found.mark)
        except (ValueError, KeyError, TypeError) as error:
            return self.cache.bypass(f"a kept answer cannot be read: {error!r}", run_id=run_id), None

    def _audit(
        self, found: Lookup, served: object, value: Input, config: RunnableConfig, options: Mapping[str, object]
    ) -> None:
        def fresh() -> Fresh:
            witness = Witness()
            # None of the caller's callbacks: nobody should see this answer, for example as a stream of tokens.
            answer = self.chain.invoke(value, {**config, "callbacks": [witness]}, **options)
            tally = witness.tally
            return Fresh(text=in_words(answer), usage=tally.usage, cost_nano_usd=tally.cost_nano_usd)

        self.cache.audit(found, in_words(served), fresh)

    def _keep(self, found: Lookup, answer: object, witness: Witness) -> None:
        if found.ticket is None or not witness.tally.complete or not is_complete(answer):
            return
        try:
            text = encode(answer)
        except DataError as error:
            _log.info("an answer was not cached: %s", error)
            return
        # Which texts support an answer takes milliseconds to read, and matters to a check alone.
        told = in_words(answer) if self._retriever is not None else ""
        evidence = witness.evidence(answer=told, question=found.ticket.question)
        spent = witness.tally
        self.cache.store(
            found.ticket,
            text,
            words=in_words(answer),
            evidence=evidence,
            usage=spent.usage,
            cost_nano_usd=spent.cost_nano_usd,
        )


class _Sum:
    """The sum of a stream's chunks, or None where chunks do not add up."""

    def __init__(self) -> None:
        self._total: Any = None
        self._adds = True

    def add(self, chunk: object) -> None:
        try:
            self._total = chunk if self._total is None else self._total + chunk
        except TypeError:
            self._adds = False

    @property
    def answer(self) -> object:
        return whole(self._total) if self._adds else None
