"""The store behind the response cache: a handful of operations that Qdrant Edge and a Qdrant server share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["CacheIndex", "Found", "Payload"]

Payload = Mapping[str, object]

# Payload fields that are indexed for filtering.
IDENTITY_FIELD = "identity"
DOCUMENTS_FIELD = "documents"
# Says what a point is: "entry", "document", ...
KIND_FIELD = "kind"


@dataclass(frozen=True, kw_only=True)
class Found:
    """One neighbour: its id, payload and cosine similarity."""

    id: str
    payload: Payload
    score: float


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

    def upsert(self, point_id: str, payload: Payload, vector: Sequence[float] | None = None) -> None:
        """Write one point in one atomic step; a point without a vector is never found by a search."""
        ...

    def delete_entries_of(self, document_key: str) -> int:
        """Delete every entry that rests on a document; return how many there were."""
        ...

    def count(self, *, identity: str | None = None, kind: str | None = None) -> int:
        """Return the number of points, of the entries of one identity, or of the points of one kind."""
        ...

    def close(self) -> None:
        """Flush and let go of the store. A second call does nothing."""
        ...
