"""Which store a cache gets: the embedded one in a folder, or a Qdrant server."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Literal, NoReturn, cast

from costkit.cache.index import CacheIndex
from costkit.embed import Embedder
from costkit.errors import StoreLockedError
from costkit.home import home

__all__ = ["LockedIndex", "OnLocked", "default_folder", "open_index"]

OnLocked = Literal["raise", "bypass"]

_log = logging.getLogger("costkit.cache")


def default_folder(embedder: Embedder) -> Path:
    """Return where the embedded store of an embedder's vectors lies by default."""
    return home() / "cache" / _slug(embedder)


def open_index(
    embedder: Embedder, *, url: str | None = None, path: Path | str | None = None, on_locked: OnLocked = "raise"
) -> CacheIndex:
    """Open the server at ``url``, else the folder ``path``, else the default folder.

    Args:
        embedder: Its vectors are kept; each embedder has a collection and a folder of its own.
        url: Address of a Qdrant server.
        path: Folder of the embedded store.
        on_locked: What to do if another process holds the folder: raise, or return a ``LockedIndex``.

    Raises:
        StoreLockedError: Another process holds the folder.
        StoreError: The store cannot be opened.
    """
    if url is not None:
        from costkit.cache.qdrant import QdrantIndex

        return QdrantIndex.connect(url, collection=f"costkit-{_slug(embedder)}", dimensions=embedder.dimensions)
    from costkit.cache.edge import EdgeIndex

    folder = Path(path) if path is not None else default_folder(embedder)
    try:
        return EdgeIndex.open(folder, dimensions=embedder.dimensions)
    except StoreLockedError as error:
        if on_locked == "raise":
            raise
        _log.warning("this process runs without a cache: %s", error)
        return cast("CacheIndex", LockedIndex(str(error)))


class LockedIndex:
    """Stands for a folder that another process holds; whatever is asked of it raises ``StoreLockedError``.

    Args:
        reason: What the error says.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""

    def __getattr__(self, name: str) -> NoReturn:
        raise StoreLockedError(self.reason)


def _slug(embedder: Embedder) -> str:
    return re.sub(r"[^a-z0-9]+", "-", embedder.name.lower()).strip("-")
