"""Where events are kept: SQLite by default, PostgreSQL by URL, one code path over SQLAlchemy Core."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    RowMapping,
    String,
    Table,
    create_engine,
    event,
    insert,
    select,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.engine.url import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from costkit.errors import ConfigurationError, StoreError
from costkit.home import home
from costkit.ledger.usage import Event, Usage
from costkit.scope import Scope

__all__ = ["EVENTS", "Ledger", "default_ledger"]

SCHEMA = 1
BUSY_TIMEOUT_MS = 10_000

_TOKENS = tuple(one.name for one in fields(Usage))
_SCOPE = tuple(one.name for one in fields(Scope))
_PLAIN = ("kind", "part", "decision", "reason", "model", "price_snapshot", "tier", "status", "run_id")

_metadata = MetaData()

EVENTS = Table(
    "costkit_events",
    _metadata,
    Column("id", String(64), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False),
    *(Column(name, String) for name in _PLAIN),
    *(Column(name, Boolean if name == "deferrable" else String) for name in _SCOPE),
    *(Column(name, BigInteger, nullable=False) for name in _TOKENS),
    *(Column(f"saved_{name}", BigInteger, nullable=False) for name in _TOKENS),
    Column("cost_nano_usd", BigInteger),
    Column("saved_nano_usd", BigInteger),
    Column("seconds", Float, nullable=False),
    Column("batch", Boolean, nullable=False),
    Column("details", String, nullable=False),
    Index("costkit_events_at", "at"),
    Index("costkit_events_tenant_at", "tenant", "at"),
)

_SCHEMA = Table("costkit_schema", _metadata, Column("version", Integer, primary_key=True))

_log = logging.getLogger("costkit.ledger")


class Ledger:
    """Keeps events in a database that several processes may share.

    Args:
        url: A SQLAlchemy URL: ``sqlite:///path/to/ledger.db`` or ``postgresql+psycopg://user@host/database``.

    Raises:
        ConfigurationError: The URL is not one, or its driver is not installed.
        StoreError: The database cannot be opened, or was written by a newer costkit.
    """

    def __init__(self, url: str) -> None:
        self.dropped = 0
        self._engine = _engine(url)
        with _opening(url):
            _metadata.create_all(self._engine)
            _check_schema(self._engine)

    @classmethod
    def at(cls, path: Path | str) -> Ledger:
        """Open the SQLite ledger in a file, creating its folder if missing."""
        file = Path(path).absolute()
        with _opening(str(file)):
            file.parent.mkdir(parents=True, exist_ok=True)
        return cls(f"sqlite:///{file}")

    def record(self, event: Event) -> None:
        """Keep an event; one with an id that is there already changes nothing.

        It never raises: an event that cannot be written is counted in ``dropped``, and the first one is logged.
        """
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(EVENTS), _row(event))
        except IntegrityError:
            _log.debug("event %s is in the ledger already", event.id)
        except SQLAlchemyError as error:
            self.dropped += 1
            if self.dropped == 1:
                _log.warning("the ledger drops events, costs go unrecorded: %s", error)

    def events(self, *, since: datetime | None = None, until: datetime | None = None) -> Iterator[Event]:
        """Yield events in the order of their time.

        Args:
            since: Earliest time, inclusive.
            until: Latest time, exclusive.
        """
        query = select(EVENTS).order_by(EVENTS.c.at, EVENTS.c.id)
        if since is not None:
            query = query.where(EVENTS.c.at >= since.astimezone(UTC))
        if until is not None:
            query = query.where(EVENTS.c.at < until.astimezone(UTC))
        with _opening(str(self._engine.url)), self._engine.connect() as connection:
            for row in connection.execute(query).mappings():
                yield _event(row)

    @property
    def engine(self) -> Engine:
        """The database, for reports."""
        return self._engine

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


_defaults: dict[Path, Ledger] = {}
_defaults_lock = threading.Lock()


def default_ledger() -> Ledger:
    """Return this process's ledger in ``ledger.db`` of ``costkit.home.home()``, opened on first use."""
    path = home() / "ledger.db"
    with _defaults_lock:
        if path not in _defaults:
            _defaults[path] = Ledger.at(path)
        return _defaults[path]


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        engine = create_engine(parsed)
    except (ArgumentError, ImportError, SQLAlchemyError) as error:
        raise ConfigurationError(
            f"ledger url {url!r} cannot be used ({error}); give sqlite:///FILE, or postgresql+psycopg://... "
            "with pip install 'costkit[postgres]'"
        ) from None
    if parsed.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _share_sqlite)
    return engine


def _share_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    """Let several processes write: readers do not block (WAL), and a writer waits for another."""
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


@contextmanager
def _opening(place: str) -> Iterator[None]:
    """Turn database and file errors into ours."""
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        raise StoreError(f"the ledger {place!r} cannot be used: {error}") from error


def _check_schema(engine: Engine) -> None:
    with engine.begin() as connection:
        found = connection.execute(select(_SCHEMA.c.version)).scalar()
        if found is None:
            connection.execute(insert(_SCHEMA), {"version": SCHEMA})
        elif found != SCHEMA:
            raise StoreError(f"the ledger has schema {found}, this costkit writes {SCHEMA}; upgrade costkit")


def _row(event: Event) -> dict[str, object]:
    scope, usage, saved = vars(event.scope), vars(event.usage), vars(event.saved)
    return {
        "id": event.id,
        "at": event.at.astimezone(UTC),
        **{name: getattr(event, name) for name in _PLAIN},
        **scope,
        **usage,
        **{f"saved_{name}": saved[name] for name in _TOKENS},
        "cost_nano_usd": event.cost_nano_usd,
        "saved_nano_usd": event.saved_nano_usd,
        "seconds": event.seconds,
        "batch": event.batch,
        "details": json.dumps(dict(event.details), default=str),
    }


def _event(row: RowMapping) -> Event:
    at: datetime = row["at"]
    plain: Mapping[str, object] = {name: row[name] for name in (*_PLAIN, "id", "seconds", "batch")}
    return Event(
        **plain,  # type: ignore[arg-type]
        at=at if at.tzinfo else at.replace(tzinfo=UTC),  # SQLite keeps no time zone; UTC was written
        scope=Scope(**{name: row[name] for name in _SCOPE}),
        usage=Usage(**{name: row[name] for name in _TOKENS}),
        saved=Usage(**{name: row[f"saved_{name}"] for name in _TOKENS}),
        cost_nano_usd=row["cost_nano_usd"],
        saved_nano_usd=row["saved_nano_usd"],
        details=json.loads(row["details"]),
    )
