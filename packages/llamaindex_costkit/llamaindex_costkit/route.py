"""The model router as a LlamaIndex model: one LLM in front, the cheapest trusted one behind each question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatResponse, LLMMetadata
from llama_index.core.llms import LLM
from pydantic import PrivateAttr

from costkit.errors import ConfigurationError
from costkit.ledger.usage import Recorder
from costkit.route import Policy, Router, Tier, allow_data_classes, tiers_of
from costkit.tokens import default_counter
from llamaindex_costkit._calls import run_id
from llamaindex_costkit._delegate import Asked, Chosen, DelegatingLLM, names_of

__all__ = ["CostkitRouterLLM"]


class CostkitRouterLLM(DelegatingLLM):
    """Answers each question with the cheapest model that policy allows and the rules trust.

    The question is what a prompt template was filled with as ``query_str`` (and ``context_str`` the passages), else
    the last user message, so that a tool loop stays with one model. Every response says in
    ``additional_kwargs["costkit"]`` which tier and model answered and why. Prompts, tools and structured outputs are
    handed to the chosen model whole.

    Args:
        llms: The models, cheapest first.
        tiers: One tier per model, in the same order, for names, caps and data classes. Default: from the model ids.
        policies: Each may rule tiers out for a scope. Default: the tiers' own data classes.
        recorder: Where decisions are booked. Default: the process-wide ledger.

    Raises:
        ConfigurationError: No models, two of the same id, priced ones that are not listed cheapest first, or a cap
            for a model class that has no field for it.
    """

    _router: Router = PrivateAttr()
    _arms: dict[str, LLM] = PrivateAttr()

    def __init__(
        self,
        llms: Sequence[LLM],
        *,
        tiers: Sequence[Tier] | None = None,
        policies: Sequence[Policy] = (allow_data_classes,),
        recorder: Recorder | None = None,
    ) -> None:
        super().__init__()
        given = tuple(tiers) if tiers is not None else tiers_of([llm.metadata.model_name for llm in llms])
        if len(given) != len(llms):
            raise ConfigurationError(f"tiers must name one tier per model, got {len(given)} for {len(llms)} models")
        self._router = Router(given, policies=policies, recorder=recorder)
        self._arms = {tier.name: _capped(llm, tier) for tier, llm in zip(given, llms, strict=True)}

    @classmethod
    def class_name(cls) -> str:
        """Return the serialisation id."""
        return "CostkitRouterLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """What every model behind the router can do."""
        arms = [llm.metadata for llm in self._arms.values()]
        return LLMMetadata(
            context_window=min(arm.context_window for arm in arms),
            num_output=min(arm.num_output for arm in arms),
            is_chat_model=all(arm.is_chat_model for arm in arms),
            is_function_calling_model=all(arm.is_function_calling_model for arm in arms),
            model_name="|".join(arm.model_name for arm in arms),
            system_role=arms[-1].system_role,
        )

    @property
    def model_names(self) -> tuple[str, ...]:
        """The ids of the models behind the router, cheapest first."""
        return tuple(name for llm in self._arms.values() for name in names_of(llm))

    def _choose(self, asked: Asked) -> Chosen:
        decision = self._router.decide(
            asked.question,
            passages=asked.passages,
            input_tokens=default_counter().count(asked.prompt),
            run_id=run_id(),
        )
        return Chosen(llm=self._arms[decision.tier.name], mark=decision.mark)

    def _answered(self, response: ChatResponse) -> LLM:
        mark = response.additional_kwargs.get("costkit") or {}
        return self._arms.get(str(mark.get("tier")), next(iter(self._arms.values())))


def _capped(llm: LLM, tier: Tier) -> LLM:
    """Return ``llm``, or a copy of it with the tier's caps; the caller's model stays as it is."""
    update: dict[str, Any] = {}
    if tier.max_output_tokens is not None:
        update["max_tokens"] = tier.max_output_tokens
    if tier.stop_sequences:
        extra = getattr(llm, "additional_kwargs", None)
        update["additional_kwargs"] = {**(extra or {}), "stop_sequences": list(tier.stop_sequences)}
    missing = sorted(set(update) - set(type(llm).model_fields))
    if missing:
        raise ConfigurationError(
            f"tier {tier.name!r} sets a cap, but {llm.class_name()} has no field {missing[0]!r}; set the cap on the model"
        )
    return llm.model_copy(update=update) if update else llm
