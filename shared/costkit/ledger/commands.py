"""``costkit ledger``: read the ledger."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click

__all__ = ["ledger"]


@click.group()
def ledger() -> None:
    """Read the cost ledger."""


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
    from costkit.ledger.store import Ledger, default_ledger

    found = report(
        Ledger(url) if url else default_ledger(),
        by=[word.strip() for word in by.split(",") if word.strip()],
        since=since and since.replace(tzinfo=UTC),
        until=until and until.replace(tzinfo=UTC),
    )
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
        return
    from rich.console import Console

    Console().print(found.table())
