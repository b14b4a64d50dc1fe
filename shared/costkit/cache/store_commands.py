"""``costkit cache`` on one store: count, invalidate, drop, optimise, export, import."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from costkit._progress import progress, show
from costkit.errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    from costkit.cache.index import CacheIndex
    from costkit.cache.response import ResponseCache

__all__ = ["STORE_COMMANDS"]

Command = TypeVar("Command", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def _store(command: Command) -> Command:
    """Add the options that name a store."""
    folder = "Folder of the cache. Default: the default embedder's in .costkit."
    command = click.option("--url", metavar="URL", help="Address of a Qdrant server, instead of a folder.")(command)
    return click.option("--path", type=_FILE, metavar="DIR", help=folder)(command)


@click.command()
@_store
@click.option("--db", help="SQLAlchemy URL of the ledger. Default: ledger.db in $COSTKIT_HOME or ./.costkit.")
@_JSON
def stats(*, path: Path | None, url: str | None, db: str | None, as_json: bool) -> None:
    """Count what a cache holds and what the ledger says of its decisions; name the questions that were asked again.

    Example: costkit cache stats --path .costkit/cache/minilm
    """
    from costkit.cache.judgements import re_asked

    with _opened(path, url) as (index, where):
        points, entries, documents = index.count(), index.count(kind="entry"), index.count(kind="document")
        again = re_asked(index)
    size = None if url else sum(file.stat().st_size for file in Path(where).rglob("*") if file.is_file())
    decisions, audits = _booked(db)
    found = {
        "store": where,
        "entries": entries,
        "documents": documents,
        "other_points": points - entries - documents,
        "bytes": size,
        "decisions": decisions,
        "audits": audits,
        "re_asked": [asdict(one) for one in again],
    }
    told = (
        f"{where}: {entries:,} entries, {documents:,} known documents"
        f"{'' if size is None else f', {size / 1e6:,.1f} MB'}\n"
        f"decisions: {_counted(decisions)}\naudits: {_counted(audits)}"
        + "".join(f"\nasked again after {one.re_asks:,} of {one.hits:,} hits: {one.question}" for one in again)
    )
    show(found, told, as_json=as_json)


@click.command()
@click.argument("document_id")
@click.option("--tenant", help="Whose document. Default: everybody's; the answers of all tenants are dropped.")
@_store
@_JSON
def invalidate(*, document_id: str, tenant: str | None, path: Path | None, url: str | None, as_json: bool) -> None:
    """Drop every answer that rests on a document.

    Example: costkit cache invalidate refunds.md --tenant acme
    """
    with _cache(path, url) as cache:
        dropped = cache.invalidate(document_id, tenant=tenant)
    found = {"document_id": document_id, "tenant": tenant, "dropped": dropped}
    show(found, f"{dropped:,} answers that rest on {document_id!r} were dropped.", as_json=as_json)


@click.command()
@click.argument("entry_id")
@_store
@_JSON
def drop(*, entry_id: str, path: Path | None, url: str | None, as_json: bool) -> None:
    """Drop one answer, by the entry id that a served answer and the ledger carry.

    Example: costkit cache drop 5d7a1c7e-6d0b-5c0e-9a8f-0f3c9f6f7b11
    """
    with _cache(path, url) as cache:
        dropped = cache.drop(entry_id)
    told = f"The answer {entry_id} was dropped." if dropped else f"There is no answer {entry_id}: nothing was dropped."
    show({"entry_id": entry_id, "dropped": dropped}, told, as_json=as_json)


@click.command()
@_store
@_JSON
def optimize(*, path: Path | None, url: str | None, as_json: bool) -> None:
    """Delete all that has ended, and bring the store into its best shape.

    A running application deletes what has ended by itself, a little at every answer it keeps. This goes through the
    whole store, also for what an interrupted invalidation or an older version of costkit left, and frees the room on
    disk. An embedded store must not be open elsewhere meanwhile.

    Example: costkit cache optimize --path .costkit/cache/minilm
    """
    with _cache(path, url) as cache:
        swept = cache.optimize()
    told = (
        f"{swept.expired:,} expired and {swept.stale:,} stale answers, {swept.records:,} records without an answer and "
        f"{swept.documents:,} documents that changed long ago were deleted; {swept.upgraded:,} answers were brought into the present schema"
        f"{f'; {swept.unreadable:,} that a newer costkit wrote were left alone' if swept.unreadable else ''}."
    )
    show(asdict(swept), told, as_json=as_json)


@click.command("export")
@click.argument("file", type=_FILE)
@_store
@_JSON
def export(*, file: Path, path: Path | None, url: str | None, as_json: bool) -> None:
    """Write all that a store holds to a new file of JSON lines; one that ends in .gz is packed.

    An embedded store must not be open elsewhere meanwhile: an application calls ResponseCache.export_to.

    Example: costkit cache export cache.jsonl.gz
    """
    from costkit.cache.transfer import export_points
    from costkit.embed import default_embedder

    with _opened(path, url) as (index, _), progress() as step:
        written = export_points(
            index, file, embedder=default_embedder(), on_step=lambda done, most: step("writing", done, most)
        )
    show({"file": str(file), **written}, f"{_points(written)} are in {file}.", as_json=as_json)


@click.command("import")
@click.argument("file", type=_FILE)
@_store
@_JSON
def import_(*, file: Path, path: Path | None, url: str | None, as_json: bool) -> None:
    """Read what `costkit cache export` wrote into a store, which is created if it is not there.

    Newer answers and invalidations that the store has stand; answers whose time is over are left out.

    Example: costkit cache import cache.jsonl.gz --url http://localhost:6333
    """
    from costkit.cache.stores import open_index
    from costkit.cache.transfer import import_points
    from costkit.embed import default_embedder

    embedder = default_embedder()
    index = open_index(embedder, url=url, path=path)
    try:
        with progress() as step:
            read = import_points(index, file, embedder=embedder, on_step=lambda done, most: step("reading", done, most))
    finally:
        index.close()
    show({"file": str(file), **read}, f"{_points(read)} of {file} were taken over.", as_json=as_json)


STORE_COMMANDS = (stats, invalidate, drop, optimize, export, import_)


@contextmanager
def _opened(path: Path | None, url: str | None) -> Iterator[tuple[CacheIndex, str]]:
    """Open a store that is there, and say where; a folder without one is a wrong path, not an empty cache."""
    from costkit.cache.stores import default_folder, open_index
    from costkit.embed import default_embedder

    if path is not None and url is not None:
        raise ConfigurationError(f"give --path or --url, not both: got {str(path)!r} and {url!r}")
    embedder = default_embedder()
    folder = path or default_folder(embedder)
    if url is None and not (folder / "edge_config.json").exists():
        raise StoreError(
            f"there is no cache in {str(folder)!r}: nothing was kept there; give --path or --url, or set COSTKIT_HOME"
        )
    index = open_index(embedder, url=url, path=folder if url is None else None)
    try:
        yield index, url or str(folder)
    finally:
        index.close()


@contextmanager
def _cache(path: Path | None, url: str | None) -> Iterator[ResponseCache]:
    from costkit.cache.response import ResponseCache

    with _opened(path, url) as (index, _):
        yield ResponseCache(version="command line", index=index)


def _points(counts: Counter[str]) -> str:
    entries, documents = counts["entry"], counts["document"]
    return f"{entries:,} answers, {documents:,} documents and {counts.total() - entries - documents:,} other points"


def _booked(db: str | None) -> tuple[dict[str, int], dict[str, int]]:
    """Count the cache's decisions and audits in the ledger, by kind; none where no ledger was begun."""
    from costkit.home import home
    from costkit.ledger.usage import recorded

    decisions: Counter[str] = Counter()
    audits: Counter[str] = Counter()
    if db is not None or (home() / "ledger.db").exists():
        for event in recorded(db):
            if event.part == "cache" and event.kind == "cache":
                decisions[str(event.details.get("hit_kind", event.decision))] += 1
            elif event.part == "cache" and event.kind == "judge":
                audits[event.decision] += 1
    return dict(decisions), dict(audits)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items())) or "none booked"
