"""The store behind the response cache: a handful of operations that Qdrant Edge and a Qdrant server share."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol
from weakref import WeakKeyDictionary

__all__ = ["CacheIndex", "Found", "Payload", "Point", "lock_of"]

Payload = Mapping[str, object]

# Payload fields that are indexed for filtering.
IDENTITY_FIELD = "identity"
DOCUMENTS_FIELD = "documents"
TENANT_FIELD = "tenant"
# Says what a point is: "entry", "document", ...
KIND_FIELD = "kind"
# Payload fields that are indexed for their order; entries alone have them.
EXPIRES_FIELD: Final = "expires_at"
WORTH_FIELD: Final = "worth"
READ_FIELD: Final = "read_at"
# Number of a document's latest change.
CHANGE_FIELD: Final = "invalidated_at"

KEYWORD_FIELDS = (IDENTITY_FIELD, DOCUMENTS_FIELD, TENANT_FIELD, KIND_FIELD)
NUMBER_FIELDS = (EXPIRES_FIELD, WORTH_FIELD, READ_FIELD)

# Points read or deleted in one call, so that no call takes long.
AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class Found:
    """One neighbour: its id, payload and cosine similarity."""

    id: str
    payload: Payload
    score: float


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point: its id, payload, and its vector if it has one and it was asked for."""

    id: str
    payload: Payload
    vector: Sequence[float] | None = None


class CacheIndex(Protocol):
    """Keeps points (an id, a payload, perhaps a vector). Every error is a ``StoreError``."""

    def retrieve(self, ids: Sequence[str]) -> dict[str, Payload]:
        """Return the payloads of those ids that exist."""
        ...

    def nearest(self, vector: Sequence[float], *, identity: str, limit: int) -> list[Found]:
        """Return the nearest entries of one identity, best first.

        The identity is required: no search may cross identities, and an unfiltered search of a tenant-partitioned
        store finds nothing.
        """
        ...

    def lowest(
        self, field: Literal["expires_at", "worth"], *, limit: int, tenant: str | None = None
    ) -> dict[str, Payload]:
        """Return the points with the lowest values of a field, of one tenant or of all, in ascending order."""
        ...

    def scan(self, *, kind: str | None = None, with_vectors: bool = False) -> Iterator[list[Point]]:
        """Yield every point, or every point of one kind, a batch at a time; others may write meanwhile."""
        ...

    def upsert(self, point_id: str, payload: Payload, vector: Sequence[float] | None = None) -> None:
        """Write one point in one atomic step; a point without a vector is never found by a search."""
        ...

    def upsert_all(self, points: Sequence[Point]) -> None:
        """Write several points, each in one atomic step."""
        ...

    def patch(self, point_id: str, fields: Payload) -> None:
        """Set some payload fields of a point and leave the others; never make a point that is not there."""
        ...

    def delete(self, ids: Sequence[str], *, expired_by: float | None = None, changed_by: int | None = None) -> None:
        """Delete those ids that exist.

        Args:
            ids: At least one.
            expired_by: Delete only what has expired by then: an entry that was written anew meanwhile stays.
            changed_by: Delete only documents with no later change than this: one that has changed meanwhile stays.
        """
        ...

    def delete_entries_of(self, document_key: str, *, read_before: float | None = None) -> int:
        """Delete every entry that rests on a document; return how many there were.

        Args:
            document_key: Id of the document's point.
            read_before: Delete only entries whose ``read_at`` is below: one that was made after the change stays.
        """
        ...

    def count(self, *, identity: str | None = None, kind: str | None = None, tenant: str | None = None) -> int:
        """Return the number of points: of all, or of those of one identity, kind and tenant."""
        ...

    def optimize(self) -> None:
        """Bring the store into its best shape; it may stop the process for seconds."""
        ...

    def close(self) -> None:
        """Flush and let go of the store. A second call does nothing."""
        ...


_locks: WeakKeyDictionary[CacheIndex, threading.Lock] = WeakKeyDictionary()
_one_lock = threading.Lock()


def lock_of(index: CacheIndex) -> threading.Lock:
    """Return the lock of a store for what is read and then written: several caches of a process may share one."""
    with _one_lock:
        return _locks.setdefault(index, threading.Lock())


def _unlock_after_fork() -> None:
    """Another thread of the parent may have held a lock."""
    global _one_lock
    _one_lock = threading.Lock()
    _locks.clear()


os.register_at_fork(after_in_child=_unlock_after_fork)
