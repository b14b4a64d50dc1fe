"""The tables of ``costkit bench`` for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from costkit_evals.formats import NOTHING
from costkit_evals.terminal import PLAIN_WIDTH

__all__ = ["show"]

_HEADS = {
    "operating_point": "point",
    "target_wrong_per_hit": "target",
    "hit_rate": "hits",
    "wrong_per_hit": "wrong per hit",
    "wrong_per_request": "wrong per request",
    "n_same": "same",
    "n_different": "different",
    "same_served_rate": "same served",
    "different_served_rate": "different served",
    "recall_at_1pct_different": "recall at 1%",
    "recall_at_5pct_different": "at 5%",
    "recall_at_10pct_different": "at 10%",
    "lookup_p50_ms": "look-up ms",
    "embed_p50_ms": "embed ms",
    "pair_model_p50_ms": "pair model ms",
    "budget_ratio": "budget",
    "answer_kept": "answer kept",
    "supporting_sentence_recall": "sentences kept",
    "tokens_kept_ratio": "tokens kept",
    "over_budget": "over budget",
    "warm_p50_ms": "warm ms",
    "p50_ms": "p50 ms",
    "p95_ms": "p95 ms",
    "p99_ms": "p99 ms",
    "max_ms": "max ms",
    "other": "",
}
_SHARES = (
    "hit_rate",
    "wrong_per_hit",
    "wrong_per_request",
    "same_served_rate",
    "different_served_rate",
    "answer_kept",
    "supporting_sentence_recall",
)
_KINDS: Mapping[str, Sequence[str]] = {
    "hit_rate": (
        "policy",
        "operating_point",
        "target_wrong_per_hit",
        "threshold",
        "hit_rate",
        "wrong_per_hit",
        "wrong_per_request",
        "lookup_p50_ms",
        "embed_p50_ms",
        "pair_model_p50_ms",
    ),
    "auc": (
        "policy",
        "threshold",
        "n_same",
        "n_different",
        "auc",
        "recall_at_1pct_different",
        "recall_at_5pct_different",
        "recall_at_10pct_different",
        "same_served_rate",
        "different_served_rate",
    ),
    "budget_ratio": (
        "method",
        "budget_ratio",
        "answer_kept",
        "supporting_sentence_recall",
        "tokens_kept_ratio",
        "over_budget",
        "p50_ms",
        "warm_p50_ms",
    ),
    "measure": ("measure", "entries", "tenants", "p50_ms", "p95_ms", "p99_ms", "max_ms", "other", "target"),
}
_WORDS = ("policy", "method", "operating_point", "measure", "target", "other")
# Figures that few rows have share a column.
_OTHER = {
    "p50_ratio": "{} times",
    "inserts": "{} inserts",
    "memory_mb": "{} MB of memory",
    "disk_mb": "{} MB on disk",
    "resting": "{} rest on it",
    "gone": "{} went",
    "seconds": "{} s",
    "file_mb": "{} MB",
}


def show(rows: Sequence[Mapping[str, object]], notes: Sequence[str], *, console: Console | None = None) -> None:
    """Write the rows as a table, and the notes below it.

    Args:
        rows: What the benchmark measured.
        notes: What the reader must know.
        console: Where to write. Default: standard output.
    """
    console = console or Console()
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    if rows:
        console.print(_table(rows))
    for note in notes:
        console.print(Text(f"Note: {note}", style="yellow"))


def _table(rows: Sequence[Mapping[str, object]]) -> Table:
    keys = next(keys for mark, keys in _KINDS.items() if mark in rows[0])
    shown = [key for key in keys if key == "other" or any(row.get(key) is not None for row in rows)]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1), collapse_padding=True, pad_edge=False)
    for key in shown:
        words = key in _WORDS
        table.add_column(_HEADS.get(key, key), justify="left" if words else "right", no_wrap=not words)
    for row in rows:
        table.add_row(*(Text(_cell(row, key)) for key in shown))
    return table


def _cell(row: Mapping[str, object], key: str) -> str:
    if key == "other":
        return ", ".join(words.format(row[name]) for name, words in _OTHER.items() if name in row)
    value, interval = row.get(key), row.get(f"{key}_ci")
    if key in _SHARES and isinstance(value, float):
        bounds = " to ".join(f"{bound * 100:.1f}" for bound in interval) if isinstance(interval, list) else ""
        return f"{value * 100:.1f}% [{bounds}]"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return NOTHING if value is None else str(value)
