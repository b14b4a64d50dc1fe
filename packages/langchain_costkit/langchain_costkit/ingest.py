"""Re-ingestion that keeps the response cache true: ``index(docs, CostkitRecordManager(records, cache), store)``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from langchain_core.indexing.base import RecordManager

from costkit.cache import ResponseCache
from costkit.scope import Scope, use

__all__ = ["CostkitRecordManager"]

# The most documents that one query names: a database takes only so many parameters.
_AT_ONCE = 1000


class CostkitRecordManager(RecordManager):
    """A record manager for LangChain's ``index()`` and ``aindex()`` that drops the answers which changes make stale.

    A chunk that is written or deleted drops what rests on its source document, and on the chunk. What ``index()`` finds
    unchanged drops nothing, unless ``force_update`` writes it again. It drops after the vector store was written and
    before that is recorded, so a run that was cut does the rest when it is repeated.

    Answers must know documents by the source ids of ``index()``: they read the metadata keys ``source``, ``id``,
    ``doc_id`` and ``document_id``; any other ``source_id_key`` is to be given to ``cached()`` too. Which documents a
    ``cleanup="full"`` took away altogether shows in their chunks' ids alone, so there the vector store has to return
    ids (as ``Document.id`` or under ``_id``); without, call ``cache.invalidate(source_id)``.
    One run at a time, as for any record manager.

    Args:
        record_manager: Keeps the records.
        cache: Whose answers rest on the documents.
        tenant: Whose documents they are. Default: everybody's, whatever scope is in force: the answers of all tenants
            that rest on them are dropped.

    Raises:
        ConfigurationError: ``tenant`` is empty.
    """

    def __init__(self, record_manager: RecordManager, cache: ResponseCache, *, tenant: str | None = None) -> None:
        super().__init__(record_manager.namespace)
        self._records = record_manager
        self._cache = cache
        self._owner = Scope(tenant=tenant)
        self._run = _Run()

    def create_schema(self) -> None:
        """Create the schema of the records."""
        self._records.create_schema()

    async def acreate_schema(self) -> None:
        """Create the schema of the records."""
        await self._records.acreate_schema()

    def get_time(self) -> float:
        """Return the records' time; every run of ``index()`` begins with it."""
        self._run = _Run()
        return self._records.get_time()

    async def aget_time(self) -> float:
        """Do what ``get_time`` does."""
        self._run = _Run()
        return await self._records.aget_time()

    def update(
        self,
        keys: Sequence[str],
        *,
        group_ids: Sequence[str | None] | None = None,
        time_at_least: float | None = None,
    ) -> None:
        """Record chunks, after dropping what rests on the documents of those that were written.

        Raises:
            StoreError: The cache could not be written; nothing is recorded then.
        """
        self._drop(self._run.written(keys, group_ids))
        self._records.update(keys, group_ids=group_ids, time_at_least=time_at_least)

    async def aupdate(
        self,
        keys: Sequence[str],
        *,
        group_ids: Sequence[str | None] | None = None,
        time_at_least: float | None = None,
    ) -> None:
        """Do what ``update`` does, without blocking."""
        await asyncio.to_thread(self._drop, self._run.written(keys, group_ids))
        await self._records.aupdate(keys, group_ids=group_ids, time_at_least=time_at_least)

    def exists(self, keys: Sequence[str]) -> list[bool]:
        """Say of each chunk whether it is recorded."""
        return self._records.exists(keys)

    async def aexists(self, keys: Sequence[str]) -> list[bool]:
        """Say of each chunk whether it is recorded."""
        return await self._records.aexists(keys)

    def list_keys(
        self,
        *,
        before: float | None = None,
        after: float | None = None,
        group_ids: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> list[str]:
        """List recorded chunks; ``index()`` asks for those that it deletes next."""
        keys = self._records.list_keys(before=before, after=after, group_ids=group_ids, limit=limit)
        self._run.outdated = self._outdated(self._run.asked(group_ids), before) if keys else []
        return keys

    async def alist_keys(
        self,
        *,
        before: float | None = None,
        after: float | None = None,
        group_ids: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> list[str]:
        """Do what ``list_keys`` does, without blocking."""
        keys = await self._records.alist_keys(before=before, after=after, group_ids=group_ids, limit=limit)
        self._run.outdated = await self._aoutdated(self._run.asked(group_ids), before) if keys else []
        return keys

    def delete_keys(self, keys: Sequence[str]) -> None:
        """Forget chunks, after dropping what rests on them and on their documents.

        Raises:
            StoreError: The cache could not be written; nothing is forgotten then.
        """
        self._drop([*keys, *self._run.outdated])
        self._records.delete_keys(keys)

    async def adelete_keys(self, keys: Sequence[str]) -> None:
        """Do what ``delete_keys`` does, without blocking."""
        await asyncio.to_thread(self._drop, [*keys, *self._run.outdated])
        await self._records.adelete_keys(keys)

    def _outdated(self, sources: Sequence[str], before: float | None) -> list[str]:
        """Return the documents that have chunks from before: the list is halved until each part has some or none."""
        if len(sources) <= _AT_ONCE and not (
            sources and self._records.list_keys(before=before, group_ids=sources, limit=1)
        ):
            return []
        if len(sources) == 1:
            return list(sources)
        half = len(sources) // 2
        return self._outdated(sources[:half], before) + self._outdated(sources[half:], before)

    async def _aoutdated(self, sources: Sequence[str], before: float | None) -> list[str]:
        if len(sources) <= _AT_ONCE and not (
            sources and await self._records.alist_keys(before=before, group_ids=sources, limit=1)
        ):
            return []
        if len(sources) == 1:
            return list(sources)
        half = len(sources) // 2
        return await self._aoutdated(sources[:half], before) + await self._aoutdated(sources[half:], before)

    def _drop(self, names: Iterable[str]) -> None:
        with use(self._owner):
            for name in names:
                self._cache.invalidate(str(name))


class _Run:
    """What one run of ``index()`` has told so far.

    Attributes:
        outdated: Documents with chunks that are deleted next.
    """

    def __init__(self) -> None:
        self.outdated: list[str] = []
        self._as_they_were: set[str] = set()
        self._seen: dict[str, None] = {}

    def written(self, keys: Sequence[str], group_ids: Sequence[str | None] | None) -> list[str]:
        """Return the documents of the chunks that were written, or the chunks' own ids where they have no document.

        ``index()`` first updates the chunks of a batch that are as they were, without source ids, and then all of it.
        """
        if group_ids is None:
            self._as_they_were.update(keys)
            return []
        self._seen.update(dict.fromkeys(filter(None, group_ids)))
        written = [(key, group) for key, group in zip(keys, group_ids, strict=True) if key not in self._as_they_were]
        self._as_they_were.difference_update(keys)
        return list(dict.fromkeys(group or key for key, group in written))

    def asked(self, group_ids: Sequence[str] | None) -> list[str]:
        """Return the documents that a cleanup is for, each once; None stands for all of this run."""
        return list(self._seen if group_ids is None else dict.fromkeys(group_ids))
