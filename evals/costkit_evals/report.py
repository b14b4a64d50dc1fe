"""The HTML report of a run: one page that needs no network and no script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from costkit_evals import charts, grids
from costkit_evals.formats import FRAMEWORKS, change, interval, metric_title, percent, signed, thousand, tokens
from costkit_evals.gates import Limits
from costkit_evals.result import Result, Row
from costkit_evals.statistics import Estimate

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["render"]

TEMPLATES = Path(__file__).parent / "templates"
QUALITY = ("span_recall", "token_f1")


@dataclass(frozen=True, kw_only=True)
class _Card:
    """One headline figure: before, after, change, and lines that qualify it."""

    title: str
    figure: str
    detail: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Figure:
    """A plot with its heading and what it shows in words."""

    title: str
    svg: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """The naive row and the judged row of one framework."""

    framework: str
    naive: Row
    ours: Row


def render(result: Result, *, limits: Limits | None = None) -> str:
    """Return the report of ``result`` as one HTML page.

    Args:
        result: A judged run.
        limits: What it was judged by. Default: ``Limits()``.
    """
    from markupsafe import Markup

    limits = limits or Limits()
    reader = _main_reader(result)
    pairs = _pairs(result, limits.pipeline, reader, phase="first")
    replayed = _pairs(result, limits.pipeline, reader, phase="replay")
    tables = [(place, grids.figure_grid(result, place)) for place in grids.places(result)]
    differences = (grids.difference_grid(result, place, margin=limits.quality_margin) for place, _ in tables)
    latencies = (grids.latency_grid(result, place) for place, _ in tables)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            result=result,
            failed=list(dict.fromkeys(gate.name for gate in result.gates if not gate.passed)),
            limits=limits,
            cards=_cards(result, pairs, replayed, limits),
            sections=[(title, figures) for title, figures in _sections(result, pairs, reader, limits) if figures],
            tables=[(place[0] == result.rows[0].framework and place[2] == reader, table) for place, table in tables],
            differences=[grid for grid in differences if grid],
            latencies=[grid for grid in latencies if grid],
            frameworks=[FRAMEWORKS[pair.framework] for pair in pairs],
            settings=sorted(result.settings.items()),
            drawn=Markup,
        )
    )


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = _plain
    return environment


def _plain(value: object) -> str:
    """Write a setting: lists and small tables as words, not as code."""
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_plain(one)}" for key, one in sorted(value.items()))
    if isinstance(value, list | tuple):
        return ", ".join(_plain(one) for one in value)
    return str(value)


def _main_reader(result: Result) -> str:
    readers = [row.reader for row in result.rows]
    return "tiered" if "tiered" in readers or not readers else readers[0]


def _pairs(result: Result, pipeline: str, reader: str, *, phase: str) -> list[_Pair]:
    """Return the rows to put first: each framework's naive row beside the judged one."""
    found = []
    for framework in dict.fromkeys(row.framework for row in result.rows):
        naive, ours = (
            result.row(framework=framework, phase=phase, pipeline=name, reader=reader) for name in ("naive", pipeline)
        )
        if naive and ours:
            found.append(_Pair(framework=framework, naive=naive, ours=ours))
    return found


def _cards(result: Result, pairs: Sequence[_Pair], replayed: Sequence[_Pair], limits: Limits) -> list[_Card]:
    if not pairs:
        return []
    cards = [
        _figure_card(
            result, pairs, "Context tokens per question", "context", lambda row: row.tokens["context"], tokens
        ),
        _figure_card(result, pairs, "Cost of 1000 questions", "usd", lambda row: row.usd_per_question, thousand),
        _figure_card(
            result, pairs, "Cost of 1000 successful answers", "", lambda row: row.usd_per_success.get("all"), thousand
        ),
    ]
    if replayed:
        cards.append(
            _figure_card(
                result, replayed, "Replay: cost of 1000 questions", "usd", lambda row: row.usd_per_question, thousand
            )
        )
    quality = (_quality_card(result, metric, limits) for metric in QUALITY)
    return [card for card in (*cards[:3], *quality, *cards[3:]) if card]


def _figure_card(
    result: Result,
    pairs: Sequence[_Pair],
    title: str,
    key: str,
    value: Callable[[Row], Estimate | None],
    form: Callable[[float], str],
) -> _Card | None:
    """Make a card of the first framework's figures, with a line for each further one."""
    texts = []
    for pair in pairs:
        before, after = value(pair.naive), value(pair.ours)
        if before is None or after is None or not before.value:
            return None
        comparison = result.comparison(pair.ours)
        saved = comparison.reductions.get(key) if comparison else None
        detail = f"{form(before.value)} with naive, {form(after.value)} with {pair.ours.pipeline}"
        if saved:
            detail += f" (95% interval {change(saved.high)} to {change(saved.low)})"
        texts.append((change(saved.value if saved else 1 - after.value / before.value), detail))
    (figure, detail), *others = texts
    lines = tuple(
        f"{FRAMEWORKS[pair.framework]}: {other}, {more}" for pair, (other, more) in zip(pairs[1:], others, strict=True)
    )
    return _Card(title=title, figure=figure, detail=f"{FRAMEWORKS[pairs[0].framework]}: {detail}", lines=lines)


def _quality_card(result: Result, metric: str, limits: Limits) -> _Card | None:
    """Make a card of the worst lower bound over frameworks and readers, and every one of them in a line."""
    found = [
        (one, one.differences[metric])
        for one in result.comparisons
        if one.phase == "first" and one.pipeline == limits.pipeline and metric in one.differences
    ]
    if not found:
        return None
    _, worst = min(found, key=lambda pair: pair[1].lower_bound)
    lines = tuple(
        f"{FRAMEWORKS[one.framework]}, {one.reader}: {signed(gap.value)} (\N{GREATER-THAN OR EQUAL TO} {signed(gap.lower_bound)})"
        for one, gap in found
    )
    return _Card(
        title=f"Change of {metric_title(metric)}",
        figure=f"\N{GREATER-THAN OR EQUAL TO} {signed(worst.lower_bound)}",
        detail="worst one-sided 95% lower bound; each estimate (and its bound) by framework and reader:",
        lines=lines,
    )


def _sections(result: Result, pairs: Sequence[_Pair], reader: str, limits: Limits) -> list[tuple[str, list[_Figure]]]:
    if not pairs:
        return [("Context inflation", [_inflation(result, limits)])]
    pair = pairs[0]
    first = _rows(result, pair.framework, "first", reader)
    return [
        ("Where the tokens go", [_context(pair), _segments(first, dollars=False)]),
        ("Where the money goes", _money(first, pair)),
        ("Cost against quality", _planes(first)),
        ("Cost per successful answer", _success(result, pair, reader)),
        ("Over turns and runs", [*_growth(result, pair, reader), _inflation(result, limits)]),
    ]


def _rows(result: Result, framework: str, phase: str, reader: str) -> list[Row]:
    return [row for row in result.rows if (row.framework, row.phase, row.reader) == (framework, phase, reader)]


def _context(pair: _Pair) -> _Figure:
    before, after = pair.naive.tokens["context"], pair.ours.tokens["context"]
    return _Figure(
        title="Context tokens, stage by stage",
        svg=charts.context_waterfall(pair.naive, pair.ours),
        caption=f"Naive puts {tokens(before.value)} context tokens into a prompt; {pair.ours.pipeline} keeps "
        f"{tokens(after.value)} ({interval(after, places=0)}).",
    )


def _segments(rows: Sequence[Row], *, dollars: bool) -> _Figure:
    return _Figure(
        title="Cost by what it pays for" if dollars else "Prompt tokens by segment",
        svg=charts.segments(rows, dollars=dollars),
        caption="Dollars of every segment, embedding and reranking included."
        if dollars
        else "Input tokens per question; the cached part of the system prompt is billed at the cache-read price.",
    )


def _money(rows: Sequence[Row], pair: _Pair) -> list[_Figure]:
    if not pair.naive.usd_per_question or not pair.ours.usd_per_question:
        return []
    figure = _Figure(
        title="What each part takes off the bill",
        svg=charts.cost_steps(_added(rows, pair)),
        caption=f"Parts are added one by one, from naive to {pair.ours.pipeline}; the response cache is off in this "
        "pass, so it changes nothing here.",
    )
    return [figure, _segments(rows, dollars=True)]


def _planes(rows: Sequence[Row]) -> list[_Figure]:
    figures = []
    for metric in QUALITY:
        points = [
            charts.Point(label=row.pipeline, cost=row.usd_per_question, quality=quality)
            for row in rows
            if (quality := row.metrics.get(metric)) and row.usd_per_question
        ]
        if points:
            figures.append(
                _Figure(
                    title=f"Cost and {metric_title(metric)}",
                    svg=charts.cost_quality(points, quality=metric_title(metric)),
                    caption="One point per pipeline with 95% intervals; the upper left corner is best.",
                )
            )
    return figures


def _success(result: Result, pair: _Pair, reader: str) -> list[_Figure]:
    """Draw the replay where there is one, since only there answers come from the response cache."""
    phase = "replay" if _rows(result, pair.framework, "replay", reader) else "first"
    rows = [row for row in _rows(result, pair.framework, phase, reader) if any(row.usd_per_success.values())]
    if not rows:
        return []
    ours = next((row for row in rows if row.pipeline == pair.ours.pipeline), rows[-1])
    asked = "the replay" if phase == "replay" else "the first pass"
    hits = f"With pipeline {ours.pipeline}, {percent(ours.hits.rate)} of the questions hit the cache; {ours.hits.wrong} hits are wrong."
    return [
        _Figure(
            title=f"By tier, in {asked}",
            svg=charts.success_cost(_added(rows, pair)),
            caption="Dollars spent over answers that succeed, by the tier that answered, with 95% intervals.",
        ),
        _Figure(
            title=f"Who answered, in {asked}",
            svg=charts.tier_shares(rows),
            caption=hits if ours.hits.n else "Share of the answers by tier.",
        ),
    ]


def _added(rows: Sequence[Row], pair: _Pair) -> list[Row]:
    """Return naive, the pipelines to which parts are added one by one, and the judged pipeline."""
    names = [row.pipeline for row in rows]
    sums = [name for name in names if "+" in name]
    wanted = [pair.naive.pipeline, *(name.split("+")[0] for name in sums[:1]), *sums, pair.ours.pipeline]
    return [rows[names.index(name)] for name in dict.fromkeys(wanted) if name in names]


def _growth(result: Result, pair: _Pair, reader: str) -> list[_Figure]:
    rows = [row for row in _rows(result, pair.framework, "conversation", reader) if row.context_growth]
    if not rows:
        return []
    return [
        _Figure(
            title="Prompt growth in a conversation",
            svg=charts.growth(rows),
            caption="Mean prompt tokens by turn; pipelines that fall onto one another share a label.",
        )
    ]


def _inflation(result: Result, limits: Limits) -> _Figure:
    ratio = result.inflation.ratio
    against = f"{ratio:.3f} times the baseline ({result.inflation.source})" if ratio else "no baseline is stored yet"
    return _Figure(
        title="Context inflation over runs",
        svg=charts.inflation(result.inflation, limit=limits.inflation),
        caption=f"This run uses {tokens(result.inflation.tokens)} context tokens per question: {against}.",
    )
