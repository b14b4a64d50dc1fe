"""What a run shows in a terminal: progress while it runs, and tables at its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from costkit_evals.formats import FRAMEWORKS, NOTHING, PHASES, change, percent, signed, thousand, tokens
from costkit_evals.result import GateOutcome, Phase, Result, Row

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = ["Progress", "show"]

PLAIN_WIDTH = 120

_LEGEND = """
Tokens and dollars are means; $/1000 is for 1000 questions, $/1000 ok for 1000 successful answers (all, then those of
the cheap and of the strong tier). ca/ch/st: share answered by the response cache, the cheap and the strong tier.
cached: prompt tokens read from the provider's cache. The intervals stand in the HTML report."""

Column = tuple[str, Callable[[Result, Row], str]]


def show(result: Result, *, console: Console | None = None) -> None:
    """Write the tables of a run: first pass, replay, conversations, differences and gates.

    Args:
        result: A judged run.
        console: Where to write. Default: standard output.
    """
    console = console or _console()
    for note in result.notes:
        console.print(Text(f"Note: {note}", style="yellow"))
    for phase, columns in _COLUMNS.items():
        for framework, reader in dict.fromkeys(
            (row.framework, row.reader) for row in result.rows if row.phase == phase
        ):
            if reader == _main_reader(result):
                rows = [
                    row for row in result.rows if (row.framework, row.phase, row.reader) == (framework, phase, reader)
                ]
                console.print()
                console.print(_figures(result, rows, f"{FRAMEWORKS[framework]}: {PHASES[phase].lower()}", columns))
    if result.rows:
        console.print(Text(_LEGEND, style="dim"))
    if result.comparisons:
        console.print()
        console.print(_differences(result))
    if result.gates:
        console.print()
        console.print(_gates(result.gates))


def _console() -> Console:
    """Return standard output; where it is no terminal, nothing tells its width, and 80 columns would cut the tables."""
    console = Console()
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


class Progress:
    """Progress of a run: a bar on a terminal, elsewhere a line at every tenth.

    Args:
        console: Where to write. Default: standard error, so that standard output stays for results.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        self._total = 0
        self._done = 0

    def start(self, total: int) -> None:
        """Begin; ``total`` is the number of steps."""
        self._total, self._done = total, 0
        if self._console.is_terminal:
            self._bar = RichProgress(
                TextColumn("{task.description}", table_column=None),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("starting", total=total)
            self._bar.start()

    def advance(self, label: str, count: int = 1) -> None:
        """Count steps done; ``label`` says what is being worked on."""
        self._done += count
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=count, description=Text(label).markup)
        elif self._tenth(self._done) != self._tenth(self._done - count):
            self._console.print(Text(f"[{self._done}/{self._total}] {label}"), soft_wrap=True)

    def stop(self) -> None:
        """End, also after an error; calling it twice does no harm."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _tenth(self, done: int) -> int:
        return done * 10 // max(self._total, 1)


def _main_reader(result: Result) -> str:
    readers = [row.reader for row in result.rows]
    return "tiered" if "tiered" in readers or not readers else readers[0]


def _figures(result: Result, rows: Sequence[Row], title: str, columns: Sequence[Column]) -> Table:
    table = _table(title)
    table.add_column("pipeline", no_wrap=True, max_width=22)
    for name, _ in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(Text(row.pipeline), *(Text(cell(result, row)) for _, cell in columns))
    return table


def _differences(result: Result) -> Table:
    """Show quality against naive in the first pass; the bound is what a gate looks at."""
    table = _table("First pass minus naive: paired difference [one-sided 95% lower bound]")
    table.add_column("pipeline", no_wrap=True, max_width=22)
    for name in ("framework", "reader"):
        table.add_column(name, no_wrap=True)
    for name in ("span recall", "token F1", "detectable F1 drop"):
        table.add_column(name, justify="right", no_wrap=True)
    judged = {gate_row.pipeline for gate_row in result.comparisons if gate_row.pipeline == "all"}
    for one in result.comparisons:
        if one.phase != "first" or one.pipeline == "naive" or (judged and one.pipeline not in judged):
            continue
        gaps = [one.differences.get(key) for key in ("span_recall", "token_f1")]
        texts = [f"{signed(gap.value)} [{signed(gap.lower_bound)}]" if gap else NOTHING for gap in gaps]
        drop = one.detectable.get("token_f1")
        seen = f"{drop:.3f}" if drop is not None else NOTHING
        table.add_row(Text(one.pipeline), FRAMEWORKS[one.framework], one.reader, *texts, seen)
    return table


def _gates(gates: Sequence[GateOutcome]) -> Table:
    table = _table("Gates")
    table.add_column("gate", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    table.add_column("finding", overflow="fold")
    for gate in gates:
        word, style = ("passed", "green") if gate.passed else (f"failed ({gate.exit_code})", "bold red")
        if gate.value is None:
            word, style = "not judged", "yellow"
        table.add_row(gate.name, Text(word, style=style), Text(gate.text))
    return table


def _table(title: str) -> Table:
    return Table(
        title=Text(title, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1),
        collapse_padding=True,
        pad_edge=False,
    )


def _metric(key: str) -> Callable[[Result, Row], str]:
    def cell(_result: Result, row: Row) -> str:
        value = row.metrics.get(key)
        return f"{value.value:.3f}" if value else NOTHING

    return cell


def _tokens(key: str) -> Callable[[Result, Row], str]:
    def cell(_result: Result, row: Row) -> str:
        value = row.tokens.get(key)
        return tokens(value.value) if value else NOTHING

    return cell


def _success(key: str) -> Callable[[Result, Row], str]:
    def cell(_result: Result, row: Row) -> str:
        value = row.usd_per_success.get(key)
        return thousand(value.value) if value else NOTHING

    return cell


def _cost(_result: Result, row: Row) -> str:
    return thousand(row.usd_per_question.value if row.usd_per_question else None)


def _saved(result: Result, row: Row) -> str:
    comparison = result.comparison(row)
    saved = comparison.reductions.get("usd") if comparison else None
    return change(saved.value) if saved and row.pipeline != "naive" else NOTHING


def _hits(_result: Result, row: Row) -> str:
    return percent(row.hits.rate) if row.hits.n else NOTHING


def _wrong(_result: Result, row: Row) -> str:
    return f"{row.hits.wrong:,}" if row.hits.n else NOTHING


def _tiers(_result: Result, row: Row) -> str:
    if not row.tier_share:
        return NOTHING
    return "/".join(f"{row.tier_share.get(tier, 0.0) * 100:.0f}" for tier in ("cached", "cheap", "strong"))


def _grown(_result: Result, row: Row) -> str:
    return f"{tokens(row.context_growth[0])} to {tokens(row.context_growth[-1])}" if row.context_growth else NOTHING


_QUALITY: tuple[Column, ...] = (("span rec", _metric("span_recall")), ("F1", _metric("token_f1")))
_COLUMNS: dict[Phase, tuple[Column, ...]] = {
    "first": (
        *_QUALITY,
        ("context", _tokens("context")),
        ("prompt", _tokens("prompt")),
        ("output", _tokens("output")),
        ("cached", _tokens("cache_read")),
        ("$/1000", _cost),
        ("vs naive", _saved),
    ),
    "replay": (
        _QUALITY[1],
        ("hits", _hits),
        ("wrong", _wrong),
        ("ca/ch/st %", _tiers),
        ("$/1000", _cost),
        ("vs naive", _saved),
        ("$/1000 ok", _success("all")),
        ("cheap", _success("cheap")),
        ("strong", _success("strong")),
    ),
    "conversation": (
        *_QUALITY,
        ("context", _tokens("context")),
        ("prompt, first to last turn", _grown),
        ("$/1000", _cost),
        ("vs naive", _saved),
    ),
}
