"""Qdrant Edge, Qdrant's own engine in this process: the default store of the response cache.

One process owns the folder. Within the process every cache on the same folder shares one open shard.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from costkit.cache.index import DOCUMENTS_FIELD, IDENTITY_FIELD, KIND_FIELD, Found, Payload
from costkit.errors import StoreError, StoreLockedError

if TYPE_CHECKING:
    from qdrant_edge import EdgeConfig, EdgeShard, Filter

__all__ = ["EdgeIndex"]

# What the engine says when another process holds the folder's write-ahead log.
_LOCKED = "WouldBlock"
# A size of segments that none reaches, in KB.
_NEVER_KB = 10**9

_open: dict[Path, EdgeIndex] = {}
_open_lock = threading.Lock()


class EdgeIndex:
    """A cache store in one local folder. Get one from ``EdgeIndex.open``.

    Every engine call holds the interpreter lock, so calls are safe from threads; ``optimize`` stops the whole
    process while it runs and is therefore called at opening only. A forked child must not touch the parent's handle
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
            filter=_where(IDENTITY_FIELD, identity),
            limit=limit,
            with_payload=True,
            with_vector=False,
        )
        with _translated(self._path):
            points = self._live().query(request)
        return [Found(id=str(point.id), payload=point.payload or {}, score=point.score) for point in points]

    def upsert(self, point_id: str, payload: Payload, vector: Sequence[float] | None = None) -> None:
        """Write one point; acknowledged writes survive a kill of the process."""
        from qdrant_edge import Point, UpdateOperation

        point = Point(point_id, {} if vector is None else list(vector), dict(payload))
        with _translated(self._path):
            self._live().update(UpdateOperation.upsert_points([point]))

    def delete_entries_of(self, document_key: str) -> int:
        """Delete every entry that rests on a document; return how many there were."""
        from qdrant_edge import CountRequest, UpdateOperation

        resting = _where(DOCUMENTS_FIELD, document_key)
        with _translated(self._path):
            found = self._live().count(CountRequest(exact=True, filter=resting))
            if found:
                self._live().update(UpdateOperation.delete_points_by_filter(resting))
        return found

    def count(self, *, identity: str | None = None, kind: str | None = None) -> int:
        """Return the number of points, of the entries of one identity, or of the points of one kind."""
        from qdrant_edge import CountRequest

        wanted = {IDENTITY_FIELD: identity, KIND_FIELD: kind}
        within = _all_of({field: value for field, value in wanted.items() if value is not None})
        with _translated(self._path):
            return self._live().count(CountRequest(exact=True, filter=within))

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
    # of 50,000 entries stops the process for over a minute at opening; `costkit bench cache --speed` has the scans.
    optimizers = EdgeOptimizersConfig(indexing_threshold=_NEVER_KB)
    return EdgeConfig(
        vectors=EdgeVectorParams(size=dimensions, distance=Distance.Cosine),
        hnsw_config=HnswIndexConfig(m=0, ef_construct=100, full_scan_threshold=10_000),
        optimizers=optimizers,
    )


def _open_shard(folder: Path, dimensions: int) -> EdgeShard:
    from qdrant_edge import EdgeShard, KeywordIndexParams, UpdateOperation

    with _translated(folder):
        if (folder / "edge_config.json").exists():
            shard = EdgeShard.load(str(folder), _config(dimensions))
            shard.optimize()
            return shard
        folder.mkdir(parents=True, exist_ok=True)
        shard = EdgeShard.create(str(folder), _config(dimensions))
        shard.update(UpdateOperation.create_field_index(IDENTITY_FIELD, KeywordIndexParams(is_tenant=True)))
        shard.update(UpdateOperation.create_field_index(DOCUMENTS_FIELD, KeywordIndexParams(enable_hnsw=False)))
        return shard


def _where(field: str, value: str) -> Filter:
    return _all_of({field: value})


def _all_of(wanted: Mapping[str, str]) -> Filter:
    from qdrant_edge import FieldCondition, Filter, MatchValue

    return Filter(must=[FieldCondition(field, match=MatchValue(value)) for field, value in wanted.items()])


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
    for index in _open.values():
        index._shard = None
    _open.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
