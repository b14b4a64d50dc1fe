"""Where events are kept: SQLite by default, PostgreSQL by URL, one code path over SQLAlchemy Core."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
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
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.engine.url import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from costkit.errors import ConfigurationError, CostkitError, StoreError
from costkit.home import home
from costkit.ledger.usage import Event, Recorder, Usage
from costkit.scope import Scope

__all__ = ["EVENTS", "Ledger", "default_ledger", "open_ledger"]

SCHEMA = 1
BUSY_TIMEOUT_MS = 10_000
CONNECT_TIMEOUT_SECONDS = 5

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

# Each knows "insert unless the key is there" under the same name.
_INSERTS: dict[str, Callable[[Table], sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}
_SETUP_LOCK = 0x636F73746B6974  # any constant, the same in all processes: "costkit" in ASCII

_log = logging.getLogger("costkit.ledger")


class Ledger:
    """Keeps events in a database that several processes may share.

    Args:
        url: A SQLAlchemy URL: ``sqlite:///path/to/ledger.db`` or ``postgresql+psycopg://user@host/database``.

    Raises:
        ConfigurationError: The URL is not one, names another kind of database, or its driver is not installed.
        StoreError: The database cannot be opened, or was written by a newer costkit.
    """

    def __init__(self, url: str) -> None:
        self.dropped = 0
        self._counting = threading.Lock()
        self._engine = _engine(url)
        self._insert = _INSERTS[self._engine.dialect.name]
        self._pid = os.getpid()
        try:
            with _opening(self._engine.url):
                _set_up(self._engine)
        except StoreError:
            self._engine.dispose()
            raise

    @classmethod
    def at(cls, path: Path | str) -> Ledger:
        """Open the SQLite ledger in a file, creating its folder if missing."""
        file = Path(path).absolute()
        with _opening(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        return cls(f"sqlite:///{file}")

    def record(self, event: Event) -> None:
        """Keep an event; one with an id that is there already changes nothing.

        It never raises: an event that cannot be written is counted in ``dropped``, and the first one is logged.
        """
        try:
            with self.engine.begin() as connection:
                connection.execute(self._insert(EVENTS).values(_row(event)).on_conflict_do_nothing())
        except Exception as error:  # noqa: BLE001  whatever is wrong with the event or the database, the chain goes on
            with self._counting:
                self.dropped += 1
                first = self.dropped == 1
            if first:
                _log.warning("the ledger drops events, costs go unrecorded: %s", error)

    def events(self, *, since: datetime | None = None, until: datetime | None = None) -> Iterator[Event]:
        """Yield events in the order of their time.

        Args:
            since: Earliest time, inclusive. A time without zone is UTC, here and in ``until``.
            until: Latest time, exclusive.

        Raises:
            StoreError: The database cannot be read.
        """
        query = select(EVENTS).order_by(EVENTS.c.at, EVENTS.c.id)
        if since is not None:
            query = query.where(EVENTS.c.at >= in_utc(since))
        if until is not None:
            query = query.where(EVENTS.c.at < in_utc(until))
        with self.reading() as connection:
            for row in connection.execute(query).mappings():
                yield _event(row)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a connection whose errors are ``StoreError``."""
        with _opening(self._engine.url), self.engine.connect() as connection:
            yield connection

    @property
    def engine(self) -> Engine:
        """The database."""
        if self._pid != os.getpid():  # a forked worker must not speak through its parent's connections
            self._engine.dispose(close=False)
            self._pid = os.getpid()
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


def open_ledger(url: str | None = None) -> Ledger:
    """Open a ledger to read it; a file that is not there is a wrong path, not an empty ledger.

    Args:
        url: See ``Ledger``. Default: ``ledger.db`` in ``costkit.home.home()``.

    Raises:
        StoreError: There is no such file, or it cannot be opened.
    """
    asked = url or f"sqlite:///{home() / 'ledger.db'}"
    file = asked.removeprefix("sqlite:///") if asked.startswith("sqlite:///") else None
    if file is not None and not Path(file).exists():
        raise StoreError(f"there is no ledger {file!r}: nothing was recorded there; give --db or set COSTKIT_HOME")
    return Ledger(asked)


class _NoLedger:
    """Stands for a default ledger that cannot be opened: takes events and keeps none."""

    def record(self, event: Event) -> None:
        """Drop the event."""


_unusable: dict[Path, _NoLedger] = {}


def default_ledger_or_nothing() -> Recorder:
    """Return the default ledger; where it cannot be opened, say so once and return a recorder that keeps nothing."""
    path = home() / "ledger.db"
    if path in _unusable:
        return _unusable[path]
    try:
        return default_ledger()
    except CostkitError as error:
        _unusable[path] = _NoLedger()
        _log.warning("costs go unrecorded: %s; set COSTKIT_HOME to a folder that can be written", error)
        return _unusable[path]


def _engine(url: str) -> Engine:
    advice = "give sqlite:///FILE, or postgresql+psycopg://... with pip install 'costkit[postgres]'"
    try:
        parsed = make_url(url)
        engine = create_engine(parsed, **_options(parsed))
    except (ArgumentError, ImportError, SQLAlchemyError) as error:
        raise ConfigurationError(f"ledger url {url!r} cannot be used ({error}); {advice}") from None
    if engine.dialect.name not in _INSERTS:
        raise ConfigurationError(f"ledger url {parsed!r} is of another kind of database; {advice}")
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _share_sqlite)
    return engine


def _options(url: URL) -> dict[str, object]:
    """Let a PostgreSQL server that restarts or vanishes cost no event and little time."""
    if url.get_backend_name() != "postgresql":
        return {}
    return {"pool_pre_ping": True, "connect_args": {"connect_timeout": CONNECT_TIMEOUT_SECONDS}}


def _share_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    """Let several processes write: readers do not block (WAL), and a writer waits for another."""
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


@contextmanager
def _opening(place: URL | Path) -> Iterator[None]:
    """Turn database and file errors into ours; the URL shows no password."""
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        raise StoreError(f"the ledger {str(place)!r} cannot be used: {error}") from error


def _set_up(engine: Engine) -> None:
    """Create what is missing, one process at a time: the workers of a server start together."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(select(func.pg_advisory_xact_lock(_SETUP_LOCK)))
        _metadata.create_all(connection)
        found = connection.execute(select(_SCHEMA.c.version)).scalar()
        if found is None:
            connection.execute(_SCHEMA.insert(), {"version": SCHEMA})
        connection.commit()
    if found not in (None, SCHEMA):
        raise StoreError(f"the ledger has schema {found}, this costkit writes {SCHEMA}; upgrade costkit")


def in_utc(at: datetime) -> datetime:
    """Return ``at`` in UTC; a time without zone is UTC already."""
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _row(event: Event) -> dict[str, object]:
    scope, usage, saved = vars(event.scope), vars(event.usage), vars(event.saved)
    return {
        "id": event.id,
        "at": in_utc(event.at),
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
    plain: Mapping[str, object] = {name: row[name] for name in (*_PLAIN, "id", "seconds", "batch")}
    return Event(
        **plain,  # type: ignore[arg-type]
        at=in_utc(row["at"]),  # SQLite keeps no time zone; UTC was written
        scope=Scope(**{name: row[name] for name in _SCOPE}),
        usage=Usage(**{name: row[name] for name in _TOKENS}),
        saved=Usage(**{name: row[f"saved_{name}"] for name in _TOKENS}),
        cost_nano_usd=row["cost_nano_usd"],
        saved_nano_usd=row["saved_nano_usd"],
        details=json.loads(row["details"]),
    )
