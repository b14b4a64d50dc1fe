"""Single flight: a crowd that asks one thing makes one call, and nobody is left waiting for an answer that never comes."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from costkit.cache import CosineScore, EdgeIndex, Evidence, Lookup, ResponseCache
from costkit.cache.flight import MOST_UNKEPT, SHARED, UNSHARED, Flights, Waiter
from costkit.cache.index import CacheIndex, Payload
from costkit.errors import ConfigurationError
from costkit.ledger.usage import Usage
from costkit.scope import Scope
from costkit.testing import FixedClock, HashEmbedder, ListRecorder

QUESTION = "how long does a refund of my order take"
SAME_WORDS = "a refund of my order take how long does"
TYPED_OTHERWISE = "  How long does a refund of my ORDER take ?"
OTHER = "where is the cafeteria"
ACME = Scope(tenant="acme")
CROWD = 200
# Long enough for any machine; a test that needs it all has found a question that nobody answers.
PATIENCE = 60.0


class Model:
    """Counts its calls and how many are under way at once."""

    def __init__(self) -> None:
        self.calls = 0
        self.at_once = 0
        self.most_at_once = 0
        self._lock = threading.Lock()

    def __enter__(self) -> str:
        with self._lock:
            self.calls += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            return f"answer {self.calls}"

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self.at_once -= 1


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeIndex]:
    """One embedded store for all tests: opening one takes half a second, and versions keep the tests apart."""
    opened = EdgeIndex.open(tmp_path_factory.mktemp("edge"), dimensions=HashEmbedder().dimensions)
    yield opened
    opened.close()


@pytest.fixture
def recorder() -> ListRecorder:
    return ListRecorder()


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def cache(index: EdgeIndex, recorder: ListRecorder) -> ResponseCache:
    return make(index, recorder)


class Line:
    """Says when so many stand in line: then they wait, and do not just run late."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._waiting = 0
        self._changed = threading.Condition()
        wait, arrival = Waiter.wait, Waiter.arrival

        def counted(waiter: Waiter) -> object:
            self._count()
            return wait(waiter)

        def acounted(waiter: Waiter) -> object:
            self._count()
            return arrival(waiter)

        monkeypatch.setattr(Waiter, "wait", counted)
        monkeypatch.setattr(Waiter, "arrival", acounted)

    def _count(self) -> None:
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()

    def has(self, number: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._waiting >= number, PATIENCE)


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    return Line(monkeypatch)


def make(index: CacheIndex, recorder: ListRecorder, **options: object) -> ResponseCache:
    settings: dict[str, object] = {
        "version": uuid4().hex,
        "embedder": HashEmbedder(),
        "wait_seconds": PATIENCE,
        **options,
    }
    return ResponseCache(index=index, recorder=recorder, **settings)  # type: ignore[arg-type]


def wordings(number: int) -> list[str]:
    return [(QUESTION, SAME_WORDS, TYPED_OTHERWISE)[place % 3] for place in range(number)]


def at_once() -> bool:
    return True


def ask(
    cache: ResponseCache,
    question: str,
    model: Model,
    ready: Callable[[], object] = at_once,
    evidence: Sequence[Evidence] = (),
) -> Lookup:
    """Ask as an application does: serve a hit, else call the model, which answers once all is ready, and keep that."""
    with cache.join(question, scope=ACME) as found:
        if found.hit:
            return found
        with model as answer:
            assert ready()
        cache.store(found.ticket, answer, evidence=evidence, usage=Usage(output_tokens=7), cost_nano_usd=5)
        return found


async def aask(cache: ResponseCache, question: str, model: Model, ready: Callable[[], object] | None = None) -> Lookup:
    with await cache.ajoin(question, scope=ACME) as found:
        if found.hit:
            return found
        with model as answer:
            assert ready is None or await asyncio.to_thread(ready)
        await cache.astore(found.ticket, answer)
        return found


def leading(
    pool: ThreadPoolExecutor, cache: ResponseCache, model: Model, ready: Callable[[], object]
) -> Future[Lookup]:
    """Return a leader under way, which has its turn and answers once all is ready."""
    leads = threading.Event()

    def begun() -> object:
        leads.set()
        return ready()

    future = pool.submit(ask, cache, QUESTION, model, begun)
    assert leads.wait(PATIENCE)
    return future


def fails() -> bool:
    raise RuntimeError("down")


def test_a_crowd_of_threads_makes_one_call(
    cache: ResponseCache, recorder: ListRecorder, model: Model, line: Line
) -> None:
    with ThreadPoolExecutor(CROWD) as pool:
        found = list(pool.map(lambda text: ask(cache, text, model, lambda: line.has(CROWD - 1)), wordings(CROWD)))

    hits = [one for one in found if one.hit]
    assert (model.calls, len(hits)) == (1, CROWD - 1)
    assert {one.answer for one in hits} == {"answer 1"}
    assert {one.kind for one in hits} == {"exact", "semantic"}
    assert all(one.reason.startswith(SHARED) for one in hits)
    assert sorted(event.decision for event in recorder.events) == ["hit"] * (CROWD - 1) + ["miss"]
    assert {(event.saved.output_tokens, event.saved_nano_usd) for event in recorder.events} == {(0, 0), (7, 5)}


async def test_a_crowd_of_tasks_makes_one_call(cache: ResponseCache, model: Model, line: Line) -> None:
    """More wait than the event loop's pool has threads, and those stay free: the leader answers by one of them."""
    found = await asyncio.gather(*(aask(cache, text, model, lambda: line.has(CROWD - 1)) for text in wordings(CROWD)))

    assert model.calls == 1
    assert len([one for one in found if one.reason.startswith(SHARED)]) == CROWD - 1


async def test_threads_and_tasks_share_one_call(cache: ResponseCache, model: Model, line: Line) -> None:
    texts = wordings(CROWD)
    with ThreadPoolExecutor(CROWD // 2) as pool:
        loop = asyncio.get_running_loop()
        tasks = [aask(cache, text, model, lambda: line.has(CROWD - 1)) for text in texts[::2]]
        threads = [
            loop.run_in_executor(pool, ask, cache, text, model, lambda: line.has(CROWD - 1)) for text in texts[1::2]
        ]
        found = await asyncio.gather(*tasks, *threads)

    assert model.calls == 1
    assert len([one for one in found if one.reason.startswith(SHARED)]) == CROWD - 1


def test_an_equal_question_is_served_exactly_and_a_near_one_semantically(
    cache: ResponseCache, model: Model, line: Line
) -> None:
    with ThreadPoolExecutor(3) as pool:
        leader = leading(pool, cache, model, lambda: line.has(2))
        equal, near = (pool.submit(ask, cache, text, model) for text in (TYPED_OTHERWISE, SAME_WORDS))

    assert leader.result().kind == "miss"
    assert (equal.result().kind, near.result().kind, near.result().matched_question) == ("exact", "semantic", QUESTION)
    assert near.result().mark["decision"] == "hit"
    assert model.calls == 1


def test_an_answer_is_shared_as_soon_as_it_is_kept(cache: ResponseCache, model: Model, line: Line) -> None:
    """What the leader does after that is its own affair."""
    with ThreadPoolExecutor(1) as pool, cache.join(QUESTION, scope=ACME) as leader:
        followers = pool.submit(contextvars.Context().run, ask, cache, QUESTION, model)
        assert line.has(1)
        cache.store(leader.ticket, "14 days")

        assert followers.result(PATIENCE).answer == "14 days"


@pytest.mark.parametrize(
    ("question", "scope", "inputs"),
    [
        (OTHER, ACME, {}),
        (QUESTION, Scope(tenant="globex"), {}),
        (QUESTION, Scope(), {}),
        (QUESTION, ACME, {"lang": "de"}),
    ],
    ids=["another question", "another tenant", "no tenant", "other input"],
)
def test_who_asks_something_else_waits_for_nobody(
    cache: ResponseCache, question: str, scope: Scope, inputs: dict[str, object]
) -> None:
    leader = cache.join(QUESTION, scope=ACME)
    first = cache.lookup(question, scope=scope, inputs=inputs).reason

    found = cache.join(question, scope=scope, inputs=inputs)

    assert (found.kind, found.reason) == ("miss", first), "a wait would be told in the reason"
    assert leader.ticket != found.ticket


def test_a_failure_reaches_its_own_caller_and_the_next_one_calls_anew(
    cache: ResponseCache, model: Model, line: Line
) -> None:
    with ThreadPoolExecutor(5) as pool:
        failed = leading(pool, cache, model, lambda: line.has(4) and fails())
        followers = [pool.submit(ask, cache, text, model) for text in (QUESTION, SAME_WORDS, QUESTION, SAME_WORDS)]
        with pytest.raises(RuntimeError, match="down"):
            failed.result()
        found = [one.result() for one in followers]

    assert (model.calls, model.most_at_once) == (2, 1)
    assert sorted(one.reason.split(":")[0] for one in found) == [SHARED, SHARED, SHARED, UNSHARED]
    assert {one.answer for one in found} == {None, "answer 2"}


async def test_a_cancelled_leader_costs_one_more_call(cache: ResponseCache, model: Model, line: Line) -> None:
    leads = asyncio.Event()

    async def lead() -> None:
        with await cache.ajoin(QUESTION, scope=ACME), model:
            leads.set()
            await asyncio.Event().wait()

    leader = asyncio.create_task(lead())
    await leads.wait()
    followers = [asyncio.create_task(aask(cache, text, model)) for text in wordings(CROWD)]
    assert await asyncio.to_thread(line.has, CROWD)
    leader.cancel()
    found = await asyncio.gather(*followers)

    assert leader.cancelled()
    assert (model.calls, model.most_at_once) == (2, 1)
    assert len([one for one in found if one.hit]) == CROWD - 1


async def test_who_gives_up_while_waiting_leaves_the_line(cache: ResponseCache, model: Model, line: Line) -> None:
    reported: list[BaseException] = []

    async def wait() -> None:
        try:
            await aask(cache, QUESTION, model)
        except asyncio.CancelledError as error:
            reported.append(error)  # as an error reporter does, with all that its traceback refers to
            raise

    leader = await cache.ajoin(QUESTION, scope=ACME)
    gone = [asyncio.create_task(wait()) for _ in range(2)]
    stays = asyncio.create_task(aask(cache, QUESTION, model))
    assert await asyncio.to_thread(line.has, 3)
    gone[0].cancel()
    await asyncio.wait(gone[:1])
    with leader:
        gone[1].cancel()  # it learns so only after the turn was handed to it

    assert (await stays).kind == "miss"
    assert (model.calls, len(reported)) == (1, 2)


def test_answers_that_are_not_kept_are_made_one_at_a_time_and_then_alone(
    cache: ResponseCache, model: Model, line: Line
) -> None:
    """A question whose answers are tool calls or refusals must not make its crowd stand in line for ever."""
    alone = threading.Barrier(8 - MOST_UNKEPT)

    def refuse(_: int) -> tuple[str, int]:
        with cache.join(QUESTION, scope=ACME) as found, model as answer:
            at_once = model.at_once
            assert line.has(7)
            if int(answer.split()[1]) > MOST_UNKEPT:
                alone.wait(PATIENCE / 2)
        return found.reason.split(":")[0], at_once

    with ThreadPoolExecutor(8) as pool:
        refused = list(pool.map(refuse, range(8)))

    assert model.calls == 8
    assert [reason for reason, _ in refused].count(UNSHARED) == 7
    assert sorted(at_once for _, at_once in refused)[: MOST_UNKEPT + 1] == [1] * (MOST_UNKEPT + 1)


def test_an_answer_refused_for_a_changed_document_is_shared_with_nobody(
    index: EdgeIndex, recorder: ListRecorder, model: Model, line: Line
) -> None:
    """The next one reads the document as it is now, so its answer is kept although it asked before the change."""
    clock = FixedClock(1_000.0)
    cache = make(index, recorder, clock=clock)
    refunds = [Evidence(document_id="refunds.md")]

    def changed() -> bool:
        assert line.has(1)
        clock.advance(1.0)
        cache.invalidate("refunds.md", tenant="acme")
        clock.advance(1.0)
        return True

    with ThreadPoolExecutor(2) as pool:
        leads = threading.Event()
        stale = pool.submit(ask, cache, QUESTION, model, lambda: leads.set() or changed(), refunds)
        assert leads.wait(PATIENCE)
        fresh = pool.submit(ask, cache, QUESTION, model, at_once, refunds)

    assert [stale.result().kind, fresh.result().kind] == ["miss", "miss"]
    assert cache.lookup(QUESTION, scope=ACME).answer == "answer 2"


def test_a_turn_that_is_forgotten_ends(cache: ResponseCache, model: Model, line: Line) -> None:
    """A stream that nobody reads is never begun, and so never closed: its turn ends with the object."""

    def stream(found: Lookup) -> Iterator[str]:
        with found:
            yield "never"

    forgotten = stream(cache.join(QUESTION, scope=ACME))
    with ThreadPoolExecutor(1) as pool:
        follower = pool.submit(ask, cache, QUESTION, model)
        assert line.has(1)
        del forgotten

        assert follower.result(PATIENCE / 2).kind == "miss"


async def test_a_task_cancelled_during_its_look_up_holds_no_turn(
    index: EdgeIndex, recorder: ListRecorder, model: Model
) -> None:
    looking, go = threading.Event(), threading.Event()

    class Slow(HashEmbedder):
        def embed(self, texts: Sequence[str]) -> np.ndarray:
            looking.set()
            assert go.wait(PATIENCE)
            return super().embed(texts)

    cache = make(index, recorder, embedder=Slow())
    task = asyncio.create_task(aask(cache, QUESTION, model))
    await asyncio.to_thread(looking.wait, PATIENCE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()

    assert (await aask(cache, QUESTION, model)).kind == "miss"
    assert model.calls == 1


def test_a_call_within_the_call_does_not_wait_for_it(cache: ResponseCache, model: Model) -> None:
    """A cached chain inside a cached chain may ask the same thing, in the same thread or in one that it starts."""
    with cache.join(QUESTION, scope=ACME) as outer, cache.join(OTHER, scope=ACME):
        near = cache.join(SAME_WORDS, scope=ACME)
        with ThreadPoolExecutor(1) as pool:
            equal = pool.submit(contextvars.copy_context().run, cache.join, QUESTION, scope=ACME).result()
        cache.store(outer.ticket, "outer")

    assert {one.kind for one in (outer, near, equal)} == {"miss"}
    assert not any(one.reason.startswith(UNSHARED) for one in (near, equal)), "nobody waited in vain"
    assert cache.lookup(QUESTION, scope=ACME).answer == "outer"


async def test_a_task_within_the_call_does_not_wait_for_it(cache: ResponseCache, model: Model) -> None:
    with await cache.ajoin(QUESTION, scope=ACME):
        found = await asyncio.create_task(aask(cache, QUESTION, model))

    assert (found.kind, found.reason.startswith(UNSHARED)) == ("miss", False)


def test_who_retries_after_a_failure_stands_in_line_again(cache: ResponseCache, model: Model, line: Line) -> None:
    """Its own turn is over, so the turn of the next one is waited for."""

    def lead() -> Lookup:
        with suppress(RuntimeError):
            ask(cache, QUESTION, model, lambda: leads.set() or (line.has(1) and fails()))
        return ask(cache, QUESTION, model)

    leads = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(lead)
        assert leads.wait(PATIENCE)
        second = pool.submit(ask, cache, QUESTION, model, lambda: line.has(2))

    assert [first.result().kind, second.result().kind] == ["exact", "miss"]
    assert (model.calls, model.most_at_once) == (2, 1)


def test_a_wait_has_an_end(index: EdgeIndex, recorder: ListRecorder) -> None:
    cache = make(index, recorder, wait_seconds=0.2)
    leader = cache.join(QUESTION, scope=ACME)

    found = cache.join(QUESTION, scope=ACME)

    assert (leader.kind, found.kind) == ("miss", "miss")
    assert found.reason.startswith(UNSHARED)
    assert cache.store(found.ticket, "its own") is not None


async def test_a_task_has_an_end_to_its_wait(index: EdgeIndex, recorder: ListRecorder) -> None:
    cache = make(index, recorder, wait_seconds=0.2)
    leader = await cache.ajoin(QUESTION, scope=ACME)

    found = await cache.ajoin(QUESTION, scope=ACME)

    assert (leader.kind, found.kind) == ("miss", "miss")
    assert found.reason.startswith(UNSHARED)


def test_a_call_that_hangs_is_not_waited_for_again(index: EdgeIndex, recorder: ListRecorder) -> None:
    cache = make(index, recorder, wait_seconds=0.05)
    hangs = cache.join(QUESTION, scope=ACME)
    waited = cache.join(QUESTION, scope=ACME)

    leads = cache.join(QUESTION, scope=ACME)
    with hangs:
        pass
    behind = cache.join(QUESTION, scope=ACME)

    assert [one.reason.startswith(UNSHARED) for one in (waited, leads, behind)] == [True, False, True]
    cache.store(leads.ticket, "14 days")
    assert cache.join(QUESTION, scope=ACME).answer == "14 days"


async def test_a_sync_call_never_blocks_an_event_loop(cache: ResponseCache, model: Model) -> None:
    """It would block the very loop in which the leader runs."""
    with await cache.ajoin(QUESTION, scope=ACME) as leader:
        found = contextvars.Context().run(ask, cache, QUESTION, model)

    assert (leader.kind, found.kind, model.calls) == ("miss", "miss", 1)


async def test_sync_calls_in_the_loops_own_threads_leave_them_to_the_leader(cache: ResponseCache, model: Model) -> None:
    """Were they to wait there, the leader could not store its answer: that takes one of these threads."""
    with await cache.ajoin(QUESTION, scope=ACME) as leader:
        outside = contextvars.Context()
        loop = asyncio.get_running_loop()
        waiting = [
            outside.copy().run(loop.run_in_executor, None, ask, cache, QUESTION, model) for _ in range(CROWD // 2)
        ]
        await asyncio.wait_for(cache.astore(leader.ticket, "the leader's"), PATIENCE / 2)
        found = await asyncio.gather(*waiting)

    assert found[-1].answer is not None


def test_caches_over_one_store_share_their_calls(
    tmp_path: Path, recorder: ListRecorder, model: Model, line: Line
) -> None:
    """An application may make its cache anew for every request."""
    one, other = (
        ResponseCache(version="1", embedder=HashEmbedder(), path=tmp_path / "cache", recorder=recorder)
        for _ in range(2)
    )
    with ThreadPoolExecutor(2) as pool:
        leading(pool, one, model, lambda: line.has(1))
        follower = pool.submit(ask, other, QUESTION, model)

    assert (follower.result().kind, model.calls) == ("exact", 1)
    one.close()
    other.close()


def test_caches_over_two_stores_share_nothing(tmp_path: Path, index: EdgeIndex, recorder: ListRecorder) -> None:
    one = make(index, recorder, version="1")
    other = ResponseCache(
        version="1", embedder=HashEmbedder(), path=tmp_path / "cache", recorder=recorder, wait_seconds=PATIENCE
    )

    leader, found = one.join(QUESTION, scope=ACME), other.join(QUESTION, scope=ACME)

    assert (leader.kind, found.reason) == ("miss", "no earlier question of this identity is near")
    other.close()


@pytest.mark.parametrize("options", [{"wait_seconds": 0}, {"shadow": True}], ids=["switched off", "shadow mode"])
def test_where_nothing_is_shared_nobody_waits(
    index: EdgeIndex, recorder: ListRecorder, options: dict[str, object]
) -> None:
    cache = make(index, recorder, **options)

    held = [cache.join(QUESTION, scope=ACME) for _ in range(3)]

    assert [one.reason for one in held] == ["no earlier question of this identity is near"] * 3


def test_a_plain_look_up_neither_waits_nor_makes_others_wait(cache: ResponseCache) -> None:
    first = cache.lookup(QUESTION, scope=ACME)
    leader = cache.join(QUESTION, scope=ACME)

    found = cache.lookup(QUESTION, scope=ACME)

    assert [one.reason for one in (first, leader, found)] == ["no earlier question of this identity is near"] * 3


def test_a_prompt_kept_word_for_word_is_shared_word_for_word(cache: ResponseCache, line: Line) -> None:
    leader = cache.join(QUESTION, scope=ACME, exact_only=True)
    other = cache.join(TYPED_OTHERWISE, scope=ACME, exact_only=True)
    with ThreadPoolExecutor(1) as pool:
        follower = pool.submit(cache.join, QUESTION, scope=ACME, exact_only=True)
        assert line.has(1)
        cache.store(leader.ticket, "once")

    assert (other.kind, follower.result().kind) == ("miss", "exact")


def test_a_pair_once_judged_wrong_shares_no_call(index: EdgeIndex, recorder: ListRecorder) -> None:
    clock = FixedClock(1_000.0)
    cache = make(index, recorder, clock=clock, ttl_seconds=100.0)
    cache.store(cache.lookup(QUESTION, scope=ACME).ticket, "wrong for the other")
    cache.feedback(cache.lookup(SAME_WORDS, scope=ACME), right=False)
    clock.advance(200.0)

    leader, found = cache.join(QUESTION, scope=ACME), cache.join(SAME_WORDS, scope=ACME)

    assert (leader.kind, found.reason) == ("miss", "no earlier question of this identity is near")


def test_the_nearest_of_the_questions_in_flight_is_chosen(index: EdgeIndex, recorder: ListRecorder, line: Line) -> None:
    """Of many in flight only the nearest are scored, as of many that are stored."""
    cache = make(index, recorder, equivalence=CosineScore(threshold=0.95))
    crowd = [cache.join(f"{OTHER} {place} {place + 20} {place + 40}", scope=ACME) for place in range(20)]
    leader = cache.join(QUESTION, scope=ACME)

    with ThreadPoolExecutor(1) as pool:
        follower = pool.submit(cache.join, SAME_WORDS, scope=ACME)
        assert line.has(1)
        cache.store(leader.ticket, "14 days")

    assert {one.kind for one in crowd} == {"miss"}
    assert follower.result().matched_question == QUESTION


class Racing:
    """An index in which something happens right after a look-up has found nothing."""

    def __init__(self, index: EdgeIndex) -> None:
        self._index = index
        self.then: list[object] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._index, name)

    def retrieve(self, ids: Sequence[str]) -> dict[str, Payload]:
        found = self._index.retrieve(ids)
        if self.then:
            self.then.pop()()  # type: ignore[operator]
        return found


def test_an_answer_that_lands_between_look_up_and_line_is_served(index: EdgeIndex, recorder: ListRecorder) -> None:
    racing = Racing(index)
    cache = make(racing, recorder)  # type: ignore[arg-type]
    leader = cache.join(QUESTION, scope=ACME, exact_only=True)
    racing.then.append(lambda: cache.store(leader.ticket, "just now"))

    found = cache.join(QUESTION, scope=ACME, exact_only=True)

    assert (found.kind, found.answer) == ("exact", "just now")
    assert recorder.events[-1].decision == "hit"


def test_a_comparison_that_fails_shares_nothing_and_breaks_nothing(
    index: EdgeIndex, recorder: ListRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(CosineScore):
        def score(self, *_: object, **__: object) -> list[object]:  # type: ignore[override]
            raise RuntimeError("no score")

    cache = make(index, recorder, equivalence=Broken())
    leader = cache.join(QUESTION, scope=ACME)

    found = cache.join(SAME_WORDS, scope=ACME)

    assert (leader.kind, found.kind) == ("miss", "miss")
    assert [record.message for record in caplog.records].count(caplog.records[-1].message) == 1
    assert "no score" in caplog.records[-1].message


def test_a_store_that_breaks_during_the_wait_lets_everybody_go_on(
    index: EdgeIndex, recorder: ListRecorder, model: Model, line: Line
) -> None:
    class Breaking(Racing):
        broken = False

        def retrieve(self, ids: Sequence[str]) -> dict[str, Payload]:
            if self.broken:
                raise OSError("gone")
            return super().retrieve(ids)

    breaking = Breaking(index)
    cache = make(breaking, recorder)  # type: ignore[arg-type]

    def breaks() -> bool:
        assert line.has(3)
        breaking.broken = True
        return True

    with ThreadPoolExecutor(4) as pool:
        leading(pool, cache, model, breaks)
        followers = [pool.submit(ask, cache, QUESTION, model) for _ in range(3)]

    assert [one.result().kind for one in followers] == ["bypass"] * 3
    assert model.calls == 4


def test_garbage_may_end_a_turn_in_a_thread_that_holds_the_lock(cache: ResponseCache, index: EdgeIndex) -> None:
    """The collector runs anywhere."""

    class Knot:
        def __init__(self, found: Lookup) -> None:
            self.found, self.me = found, self

    def collect() -> str:
        Knot(cache.join(QUESTION, scope=ACME))
        with Flights.of(index)._locked():
            gc.collect()
        return cache.join(QUESTION, scope=ACME).reason

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(collect).result(PATIENCE / 2) == "no earlier question of this identity is near"


def test_whatever_becomes_of_the_leaders_nobody_is_left_waiting(index: EdgeIndex, recorder: ListRecorder) -> None:
    """Sixteen threads ask six questions; calls are kept, fail, are refused or forgotten at random."""
    own = Racing(index)
    cache = make(own, recorder)  # type: ignore[arg-type]
    model = Model()

    def step(draw: random.Random) -> None:
        question = draw.randrange(6)
        fate = draw.choice(["kept", "fails", "forgotten", "refused"])
        found = cache.join(f"{OTHER} {question} {question}", scope=ACME)
        if found.hit or fate == "forgotten":
            return
        with suppress(RuntimeError), found, model as answer:
            if fate == "fails":
                raise RuntimeError
            if fate == "kept":
                cache.store(found.ticket, answer, evidence=[Evidence(document_id="all")])
                cache.invalidate("all", tenant="acme")

    def work(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(40):
            step(draw)

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, range(16), timeout=PATIENCE)) == [None] * 16

    assert Flights.of(own)._open == {}, "nothing is left behind"


@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan"), 1e9])
def test_a_wrong_wait_is_named(index: EdgeIndex, recorder: ListRecorder, seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="wait_seconds"):
        make(index, recorder, wait_seconds=seconds)
