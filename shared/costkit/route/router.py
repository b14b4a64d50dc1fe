"""The router: one decision per question, explained and priced."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from costkit.errors import ConfigurationError
from costkit.ledger.usage import Event, Recorder, Usage, default_recorder
from costkit.prices import PriceBook, default_book
from costkit.route.features import Features, features_of
from costkit.route.policy import Policy, allow_data_classes
from costkit.route.tiers import Tier
from costkit.scope import Scope, current

__all__ = ["Decision", "Router"]

# The rules. A short question that asks for one fact, found in the context, goes to the cheapest tier.
MAX_CHEAP_WORDS = 40
MAX_CHEAP_CONDITIONS = 2
MIN_CHEAP_SUPPORT = 0.5
EXPECTED_OUTPUT_TOKENS = 150


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Which tier answers, and why.

    Attributes:
        tier: The chosen tier.
        reason: Why, in one sentence.
        features: What the rules saw.
        refused: Tiers that policy ruled out, by name, with the reason.
        cost_nano_usd: Expected cost at the chosen tier, by tier name for all allowed tiers; None is unpriced.
    """

    tier: Tier
    reason: str
    features: Features
    refused: Mapping[str, str] = field(default_factory=dict)
    cost_nano_usd: Mapping[str, int | None] = field(default_factory=dict)

    @property
    def saved_nano_usd(self) -> int | None:
        """What the choice saves against the dearest allowed tier, or None if either is unpriced."""
        dearest = list(self.cost_nano_usd.values())[-1]
        chosen = self.cost_nano_usd[self.tier.name]
        return None if dearest is None or chosen is None else dearest - chosen

    @property
    def mark(self) -> dict[str, object]:
        """What a user sees of the decision, as plain values that adapters write on an answer."""
        return {
            "part": "route",
            "decision": self.tier.name,
            "tier": self.tier.name,
            "model": self.tier.model,
            "reason": self.reason,
            "refused": dict(self.refused),
            "expected_nano_usd": self.cost_nano_usd.get(self.tier.name),
            "saved_nano_usd": self.saved_nano_usd,
        }


class Router:
    """Chooses the cheapest tier that policy allows and the rules trust with the question.

    Args:
        tiers: Tiers, cheapest first.
        policies: Each may rule tiers out. Default: the tiers' own data classes.
        book: Prices. Default: ``costkit.prices.default_book()``.
        recorder: Where decisions are booked. Default: the process-wide ledger.

    Raises:
        ConfigurationError: No tiers, or two of the same name.
    """

    def __init__(
        self,
        tiers: Sequence[Tier],
        *,
        policies: Sequence[Policy] = (allow_data_classes,),
        book: PriceBook | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        if not tiers:
            raise ConfigurationError("a router needs at least one tier, got none")
        names = [tier.name for tier in tiers]
        if len(set(names)) < len(names):
            raise ConfigurationError(f"tiers need different names, got {names!r}")
        self.tiers = tuple(tiers)
        self._policies = tuple(policies)
        self._book = book or default_book()
        self._recorder = recorder if recorder is not None else default_recorder()

    def decide(
        self,
        question: str,
        *,
        passages: Sequence[str] = (),
        input_tokens: int = 0,
        scope: Scope | None = None,
        run_id: str | None = None,
    ) -> Decision:
        """Choose the tier for one question.

        Args:
            question: The user's question alone.
            passages: Retrieved passages, if known: weak support sends the question up.
            input_tokens: Size of the prompt, for the expected cost.
            scope: Who asks. Default: the scope in force.
            run_id: Groups this decision with the other events of the question.

        Raises:
            ConfigurationError: Policy rules every tier out.
        """
        began = time.perf_counter()
        scope = scope or current() or Scope()
        refused = {tier.name: reason for tier in self.tiers if (reason := self._refusal(tier, scope))}
        allowed = [tier for tier in self.tiers if tier.name not in refused]
        if not allowed:
            raise ConfigurationError(
                f"no tier may answer: {'; '.join(refused.values())}; add a tier for this data class or set Scope.data_class"
            )
        features = features_of(question, passages=passages)
        doubt = _doubt(features)
        tier = allowed[-1] if doubt else allowed[0]
        decision = Decision(
            tier=tier,
            reason=doubt or "one short question for one fact",
            features=features,
            refused=refused,
            cost_nano_usd={one.name: self._expected_cost(one, input_tokens) for one in allowed},
        )
        self._recorder.record(_event(decision, scope, time.perf_counter() - began, run_id))
        return decision

    def _refusal(self, tier: Tier, scope: Scope) -> str | None:
        return next((reason for policy in self._policies if (reason := policy(tier, scope))), None)

    def _expected_cost(self, tier: Tier, input_tokens: int) -> int | None:
        output_tokens = min(tier.max_output_tokens or EXPECTED_OUTPUT_TOKENS, EXPECTED_OUTPUT_TOKENS)
        usage = Usage(uncached_input_tokens=input_tokens, output_tokens=output_tokens)
        return self._book.price(tier.model, usage).cost_nano_usd


def _doubt(features: Features) -> str | None:
    """Return the first reason not to trust the cheapest tier, or None."""
    rules = {
        "it holds no question": features.words == 0,
        "it asks to compare": features.comparison,
        "it asks for reasoning": features.reasoning,
        "it asks for a calculation": features.arithmetic,
        "it holds code": features.code,
        "it asks several things": features.questions > 1,
        f"it is longer than {MAX_CHEAP_WORDS} words": features.words > MAX_CHEAP_WORDS,
        "it sets several conditions": features.conditions > MAX_CHEAP_CONDITIONS,
        "it refers to something outside itself": features.reference and features.words <= 6,
        "no passage covers it": features.support is not None and features.support < MIN_CHEAP_SUPPORT,
    }
    return next((reason for reason, holds in rules.items() if holds), None)


def _event(decision: Decision, scope: Scope, seconds: float, run_id: str | None) -> Event:
    return Event(
        kind="tool",
        part="route",
        decision=decision.tier.name,
        reason=decision.reason,
        scope=scope,
        model=decision.tier.model,
        saved_nano_usd=decision.saved_nano_usd,
        tier=decision.tier.name,
        seconds=seconds,
        run_id=run_id,
        details={f"expected_nano_usd_{name}": cost for name, cost in decision.cost_nano_usd.items()},
    )
