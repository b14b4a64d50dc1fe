"""The report's plots, as SVG text to stand inside a page: no network, no script, the same bytes for the same figures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from costkit_evals.result import SEGMENTS, Inflation, Row
from costkit_evals.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

__all__ = [
    "Point",
    "context_waterfall",
    "cost_quality",
    "cost_steps",
    "growth",
    "inflation",
    "segments",
    "success_cost",
    "tier_shares",
    "tokens_and_recall",
]

GREY, BLUE, GREEN, RED = "#7b8794", "#2f6db5", "#2e8b6f", "#c4512d"
PALE_BLUE, SAVED = "#9dbfe3", "#6fb89f"
WIDTH = 5.6  # inches, labels included, so that all plots of the page have one text size
SEGMENT_COLOURS = dict(
    zip(
        SEGMENTS,
        (PALE_BLUE, "#2f6db5", "#8f7ab8", "#e0a13a", "#b98b5e", "#5aa9a2", "#c4512d", "#8a9a3b", "#7b8794"),
        strict=True,
    )
)
TIER_COLOURS = {"all": GREY, "cached": GREEN, "cheap": "#e0a13a", "strong": BLUE}
_EMPHASIS = {"naive": RED, "all": GREEN}
# Numbers stay text (small, searchable, in the page's own font); the page's style recolours them in dark mode.
STYLE: dict[RcKeyType, object] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "costkit",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.edgecolor": GREY,
    "axes.labelcolor": "#3c4650",
    "text.color": "#3c4650",
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "#3c4650",
    "ytick.labelcolor": "#3c4650",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#7b879440",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


@dataclass(frozen=True, kw_only=True)
class Point:
    """One pipeline in the plane of cost (x, US dollars per question) and quality (y)."""

    label: str
    cost: Estimate
    quality: Estimate


@dataclass(frozen=True, kw_only=True)
class _Bar:
    """One bar of a waterfall, from ``start`` to ``end``; a drop where ``end`` is smaller."""

    label: str
    start: float
    end: float
    colour: str


@mpl.rc_context(STYLE)
def context_waterfall(naive: Row, ours: Row) -> str:
    """Draw the context tokens per question: the naive context, what each stage leaves, and what is kept."""
    before, kept = naive.tokens["context"].value, ours.tokens["context"].value
    bars = [_Bar(label="naive: context", start=0.0, end=before, colour=GREY)]
    if ours.context_stages:
        first = ours.context_stages[0]
        bars.append(_Bar(label=f"{ours.pipeline}: {first.name}", start=0.0, end=first.tokens, colour=PALE_BLUE))
        left = first.tokens
        for stage in ours.context_stages[1:]:
            bars.append(_step(stage.name, left, stage.tokens))
            left = stage.tokens
    else:
        bars.append(_step("taken out", before, kept))
    bars.append(_Bar(label=f"{ours.pipeline}: kept", start=0.0, end=kept, colour=BLUE))
    return _waterfall(bars, name="context", axis="context tokens per question", form="{:,.0f}")


@mpl.rc_context(STYLE)
def cost_steps(rows: Sequence[Row]) -> str:
    """Draw the cost of 1000 questions from the first row to the last, one step for each row between."""
    costs = [(row.pipeline, row.usd_per_question.value * 1000) for row in rows if row.usd_per_question]
    bars = [_Bar(label=costs[0][0], start=0.0, end=costs[0][1], colour=GREY)]
    for (_, before), (name, after) in pairwise(costs):
        bars.append(_step(f"to {name}", before, after))
    bars.append(_Bar(label=costs[-1][0], start=0.0, end=costs[-1][1], colour=BLUE))
    return _waterfall(bars, name="steps", axis="US dollars per 1000 questions", form="${:,.2f}")


@mpl.rc_context(STYLE)
def segments(rows: Sequence[Row], *, dollars: bool) -> str:
    """Draw stacked bars, one per row: input tokens, or dollars of everything, by segment."""
    values = [_thousands(row.usd_by_segment) if dollars else dict(row.tokens_by_segment) for row in rows]
    shown = [name for name in SEGMENTS if any(value.get(name, 0.0) > 0 for value in values)]
    if not dollars:
        shown = [name for name in shown if name not in {"output", "embedding", "rerank"}]
    figure, axes = _axes(height=0.9 + 0.27 * len(rows))
    left = [0.0] * len(rows)
    for name in shown:
        widths = [value.get(name, 0.0) for value in values]
        axes.barh(range(len(rows)), widths, left=left, height=0.66, color=SEGMENT_COLOURS[name], label=_words(name))
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for place, total in enumerate(left):
        _value(axes, total, place, f"${total:,.2f}" if dollars else f"{total:,.0f}")
    _rows(axes, [row.pipeline for row in rows], reach=max(left, default=0.0))
    axes.set_xlabel("US dollars per 1000 questions" if dollars else "input tokens per question")
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=4, handlelength=0.9, columnspacing=1.2)
    return _svg(figure, "dollars" if dollars else "tokens")


@mpl.rc_context(STYLE)
def cost_quality(points: Sequence[Point], *, quality: str) -> str:
    """Draw one point per pipeline with both intervals; labels stand beside the plot, so none can overlap."""
    figure, axes = _axes(height=3.4)
    for point in points:
        axes.errorbar(
            point.cost.value * 1000,
            point.quality.value,
            xerr=_arms(point.cost, scale=1000),
            yerr=_arms(point.quality),
            fmt="o",
            markersize=6,
            color=_emphasis(point.label),
            ecolor="#7b879499",
            elinewidth=1,
            zorder=3 if point.label in _EMPHASIS else 2,
        )
    axes.grid(visible=True)
    axes.set_xlim(left=0)
    axes.set_xlabel("US dollars per 1000 questions (lower is better)")
    axes.set_ylabel(f"{quality} (higher is better)")
    _margin_labels(axes, points)
    return _svg(figure, f"plane-{quality.replace(' ', '-')}")


@mpl.rc_context(STYLE)
def tokens_and_recall(
    points: Sequence[tuple[float, Estimate]], *, reference: float, margin: float, chosen: int | None
) -> str:
    """Draw recall with its interval against the tokens left, the reference and the margin below it.

    Args:
        points: Tokens and recall of each setting.
        reference: Recall of what is not cut.
        margin: The loss of it that is allowed.
        chosen: The place of the chosen setting among the points, if any.
    """
    figure, axes = _axes(height=3.2)
    for place, (tokens, recall) in enumerate(points):
        colour = GREEN if place == chosen else GREY
        label = "chosen" if place == chosen else None
        axes.errorbar(
            tokens, recall.value, yerr=_arms(recall), fmt="o", markersize=5, color=colour, elinewidth=1, label=label
        )
    for level, style, text in (
        (reference, "-", "all that was found"),
        (reference - margin, "--", "the margin below it"),
    ):
        axes.axhline(level, color=RED, linewidth=1, linestyle=style, label=text)
    axes.grid(visible=True)
    axes.set_xlim(left=0)
    axes.set_xlabel("context tokens per question (lower is better)")
    axes.set_ylabel("recall of what is needed")
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3)
    return _svg(figure, "tokens-and-recall")


@mpl.rc_context(STYLE)
def inflation(value: Inflation, *, limit: float, run: str = "this run") -> str:
    """Draw context tokens per question over the runs, with the baseline and the limit."""
    earlier = value.history[-11:]
    names = [*(f"{one.run}, {one.created[:10]}" for one in earlier), run]
    tokens = [*(one.tokens for one in earlier), value.tokens]
    figure, axes = _axes(height=0.9 + 0.27 * len(tokens))
    axes.barh(range(len(tokens)), tokens, height=0.66, color=[*(PALE_BLUE for _ in earlier), BLUE])
    reach = max(tokens)
    if value.baseline_tokens:
        reach = max(reach, value.baseline_tokens * limit)
        for factor, style, text in ((1.0, "-", "baseline"), (limit, "--", f"limit, {limit:.2f} times")):
            axes.axvline(value.baseline_tokens * factor, color=RED, linewidth=1, linestyle=style, label=text)
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2)
    for place, count in enumerate(tokens):
        _value(axes, reach, place, f"{count:,.0f}")
    _rows(axes, names, reach=reach)
    axes.set_xlabel("context tokens per question")
    return _svg(figure, "inflation")


@mpl.rc_context(STYLE)
def success_cost(rows: Sequence[Row]) -> str:
    """Draw the dollars per 1000 successful answers by tier, one group per row, with intervals."""
    figure, axes = _axes(height=0.9 + 0.2 * sum(1 + _tiers(row) for row in rows))
    height, middles, reach = 0.0, [], 0.0
    for row in rows:
        middles.append(height + (_tiers(row) - 1) / 2)
        for tier, colour in TIER_COLOURS.items():
            found = row.usd_per_success.get(tier)
            if found is None:
                continue
            value, high = found.value * 1000, found.high * 1000
            axes.barh(height, value, height=0.85, color=colour)
            axes.plot([found.low * 1000, high], [height, height], color=GREY, linewidth=1)
            _value(axes, max(value, high), height, f"${value:,.2f}")
            reach, height = max(reach, value, high), height + 1
        height += 1
    _rows(axes, [row.pipeline for row in rows], reach=reach, at=middles)
    axes.set_xlabel("US dollars per 1000 successful answers")
    shown = [tier for tier in TIER_COLOURS if any(row.usd_per_success.get(tier) for row in rows)]
    axes.legend(
        [Patch(color=TIER_COLOURS[tier]) for tier in shown],
        ["all answers" if tier == "all" else f"{tier} tier" for tier in shown],
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=4,
        handlelength=0.9,
    )
    return _svg(figure, "success")


@mpl.rc_context(STYLE)
def tier_shares(rows: Sequence[Row]) -> str:
    """Draw stacked bars, one per row: the share of the answers that each tier gave."""
    figure, axes = _axes(height=0.9 + 0.27 * len(rows))
    left = [0.0] * len(rows)
    for tier in [tier for tier in TIER_COLOURS if any(row.tier_share.get(tier) for row in rows)]:
        widths = [row.tier_share.get(tier, 0.0) * 100 for row in rows]
        axes.barh(range(len(rows)), widths, left=left, height=0.66, color=TIER_COLOURS[tier], label=f"{tier} tier")
        left = [start + width for start, width in zip(left, widths, strict=True)]
    _rows(axes, [row.pipeline for row in rows], reach=100)
    axes.set_xlim(0, 100)
    axes.set_xlabel("percent of the answers")
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=4, handlelength=0.9)
    return _svg(figure, "shares")


@mpl.rc_context(STYLE)
def growth(rows: Sequence[Row]) -> str:
    """Draw the mean prompt tokens by turn of a conversation, one line per row, labelled at its end."""
    figure, axes = _axes(height=2.8)
    ends = []
    for row in rows:
        turns = range(1, len(row.context_growth) + 1)
        axes.plot(turns, row.context_growth, marker="o", markersize=4, color=_emphasis(row.pipeline))
        ends.append((float(len(turns)), row.context_growth[-1], row.pipeline))
    longest = max(len(row.context_growth) for row in rows)
    axes.set_xticks(range(1, longest + 1))
    axes.set_ylim(0, max(max(row.context_growth) for row in rows) * 1.08)
    axes.grid(visible=True, axis="y")
    axes.set_xlabel("turn of the conversation")
    axes.set_ylabel("prompt tokens")
    _beside(axes, _merged(axes, ends))
    return _svg(figure, "growth")


def _step(label: str, before: float, after: float) -> _Bar:
    return _Bar(label=label, start=before, end=after, colour=SAVED if after <= before else RED)


def _waterfall(bars: Sequence[_Bar], *, name: str, axis: str, form: str) -> str:
    figure, axes = _axes(height=0.7 + 0.3 * len(bars))
    for place, bar in enumerate(bars):
        low, high = min(bar.start, bar.end), max(bar.start, bar.end)
        axes.barh(place, high - low, left=low, height=0.66, color=bar.colour)
        if place + 1 < len(bars):
            axes.plot([bar.end, bar.end], [place - 0.33, place + 1.33], color=GREY, linewidth=0.6, linestyle=":")
        change = bar.end - bar.start
        sign = "" if bar.start == 0 or change == 0 else "\N{MINUS SIGN}" if change < 0 else "+"
        _value(axes, high, place, sign + form.format(abs(change)))
    _rows(axes, [bar.label for bar in bars], reach=max(max(bar.start, bar.end) for bar in bars))
    axes.set_xlabel(axis)
    return _svg(figure, name)


def _margin_labels(axes: Axes, points: Sequence[Point]) -> None:
    _beside(axes, _merged(axes, [(point.cost.value * 1000, point.quality.value, point.label) for point in points]))


def _merged(axes: Axes, places: Sequence[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """Join the labels of points that fall onto one another, so that one label names them all."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    merged: list[tuple[float, float, str]] = []
    for x, y, label in places:
        for index, (other_x, other_y, others) in enumerate(merged):
            if abs(x - other_x) < 0.015 * (right - left) and abs(y - other_y) < 0.015 * (top - bottom):
                merged[index] = (other_x, other_y, f"{others}, {label}")
                break
        else:
            merged.append((x, y, label))
    return merged


def _beside(axes: Axes, places: Sequence[tuple[float, float, str]]) -> None:
    """Write labels in a column right of the plot, in order of height and apart, each with a thin line to its point."""
    bottom, top = axes.get_ylim()
    ordered = sorted(places, key=lambda one: (one[1], one[0]))
    heights = [(y - bottom) / (top - bottom) for _, y, _ in ordered]
    # Labels that are too close push each other apart until all stand clear.
    for _ in range(100):
        for index in range(len(heights) - 1):
            push = max(0.075 - (heights[index + 1] - heights[index]), 0.0) / 2
            heights[index] -= push
            heights[index + 1] += push
    for (x, y, label), height in zip(ordered, heights, strict=True):
        axes.annotate(
            label,
            (x, y),
            (1.04, height),
            textcoords=axes.transAxes,
            va="center",
            fontsize=8.5,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": "#7b8794aa", "linewidth": 0.7, "shrinkA": 2, "shrinkB": 3},
        )


def _tiers(row: Row) -> int:
    return sum(value is not None for value in row.usd_per_success.values())


def _axes(*, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height))
    return figure, figure.add_subplot()


def _rows(axes: Axes, labels: Sequence[str], *, reach: float, at: Sequence[float] | None = None) -> None:
    """Name the horizontal bars from the top down, and leave room for the numbers at their ends."""
    axes.set_yticks(range(len(labels)) if at is None else at, labels)
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xlim(0, reach * 1.16 or 1)
    axes.grid(visible=True, axis="x")


def _value(axes: Axes, x: float, y: float, text: str) -> None:
    axes.annotate(text, (x, y), (4, 0), textcoords="offset points", va="center", fontsize=8.5)


def _arms(value: Estimate, *, scale: float = 1.0) -> list[list[float]]:
    """Return the error bar's arms; a bootstrap interval may by chance miss its estimate, an arm is never negative."""
    return [[max(value.value - value.low, 0.0) * scale], [max(value.high - value.value, 0.0) * scale]]


def _emphasis(pipeline: str) -> str:
    return _EMPHASIS.get(pipeline, BLUE)


def _words(name: str) -> str:
    return {"system_cached": "system, cached", "system_uncached": "system, uncached"}.get(name, name)


def _thousands(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value * 1000 for name, value in values.items()}


def _svg(figure: Figure, name: str) -> str:
    """Return the figure as one ``<svg>`` element whose ids carry ``name``, since several stand in one page."""
    page = StringIO()
    FigureCanvasSVG(figure)
    # The axes take up a fixed share of the figure, the labels around them a fixed width.
    axes = figure.axes[0].get_position().width
    surplus = figure.get_tightbbox().width - WIDTH
    figure.set_figwidth(max(figure.get_figwidth() - surplus / axes, 2.5))
    figure.savefig(page, format="svg", bbox_inches="tight", pad_inches=0.03, transparent=True, metadata={"Date": None})
    text = page.getvalue()
    drawing = text[text.index("<svg") + len("<svg") :]
    head, body = drawing.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body)
    return f'<svg aria-hidden="true" {box.group() if box else ""}>{body}'
