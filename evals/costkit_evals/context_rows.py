"""The rows of ``costkit bench context``: shares with intervals, and what ours gains on its rivals, paired by question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from costkit_evals.context_methods import Choice
from costkit_evals.statistics import estimate, paired_difference, ratio

__all__ = ["METRICS", "Measured", "Row", "rows_of"]

Row = dict[str, object]

METRICS = ("answer_kept", "supporting_sentence_recall", "all_supporting_kept")
PLAIN = Choice(name="truncation")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one method kept of one question's passages.

    Attributes:
        source: The golden set of the question.
        cluster: The gold document; questions about the same one succeed and fail together.
        shares: Metric by name, 0 to 1; None where the question says nothing about it.
        kept: Tokens kept.
        given: Tokens of all candidates.
        over_budget: True if it kept more than the budget.
    """

    source: str
    cluster: str
    shares: Mapping[str, float | None]
    kept: int
    given: int
    over_budget: bool


Runs = Mapping[Choice, Sequence[Measured]]


def rows_of(runs: Mapping[float, Runs], times: Mapping[Choice, Row], *, seed: int) -> list[Row]:
    """Return one row per budget and method.

    Args:
        runs: By budget ratio and method one value per question, the same questions in the same order.
        times: Percentiles of each method.
        seed: Of the resampling.
    """
    rows = []
    for budget_ratio, methods in runs.items():
        for choice, measured in methods.items():
            row = {"method": str(choice), "budget_ratio": budget_ratio, **_figures(choice, methods, seed)}
            sources = dict.fromkeys(one.source for one in measured)
            if len(sources) > 1:
                row["sets"] = {source: _figures(choice, _only(methods, source), seed) for source in sources}
            rows.append(row | times.get(choice, {}))
    return rows


def _only(methods: Runs, source: str) -> Runs:
    return {choice: [one for one in measured if one.source == source] for choice, measured in methods.items()}


def _figures(choice: Choice, methods: Runs, seed: int) -> Row:
    measured = methods[choice]
    clusters = [one.cluster for one in measured]
    kept = ratio([one.kept for one in measured], [one.given for one in measured], clusters, seed=seed)
    row: Row = {"n": len(measured)}
    for metric in METRICS:
        row |= _share(metric, measured, seed)
    row["tokens_kept_ratio"] = None if kept is None else kept.value
    row["over_budget"] = sum(one.over_budget for one in measured) / len(measured)
    if choice.ours:
        rivals = {other: found for other, found in methods.items() if not other.ours and _within_budget(found)}
        for metric in METRICS:
            row |= _gains(metric, measured, rivals, seed)
    return row


def _within_budget(measured: Sequence[Measured]) -> bool:
    return not any(one.over_budget for one in measured)


def _share(metric: str, measured: Sequence[Measured], seed: int) -> Row:
    found = estimate(*_known(metric, measured), seed=seed)
    if found is None:
        return {metric: None}
    return {metric: found.value, f"{metric}_ci": [found.low, found.high], f"{metric}_n": found.n}


def _gains(metric: str, ours: Sequence[Measured], rivals: Runs, seed: int) -> Row:
    """Return the paired differences to the rival that is best at ``metric``, and to plain truncation."""
    means = {
        rival: found.value for rival, run in rivals.items() if (found := estimate(*_known(metric, run), seed=seed))
    }
    if not means:
        return {}
    best = max(means, key=lambda rival: means[rival])
    row: Row = {f"{metric}_best_rival": str(best)}
    for name, rival in (("best_rival", best), ("truncation", PLAIN)):
        if rival in means:
            gain = paired_difference(_known(metric, ours)[0], *_known(metric, rivals[rival]), seed=seed)
            if gain is not None:
                row |= {f"{metric}_minus_{name}": gain.value, f"{metric}_minus_{name}_ci": [gain.low, gain.high]}
    return row


def _known(metric: str, measured: Sequence[Measured]) -> tuple[list[float], list[str]]:
    """Return the values that are known, and their clusters: which are known is the question's, not the method's."""
    known = [(value, one.cluster) for one in measured if (value := one.shares[metric]) is not None]
    return [value for value, _ in known], [cluster for _, cluster in known]
