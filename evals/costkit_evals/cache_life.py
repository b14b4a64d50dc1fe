"""What becomes of entries, timed for ``costkit bench cache-speed``: kept, invalidated, purged, evicted, moved.

It goes through ``ResponseCache`` on the embedded store. The embedder is a table of random unit vectors, so that the
figures are the cache's own.
"""

from __future__ import annotations

import gc
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from costkit.cache import Evidence, Identity, ResponseCache
from costkit.cache.edge import EdgeIndex
from costkit.cache.entries import Entry
from costkit.cache.identity import document_keys
from costkit.cache.index import Point
from costkit.errors import CostkitError
from costkit.ledger.usage import Usage
from costkit.scope import Scope
from costkit.testing import FixedClock, ListRecorder
from costkit_evals.cache_speed import DIMENSIONS, Row, in_ms, percentiles, ticking, unit_vectors
from costkit_evals.terminal import Progress

__all__ = ["life", "steps"]

T = TypeVar("T")

AT_ONCE = 500
RESTING = 100  # entries that rest on one document
RESTING_ON_ONE = 4_000
INVALIDATIONS = 100
KEPT = 1_000
PACED = 1_000
PACE_SECONDS = 0.005
FIRST_ENDS = 1_000_000.0
ANSWER = "Refunds are paid within five working days. " * 9


def steps(entries: int) -> int:
    """Return how far the progress of ``life`` goes."""
    return entries + RESTING_ON_ONE + KEPT + 2 * PACED + INVALIDATIONS


def life(folder: Path, *, entries: int, tenants: int, seed: int, progress: Progress) -> list[Row]:
    """Measure what becomes of entries.

    Args:
        folder: Where to put stores and the export.
        entries: How many the store holds.
        tenants: Spread evenly over them.
        seed: Of the vectors.
        progress: Shows how far it is.
    """
    bench = _Life(folder, entries=entries, tenants=tenants, seed=seed, progress=progress)
    try:
        return [
            bench.keeping(),
            bench.invalidating(),
            bench.invalidating_much(),
            bench.paced("purging", expected=PACED // 2, most=10 * entries, seconds_a_write=1.0),
            bench.paced("evicting", expected=PACED // 2, most=bench.largest_tenant(), seconds_a_write=0.0),
            *bench.moving(),
            bench.optimising(),
        ]
    finally:
        bench.index.close()


class _Drawn:
    """An embedder of random unit vectors, drawn anew for each text."""

    name = "drawn"
    dimensions = DIMENSIONS

    def __init__(self, seed: int) -> None:
        self._vectors = unit_vectors(np.random.default_rng(seed), 10**9)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.array([next(self._vectors) for _ in texts], dtype=np.float32)


class _Life:
    """The measurements, one after the other, on one store."""

    def __init__(self, folder: Path, *, entries: int, tenants: int, seed: int, progress: Progress) -> None:
        self._folder = folder
        self._size: Row = {"entries": entries, "tenants": tenants}
        self._tenants = tenants
        self._progress = progress
        self._embedder = _Drawn(seed)
        self._clock = FixedClock(FIRST_ENDS - 1.0)
        self._asked = 0
        self.index = EdgeIndex.open(folder / "life", dimensions=DIMENSIONS)
        self._fill(_points(entries, tenants, seed), entries)

    def keeping(self) -> Row:
        """Keep answers through ``ResponseCache.store``, whose questions have been embedded for their look-ups."""
        cache = self._cache(most=10**9)
        seconds = [self._keep(cache) for _ in range(KEPT)]
        found = {"measure": "one answer kept through ResponseCache", **self._size, **percentiles(seconds)}
        return found | {"max_ms": in_ms(max(seconds)), "target": "p50 under 1 ms"}

    def invalidating(self) -> Row:
        """Invalidate documents on which a hundred entries each rest, the last to end first."""
        cache, seconds, dropped = self._cache(most=10**9), [], []
        documents = max(int(str(self._size["entries"])) // self._tenants // RESTING, 1)
        for number in range(min(INVALIDATIONS, max(documents // 2, 1) * self._tenants)):
            document, tenant = f"document-{documents - 1 - number // self._tenants}", _tenant(number % self._tenants)
            began = time.perf_counter()
            dropped.append(cache.invalidate(document, tenant=tenant))
            seconds.append(time.perf_counter() - began)
            self._progress.advance("invalidating")
        if not min(dropped):
            raise CostkitError("an invalidation dropped nothing, so its time says nothing")
        found = {"measure": "invalidation of one document", **self._size, "resting": round(float(np.mean(dropped)))}
        return found | percentiles(seconds) | {"max_ms": in_ms(max(seconds)), "target": "at most 50 ms"}

    def invalidating_much(self) -> Row:
        """Invalidate a document on which thousands rest, and watch how long another thread must wait."""
        self._fill(_points(RESTING_ON_ONE, 1, seed=1, first=10**9, document="handbook", tenant="much"), RESTING_ON_ONE)
        cache = self._cache(most=10**9)
        with _collected(), ticking() as pauses:
            began = time.perf_counter()
            cache.invalidate("handbook", tenant="much")
            seconds = time.perf_counter() - began
        found = {"measure": "pause of another thread while a document's entries go", **self._size}
        found |= {"resting": RESTING_ON_ONE, "seconds": round(seconds, 3)}
        return found | {"max_ms": in_ms(max(pauses)), "target": "at most 50 ms"}

    def paced(self, what: str, *, expected: int, most: int, seconds_a_write: float) -> Row:
        """Keep answers at a steady pace while about as many entries end or are evicted; watch another thread's pauses.

        Args:
            what: Which of the two.
            expected: How many must at least have gone.
            most: Entries that a tenant may have.
            seconds_a_write: By which the clock moves on; one entry ends each second.
        """
        cache, before = self._cache(most=most), self.index.count(kind="entry")
        with _collected(), ticking() as pauses:
            for _ in range(PACED):
                took = self._keep(cache)
                self._clock.advance(seconds_a_write)
                time.sleep(max(PACE_SECONDS - took, 0.0))
        gone = before + PACED - self.index.count(kind="entry")
        if gone < expected:
            raise CostkitError(f"only {gone} entries went while {what}, so the pauses say nothing")
        found = {"measure": f"pause of another thread while {what}", **self._size, "gone": gone}
        return found | percentiles(pauses) | {"max_ms": in_ms(max(pauses)), "target": "at most 50 ms"}

    def largest_tenant(self) -> int:
        """Return how many entries the largest tenant has; none may have more, so that each new one costs an old one."""
        return max(self.index.count(tenant=_tenant(number), kind="entry") for number in range(self._tenants))

    def moving(self) -> list[Row]:
        """Write the store to a file and read it into an empty one."""
        file = self._folder / "life.jsonl"
        cache = self._cache(most=10**9)
        wrote, written = _timed(lambda: cache.export_to(file))
        index = EdgeIndex.open(self._folder / "moved", dimensions=DIMENSIONS)
        try:
            moved = ResponseCache(
                version="bench", embedder=self._embedder, index=index, recorder=ListRecorder(), clock=self._clock
            )
            read, taken = _timed(lambda: moved.import_from(file))
        finally:
            index.close()
        size = {"tenants": self._tenants, "target": "under 60 s for 100,000"}
        megabytes = round(file.stat().st_size / 1e6, 1)
        file.unlink()
        return [
            {
                "measure": "export",
                "entries": written["entry"],
                "seconds": round(wrote, 2),
                "file_mb": megabytes,
                **size,
            },
            {"measure": "import", "entries": taken["entry"], "seconds": round(read, 2), **size},
        ]

    def optimising(self) -> Row:
        """Go through the whole store as ``costkit cache optimize`` does."""
        seconds, _ = _timed(self._cache(most=10**9).optimize)
        return {"measure": "costkit cache optimize", **self._size, "seconds": round(seconds, 2)}

    def _cache(self, *, most: int) -> ResponseCache:
        return ResponseCache(
            version="bench",
            embedder=self._embedder,
            index=self.index,
            ttl_seconds=10.0**9,
            max_entries_per_tenant=most,
            recorder=ListRecorder(),
            clock=self._clock,
        )

    def _keep(self, cache: ResponseCache) -> float:
        """Keep one more answer, and return the seconds that storing took."""
        self._asked += 1
        tenant = _tenant(self._asked % self._tenants)
        ticket = cache.lookup(f"Where is parcel {self._asked}?", scope=Scope(tenant=tenant)).ticket
        began = time.perf_counter()
        stored = cache.store(ticket, ANSWER, evidence=[Evidence(document_id="parcels")], cost_nano_usd=1_650_000)
        seconds = time.perf_counter() - began
        if stored is None:
            raise CostkitError("an answer was not kept, so its time says nothing")
        self._progress.advance("keeping answers")
        return seconds

    def _fill(self, points: Iterator[Point], count: int) -> None:
        for start in range(0, count, AT_ONCE):
            batch = [next(points) for _ in range(min(AT_ONCE, count - start))]
            self.index.upsert_all(batch)
            for _ in batch:
                self._progress.advance("filling stores")


def _points(
    count: int, tenants: int, seed: int, *, first: int = 0, document: str | None = None, tenant: str | None = None
) -> Iterator[Point]:
    """Yield entries spread over tenants; one ends each second, and ``RESTING`` rest on each document."""
    for number, vector in enumerate(unit_vectors(np.random.default_rng(seed), count)):
        whose = tenant or _tenant(number % tenants)
        source = document or f"document-{number // tenants // RESTING}"
        entry = Entry(
            identity=Identity(tenant=whose, version="bench", embedder=_Drawn.name).key,
            tenant=whose,
            question=f"How long does a refund for order {first + number} take to arrive on my account?",
            answer=ANSWER,
            cluster=str(uuid.UUID(int=first + number)),
            documents=tuple(document_keys(whose, [source])),
            evidence=(Evidence(document_id=source, content_hash="0" * 64),),
            read_at=0,
            created_at=0.0,
            expires_at=FIRST_ENDS + number,
            usage=Usage(uncached_input_tokens=1200, output_tokens=90),
            cost_nano_usd=1_650_000,
            worth=1_650_000.0,
        )
        yield Point(id=str(uuid.UUID(int=first + number)), payload=entry.to_payload(), vector=vector)


def _tenant(number: int) -> str:
    return f"tenant-{number}"


@contextmanager
def _collected() -> Iterator[None]:
    """Keep Python's garbage collector from going through all that the benchmark holds: that would be its own pause."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    done = work()
    return time.perf_counter() - began, done
