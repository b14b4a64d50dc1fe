"""The report's tables: one column per pipeline, one line per figure, as plain text in cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from costkit_evals.formats import (
    FRAMEWORKS,
    NOTHING,
    PHASES,
    change,
    interval,
    metric_title,
    milliseconds,
    percent,
    segment_title,
    signed,
    thousand,
    tokens,
)
from costkit_evals.result import SEGMENTS, Comparison, Result, Row, StageLatency
from costkit_evals.statistics import Estimate

__all__ = ["Cell", "Grid", "Group", "Line", "difference_grid", "figure_grid", "latency_grid", "places"]

Place = tuple[str, str, str]
"""Framework, phase and reader."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A figure and, smaller, its interval; ``tone`` is ``bad`` where the reader should look."""

    text: str
    small: str = ""
    tone: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a table."""

    title: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Lines under one heading."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table."""

    title: str
    columns: tuple[str, ...]
    groups: tuple[Group, ...]


EMPTY = Cell(text=NOTHING)
_METRIC_ORDER = (
    "span_recall",
    "span_precision",
    "id_recall",
    "id_precision",
    "token_f1",
    "exact_match",
    "containment",
    "abstention_accuracy",
    "semantic_similarity",
    "success",
)
_TOKEN_ORDER = ("context", "prompt", "output", "cache_read", "cache_write", "usd")
_TIER_ORDER = ("all", "cached", "cheap", "strong")


def places(result: Result) -> list[Place]:
    """Return every framework, phase and reader of the rows, in the order in which they first occur."""
    return list(dict.fromkeys((row.framework, row.phase, row.reader) for row in result.rows))


def figure_grid(result: Result, place: Place) -> Grid:
    """Return all figures of one framework, phase and reader."""
    rows = [row for row in result.rows if (row.framework, row.phase, row.reader) == place]
    groups = [
        _group("Quality, 0 to 1", rows, _keys(row.metrics for row in rows), _metric, metric_title),
        _group("Tokens per question", rows, _keys(row.tokens for row in rows), _tokens, _token_title),
        _group("US dollars per 1000 questions", rows, ["total", *_segments(rows)], _dollars, segment_title),
        _group("US dollars per 1000 successful answers", rows, _success_tiers(rows), _success, _tier_title),
        _group("Share of answers", rows, _keys(row.tier_share for row in rows), _share, _tier_title),
        _group(
            "Response cache: hits of all questions, wrong and stale ones of all hits",
            rows,
            _hit_lines(rows),
            _hits,
            str,
        ),
        _group("Questions", rows, ["scored"], _scored, str),
    ]
    return Grid(title=_title(place), columns=_columns(rows), groups=tuple(group for group in groups if group.lines))


def difference_grid(result: Result, place: Place, *, margin: float) -> Grid | None:
    """Return the paired differences against naive of one framework, phase and reader, or None without any.

    Args:
        result: The run.
        place: Framework, phase and reader.
        margin: A lower bound at or below minus this is marked.
    """
    ours = [one for one in result.comparisons if (one.framework, one.phase, one.reader) == place]
    ours = [one for one in ours if one.pipeline != "naive"]
    if not ours:
        return None
    metrics = _keys(one.differences for one in ours)
    groups = [
        Group(
            title="Paired difference, with its 95% interval",
            lines=tuple(
                Line(title=metric_title(key), cells=tuple(_difference(one, key) for one in ours)) for key in metrics
            ),
        ),
        Group(
            title="One-sided 95% lower bound",
            lines=tuple(
                Line(title=metric_title(key), cells=tuple(_bound(one, key, margin) for one in ours)) for key in metrics
            ),
        ),
        Group(
            title="Change against naive, with its 95% interval",
            lines=tuple(
                Line(title=_token_title(key), cells=tuple(_reduction(one, key) for one in ours))
                for key in _keys(one.reductions for one in ours)
            ),
        ),
        Group(
            title="Drop that this set would show (80% power)",
            lines=tuple(
                Line(title=metric_title(key), cells=tuple(_detectable(one, key) for one in ours))
                for key in _keys(one.detectable for one in ours)
            ),
        ),
    ]
    return Grid(
        title=_title(place),
        columns=tuple(one.pipeline for one in ours),
        groups=tuple(group for group in groups if group.lines),
    )


def latency_grid(result: Result, place: Place) -> Grid | None:
    """Return milliseconds by stage of one framework, phase and reader, or None where none were taken."""
    taken = [one for one in result.timing.stages if (one.framework, one.phase, one.reader) == place]
    if not taken:
        return None
    columns = tuple(dict.fromkeys(one.pipeline for one in taken))
    stages = dict.fromkeys(one.stage for one in taken)
    lines = tuple(
        Line(title=stage, cells=tuple(_latency(taken, stage, pipeline) for pipeline in columns)) for stage in stages
    )
    group = Group(title="Milliseconds per question, p50 / p95", lines=lines)
    return Grid(title=_title(place), columns=columns, groups=(group,))


def _group(
    title: str,
    rows: Sequence[Row],
    keys: Sequence[str],
    cell: Callable[[Row, str], Cell],
    name: Callable[[str], str],
) -> Group:
    lines = (Line(title=name(key), cells=tuple(cell(row, key) for row in rows)) for key in keys)
    return Group(title=title, lines=tuple(line for line in lines if any(one != EMPTY for one in line.cells)))


def _metric(row: Row, key: str) -> Cell:
    return _estimate(row.metrics.get(key))


def _estimate(value: Estimate | None) -> Cell:
    return Cell(text=f"{value.value:.3f}", small=interval(value)) if value else EMPTY


def _tokens(row: Row, key: str) -> Cell:
    value = row.tokens.get(key)
    return Cell(text=tokens(value.value), small=interval(value, places=0)) if value else EMPTY


def _dollars(row: Row, key: str) -> Cell:
    total = row.usd_per_question
    if key == "total":
        return Cell(text=thousand(total.value), small=interval(total, scale=1000, places=2)) if total else EMPTY
    return Cell(text=thousand(row.usd_by_segment[key])) if key in row.usd_by_segment else EMPTY


def _segments(rows: Sequence[Row]) -> list[str]:
    return [name for name in SEGMENTS if any(row.usd_by_segment.get(name) for row in rows)]


def _success(row: Row, key: str) -> Cell:
    value = row.usd_per_success.get(key)
    return Cell(text=thousand(value.value), small=interval(value, scale=1000, places=2)) if value else EMPTY


def _success_tiers(rows: Sequence[Row]) -> list[str]:
    return _keys(row.usd_per_success for row in rows)


def _share(row: Row, key: str) -> Cell:
    return Cell(text=percent(row.tier_share[key])) if key in row.tier_share else EMPTY


def _hit_lines(rows: Sequence[Row]) -> list[str]:
    return ["exact hits", "semantic hits", "wrong hits", "stale hits"] if any(row.hits.rate for row in rows) else []


def _hits(row: Row, key: str) -> Cell:
    found = row.hits
    counts = {
        "exact hits": found.exact,
        "semantic hits": found.semantic,
        "wrong hits": found.wrong,
        "stale hits": found.stale,
    }
    count = counts[key]
    if count is None or not found.n:
        return EMPTY
    harmful = key in {"wrong hits", "stale hits"}
    whole = found.exact + found.semantic if harmful else found.n
    return Cell(
        text=f"{count:,}", small=percent(count / whole) if whole else "", tone="bad" if harmful and count else ""
    )


def _scored(row: Row, _key: str) -> Cell:
    return Cell(text=f"{row.n:,} of {row.asked:,}", tone="" if row.n == row.asked else "bad")


def _difference(one: Comparison, key: str) -> Cell:
    value = one.differences.get(key)
    return Cell(text=signed(value.value), small=f"{signed(value.low)} to {signed(value.high)}") if value else EMPTY


def _bound(one: Comparison, key: str, margin: float) -> Cell:
    value = one.differences.get(key)
    if value is None:
        return EMPTY
    return Cell(text=signed(value.lower_bound), tone="bad" if value.lower_bound <= -margin else "")


def _reduction(one: Comparison, key: str) -> Cell:
    value = one.reductions.get(key)
    return Cell(text=change(value.value), small=f"{change(value.high)} to {change(value.low)}") if value else EMPTY


def _detectable(one: Comparison, key: str) -> Cell:
    return Cell(text=f"{one.detectable[key]:.3f}") if key in one.detectable else EMPTY


def _latency(taken: Iterable[StageLatency], stage: str, pipeline: str) -> Cell:
    found = next((one for one in taken if one.stage == stage and one.pipeline == pipeline), None)
    if found is None:
        return EMPTY
    return Cell(text=f"{milliseconds(found.p50_seconds)} / {milliseconds(found.p95_seconds)}")


def _keys(mappings: Iterable[Iterable[str]]) -> list[str]:
    """Return the keys of all mappings in a fixed order, known ones first."""
    known = (*_METRIC_ORDER, *_TOKEN_ORDER, *_TIER_ORDER)
    found = {key for mapping in mappings for key in mapping}
    return [key for key in known if key in found] + sorted(found - set(known))


def _columns(rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(row.pipeline for row in rows)


def _token_title(key: str) -> str:
    return {"cache_read": "read from prompt cache", "cache_write": "written to prompt cache", "usd": "cost"}.get(
        key, key
    )


def _tier_title(key: str) -> str:
    return "all answers" if key == "all" else f"{key} tier"


def _title(place: Place) -> str:
    framework, phase, reader = place
    return f"{FRAMEWORKS[framework]} \N{MIDDLE DOT} {PHASES[phase]} \N{MIDDLE DOT} {reader} reader"
