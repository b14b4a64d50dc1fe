"""A store as JSON lines: everything a cache knows, written to a file and read into another store.

The first line says what the file is; each line after it is one point: an entry with its vector, a document's point, or
a record of judged hits. A vector is base64 of little-endian 32-bit floats, so it comes back bit for bit. A file whose
name ends in .gz is packed.
"""

from __future__ import annotations

import base64
import gzip
import json
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, cast

import numpy as np

from costkit.cache.documents import REMEMBERED_SECONDS
from costkit.cache.entries import SCHEMA, Entry, change_of, is_newer
from costkit.cache.index import AT_ONCE, CacheIndex, Payload, Point
from costkit.cache.learning import Record
from costkit.embed import Embedder
from costkit.errors import ConfigurationError, DataError, StoreError

__all__ = ["export_points", "import_points"]

_FORMAT = 1

Step = Callable[[int, int], None]


def export_points(index: CacheIndex, path: Path, *, embedder: Embedder, on_step: Step | None = None) -> Counter[str]:
    """Write every point of a store to a new file; the file appears when it is complete.

    Args:
        index: The store.
        path: The file.
        embedder: Whose vectors the store holds.
        on_step: Told the points written and how many there are.

    Returns:
        How many points of each kind were written.

    Raises:
        ConfigurationError: The file exists or cannot be written.
        StoreError: The store cannot be read.
    """
    if path.exists():
        raise ConfigurationError(f"{str(path)!r} exists: name a new file")
    total = index.count()
    head = {"costkit_cache": _FORMAT, "schema": SCHEMA, **_vectors_of(embedder), "points": total}
    written: Counter[str] = Counter()
    part = path.with_name(f"{path.name}.part")
    try:
        with _opened(part, "wt", packed=path.suffix == ".gz") as file:
            file.write(f"{json.dumps(head)}\n")
            for points in index.scan(with_vectors=True):
                file.writelines(_line(point) for point in points)
                written.update(str(point.payload.get("kind")) for point in points)
                if on_step is not None:
                    on_step(written.total(), max(total, written.total()))
        part.replace(path)
    except OSError as error:
        raise ConfigurationError(f"{str(path)!r} cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    return written


def import_points(
    index: CacheIndex,
    path: Path,
    *,
    embedder: Embedder,
    clock: Callable[[], float] = time.time,
    on_step: Step | None = None,
) -> Counter[str]:
    """Read what ``export_points`` wrote into a store; what the store knows and the file does not, stays.

    Of two answers to one question the newer one stands, of two invalidations of one document the later one. What an
    entry must not answer is joined. Entries whose time is over are left out, and so are those that rest on documents and
    are older than changes of documents are remembered.

    Args:
        index: The store.
        path: The file.
        embedder: Whose vectors the store holds.
        clock: Returns the time in seconds since 1970.
        on_step: Told the points read and how many there are.

    Returns:
        How many points of each kind were written.

    Raises:
        DataError: The file cannot be read, is of another embedder, or a line of it is wrong; the lines before it are in.
        StoreError: The store cannot be written.
    """
    written: Counter[str] = Counter()
    done = 0
    for points, total in _batches(path, embedder):
        there = index.retrieve([point.id for point in points])
        wanted = [kept for point in points if (kept := _kept(point, there.get(point.id), clock())) is not None]
        if wanted:
            index.upsert_all(wanted)
        written.update(str(point.payload["kind"]) for point in wanted)
        done += len(points)
        if on_step is not None:
            on_step(done, max(done, total))
    return written


def _kept(point: Point, there: Payload | None, now: float) -> Point | None:
    """Return what to write for a point of a file, given what the store has under its id; None is nothing."""
    kind = point.payload["kind"]
    if kind == "entry":
        entry = Entry.from_payload(point.payload)
        older = there is not None and (is_newer(there) or _number(there, "created_at") >= entry.created_at)
        # What is left when the store has forgotten, by ``Documents.forget``, a change that ended the entry.
        unsure = bool(entry.documents) and entry.created_at <= now - REMEMBERED_SECONDS
        return None if older or unsure or entry.expires_at <= now else replace(point, payload=entry.to_payload())
    if there is None:
        return point
    if kind in ("document", "change"):
        return point if change_of(point.payload) > change_of(there) else None
    if str(kind).endswith("record"):
        known, new = (Record.from_json(cast("Payload", one["record"])) for one in (there, point.payload))
        joined = replace(known, refused=tuple(dict.fromkeys((*known.refused, *new.refused))))
        return None if joined == known else replace(point, payload={**there, "record": joined.to_json()})
    return None


def _batches(path: Path, embedder: Embedder) -> Iterator[tuple[list[Point], int]]:
    """Yield the points of a file, and how many it says there are."""
    try:
        with _opened(path, "rt", packed=path.suffix == ".gz") as file:
            lines = enumerate(file, 1)
            total = _head(next(lines, (1, ""))[1], path, embedder)
            points: list[Point] = []
            for number, line in lines:
                points.append(_point(line, path, number, embedder.dimensions))
                if len(points) == AT_ONCE:
                    yield points, total
                    points = []
            yield points, total
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read: {error}", path=path) from error


def _head(line: str, path: Path, embedder: Embedder) -> int:
    try:
        head = json.loads(line)
        made, points = {key: head[key] for key in ("costkit_cache", *_vectors_of(embedder))}, int(head["points"])
    except (ValueError, KeyError, TypeError):
        raise DataError(f"is no export of a cache: {line[:80]!r}", path=path, line=1) from None
    wanted = {"costkit_cache": _FORMAT, **_vectors_of(embedder)}
    if made != wanted:
        raise DataError(
            f"holds {made}, this store {wanted}: import it under the embedder it was made with", path=path, line=1
        )
    return points


def _point(line: str, path: Path, number: int, dimensions: int) -> Point:
    try:
        row = json.loads(line)
        point = Point(
            id=str(uuid.UUID(row["id"])), payload=dict(row["payload"]), vector=_vector(row["vector"], dimensions)
        )
        _check(point.payload)
    except (ValueError, KeyError, TypeError, AttributeError, StoreError) as error:
        raise DataError(
            f"is no point of a cache: {error!r}; the lines before it are in", path=path, line=number
        ) from None
    return point


def _check(payload: Mapping[str, object]) -> None:
    """Raise one of the errors that ``_point`` translates if a point could not be read from a store later."""
    kind = payload["kind"]
    if kind == "entry":
        Entry.from_payload(payload)
    elif kind in ("document", "change"):
        _number(payload, "invalidated_at")
    elif str(kind).endswith("record"):
        Record.from_json(cast("Payload", payload["record"]))


def _line(point: Point) -> str:
    packed = None if point.vector is None else base64.b64encode(np.asarray(point.vector, "<f4").tobytes()).decode()
    return f"{json.dumps({'id': point.id, 'payload': point.payload, 'vector': packed}, ensure_ascii=False)}\n"


def _vector(packed: str | None, dimensions: int) -> list[float] | None:
    if packed is None:
        return None
    vector = np.frombuffer(base64.b64decode(packed, validate=True), "<f4")
    if len(vector) != dimensions or not np.isfinite(vector).all() or not vector.any():
        raise ValueError(f"vector must be {dimensions} finite numbers that are not all 0")
    return cast("list[float]", vector.tolist())


def _vectors_of(embedder: Embedder) -> dict[str, object]:
    return {"embedder": embedder.name, "dimensions": embedder.dimensions}


def _number(payload: Payload, field: str) -> float:
    value = payload[field]
    if not isinstance(value, int | float):
        raise StoreError(f"{field} must be a number, got {value!r}")
    return value


def _opened(path: Path, mode: str, *, packed: bool) -> IO[str]:
    return cast("IO[str]", (gzip.open if packed else open)(path, mode, encoding="utf-8"))
