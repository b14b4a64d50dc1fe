"""``costkit bench cache-speed``: what the cache adds to a question, and what it takes to keep entries.

Index figures come from random unit vectors: the engine's work does not depend on what they mean.
"""

from __future__ import annotations

import gc
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from costkit.cache import ResponseCache
from costkit.cache.edge import EdgeIndex
from costkit.cache.index import CacheIndex
from costkit.cache.qdrant import QdrantIndex
from costkit.embed import Embedder, from_minilm
from costkit.errors import CostkitError, MissingExtraError, ModelFileError
from costkit.scope import Scope
from costkit.testing import HashEmbedder, ListRecorder
from costkit_evals.terminal import Progress

__all__ = ["DIMENSIONS", "Row", "in_ms", "measure", "percentiles", "ticking", "unit_vectors"]

DIMENSIONS = 384
NEIGHBOURS = 5
LOCAL_ENTRIES = 20_000
LOOKUPS = 1000
HITS = 200
LOCAL_LOOKUPS = 20
INSERTS_PER_SECOND = 100
GROWTH = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
# A look-up now and then, as users ask, and not the next as soon as one is done.
LOOKUP_PAUSE_SECONDS = 0.004
IDLE_SECONDS = 5.0
TICK_SECONDS = 0.001
QUESTION = "How long does a refund for order {} take to arrive on my account?"

Row = dict[str, object]


def measure(*, entries: int, tenants: int, seed: int, progress: Progress | None = None) -> tuple[list[Row], list[str]]:
    """Measure look-ups, inserts, pauses, memory and disk, then what becomes of entries.

    Args:
        entries: How many the large store holds.
        tenants: Spread evenly over them.
        seed: Of the vectors.
        progress: Shows how far it is. Default: on standard error.

    Returns:
        One row per measurement, times in ms, and notes on what could not be measured.
    """
    from costkit_evals.cache_life import life, steps

    progress = progress or Progress()
    local = min(LOCAL_ENTRIES, entries)
    progress.start(entries // 10 + 2 * entries + local + steps(entries))
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = _Speed(Path(folder), entries=entries, tenants=tenants, seed=seed, progress=progress)
        try:
            rows = bench.store()
            rows += bench.local_mode(local, float(str(rows[0]["p50_ms"])), notes)
            rows += bench.growing_tenant()
            rows += bench.through_the_cache(notes)
            rows += life(Path(folder), entries=entries, tenants=tenants, seed=seed, progress=progress)
        finally:
            progress.stop()
    return rows, notes


class _Speed:
    """The measurements, on stores below one folder."""

    def __init__(self, folder: Path, *, entries: int, tenants: int, seed: int, progress: Progress) -> None:
        self._folder = folder
        self._entries = entries
        self._tenants = tenants
        self._draws = np.random.default_rng(seed)
        self._progress = progress

    def store(self) -> list[Row]:
        """Fill a store of a tenth of the tenants and the whole one; look up alone, among inserts, and watch pauses."""
        small_tenants = max(self._tenants // 10, 1)
        with self._filled("small", self._entries // 10, small_tenants) as (index, _):
            small = self._lookups(index, small_tenants)
        with self._filled("large", self._entries, self._tenants) as (index, kept):
            quiet = self._lookups(index, self._tenants)
            with ticking() as idle:
                time.sleep(IDLE_SECONDS)
            with (
                _inserting(index, self._tenants, start=self._entries, seed=self._entries) as inserted,
                ticking() as pauses,
            ):
                busy = self._lookups(index, self._tenants, pause=LOOKUP_PAUSE_SECONDS)
            disk = sum(file.stat().st_blocks * 512 for file in (self._folder / "large").rglob("*") if file.is_file())
        began = time.perf_counter()
        EdgeIndex.open(self._folder / "large", dimensions=DIMENSIONS).close()
        reopened = time.perf_counter() - began
        size = {"entries": self._entries, "tenants": self._tenants}
        per = 100_000 / self._entries
        return [
            {"measure": "filtered look-up", **size, **percentiles(quiet), "target": "p50 under 2 ms"},
            {"measure": f"filtered look-up, {INSERTS_PER_SECOND} inserts a second", **size, **percentiles(busy)}
            | {"inserts": len(inserted), "target": "p50 under 2 ms"},
            {"measure": "ten times the entries in ten times the tenants", **size}
            | {"p50_ratio": round(_p50(quiet) / _p50(small), 2), "target": "at most 1.5"},
            {"measure": "pause of another thread meanwhile", **size, **percentiles(pauses)}
            | {"max_ms": in_ms(max(pauses)), "target": "at most 50 ms"},
            {"measure": "pause of another thread, nothing running", **percentiles(idle), "max_ms": in_ms(max(idle))},
            {"measure": "one insert", **size, **percentiles(kept.seconds), "max_ms": in_ms(max(kept.seconds))}
            | {"target": "p50 under 1 ms"},
            {"measure": "per 100,000 entries", "memory_mb": round(kept.memory_mb * per, 1)}
            | {"disk_mb": round(disk / 1e6 * per, 1)},
            {"measure": "opening again", **size, "max_ms": in_ms(reopened)},
        ]

    def local_mode(self, entries: int, ours_ms: float, notes: list[str]) -> list[Row]:
        """Look up in qdrant-client's local mode."""
        try:
            from qdrant_client import QdrantClient
        except ImportError:
            error = MissingExtraError(
                feature="the comparison with local mode", package="qdrant-client", install="costkit[qdrant]"
            )
            notes.append(str(error))
            return []
        client = QdrantClient(":memory:")
        index = QdrantIndex(client, collection="bench", dimensions=DIMENSIONS)
        self._fill(index, entries, self._tenants)
        seconds = self._lookups(index, self._tenants, count=LOCAL_LOOKUPS)
        client.close()
        return [
            {"measure": "filtered look-up, qdrant-client local mode", "entries": entries, "tenants": self._tenants}
            | percentiles(seconds)
            | {"p50_ratio": round(_p50(seconds) * 1000 / ours_ms, 1), "target": "at least 50"}
        ]

    def growing_tenant(self) -> list[Row]:
        """Look up in one tenant as it grows."""
        rows: list[Row] = []
        index = EdgeIndex.open(self._folder / "one", dimensions=DIMENSIONS)
        try:
            done = 0
            for share in GROWTH:
                size = round(self._entries * share)
                self._fill(index, size - done, 1, start=done)
                done = size
                found = percentiles(self._lookups(index, 1, count=LOOKUPS // 5))
                rows.append({"measure": "filtered look-up, one tenant", "entries": size, "tenants": 1} | found)
        finally:
            index.close()
        return rows

    def through_the_cache(self, notes: list[str]) -> list[Row]:
        """Time an exact hit, and a semantic hit from the question's text on."""
        rows = [
            {"measure": "exact hit through ResponseCache", "target": "p50 under 0.3 ms"}
            | percentiles(self._hits("exact", HashEmbedder(), lambda text: text))
        ]
        try:
            minilm = from_minilm()
        except ModelFileError as error:
            notes.append(f"no semantic hit was timed: {error}")
            return rows
        seconds = self._hits("semantic", minilm, lambda text: text.replace("on my account", "in my account"))
        return [
            *rows,
            {"measure": "semantic hit through ResponseCache, embedding included", "target": "p50 under 12 ms"}
            | percentiles(seconds),
        ]

    def _hits(self, kind: str, embedder: Embedder, rephrase: Callable[[str], str]) -> list[float]:
        """Store questions, ask them again, and return the seconds of each look-up, which must be a hit of ``kind``."""
        scope = Scope(tenant="bench")
        asked = [QUESTION.format(number) for number in range(HITS)]
        seconds = []
        cache = ResponseCache(version="bench", embedder=embedder, path=self._folder / kind, recorder=ListRecorder())
        try:
            for text in asked:
                cache.store(cache.ticket(text, scope=scope), "Five working days.")
            for text in asked:
                question = rephrase(text)
                began = time.perf_counter()
                found = cache.lookup(question, scope=scope)
                seconds.append(time.perf_counter() - began)
                if found.kind != kind:
                    raise CostkitError(f"{question!r} should be a hit ({kind}), but was a {found.kind}: {found.reason}")
        finally:
            cache.close()
        return seconds

    @contextmanager
    def _filled(self, name: str, entries: int, tenants: int) -> Iterator[tuple[EdgeIndex, _Fill]]:
        index = EdgeIndex.open(self._folder / name, dimensions=DIMENSIONS)
        try:
            gc.collect()
            before = _memory_mb()
            seconds = self._fill(index, entries, tenants)
            gc.collect()
            yield index, _Fill(seconds=seconds, memory_mb=_memory_mb() - before)
        finally:
            index.close()

    def _fill(self, index: CacheIndex, entries: int, tenants: int, *, start: int = 0) -> list[float]:
        """Insert entries one by one, as the cache does; return the seconds of each."""
        seconds = []
        for number, vector in enumerate(unit_vectors(self._draws, entries), start):
            began = time.perf_counter()
            index.upsert(str(uuid.UUID(int=number)), _payload(number, tenants), vector)
            seconds.append(time.perf_counter() - began)
            self._progress.advance("filling stores")
        return seconds

    def _lookups(self, index: CacheIndex, tenants: int, *, count: int = LOOKUPS, pause: float = 0.0) -> list[float]:
        seconds = []
        for number, vector in enumerate(unit_vectors(self._draws, count)):
            began = time.perf_counter()
            index.nearest(vector, identity=f"tenant-{number % tenants}", limit=NEIGHBOURS)
            seconds.append(time.perf_counter() - began)
            if pause:
                time.sleep(pause)
        return seconds


@dataclass(frozen=True, kw_only=True)
class _Fill:
    seconds: Sequence[float]
    memory_mb: float


def unit_vectors(draws: np.random.Generator, count: int) -> Iterator[list[float]]:
    """Yield random vectors of length 1."""
    for _ in range(count):
        vector: NDArray[np.float64] = draws.standard_normal(DIMENSIONS)
        yield (vector / np.linalg.norm(vector)).tolist()


def _payload(number: int, tenants: int) -> dict[str, object]:
    """Return what an entry with an answer of 400 characters and one document takes."""
    tenant = f"tenant-{number % tenants}"
    return {
        "kind": "entry",
        "identity": tenant,
        "tenant": tenant,
        "question": QUESTION.format(number),
        "answer": "Refunds are paid within five working days. " * 9,
        "documents": [str(uuid.UUID(int=number % 1000))],
        "evidence": [{"document_id": "refunds.md", "content_hash": "0" * 64}],
        "read_at": 0,
        "created_at": 0.0,
        "expires_at": 86400.0,
        "usage": {"input_tokens": 1200, "output_tokens": 90},
        "cost_nano_usd": 1_650_000,
    }


@contextmanager
def _thread(step: Callable[[], None]) -> Iterator[None]:
    """Call ``step`` again and again in another thread."""
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            step()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def _inserting(index: CacheIndex, tenants: int, *, start: int, seed: int) -> Iterator[list[int]]:
    """Insert at a steady rate in another thread; the yielded list grows by each number inserted."""
    vectors = unit_vectors(np.random.default_rng(seed), 10**9)
    done: list[int] = []

    def insert() -> None:
        began = time.perf_counter()
        number = start + len(done)
        index.upsert(str(uuid.UUID(int=number)), _payload(number, tenants), next(vectors))
        done.append(number)
        time.sleep(max(1 / INSERTS_PER_SECOND - (time.perf_counter() - began), 0.0))

    with _thread(insert):
        yield done


@contextmanager
def ticking() -> Iterator[list[float]]:
    """Let another thread tick; the yielded list holds the seconds from each tick to the next, less the pause asked."""
    gaps: list[float] = []

    def tick() -> None:
        began = time.perf_counter()
        time.sleep(TICK_SECONDS)
        gaps.append(time.perf_counter() - began - TICK_SECONDS)

    with _thread(tick):
        yield gaps


def _memory_mb() -> float:
    """Return the memory of this process that no file backs and that which one does, together; 0 where unknown."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def percentiles(seconds: Sequence[float]) -> Row:
    """Return the 50th, 95th and 99th percentile in ms."""
    found = np.percentile(np.array(seconds) * 1000, (50, 95, 99))
    return {f"p{rank}_ms": round(float(value), 4) for rank, value in zip((50, 95, 99), found, strict=True)}


def in_ms(seconds: float) -> float:
    """Return seconds in ms, as rows hold them."""
    return round(seconds * 1000, 4)


def _p50(seconds: Sequence[float]) -> float:
    return float(np.median(np.array(seconds)))
