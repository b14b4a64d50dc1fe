"""Upkeep of a store: what has ended is purged, and a full tenant gives up the answers that save least.

Answers compete by what they are worth, which is GreedyDual-Size-Frequency with one size for all (Cherkasova, "Improving
WWW proxies performance with greedy-dual-size-frequency caching policy", HP Labs 1998):

    worth = floor of the tenant + (1 + hits) * what one hit saves

The floor is the worth of the answer that was evicted last. So it rises, and an answer that was served much long ago
is overtaken by those that are served now: age needs no term of its own. Worth moves at a hit alone, so it stands in
the entry and the store keeps it in order; the least worthy are one short read away.

All of this runs where an answer is stored, in batches, and never over the whole store.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from threading import Lock

from costkit.cache.documents import Documents
from costkit.cache.entries import SCHEMA, Entry, is_newer
from costkit.cache.index import EXPIRES_FIELD, WORTH_FIELD, CacheIndex, Point
from costkit.cache.judgements import Judgements
from costkit.cache.lookup import Lookup
from costkit.errors import ConfigurationError, DataError
from costkit.ledger.usage import Usage

__all__ = ["DEFAULT_MOST_ENTRIES", "Swept", "Upkeep"]

DEFAULT_MOST_ENTRIES = 100_000
# Deleting this many takes about a millisecond.
_BATCH = 64
# The store is asked what has ended at every so many writes, so a batch outruns them by far.
_PURGE_EVERY = 16
# A tenant is counted anew when it may have filled this share of its room: other processes write too.
_SHARE_OF_ROOM = 4
# What a token of an unpriced answer counts: a rank among answers, not a price.
_UNPRICED_NANO_USD_PER_TOKEN = 1000


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What ``Upkeep.sweep`` did.

    Attributes:
        expired: Entries whose time to live was over.
        stale: Entries that rested on an invalidated document and were left over.
        upgraded: Entries that were brought into the present schema.
        records: Records of judged hits that nothing refers to any more.
        documents: Documents that were invalidated long ago and that no entry rests on.
        unreadable: Entries that were left alone: a newer costkit or another program wrote them.
    """

    expired: int
    stale: int
    upgraded: int
    records: int
    documents: int
    unreadable: int


class Upkeep:
    """Keeps one store within bounds.

    Args:
        index: The store.
        judgements: What judged hits have taught, in the same store.
        documents: What is known of the documents that answers rest on, in the same store.
        most_per_tenant: Entries that a tenant may have.
        clock: Returns the time in seconds since 1970.
    """

    def __init__(
        self,
        index: CacheIndex,
        judgements: Judgements,
        documents: Documents,
        *,
        most_per_tenant: int,
        clock: Callable[[], float],
    ) -> None:
        if isinstance(most_per_tenant, bool) or not isinstance(most_per_tenant, int) or most_per_tenant < 1:
            raise ConfigurationError(f"max_entries_per_tenant must be a whole number above 0, got {most_per_tenant!r}")
        self._index = index
        self._judgements = judgements
        self._documents = documents
        self._most = most_per_tenant
        self._clock = clock
        self._floors: dict[str, float] = {}
        self._uncounted: dict[str, int] = {}  # writes of a tenant until it is counted again
        self._writes = 0
        self._busy = Lock()

    def worth(self, tenant: str, *, hits: int, usage: Usage, cost_nano_usd: int | None) -> float:
        """Return what an answer of a tenant is worth now.

        Args:
            tenant: Whose answer.
            hits: How often it was served.
            usage: Tokens that a hit saves.
            cost_nano_usd: What they cost; unpriced answers are ranked by their tokens.
        """
        if tenant not in self._floors:
            # A restart must not put new answers below all that are there.
            lowest = self._index.lowest(WORTH_FIELD, limit=1, tenant=tenant).values()
            self._floors[tenant] = min((_number(one[WORTH_FIELD]) for one in lowest), default=0.0)
        if cost_nano_usd is None:
            cost_nano_usd = _UNPRICED_NANO_USD_PER_TOKEN * (usage.input_tokens + usage.output_tokens)
        return self._floors[tenant] + (1 + hits) * max(cost_nano_usd, 1)

    def served(self, found: Lookup) -> None:
        """Count a hit."""
        assert found.ticket is not None and found.entry_id is not None  # noqa: S101, PT018  every hit has them
        hits, tenant = found.hits + 1, found.ticket.identity.tenant
        worth = self.worth(tenant, hits=hits, usage=found.saved, cost_nano_usd=found.saved_nano_usd)
        self._index.patch(found.entry_id, {"hits": hits, WORTH_FIELD: worth})

    def written(self, entry_id: str, tenant: str, *, new: bool) -> None:
        """Purge and evict one batch where they are due, after an entry was written.

        Args:
            entry_id: The entry; it is not evicted.
            tenant: Whose it is.
            new: False if it replaced one.
        """
        self._writes += 1
        self._uncounted[tenant] = self._uncounted.get(tenant, 1) - new
        purge, count = self._writes % _PURGE_EVERY == 0, self._uncounted[tenant] <= 0
        # Where another thread is at it, this one does not wait: what is due stays due.
        if (purge or count) and self._busy.acquire(blocking=False):
            try:
                if purge:
                    self.purge()
                if count:
                    self._uncounted[tenant] = max(self._make_room(tenant, kept=entry_id) // _SHARE_OF_ROOM, 1)
            finally:
                self._busy.release()

    def purge(self) -> int:
        """Delete one batch of what has ended; return how many entries that were."""
        now = self._clock()
        first = self._index.lowest(EXPIRES_FIELD, limit=_BATCH)
        ended = [key for key, entry in first.items() if _number(entry[EXPIRES_FIELD]) <= now and not is_newer(entry)]
        self.forget(ended, expired_by=now)
        return len(ended)

    def forget(self, entry_ids: Collection[str], *, expired_by: float | None = None) -> None:
        """Delete entries, or of them what has expired by then; which questions they must not answer stays known."""
        if entry_ids:
            self._index.delete(list(entry_ids), expired_by=expired_by)
            self._judgements.forget(entry_ids)

    def sweep(self) -> Swept:
        """Go through the whole store: for a maintenance command, not for a running application."""
        expired = 0
        while batch := self.purge():
            expired += batch
        stale = upgraded = unreadable = 0
        named: set[str] = set()
        resting: set[str] = set()
        for points in self._index.scan(kind="entry"):
            entries = {point.id: entry for point in points if (entry := _readable(point)) is not None}
            unreadable += len(points) - len(entries)
            ended = self._stale(entries)
            self.forget(ended)
            stale += len(ended)
            kept = [point for point in points if point.id not in ended]
            upgraded += self._upgrade([point for point in kept if point.id in entries], entries)
            named.update(str(name) for point in kept for name in (point.id, point.payload.get("cluster")))
            # A newer costkit may serve what cannot be read here.
            resting.update(str(key) for point in kept for key in _listed(point.payload.get("documents")))
        return Swept(
            expired=expired,
            stale=stale,
            upgraded=upgraded,
            records=self._judgements.forget_all_but(named),
            documents=self._documents.forget(resting),
            unreadable=unreadable,
        )

    def _stale(self, entries: Mapping[str, Entry]) -> set[str]:
        """Return the entries that an interrupted invalidation left over."""
        keys = {key for entry in entries.values() for key in entry.documents}
        documents = self._index.retrieve(list(keys)) if keys else {}
        return {key for key, entry in entries.items() if entry.stale(documents)}

    def _upgrade(self, points: Iterable[Point], entries: Mapping[str, Entry]) -> int:
        """Write entries of an older schema in the present one; return how many there were."""
        old = [point for point in points if point.payload["schema"] != SCHEMA]
        for point in old:
            entry = entries[point.id]
            worth = self.worth(entry.tenant, hits=entry.hits, usage=entry.usage, cost_nano_usd=entry.cost_nano_usd)
            self._index.patch(point.id, replace(entry, worth=worth).to_payload())
        return len(old)

    def _make_room(self, tenant: str, *, kept: str) -> int:
        """Evict a batch of a tenant that has too many entries; return how many it may still write."""
        over = self._index.count(tenant=tenant, kind="entry") - self._most
        if over <= 0:
            return -over
        # A little more than needed, so that not every write has to evict.
        wanted = min(over + self._most // 100, _BATCH)
        lowest = self._index.lowest(WORTH_FIELD, limit=wanted + 1, tenant=tenant)
        evicted = [key for key, entry in lowest.items() if key != kept and not is_newer(entry)][:wanted]
        self.forget(evicted)
        if evicted:
            self._floors[tenant] = _number(lowest[evicted[-1]][WORTH_FIELD])
        return len(evicted) - over


def _readable(point: Point) -> Entry | None:
    try:
        return Entry.from_payload(point.payload)
    except DataError:
        return None


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
