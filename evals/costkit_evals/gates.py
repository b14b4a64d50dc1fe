"""Gates: which figures of a run make the program exit with an error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from costkit.errors import ConfigurationError
from costkit_evals.result import Comparison, GateName, GateOutcome, Result

__all__ = ["EXIT_CODES", "Limits", "exit_code", "judge"]

EXIT_CODES: dict[GateName, int] = {"quality": 10, "cost": 11, "coverage": 12, "inflation": 13}
"""Exit code by gate, in the order of judgement: the first gate that fails gives the program's exit code."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a run is held against.

    Quality and cost are judged on the first pass, cache off, of ``pipeline`` against the naive pipeline, in each
    framework and with each reader; the worst of them counts.

    Attributes:
        pipeline: The pipeline that is judged.
        quality_metrics: Metrics that may not fall.
        quality_margin: How far the one-sided 95% lower bound of a metric's difference may lie below 0.
        context_reduction: Least share of context tokens saved.
        cost_reduction: Least share of dollars saved.
        coverage: Least share of the questions that must be answered and scored, in every row.
        inflation: Greatest ratio of context tokens to the stored baseline.
    """

    pipeline: str = "all"
    quality_metrics: tuple[str, ...] = ("span_recall", "token_f1")
    quality_margin: float = 0.03
    context_reduction: float = 0.55
    cost_reduction: float = 0.60
    coverage: float = 0.99
    inflation: float = 1.05

    def __post_init__(self) -> None:
        for name in ("quality_margin", "context_reduction", "cost_reduction", "coverage"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigurationError(f"Limits.{name} must lie between 0 and 1, got {value!r}")
        if not self.inflation > 0:
            raise ConfigurationError(f"Limits.inflation must be above 0, got {self.inflation!r}")


def judge(result: Result, limits: Limits | None = None) -> tuple[GateOutcome, ...]:
    """Return the outcome of every gate, in the order quality, cost, coverage, inflation.

    Args:
        result: A run; its own ``gates`` are not looked at.
        limits: Default: ``Limits()``.
    """
    limits = limits or Limits()
    judged = [one for one in result.comparisons if one.phase == "first" and one.pipeline == limits.pipeline]
    return (
        *(_quality(judged, metric, limits) for metric in limits.quality_metrics),
        _saving(judged, "context", "context tokens saved", limits.context_reduction, limits.pipeline),
        _saving(judged, "usd", "cost saved", limits.cost_reduction, limits.pipeline),
        _coverage(result, limits),
        _inflation(result, limits),
    )


def exit_code(outcomes: Iterable[GateOutcome]) -> int:
    """Return 0 if every gate passed, else the exit code of the first that failed."""
    order = list(EXIT_CODES.values())
    failed = [outcome.exit_code for outcome in outcomes if not outcome.passed]
    return min(failed, key=order.index, default=0)


def _quality(judged: Iterable[Comparison], metric: str, limits: Limits) -> GateOutcome:
    bounds = {_place(one): one.differences[metric].lower_bound for one in judged if metric in one.differences}
    limit = -limits.quality_margin
    if not bounds:
        return _unjudged("quality", metric, limit, limits.pipeline)
    worst = min(bounds, key=lambda place: bounds[place])
    text = (
        f"{metric}: one-sided 95% lower bound of {limits.pipeline} minus naive is {bounds[worst]:+.3f} "
        f"({_worst(worst, bounds)}); it must lie above {limit:+.3f}."
    )
    return _outcome("quality", metric, bounds[worst], limit, text, passed=bounds[worst] > limit)


def _saving(judged: Sequence[Comparison], key: str, measure: str, limit: float, pipeline: str) -> GateOutcome:
    saved = {_place(one): one.reductions[key].value for one in judged if key in one.reductions}
    lacking = [_place(one) for one in judged if key not in one.reductions]
    if lacking:
        text = f"{measure}: {lacking[0]} has no figure, a model may be unpriced; give it a price."
        return _outcome("cost", measure, None, limit, text, passed=False)
    if not saved:
        return _unjudged("cost", measure, limit, pipeline)
    worst = min(saved, key=lambda place: saved[place])
    text = (
        f"{measure}: {pipeline} saves {saved[worst]:.1%} against naive ({_worst(worst, saved)}); "
        f"it must save at least {limit:.0%}."
    )
    return _outcome("cost", measure, saved[worst], limit, text, passed=saved[worst] >= limit)


def _coverage(result: Result, limits: Limits) -> GateOutcome:
    """A run without rows fails: it has shown nothing."""
    scored = {f"{row.framework}, {row.phase}, {row.pipeline}, {row.reader} reader": row for row in result.rows}
    shares = {place: row.n / row.asked if row.asked else 0.0 for place, row in scored.items()} or {"no row": 0.0}
    worst = min(shares, key=lambda place: shares[place])
    text = f"scored questions: {shares[worst]:.1%} ({_worst(worst, shares)}); at least {limits.coverage:.0%} must be scored."
    passed = shares[worst] >= limits.coverage
    return _outcome("coverage", "scored questions", shares[worst], limits.coverage, text, passed=passed)


def _inflation(result: Result, limits: Limits) -> GateOutcome:
    measure, ratio = "context tokens against baseline", result.inflation.ratio
    if ratio is None:
        text = f"{measure}: not judged, because no baseline is stored."
        return _outcome("inflation", measure, None, limits.inflation, text, passed=True)
    text = (
        f"{measure}: {result.inflation.tokens:,.0f} per question is {ratio:.3f} times the baseline "
        f"({result.inflation.source}); it may be at most {limits.inflation:.2f} times."
    )
    return _outcome("inflation", measure, ratio, limits.inflation, text, passed=ratio <= limits.inflation)


def _place(one: Comparison) -> str:
    return f"{one.framework}, {one.reader} reader"


def _worst(place: str, values: Mapping[str, float]) -> str:
    return place if len(values) == 1 else f"worst of {len(values)}: {place}"


def _unjudged(name: GateName, measure: str, limit: float, pipeline: str) -> GateOutcome:
    text = f"{measure}: not judged, because no first pass of {pipeline} was compared with naive on it."
    return _outcome(name, measure, None, limit, text, passed=True)


def _outcome(
    name: GateName, measure: str, value: float | None, limit: float, text: str, *, passed: bool
) -> GateOutcome:
    return GateOutcome(
        name=name, measure=measure, passed=passed, value=value, limit=limit, text=text, exit_code=EXIT_CODES[name]
    )
