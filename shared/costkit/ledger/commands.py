"""``costkit ledger``: read the ledger."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["ledger"]

_WIDEST = 1_000


@click.group()
def ledger() -> None:
    """Read the cost ledger.

    Example: costkit ledger report --by tenant,feature
    """


@ledger.command(name="report")
@click.option("--by", default="tenant,model", show_default=True, help="Grouping words, separated by commas.")
@click.option("--since", type=click.DateTime(), help="Earliest time, UTC, inclusive.")
@click.option("--until", type=click.DateTime(), help="Latest time, UTC, exclusive.")
@click.option("--db", "url", help="SQLAlchemy URL of the ledger. Default: ledger.db in $COSTKIT_HOME or ./.costkit.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def report_command(by: str, since: datetime | None, until: datetime | None, url: str | None, as_json: bool) -> None:  # noqa: FBT001
    """Sum what was spent and saved.

    Example: costkit ledger report --by tenant,feature,tier --since 2026-11-01
    """
    from costkit.ledger.reports import report
    from costkit.ledger.store import open_ledger

    opened = open_ledger(url)
    try:
        found = report(opened, by=[word.strip() for word in by.split(",") if word.strip()], since=since, until=until)
    finally:
        opened.close()
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
        return
    _print(found.table())


def _print(table: Table) -> None:
    """Print every figure whole, past the terminal's edge if need be: one that is cut short reads as another figure."""
    from rich.console import Console

    console = Console()
    needed = console.measure(table, options=console.options.update(width=_WIDEST))
    console.width = max(console.width, needed.minimum if console.is_terminal else needed.maximum)
    console.print(table)
