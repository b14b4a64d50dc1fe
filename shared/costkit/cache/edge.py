"""Qdrant Edge, Qdrant's own engine in this process: the default store of the response cache.

One process owns the folder. Within the process every cache on the same folder shares one open shard.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from costkit.cache.index import (
    AT_ONCE,
    CHANGE_FIELD,
    EXPIRES_FIELD,
    IDENTITY_FIELD,
    KEYWORD_FIELDS,
    NUMBER_FIELDS,
    READ_FIELD,
    Found,
    Payload,
    Point,
)
from costkit.errors import StoreError, StoreLockedError

if TYPE_CHECKING:
    from qdrant_edge import EdgeConfig, EdgeShard, FieldCondition, Filter

__all__ = ["EdgeIndex"]

# What the engine says when another process holds the folder's write-ahead log.
_LOCKED = "WouldBlock"
# Longer than any store takes to open: 100,000 entries take about a second.
_OPENING_SECONDS = 60
# A size of segments that none reaches, in KB.
_NEVER_KB = 10**9

_open: dict[Path, EdgeIndex] = {}
_open_lock = threading.Lock()


class EdgeIndex:
    """A cache store in one local folder. Get one from ``EdgeIndex.open``.

    Every engine call holds the interpreter lock, so calls are safe from threads; ``optimize`` stops the whole
    process while it runs and is therefore called at opening and by ``costkit cache optimize`` only. A forked child must not touch the parent's handle
    (a search in it hangs), so the handle is dead after a fork.
    """

    def __init__(self, shard: EdgeShard, path: Path, dimensions: int) -> None:
        self._shard: EdgeShard | None = shard
        self._path = path
        self._dimensions = dimensions
        self._users = 1

    @classmethod
    def open(cls, path: Path | str, *, dimensions: int) -> EdgeIndex:
        """Open or create the store in ``path``; a second call in the same process shares the open one.

        Args:
            path: The folder. It is created if missing.
            dimensions: Length of the vectors.

        Raises:
            StoreLockedError: Another process holds the folder.
            StoreError: The folder cannot be written, or holds vectors of another length.
        """
        folder = Path(path).absolute()
        with _open_lock:
            shared = _open.get(folder)
            if shared is not None:
                if shared._dimensions != dimensions:
                    raise StoreError(
                        f"the cache in {str(folder)!r} is open with vectors of {shared._dimensions} dimensions, not "
                        f"{dimensions} (vector size); give each embedder a folder of its own"
                    )
                shared._users += 1
                return shared
            index = cls(_open_shard(folder, dimensions), folder, dimensions)
            _open[folder] = index
            return index

    def retrieve(self, ids: Sequence[str]) -> dict[str, Payload]:
        """Return the payloads of those ids that exist."""
        with _translated(self._path):
            records = self._live().retrieve(list(ids), True, False)  # noqa: FBT003  the engine takes them by place
        return {str(record.id): record.payload or {} for record in records}

    def nearest(self, vector: Sequence[float], *, identity: str, limit: int) -> list[Found]:
        """Return the nearest entries of one identity, best first."""
        from qdrant_edge import Query, QueryRequest

        request = QueryRequest(
            query=Query.Nearest(list(vector)),
            filter=_where(identity=identity),
            limit=limit,
            with_payload=True,
            with_vector=False,
        )
        with _translated(self._path):
            points = self._live().query(request)
        return [Found(id=str(point.id), payload=point.payload or {}, score=point.score) for point in points]

    def lowest(
        self, field: Literal["expires_at", "worth"], *, limit: int, tenant: str | None = None
    ) -> dict[str, Payload]:
        """Return the points with the lowest values of a field, of one tenant or of all, in ascending order."""
        from qdrant_edge import OrderBy, ScrollRequest

        request = ScrollRequest(
            limit=limit, filter=_where(tenant=tenant), with_payload=True, with_vector=False, order_by=OrderBy(field)
        )
        with _translated(self._path):
            records, _ = self._live().scroll(request)
        return {str(record.id): record.payload or {} for record in records}

    def scan(self, *, kind: str | None = None, with_vectors: bool = False) -> Iterator[list[Point]]:
        """Yield every point, or every point of one kind, a batch at a time; others may write meanwhile."""
        from qdrant_edge import ScrollRequest

        offset = None
        while True:
            request = ScrollRequest(
                offset=offset, limit=AT_ONCE, filter=_where(kind=kind), with_payload=True, with_vector=with_vectors
            )
            with _translated(self._path):
                records, offset = self._live().scroll(request)
            yield [Point(id=str(one.id), payload=one.payload or {}, vector=_flat(one.vector)) for one in records]
            if offset is None:
                return

    def upsert(self, point_id: str, payload: Payload, vector: Sequence[float] | None = None) -> None:
        """Write one point; acknowledged writes survive a kill of the process."""
        self.upsert_all([Point(id=point_id, payload=payload, vector=vector)])

    def upsert_all(self, points: Sequence[Point]) -> None:
        """Write several points, each in one atomic step."""
        from qdrant_edge import Point as EdgePoint
        from qdrant_edge import UpdateOperation

        rows = [EdgePoint(one.id, {} if one.vector is None else list(one.vector), dict(one.payload)) for one in points]
        with _translated(self._path):
            self._live().update(UpdateOperation.upsert_points(rows))

    def patch(self, point_id: str, fields: Payload) -> None:
        """Set some payload fields of a point; the engine refuses an id that is not there."""
        from qdrant_edge import UpdateOperation

        with _translated(self._path):
            self._live().update(UpdateOperation.set_payload([point_id], dict(fields)))

    def delete(self, ids: Sequence[str], *, expired_by: float | None = None, changed_by: int | None = None) -> None:
        """Delete those ids that exist, or of them what has expired, or has not changed later."""
        from qdrant_edge import FieldCondition, RangeFloat

        most = {EXPIRES_FIELD: expired_by, CHANGE_FIELD: changed_by}
        given = {field: value for field, value in most.items() if value is not None}
        self._delete(ids, *(FieldCondition(field, range=RangeFloat(lte=value)) for field, value in given.items()))

    def delete_entries_of(self, document_key: str, *, read_before: float | None = None) -> int:
        """Delete every entry that rests on a document, a batch at a time; return how many there were."""
        from qdrant_edge import FieldCondition, Filter, RangeFloat, ScrollRequest

        old = [] if read_before is None else [FieldCondition(READ_FIELD, range=RangeFloat(lt=read_before))]
        resting = ScrollRequest(
            limit=AT_ONCE, filter=Filter(must=[_where(documents=document_key), *old]), with_payload=False
        )
        deleted = 0
        while True:
            with _translated(self._path):
                records, _ = self._live().scroll(resting)
            if not records:
                return deleted
            self._delete([str(record.id) for record in records], *old)
            deleted += len(records)

    def _delete(self, ids: Sequence[str], *conditions: FieldCondition) -> None:
        """Delete those ids that meet the conditions at that moment."""
        from qdrant_edge import Filter, HasIdCondition, UpdateOperation

        if conditions:
            operation = UpdateOperation.delete_points_by_filter(Filter(must=[HasIdCondition(set(ids)), *conditions]))
        else:
            operation = UpdateOperation.delete_points(list(ids))
        with _translated(self._path):
            self._live().update(operation)

    def count(self, *, identity: str | None = None, kind: str | None = None, tenant: str | None = None) -> int:
        """Return the number of points: of all, or of those of one identity, kind and tenant."""
        from qdrant_edge import CountRequest

        within = _where(identity=identity, kind=kind, tenant=tenant)
        with _translated(self._path):
            return self._live().count(CountRequest(exact=True, filter=within))

    def optimize(self) -> None:
        """Merge segments and free the room of what was deleted; every thread of the process waits meanwhile."""
        with _translated(self._path):
            self._live().optimize()
            self._live().flush()

    def close(self) -> None:
        """Flush and release the folder once its last user in this process has closed it."""
        with _open_lock:
            if self._shard is None:
                return
            self._users -= 1
            if self._users:
                return
            _open.pop(self._path, None)
            shard, self._shard = self._shard, None
        with _translated(self._path):
            shard.flush()
            shard.close()

    def _live(self) -> EdgeShard:
        if self._shard is None:
            raise StoreError(
                f"the cache in {self._path} is closed, or was opened before a fork; open it in this process"
            )
        return self._shard


def _config(dimensions: int) -> EdgeConfig:
    from qdrant_edge import Distance, EdgeConfig, EdgeOptimizersConfig, EdgeVectorParams, HnswIndexConfig

    # No graphs: entries are only ever searched within one identity, by a full scan of it. Building one for an identity
    # of 50,000 entries stops the process for over a minute at opening; `costkit bench cache-speed` has the scans.
    optimizers = EdgeOptimizersConfig(indexing_threshold=_NEVER_KB)
    return EdgeConfig(
        vectors=EdgeVectorParams(size=dimensions, distance=Distance.Cosine),
        hnsw_config=HnswIndexConfig(m=0, ef_construct=100, full_scan_threshold=10_000),
        optimizers=optimizers,
    )


def _open_shard(folder: Path, dimensions: int) -> EdgeShard:
    from filelock import FileLock
    from qdrant_edge import EdgeShard

    with _translated(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Of workers that start together one creates the store; the engine itself lets two of them write half each.
        with FileLock(folder / "opening.lock", timeout=_OPENING_SECONDS):
            if (folder / "edge_config.json").exists():
                shard = EdgeShard.load(str(folder), _config(dimensions))
                shard.optimize()
            else:
                shard = EdgeShard.create(str(folder), _config(dimensions))
            _index_fields(shard)
        return shard


def _index_fields(shard: EdgeShard) -> None:
    """Index the fields that are filtered or ordered by, as far as the folder's first owner has not done so."""
    from qdrant_edge import FloatIndexParams, KeywordIndexParams, UpdateOperation

    wanted = {
        field: KeywordIndexParams(is_tenant=True) if field == IDENTITY_FIELD else KeywordIndexParams(enable_hnsw=False)
        for field in KEYWORD_FIELDS
    } | {field: FloatIndexParams(enable_hnsw=False) for field in NUMBER_FIELDS}
    for field in wanted.keys() - shard.info().payload_schema.keys():
        shard.update(UpdateOperation.create_field_index(field, wanted[field]))


def _where(**wanted: str | None) -> Filter:
    """Return a filter on the given fields; None is no condition."""
    from qdrant_edge import FieldCondition, Filter, MatchValue

    given = {field: value for field, value in wanted.items() if value is not None}
    return Filter(must=[FieldCondition(field, match=MatchValue(value)) for field, value in given.items()])


def _flat(vector: object) -> Sequence[float] | None:
    return vector if isinstance(vector, list) and vector else None


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    """Turn the engine's bare exceptions into ours."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        if _LOCKED in str(error):
            raise StoreLockedError(
                f"the cache folder {str(folder)!r} is in use by another process; one process owns an embedded cache: "
                "give every process url='http://...' of one Qdrant server, or each its own folder"
            ) from error
        raise StoreError(f"the cache in {str(folder)!r} failed: {error}") from error


def _forget_after_fork() -> None:
    global _open_lock
    _open_lock = threading.Lock()  # another thread of the parent may have held it
    for index in _open.values():
        index._shard = None
    _open.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
