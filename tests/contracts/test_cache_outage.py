"""A Qdrant server that is down, slow or hangs: the cache stands aside, and comes back by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from threading import Thread
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from costkit.cache import Evidence, Lookup, ResponseCache
from costkit.cache.outage import RETRY_SECONDS
from costkit.errors import ConfigurationError, StoreError
from costkit.scope import Scope
from costkit.testing import FixedClock, HashEmbedder, ListRecorder

ACME = Scope(tenant="acme")
ASKED = "how long is the warranty of the L2 logger in the shop today"
NEAR = "how long is the warranty of the L2 logger in the shop"
PATIENCE_SECONDS = 20.0

Make = Callable[..., ResponseCache]


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(1_000_000.0)


@pytest.fixture
def recorder() -> ListRecorder:
    return ListRecorder()


@pytest.fixture
def make(qdrant_rest: Any, clock: FixedClock, recorder: ListRecorder) -> Iterator[Make]:
    made: list[ResponseCache] = []

    def build(**options: object) -> ResponseCache:
        settings: dict[str, object] = {"embedder": HashEmbedder(), "store_timeout_seconds": 0.5} | options
        made.append(
            ResponseCache(version="v1", url=qdrant_rest.url, recorder=recorder, clock=clock, **settings)  # type: ignore[arg-type]
        )
        return made[-1]

    yield build
    qdrant_rest.release()
    for cache in made:
        cache.close()


@pytest.fixture
def cache(make: Make) -> ResponseCache:
    """A cache with one answer."""
    cache = make()
    assert cache.store(cache.lookup(ASKED, scope=ACME).ticket, "Two years.") is not None
    return cache


def ask(cache: ResponseCache, question: str = ASKED) -> Lookup:
    """Look up in a thread that must come back: a client that waits for ever would hang the tests."""
    found: list[Lookup] = []
    thread = Thread(target=lambda: found.append(cache.lookup(question, scope=ACME)), daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert found, "the look-up did not come back"
    return found[0]


def test_the_cache_works_over_the_wire(cache: ResponseCache) -> None:
    assert ask(cache).kind == "exact"
    assert ask(cache, NEAR).kind == "semantic"
    assert ask(cache, NEAR).hits == 2
    ticket = cache.ticket("where is the office", scope=ACME)
    cache.store(ticket, "In Harstad Quay.", evidence=[Evidence(document_id="offices")])
    assert cache.invalidate("offices", tenant="acme") == 1
    assert cache.optimize().expired == 0
    assert cache.drop(str(ask(cache).entry_id))
    assert ask(cache).kind == "miss"


def test_replicas_agree_on_a_change_before_it_counts(cache: ResponseCache, qdrant_rest: Any) -> None:
    """A document's point is written in one order everywhere, and read as most replicas have it."""
    qdrant_rest.asked.clear()
    cache.invalidate("offices", tenant="acme")
    ask(cache)

    calls = [call.split("/points")[-1] for call in qdrant_rest.asked if call.startswith("PUT") or "/points?" in call]
    assert len(calls) >= 2
    assert all("ordering=strong" in call or "consistency=majority" in call for call in calls), calls


def test_a_server_that_refuses_is_left_alone_until_the_pause_is_over(
    cache: ResponseCache, qdrant_rest: Any, clock: FixedClock, caplog: pytest.LogCaptureFixture, recorder: ListRecorder
) -> None:
    qdrant_rest.stop()
    assert [ask(cache).kind for _ in range(50)] == ["bypass"] * 50
    assert cache.store(cache.ticket(NEAR, scope=ACME), "Two years.") is None
    assert [record.message.count("stands aside") for record in caplog.records] == [1]
    assert [event.decision for event in recorder.events[-50:]] == ["bypass"] * 50
    assert "failed" in recorder.events[-1].reason

    qdrant_rest.start()
    before = qdrant_rest.requests
    assert ask(cache).kind == "bypass"
    assert qdrant_rest.requests == before
    clock.advance(RETRY_SECONDS)

    assert ask(cache).answer == "Two years."
    assert ask(cache).answer == "Two years."
    assert [("is back" in record.message) for record in caplog.records] == [False, True]


def test_an_outage_that_lasts_is_said_once(
    cache: ResponseCache, qdrant_rest: Any, clock: FixedClock, caplog: pytest.LogCaptureFixture
) -> None:
    qdrant_rest.stop()
    for _ in range(5):
        assert ask(cache).kind == "bypass"
        clock.advance(RETRY_SECONDS)
    qdrant_rest.start()

    assert ask(cache).hit
    assert len(caplog.records) == 2
    assert "after 50 seconds" in caplog.records[1].message


def test_each_outage_is_said_again(
    cache: ResponseCache, qdrant_rest: Any, clock: FixedClock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        qdrant_rest.stop()
        ask(cache)
        qdrant_rest.start()
        clock.advance(RETRY_SECONDS)
        ask(cache)

    assert [("stands aside" in record.message) for record in caplog.records] == [True, False, True, False]


def test_a_server_that_hangs_keeps_a_question_waiting_no_longer_than_allowed(
    cache: ResponseCache, qdrant_rest: Any, clock: FixedClock
) -> None:
    qdrant_rest.hang()
    assert "timed out" in ask(cache).reason
    qdrant_rest.release()
    clock.advance(RETRY_SECONDS)

    assert ask(cache).hit


async def test_many_questions_meet_a_hanging_server_and_none_breaks(
    cache: ResponseCache, qdrant_rest: Any, clock: FixedClock, caplog: pytest.LogCaptureFixture
) -> None:
    qdrant_rest.hang()
    found = await asyncio.gather(*(cache.alookup(ASKED, scope=ACME) for _ in range(40)))
    assert {one.kind for one in found} == {"bypass"}
    waited = qdrant_rest.requests
    clock.advance(RETRY_SECONDS)
    await asyncio.gather(*(cache.alookup(ASKED, scope=ACME) for _ in range(40)))

    assert qdrant_rest.requests == waited + 1, "one tries, the others do not wait"
    assert len(caplog.records) == 1


def test_a_slow_server_is_given_up_although_each_call_is_in_time(make: Make, qdrant_rest: Any) -> None:
    """A look-up makes several calls; what counts is how long the question waits."""
    cache = make(store_timeout_seconds=1.0)
    cache.store(cache.lookup(ASKED, scope=ACME).ticket, "Two years.")
    qdrant_rest.delay_seconds = 0.4
    before = qdrant_rest.requests

    found = ask(cache, NEAR)

    assert found.kind == "bypass"
    assert "timed out" in found.reason or "store_timeout_seconds=1" in found.reason
    assert qdrant_rest.requests - before <= 3


def test_a_hit_stands_where_the_time_is_over_before_it_is_counted(make: Make, qdrant_rest: Any) -> None:
    cache = make(store_timeout_seconds=1.0)
    cache.store(cache.lookup(ASKED, scope=ACME).ticket, "Two years.")
    qdrant_rest.delay_seconds = 0.4

    assert ask(cache, ASKED).answer == "Two years."


class _SlowEmbedder:
    name = "slow"
    dimensions = 64

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        time.sleep(0.6)
        return np.ones((len(texts), self.dimensions), dtype=np.float32) / 8


def test_the_time_of_the_embedder_is_not_the_stores(make: Make) -> None:
    cache = make(embedder=_SlowEmbedder(), store_timeout_seconds=0.5)

    assert ask(cache).kind == "miss"


def test_invalidating_raises_at_a_server_that_is_down_and_works_as_soon_as_it_is_back(
    cache: ResponseCache, qdrant_rest: Any
) -> None:
    """Nothing may pretend that a document was invalidated, and no pause may put it off."""
    qdrant_rest.stop()
    ask(cache)
    with pytest.raises(StoreError):
        cache.invalidate("warranty", tenant="acme")
    qdrant_rest.start()

    assert cache.invalidate("warranty", tenant="acme") == 0


def test_a_server_that_is_down_at_construction_is_an_error_that_names_the_collection(
    make: Make, qdrant_rest: Any
) -> None:
    qdrant_rest.stop()
    with pytest.raises(StoreError, match="costkit-hash-256"):
        make()
    qdrant_rest.start()


@pytest.mark.parametrize(("question", "kind"), [(ASKED, "exact"), (NEAR, "semantic")])
def test_a_hit_that_cannot_be_counted_is_served_all_the_same(
    cache: ResponseCache, qdrant_rest: Any, caplog: pytest.LogCaptureFixture, question: str, kind: str
) -> None:
    qdrant_rest.broken = {"POST points/payload", "PUT points"}

    found = [ask(cache, question) for _ in range(3)]

    assert [(one.kind, one.answer) for one in found] == [(kind, "Two years.")] * 3
    assert "could not keep its own count" in caplog.text


@pytest.mark.parametrize("seconds", [0, -1.0, float("inf")])
def test_a_wrong_timeout_is_named(make: Make, seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="store_timeout_seconds"):
        make(store_timeout_seconds=seconds)
