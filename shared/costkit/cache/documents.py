"""What a store knows of the documents that answers rest on: a point for each, written when the document changes.

Changes are numbered by the store: each has a number above all earlier ones, whatever clocks do. A look-up notes the
latest number before any document is read for its answer, and an answer is void once a document it rests on has a
higher one. So a change and a look-up within one tick of the clock are told apart, and a clock that was set back or that
differs between two machines does no harm; only two processes that write a change at the same instant rely on their
clocks to agree on what comes later.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Container, Mapping

from costkit.cache.entries import SCHEMA, change_of
from costkit.cache.identity import document_point_id
from costkit.cache.index import CacheIndex, Payload

__all__ = ["LATEST", "REMEMBERED_SECONDS", "Documents", "latest_in"]

# Id of the point that holds the number of the latest change.
LATEST = str(uuid.UUID("7c0d2a3e-51f4-4c1b-8f0e-6f9f2f5d1a77"))
# A change is remembered so long: far longer than an answer is in the making, and no older export is trusted with one.
REMEMBERED_SECONDS = 30 * 24 * 3600.0
_one_change = threading.Lock()


class Documents:
    """Reads and writes the documents' points.

    Args:
        index: The store of the cache.
        clock: Returns the time in seconds since 1970. The number of a change is its time in microseconds, where that is
            above all others.
    """

    def __init__(self, index: CacheIndex, *, clock: Callable[[], float]) -> None:
        self._index = index
        self._clock = clock

    def latest_change(self) -> int:
        """Return the number of the latest change of any document."""
        return latest_in(self._index.retrieve([LATEST]))

    def invalidate(self, document_id: str, *, tenant: str | None) -> int:
        """Void every answer that rests on a document, and delete those there are.

        Args:
            document_id: The document.
            tenant: Whose document; None is everybody's, and voids the answers of all tenants.

        Returns:
            How many entries were deleted.
        """
        return self._change(document_point_id(tenant, document_id), document_id, content_hash=None)

    def ingested(self, document_id: str, content_hash: str, *, tenant: str | None) -> bool:
        """Do the same for a document that was ingested, unless its content is what was ingested last.

        Returns:
            Whether it has changed; a document that is not known yet has.
        """
        key = document_point_id(tenant, document_id)
        if self._index.retrieve([key]).get(key, {}).get("content_hash") == content_hash:
            return False
        self._change(key, document_id, content_hash=content_hash)
        return True

    def forget(self, resting: Container[str]) -> int:
        """Delete the points of documents that changed long ago and that no entry rests on.

        Those with a content hash stay: it says at the next ingestion whether the document is as it was.

        Args:
            resting: Ids of the documents' points that entries rest on.

        Returns:
            How many were deleted.
        """
        before = int((self._clock() - REMEMBERED_SECONDS) * 1e6)
        forgotten = 0
        for points in self._index.scan(kind="document"):
            old = [
                point.id
                for point in points
                if point.id not in resting
                and point.payload.get("content_hash") is None
                and change_of(point.payload) <= before
            ]
            if old:
                self._index.delete(old, changed_by=before)
            forgotten += len(old)
        return forgotten

    def _change(self, key: str, document_id: str, *, content_hash: str | None) -> int:
        with _one_change:  # the latest number is read and then written
            # A whole number, since a store may round the last digits of others.
            number = max(int(self._clock() * 1e6), self.latest_change() + 1)
            self._index.upsert(LATEST, {"kind": "change", "schema": SCHEMA, "invalidated_at": number})
            payload = {
                "kind": "document",
                "schema": SCHEMA,
                "document_id": document_id,
                "content_hash": content_hash,
                "invalidated_at": number,
            }
            # The switch is this one atomic write, checked at every hit; the deletion after it only cleans up.
            self._index.upsert(key, payload)
        return self._index.delete_entries_of(key, read_before=number)


def latest_in(points: Mapping[str, Payload]) -> int:
    """Return the number of the latest change, from points among which ``LATEST`` was asked for."""
    number = points.get(LATEST, {}).get("invalidated_at")
    return number if isinstance(number, int) else 0


def _unlock_after_fork() -> None:
    """Another thread of the parent may have held the lock."""
    global _one_change
    _one_change = threading.Lock()


os.register_at_fork(after_in_child=_unlock_after_fork)
