"""Cost ledger: every paid, failed and avoided piece of work, who it was for, why, and at what price."""

from __future__ import annotations

from typing import TYPE_CHECKING

from costkit.ledger.usage import Event, Kind, Recorder, Status, Usage, default_recorder

if TYPE_CHECKING:
    from costkit.ledger.reports import Report as Report
    from costkit.ledger.reports import Row as Row
    from costkit.ledger.reports import report as report
    from costkit.ledger.store import Ledger as Ledger
    from costkit.ledger.store import default_ledger as default_ledger

__all__ = [
    "Event",
    "Kind",
    "Ledger",
    "Recorder",
    "Report",
    "Row",
    "Status",
    "Usage",
    "default_ledger",
    "default_recorder",
    "report",
]

_HOMES = {
    "Ledger": "costkit.ledger.store",
    "Report": "costkit.ledger.reports",
    "Row": "costkit.ledger.reports",
    "default_ledger": "costkit.ledger.store",
    "report": "costkit.ledger.reports",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
