"""Single flight: a question waits for the answer of an equal or near one that is being answered right now.

The first of a crowd leads and makes the call. The others queue, and once the leader's answer is stored they are served
it by a look-up like any other. A leader that fails, is cancelled or keeps nothing hands its turn to the next in line.

A look-up that may wait is a generator of waits (``Steps``). ``finish`` drives it where it may block, ``afinish`` in an
event loop, where a waiting task takes no thread; the decisions between the waits are the same code for both.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeVar
from weakref import WeakValueDictionary

from costkit.cache.index import CacheIndex, Found
from costkit.cache.replay import NEIGHBOURS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from costkit.cache.lookup import Lookup, Ticket

__all__ = ["DEFAULT_WAIT_SECONDS", "Flights", "Place", "Steps", "Waiter", "afinish", "finish", "shared"]

T = TypeVar("T")
Ending = Literal["landed", "unkept", "failed"]

DEFAULT_WAIT_SECONDS = 30.0
# After so many calls in turn whose answer could not be kept (a tool call, a refusal) no answer is to be expected.
MOST_UNKEPT = 3

SHARED = "shared the call of a question in flight"
UNSHARED = "the call in flight that it waited for left no answer"


@dataclass(eq=False, slots=True)
class _Turn:
    """One caller's turn to answer a question in flight."""

    over: bool = False


# The turns of the calls around this one. They must not be waited for: they end after it.
_leading: ContextVar[tuple[_Turn, ...]] = ContextVar("costkit_leading", default=())
# Whether the look-up under way is driven from an event loop.
_on_loop: ContextVar[bool] = ContextVar("costkit_on_loop", default=False)


@dataclass(eq=False, slots=True)
class _Flight:
    """One question that is being answered, and who waits for it, in the order they came."""

    ticket: Ticket
    identity: str
    entry_id: str
    vector: NDArray[np.float32] | None
    on_loop: bool
    turn: _Turn = field(default_factory=_Turn)
    began: float = field(default_factory=time.monotonic)
    unkept: int = 0
    line: deque[Waiter] = field(default_factory=deque)


class Place:
    """A leader's turn. It ends by ``land`` or ``leave``, at the latest when nothing refers to it any more."""

    def __init__(self, flights: Flights, flight: _Flight) -> None:
        self._flights = flights
        self._flight = flight
        self._turn = flight.turn

    def enter(self) -> None:
        """Let look-ups in this context, and in what is started from it, not wait for this turn."""
        _leading.set((*(turn for turn in _leading.get() if not turn.over), self._turn))

    def land(self) -> None:
        """Say that the answer is stored: all who wait look again."""
        self._end("landed")

    def leave(self, *, failed: bool) -> None:
        """Hand the turn to the next in line; after ``land`` this does nothing.

        Args:
            failed: The call failed or was broken off, which says nothing about the next one.
        """
        self._end("failed" if failed else "unkept")

    def __del__(self) -> None:
        self._end("failed")

    def _end(self, ending: Ending) -> None:
        if not self._turn.over:
            self._flights.end(self._flight, self._turn, ending)


# A place: it is your turn. "landed": look again. "alone": make your own call, nobody waits for it.
Outcome = Place | Literal["landed", "alone"]


class Waiter:
    """One who waits in line for a question in flight, until a time on the monotonic clock."""

    def __init__(self, flight: _Flight, deadline: float) -> None:
        self.on_loop = _on_loop.get()
        self._flight = flight
        self._deadline = deadline
        self._future: Future[Outcome] = Future()

    def tell(self, outcome: Outcome) -> bool:
        """End the wait; False if it was given up before."""
        told = self._future.set_running_or_notify_cancel()
        if told:
            self._future.set_result(outcome)
        return told

    def wait(self) -> Outcome:
        """Block until there is an outcome, or give up at once where blocking could hold up the leader."""
        try:
            if not _holds_up(self._flight):
                wait([self._future], timeout=self._seconds_left())
        except BaseException:
            self._leave()
            raise
        return self._outcome()

    async def arrival(self) -> Outcome:
        """Do what ``wait`` does, without blocking and without a thread."""
        try:
            await asyncio.wait([asyncio.wrap_future(self._future)], timeout=self._seconds_left())
        except BaseException:
            self._leave()
            raise
        return self._outcome()

    def _seconds_left(self) -> float:
        return max(self._deadline - time.monotonic(), 0.0)

    def _outcome(self) -> Outcome:
        return "alone" if self._future.cancel() else self._future.result()

    def _leave(self) -> None:
        outcome = self._outcome()
        if isinstance(outcome, Place):
            outcome.leave(failed=True)


Steps = Generator[Waiter, Outcome, T]


def finish(steps: Steps[T]) -> T:
    """Return what a look-up that may wait comes to."""
    waiter, value = _advance(steps)
    while waiter is not None:
        waiter, value = _advance(steps, waiter.wait())
    return value  # type: ignore[return-value]  # set wherever no waiter is


async def afinish(steps: Steps[T]) -> T:
    """Do what ``finish`` does: the work in a thread, the waits without one."""
    waiter, value = await asyncio.to_thread(_advance, steps, on_loop=True)
    while waiter is not None:
        waiter, value = await asyncio.to_thread(_advance, steps, await waiter.arrival(), on_loop=True)
    return value  # type: ignore[return-value]  # set wherever no waiter is


def _advance(
    steps: Steps[T], outcome: Outcome | None = None, *, on_loop: bool = False
) -> tuple[Waiter | None, T | None]:
    _on_loop.set(on_loop)
    try:
        return steps.send(outcome), None  # type: ignore[arg-type]  # a generator begins with None
    except StopIteration as stop:
        return None, stop.value


def shared(
    found: Lookup,
    flights: Flights,
    *,
    since: int,
    entry_id: Callable[[Ticket], str],
    look_again: Callable[[Ticket], Lookup],
    choose: Callable[[Ticket, Sequence[Found]], str | None],
    wait_seconds: float,
) -> Steps[Lookup]:
    """Go on from a miss: lead, or wait for the call of an equal or near question and look again.

    Args:
        found: The miss.
        flights: The questions in flight.
        since: ``flights.landings`` before the look-up that missed.
        entry_id: Returns the id under which an answer will be stored.
        look_again: Looks the question up once more.
        choose: Returns the id of the question in flight whose answer would be served, or None.
        wait_seconds: How long to wait in all.

    Returns:
        A hit, or the miss, whose ticket holds a place where others may wait for its answer.
    """
    deadline = time.monotonic() + wait_seconds
    while found.kind == "miss" and found.ticket is not None:
        ticket = found.ticket
        joined = flights.join(ticket, entry_id(ticket), choose, patience=wait_seconds, deadline=deadline)
        outcome: Outcome | None = (yield joined) if isinstance(joined, Waiter) else joined
        if isinstance(joined, Waiter):
            since = flights.landings
            found = _after_wait(look_again(ticket), outcome)
        elif flights.landings != since:
            # An answer landed between the look-up and taking the place: it may be the one that is asked for.
            found = look_again(ticket)
        if outcome != "landed":
            return _taking(found, outcome)
    return found


def _after_wait(found: Lookup, outcome: Outcome | None) -> Lookup:
    if found.hit:
        return replace(found, reason=f"{SHARED}: {found.reason}")
    if found.kind == "miss" and outcome != "landed":
        return replace(found, reason=f"{UNSHARED}: {found.reason}")
    return found


def _taking(found: Lookup, outcome: Outcome | None) -> Lookup:
    """Let a miss hold the place it was given; after a hit nobody needs to hold it."""
    if not isinstance(outcome, Place):
        return found
    if found.kind == "miss" and found.ticket is not None:
        return replace(found, ticket=replace(found.ticket, place=outcome))
    outcome.land()  # those who wait find what was found here
    return found


_known: WeakValueDictionary[int, Flights] = WeakValueDictionary()
_known_lock = threading.Lock()


class Flights:
    """The questions in flight of all caches in this process that share a store. Get it from ``Flights.of``."""

    def __init__(self, index: CacheIndex) -> None:
        self._index = index  # while this lives, no other store gets its ``id``
        self._open: dict[str, dict[str, _Flight]] = {}
        self._ended: deque[tuple[_Flight, _Turn, Ending]] = deque()
        self._lock = threading.Lock()
        #: How many answers have landed. A look-up that began before the latest may have missed it.
        self.landings = 0

    @classmethod
    def of(cls, index: CacheIndex) -> Flights:
        """Return the questions in flight over one store."""
        with _known_lock:
            flights = _known.get(id(index))
            if flights is None:
                _known[id(index)] = flights = cls(index)
            return flights

    def forget(self) -> None:
        """Forget what is in flight: after a fork those who would answer are in the parent."""
        self._open, self._lock = {}, threading.Lock()
        self._ended.clear()

    def join(
        self,
        ticket: Ticket,
        entry_id: str,
        choose: Callable[[Ticket, Sequence[Found]], str | None],
        *,
        patience: float,
        deadline: float,
    ) -> Place | Waiter | None:
        """Take a place in the line for a question, or lead where none in flight is equal or near.

        Args:
            ticket: The question.
            entry_id: The id of its entry.
            choose: Returns the id of the question in flight whose answer would be served, or None.
            patience: A turn older than so many seconds is not waited for.
            deadline: When a wait ends, on the monotonic clock.

        Returns:
            A leader's place, a place in line, or None for a question that is being answered around this call.
        """
        asked = _flight(ticket, entry_id)
        judged: set[_Flight] = set()
        chosen: _Flight | None = None
        while True:
            with self._locked():
                fresh = self._fresh(asked, patience)
                joined = next((one for one in fresh if one.entry_id == entry_id or one is chosen), None)
                if joined is not None:
                    return _queue(joined, deadline)
                new = [one for one in fresh if one not in judged and _comparable(one, asked)]
                if not new:
                    self._open.setdefault(asked.identity, {})[entry_id] = asked
                    return Place(self, asked)
            judged.update(new)
            # Scores are worked out without the lock; what has joined meanwhile is judged in the next round.
            chosen = _nearest(asked, new, choose)

    def end(self, flight: _Flight, turn: _Turn, ending: Ending) -> None:
        """End a turn.

        It never blocks, since the garbage collector may call it in a thread that holds the lock: then the ending is
        left for that thread to settle.
        """
        self._ended.append((flight, turn, ending))
        self._settle()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        finally:
            self._settle()

    def _settle(self) -> None:
        while self._ended and self._lock.acquire(blocking=False):
            try:
                while self._ended:
                    self._end(*self._ended.popleft())
            finally:
                self._lock.release()

    def _end(self, flight: _Flight, turn: _Turn, ending: Ending) -> None:
        if turn.over:
            return
        turn.over = True
        flight.unkept += ending == "unkept"
        if ending != "landed" and flight.unkept < MOST_UNKEPT and self._hand_on(flight):
            return
        within = self._open.get(flight.identity, {})
        if within.get(flight.entry_id) is flight:
            del within[flight.entry_id]
        if not within:
            self._open.pop(flight.identity, None)
        self.landings += ending == "landed"
        while flight.line:
            flight.line.popleft().tell("landed" if ending == "landed" else "alone")

    def _hand_on(self, flight: _Flight) -> bool:
        """Give the turn to the first in line who still waits; False if there is none."""
        flight.turn, flight.began = _Turn(), time.monotonic()
        place = Place(self, flight)
        while flight.line:
            waiter = flight.line.popleft()
            flight.on_loop = waiter.on_loop
            if waiter.tell(place):
                return True
        flight.turn.over = True
        return False

    def _fresh(self, asked: _Flight, patience: float) -> list[_Flight]:
        """Return the questions of the same identity whose turn is not stuck."""
        since = asked.began - patience
        return [one for one in self._open.get(asked.identity, {}).values() if one.began > since]


def _flight(ticket: Ticket, entry_id: str) -> _Flight:
    vector = None
    if ticket.vector is not None:
        import numpy as np  # the embedder that made the vector has loaded it

        vector = np.array(ticket.vector, dtype=np.float32)
    return _Flight(ticket, ticket.identity.key, entry_id, vector, _on_loop.get())


def _queue(flight: _Flight, deadline: float) -> Waiter | None:
    if flight.turn in _leading.get():
        return None
    waiter = Waiter(flight, deadline)
    flight.line.append(waiter)
    return waiter


def _comparable(one: _Flight, asked: _Flight) -> bool:
    return one.vector is not None and asked.vector is not None


def _nearest(
    asked: _Flight, flights: Sequence[_Flight], choose: Callable[[Ticket, Sequence[Found]], str | None]
) -> _Flight | None:
    """Return the question in flight whose answer would be served, of the ``NEIGHBOURS`` that lie nearest."""
    import numpy as np

    cosines = np.array([one.vector for one in flights]) @ asked.vector
    order = np.argsort(-cosines)[:NEIGHBOURS]
    near = {flights[at].entry_id: flights[at] for at in order}
    found = [
        Found(id=flights[at].entry_id, payload={"question": flights[at].ticket.question}, score=float(cosines[at]))
        for at in order
    ]
    entry_id = choose(asked.ticket, found)
    return None if entry_id is None else near[entry_id]


def _holds_up(flight: _Flight) -> bool:
    """Say whether a leader in an event loop could be kept from going on if this thread blocked."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        # The loop's own pool, which a leader there needs too, if only to look up an address.
        return flight.on_loop and threading.current_thread().name.startswith("asyncio_")
    return True


def _forget_after_fork() -> None:
    global _known_lock
    _known_lock = threading.Lock()  # another thread of the parent may have held it
    for flights in list(_known.values()):
        flights.forget()


os.register_at_fork(after_in_child=_forget_after_fork)
