"""Sums scored rows up to the result: means with intervals, paired differences to naive, savings, latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from costkit_evals.result import (
    SEGMENTS,
    Comparison,
    Hits,
    Row,
    Stage,
    StageLatency,
)
from costkit_evals.runner import Unit
from costkit_evals.scoring import Scored
from costkit_evals.statistics import Difference, Estimate, detectable_drop, estimate, paired_difference, ratio

__all__ = ["compare", "latencies", "summarise"]

NANO_PER_USD = 10**9
TIERS = ("cached", "cheap", "strong")
TOKENS = ("context", "prompt", "output", "cache_read", "cache_write")

# Further metrics, one value per row in order, by name; ragas' own come in here.
Extra = Mapping[str, Sequence[float | None]]


def summarise(unit: Unit, rows: Sequence[Scored], *, asked: int, extra: Extra, seed: int) -> Row:
    """Return the row of one unit.

    Args:
        unit: Which unit.
        rows: Its scored questions.
        asked: Questions put to it.
        extra: Further metrics, one value per row.
        seed: Of the resampling.
    """
    own = {name: [row.quality.get(name) for row in rows] for name in _names(rows)}
    return Row(
        framework=unit.framework,
        phase=unit.phase,
        pipeline=unit.pipeline,
        reader=unit.reader,
        asked=asked,
        n=len(rows),
        metrics={name: _mean(values, rows, seed) for name, values in {**own, **extra}.items()},
        tokens={name: mean for name in TOKENS if (mean := _mean(_column(rows, name), rows, seed)) is not None},
        tokens_by_segment={name: _average(_column(rows, f"segment_{name}")) for name in SEGMENTS},
        usd_per_question=_mean([_usd(row) for row in rows], rows, seed) if _priced(rows) else None,
        usd_by_segment=_usd_by_segment(rows) if _priced(rows) else {},
        usd_per_success=_usd_per_success(rows, seed) if _priced(rows) else {},
        tier_share={tier: _average([float(row.tier == tier) for row in rows]) for tier in TIERS},
        hits=_hits(rows),
        context_stages=(
            Stage(name="retrieved", tokens=_average(_column(rows, "retrieved"))),
            Stage(name="kept", tokens=_average(_column(rows, "context"))),
        ),
        context_growth=_growth(rows) if unit.phase == "conversation" else (),
    )


def compare(unit: Unit, rows: Sequence[Scored], naive: Sequence[Scored], *, seed: int) -> Comparison:
    """Return the comparison of a unit with its naive unit over the same questions."""
    theirs = {row.id: row for row in naive}
    pairs = [(row, theirs[row.id]) for row in rows if row.id in theirs]
    differences = {
        name: difference for name in _names(naive) if (difference := _difference(pairs, name, seed)) is not None
    }
    clusters = [ours.cluster for ours, _ in pairs]
    reductions = {
        name: _reduction(
            [float(ours.tokens[name]) for ours, _ in pairs],
            [float(theirs.tokens[name]) for _, theirs in pairs],
            clusters,
            seed,
        )
        for name in ("context", "prompt", "output")
    }
    if _priced(rows) and _priced(naive):
        reductions["usd"] = _reduction(
            [_usd(ours) or 0.0 for ours, _ in pairs], [_usd(theirs) or 0.0 for _, theirs in pairs], clusters, seed
        )
    return Comparison(
        framework=unit.framework,
        phase=unit.phase,
        pipeline=unit.pipeline,
        reader=unit.reader,
        differences=differences,
        reductions={name: share for name, share in reductions.items() if share is not None},
        detectable={name: detectable_drop(difference) for name, difference in differences.items()},
    )


def latencies(unit: Unit, rows: Sequence[Scored]) -> list[StageLatency]:
    """Return the median and the 95th percentile of every stage's time."""
    stages = sorted({stage for row in rows for stage in row.seconds})
    found = []
    for stage in stages:
        seconds = [row.seconds[stage] for row in rows if stage in row.seconds]
        middle, slow = np.quantile(seconds, [0.5, 0.95])
        found.append(
            StageLatency(
                framework=unit.framework,
                phase=unit.phase,
                pipeline=unit.pipeline,
                reader=unit.reader,
                stage=stage,
                n=len(seconds),
                p50_seconds=float(middle),
                p95_seconds=float(slow),
            )
        )
    return found


def _names(rows: Sequence[Scored]) -> list[str]:
    return sorted({name for row in rows for name in row.quality})


def _column(rows: Sequence[Scored], name: str) -> list[float]:
    return [float(row.tokens[name]) for row in rows]


def _average(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _mean(values: Sequence[float | None], rows: Sequence[Scored], seed: int) -> Estimate | None:
    known = [(value, row.cluster) for value, row in zip(values, rows, strict=True) if value is not None]
    return estimate([value for value, _ in known], [cluster for _, cluster in known], seed=seed) if known else None


def _priced(rows: Sequence[Scored]) -> bool:
    return all(row.nano_usd is not None for row in rows)


def _usd(row: Scored) -> float | None:
    return None if row.nano_usd is None else sum(row.nano_usd.values()) / NANO_PER_USD


def _usd_by_segment(rows: Sequence[Scored]) -> dict[str, float]:
    return {name: _average([(row.nano_usd or {}).get(name, 0) / NANO_PER_USD for row in rows]) for name in SEGMENTS}


def _usd_per_success(rows: Sequence[Scored], seed: int) -> dict[str, Estimate | None]:
    """Divide everything a tier cost by its right answers: a cheap wrong answer is no saving."""
    by_tier = {tier: [row for row in rows if row.tier == tier] for tier in TIERS}
    return {
        name: ratio(
            [_usd(row) or 0.0 for row in chosen],
            [float(row.success) for row in chosen],
            [row.cluster for row in chosen],
            seed=seed,
        )
        for name, chosen in {"all": rows, **by_tier}.items()
    }


def _hits(rows: Sequence[Scored]) -> Hits:
    return Hits(
        exact=sum(row.hit == "exact" for row in rows),
        semantic=sum(row.hit == "semantic" for row in rows),
        wrong=sum(row.wrong_hit for row in rows),
        n=len(rows),
    )


def _growth(rows: Sequence[Scored]) -> tuple[float, ...]:
    """Return mean prompt tokens by turn; a turn's id ends in ``-t`` and its number."""
    by_turn: dict[int, list[float]] = {}
    for row in rows:
        by_turn.setdefault(int(row.id.rsplit("-t", 1)[1]), []).append(float(row.tokens["prompt"]))
    return tuple(_average(by_turn[turn]) for turn in sorted(by_turn))


def _difference(pairs: Sequence[tuple[Scored, Scored]], name: str, seed: int) -> Difference | None:
    known = [
        (ours, theirs, one.cluster)
        for one, other in pairs
        if (ours := one.quality.get(name)) is not None and (theirs := other.quality.get(name)) is not None
    ]
    return paired_difference(
        [ours for ours, _, _ in known],
        [theirs for _, theirs, _ in known],
        [cluster for _, _, cluster in known],
        seed=seed,
    )


def _reduction(ours: Sequence[float], theirs: Sequence[float], clusters: Sequence[str], seed: int) -> Estimate | None:
    """Return the share that ours saves: 1 minus the ratio of sums."""
    saved = [other - one for one, other in zip(ours, theirs, strict=True)]
    return ratio(saved, theirs, clusters, seed=seed)
