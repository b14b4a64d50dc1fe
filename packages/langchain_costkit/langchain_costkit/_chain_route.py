"""A router of whole chains."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from langchain_core.callbacks import CallbackManagerForChainRun, adispatch_custom_event, dispatch_custom_event
from langchain_core.callbacks.manager import AsyncCallbackManagerForChainRun
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig, RunnableSerializable
from langchain_core.runnables.utils import Input, Output
from pydantic import ConfigDict, PrivateAttr

from costkit.errors import ConfigurationError
from costkit.ledger.usage import Recorder
from costkit.route import Policy, Prompted, Router, Tier, allow_data_classes, question_in, tiers_of
from langchain_costkit._decided import id_of
from langchain_costkit._encoding import marked
from langchain_costkit._question import asked_by
from langchain_costkit._scoped import ScopedCalls, group_of

__all__ = ["CostkitRouterChain"]

EVENT = "costkit_route"


class CostkitRouterChain(ScopedCalls[Input, Output], RunnableSerializable[Input, Output]):  # type: ignore[misc]  # its overload v3 returns no stream
    """Sends each question to the cheapest of several chains that is trusted with it.

    A message in the answer says in ``response_metadata["costkit"]`` which chain answered and why; every decision is
    dispatched as the custom event ``costkit_route``.

    Args:
        chains: Runnables with the same input, cheapest first: a list, or a mapping from the tier's name.
        tiers: One per chain. Default: named from the mapping, priced by the chat model found in each chain.
        question_key: The input's key that holds the question. Default: ``question``, ``input``, ``query``, or the last
            human message.
        policies: Each may rule tiers out for a scope. Default: the tiers' own data classes.
        recorder: Where decisions are booked. Default: the process-wide ledger.

    Raises:
        ConfigurationError: No chains, as many tiers as chains are not given, or chains not listed cheapest first.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    chains: list[Runnable[Input, Output]]
    tiers: tuple[Tier, ...]
    question_key: str | None = None
    _router: Router = PrivateAttr()

    def __init__(
        self,
        chains: Mapping[str, Runnable[Input, Output]] | Sequence[Runnable[Input, Output]],
        *,
        tiers: Sequence[Tier] | None = None,
        question_key: str | None = None,
        policies: Sequence[Policy] = (allow_data_classes,),
        recorder: Recorder | None = None,
    ) -> None:
        listed = list(chains.values()) if isinstance(chains, Mapping) else list(chains)
        names = list(chains) if isinstance(chains, Mapping) else None
        found = tuple(tiers) if tiers is not None else _chain_tiers(listed, names)
        if len(found) != len(listed):
            raise ConfigurationError(f"tiers={found!r}: give one tier per chain, there are {len(listed)} chains")
        super().__init__(chains=listed, tiers=found, question_key=question_key)  # type: ignore[call-arg]
        self._router = Router(found, policies=policies, recorder=recorder)

    def _invoke(
        self, value: Input, run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Output:
        chain, mark = self._decide(value, run_manager)
        dispatch_custom_event(EVENT, mark, config=config)
        return cast("Output", marked(chain.invoke(value, config, **kwargs), mark))

    async def _ainvoke(
        self, value: Input, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Output:
        chain, mark = self._decide(value, run_manager)
        await adispatch_custom_event(EVENT, mark, config=config)
        return cast("Output", marked(await chain.ainvoke(value, config, **kwargs), mark))

    def _stream(
        self,
        values: Iterator[Input],
        run_manager: CallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Iterator[Output]:
        value = next(values)
        chain, mark = self._decide(value, run_manager)
        dispatch_custom_event(EVENT, mark, config=config)
        for position, chunk in enumerate(chain.stream(value, config, **kwargs)):
            yield chunk if position else cast("Output", marked(chunk, mark))

    async def _astream(
        self,
        values: AsyncIterator[Input],
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> AsyncIterator[Output]:
        value = await anext(values)
        chain, mark = self._decide(value, run_manager)
        await adispatch_custom_event(EVENT, mark, config=config)
        first = True
        async for chunk in chain.astream(value, config, **kwargs):
            yield cast("Output", marked(chunk, mark)) if first else chunk
            first = False

    def _decide(
        self, value: Input, run_manager: CallbackManagerForChainRun | AsyncCallbackManagerForChainRun
    ) -> tuple[Runnable[Input, Output], dict[str, object]]:
        try:
            asked = question_in(asked_by(value, question_key=self.question_key).question)
        except ConfigurationError:
            asked = Prompted(question="")  # an input of unknown form goes to the strongest tier
        decision = self._router.decide(asked.question, passages=asked.passages, run_id=group_of(run_manager))
        return self.chains[self.tiers.index(decision.tier)], decision.mark


def _chain_tiers(chains: Sequence[Runnable[Any, Any]], names: Sequence[str] | None) -> tuple[Tier, ...]:
    ids = [_chain_model(chain) or f"chain-{position}" for position, chain in enumerate(chains, 1)]
    if len(set(ids)) < len(ids):  # the same model behind different work: the chain's place tells them apart
        tiers = tiers_of([f"{model} in chain {position}" for position, model in enumerate(ids, 1)])
        tiers = tuple(replace(tier, model=model) for tier, model in zip(tiers, ids, strict=True))
    else:
        tiers = tiers_of(ids)
    return tiers if names is None else tuple(replace(one, name=name) for one, name in zip(tiers, names, strict=True))


def _chain_model(chain: Runnable[Any, Any]) -> str | None:
    """Return the id of the last chat model in a chain."""
    parts = [node.data for node in chain.get_graph().nodes.values()]
    ids = [id_of(part) for part in parts if isinstance(part, (BaseChatModel, RunnableBinding))]
    return next((found for found in reversed(ids) if found), None)
