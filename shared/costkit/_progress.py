"""What a command shows: its progress (a bar on a terminal, elsewhere a line at every tenth) and its result."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import click

__all__ = ["progress", "show"]

Step = Callable[[str, int, int], None]  # what is done, steps done, steps in all


@contextmanager
def progress() -> Iterator[Step]:
    """Show the steps of a piece of work on standard error."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _print_tenths
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda label, done, total: bar.update(task, completed=done, total=total, description=label)


def _print_tenths(label: str, done: int, total: int) -> None:
    if done * 10 // total != (done - 1) * 10 // total:
        click.echo(f"[{done}/{total}] {label}", err=True)


def show(found: Mapping[str, object], told: str, *, as_json: bool) -> None:
    """Print a result as one JSON object, or as text."""
    click.echo(json.dumps(found, indent=2) if as_json else told)
