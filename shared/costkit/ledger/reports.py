"""Reports: what was spent and saved, by tenant, user, feature, model, tier or any of the ledger's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from sqlalchemy import Select, case, func, select

from costkit.errors import ConfigurationError
from costkit.ledger.store import EVENTS, Ledger, in_utc
from costkit.ledger.usage import Usage

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["GROUPINGS", "Report", "Row", "report"]

GROUPINGS = (
    "tenant",
    "user",
    "feature",
    "data_class",
    "purpose",
    "endpoint",
    "arm",
    "model",
    "tier",
    "kind",
    "part",
    "decision",
    "status",
)

NANO_PER_USD = 10**9


@dataclass(frozen=True, kw_only=True)
class Row:
    """The sums of one group.

    Attributes:
        group: Value by grouping word; None where the event named none.
        events: Number of events.
        calls: Model calls among them.
        failed: Events that failed.
        hits: Questions answered from the response cache.
        unpriced: Events whose cost nobody knows; they are not in ``cost_usd``.
        input_tokens: All input tokens; the four kinds after it sum to it.
        cost_usd: Sum of all known costs.
        saved_usd: Sum of what decisions saved, as far as it is known.
    """

    group: Mapping[str, str | None]
    events: int
    calls: int
    failed: int
    hits: int
    unpriced: int
    input_tokens: int
    uncached_input_tokens: int
    cache_read_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    output_tokens: int
    cost_usd: Decimal
    saved_usd: Decimal


# Heads of the table's columns, and what they count.
_COUNTS = {
    "calls": "calls",
    "hits": "hits",
    "failed": "failed",
    "unpriced": "unpriced",
    "input": "input_tokens",
    "cached": "cache_read_tokens",
    "output": "output_tokens",
}
_RARE = ("failed", "unpriced")


@dataclass(frozen=True, kw_only=True)
class Report:
    """Rows by group, the dearest first."""

    by: tuple[str, ...]
    rows: tuple[Row, ...]

    def to_json(self) -> list[dict[str, object]]:
        """Return the rows as plain values; money as a decimal string."""
        return [
            {**vars(row), "group": dict(row.group), "cost_usd": f"{row.cost_usd:f}", "saved_usd": f"{row.saved_usd:f}"}
            for row in self.rows
        ]

    def table(self) -> Table:
        """Return the report as a table for a terminal; ``failed`` and ``unpriced`` stand there if there are any."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        shown = {
            head: name
            for head, name in _COUNTS.items()
            if head not in _RARE or any(getattr(row, name) for row in self.rows)
        }
        table = Table(
            title=f"Cost by {', '.join(self.by)}",
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            show_edge=False,
            pad_edge=False,
        )
        for name in self.by:
            table.add_column(name, overflow="fold")
        for head in (*shown, "cost $", "saved $"):
            table.add_column(head, justify="right", no_wrap=True)
        for row in self.rows:
            table.add_row(
                *(row.group[name] or "-" for name in self.by),
                *(f"{getattr(row, name):,}" for name in shown.values()),
                f"{row.cost_usd:,.6f}",
                f"{row.saved_usd:,.6f}",
            )
        return table


def report(
    ledger: Ledger,
    *,
    by: Sequence[str] = ("tenant", "model"),
    since: datetime | None = None,
    until: datetime | None = None,
) -> Report:
    """Sum the ledger by group.

    Args:
        ledger: The ledger.
        by: One or more of ``GROUPINGS``.
        since: Earliest time, inclusive.
        until: Latest time, exclusive.

    Raises:
        ConfigurationError: ``by`` is empty or names no grouping.
    """
    unknown = next((name for name in by if name not in GROUPINGS), None)
    if unknown is not None or not by:
        raise ConfigurationError(f"cannot group by {unknown!r}; choose from {', '.join(GROUPINGS)}")
    with ledger.reading() as connection:
        found = connection.execute(_query(by, since, until)).mappings().all()
    rows = [
        Row(
            group={name: one[f"by_{name}"] for name in by},
            **{name: int(one[name] or 0) for name in _SUMS},
            cost_usd=Decimal(int(one["cost"] or 0)) / NANO_PER_USD,
            saved_usd=Decimal(int(one["saved"] or 0)) / NANO_PER_USD,
        )
        for one in found
    ]
    ordered = sorted(rows, key=lambda row: (-row.cost_usd, [row.group[name] or "" for name in by]))
    return Report(by=tuple(by), rows=tuple(ordered))


_COLUMNS = EVENTS.c
_SUMS = {
    "events": func.count(),
    "calls": func.sum(case((_COLUMNS.kind == "model", 1), else_=0)),
    "failed": func.sum(case((_COLUMNS.status == "failed", 1), else_=0)),
    "hits": func.sum(case(((_COLUMNS.kind == "cache") & (_COLUMNS.decision == "hit"), 1), else_=0)),
    "unpriced": func.sum(case((_COLUMNS.cost_nano_usd.is_(None), 1), else_=0)),
    "input_tokens": func.sum(
        _COLUMNS.uncached_input_tokens
        + _COLUMNS.cache_read_tokens
        + _COLUMNS.cache_write_5m_tokens
        + _COLUMNS.cache_write_1h_tokens
    ),
    **{one.name: func.sum(_COLUMNS[one.name]) for one in fields(Usage)},
}


def _query(by: Sequence[str], since: datetime | None, until: datetime | None) -> Select[tuple[object, ...]]:
    groups = [_COLUMNS[name].label(f"by_{name}") for name in by]
    sums = [sum_.label(name) for name, sum_ in _SUMS.items()]
    money = [func.sum(_COLUMNS.cost_nano_usd).label("cost"), func.sum(_COLUMNS.saved_nano_usd).label("saved")]
    query: Select[tuple[object, ...]] = select(*groups, *sums, *money).group_by(*(_COLUMNS[name] for name in by))
    if since is not None:
        query = query.where(_COLUMNS.at >= in_utc(since))
    if until is not None:
        query = query.where(_COLUMNS.at < in_utc(until))
    return query
