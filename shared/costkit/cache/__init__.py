"""Response cache: exact match first, then the nearest earlier question under the same identity.

``ResponseCache`` decides and stores; ``EdgeIndex`` (Qdrant in process) and ``QdrantIndex`` (a Qdrant server) keep
the entries. A hit is a value that says what matched, how close it was, how old it is and what it rests on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from costkit.cache.edge import EdgeIndex as EdgeIndex
    from costkit.cache.identity import Identity as Identity
    from costkit.cache.index import CacheIndex as CacheIndex
    from costkit.cache.lookup import Evidence as Evidence
    from costkit.cache.lookup import Lookup as Lookup
    from costkit.cache.lookup import Ticket as Ticket
    from costkit.cache.qdrant import QdrantIndex as QdrantIndex
    from costkit.cache.response import ResponseCache as ResponseCache

__all__ = ["CacheIndex", "EdgeIndex", "Evidence", "Identity", "Lookup", "QdrantIndex", "ResponseCache", "Ticket"]

_HOMES = {
    "CacheIndex": "costkit.cache.index",
    "EdgeIndex": "costkit.cache.edge",
    "Evidence": "costkit.cache.lookup",
    "Identity": "costkit.cache.identity",
    "Lookup": "costkit.cache.lookup",
    "QdrantIndex": "costkit.cache.qdrant",
    "ResponseCache": "costkit.cache.response",
    "Ticket": "costkit.cache.lookup",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
