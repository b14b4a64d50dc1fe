"""Checks what the response cache promises of its embedded store: nothing acknowledged is lost, nothing stale is served.

`python -m costkit_evals.cache_endurance --kills 50 --seconds 60` kills a writing process again and again (SIGKILL, no
clean close in between), then lets threads and asyncio tasks look up, store and invalidate on one cache at once. A
killed process leaves its writes to the operating system: this says nothing of a power failure.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from threading import Lock

import click

from costkit.cache import Evidence, Lookup, ResponseCache
from costkit.errors import CostkitError
from costkit.scope import Scope
from costkit.testing import HashEmbedder, ListRecorder
from costkit_evals.terminal import Progress

__all__ = ["Checker", "Kills", "Question", "Seen", "Stress", "kill", "main", "missing", "opened", "stress"]

_CHILD = "import sys; from costkit_evals.cache_endurance import write; write(*sys.argv[1:])"
_MOST_WRITES_BEFORE_KILL = 40
_MOST_SECONDS_BEFORE_KILL = 0.003  # about as long as a write takes, so that kills fall into one
_ROUND = 1_000_000  # more questions than a round can write
_WRITER = Scope(tenant="writer")

_THREADS = 8
_TASKS = 200
_DOCUMENTS = 64
_CHANGING = 32  # the other documents stand, so that their answers must
_TENANTS = 4
_TOPICS = 50
_WORDINGS = ("What does page {} say about topic {}?", "Please say what page {} does say about topic {}.")
_CHANGES = 0.03  # share of the steps
_MODEL_SECONDS = 0.01
_SHOWN_ERRORS = 5


@dataclass(frozen=True, kw_only=True)
class Kills:
    """What became of a store whose writer was killed.

    Attributes:
        kills: Processes that were killed while they wrote.
        acknowledged: Entries whose ``store`` had returned.
        lost: Those of them that were missing, or held another answer, at an opening after that.
        failed_opens: Openings after a kill that failed.
        failed_writers: Processes that ended by themselves instead, because a write failed.
    """

    kills: int
    acknowledged: int
    lost: int
    failed_opens: int
    failed_writers: int


@dataclass(frozen=True, kw_only=True)
class Stress:
    """What threads and tasks found that used one cache at once.

    Attributes:
        seconds: How long it took.
        threads: Threads.
        tasks: Asyncio tasks beside them.
        operations: How many there were, by kind: look-ups by what they decided, stores, refused stores, invalidations.
        errors: Exceptions, bypasses, and answers that were not kept although no document had changed.
        first_errors: The first few of them.
        stale: Look-ups that served an older version of a document than one whose invalidation had returned.
        checked: Acknowledged entries that had to be there at the end.
        lost: Those of them that were not.
    """

    seconds: float
    threads: int
    tasks: int
    operations: Mapping[str, int]
    errors: int
    first_errors: tuple[str, ...]
    stale: int
    checked: int
    lost: int


def opened(folder: Path) -> ResponseCache:
    """Return a cache on an embedded store; its embedder knows words alone, so what it costs is the store."""
    return ResponseCache(version="1", embedder=HashEmbedder(), path=folder, recorder=ListRecorder())


# --- kill -9 ----------------------------------------------------------------------------------------------------------


def kill(folder: Path, *, kills: int, seed: int, on_kill: Callable[[str], None] = lambda _: None) -> Kills:
    """Let one process after another write to a store, and kill each while it writes.

    Every process first looks for all that those before it were told was kept.

    Args:
        folder: Of the store; a file of what was acknowledged is put beside it.
        kills: How many processes.
        seed: Of the moments.
        on_kill: Called after each with what was done.
    """
    random = Random(seed)  # noqa: S311  draws, no secret
    acknowledged = folder.with_name(f"{folder.name}-acknowledged.txt")
    acknowledged.touch()
    lost: set[str] = set()
    ended: Counter[str] = Counter()
    for number in range(kills):
        end, missed, written = _killed(folder, acknowledged, first=number * _ROUND, random=random)
        ended[end] += 1
        lost |= missed
        with acknowledged.open("a", encoding="utf-8") as file:
            file.writelines(written)
        on_kill("kill -9")
    known = _read(acknowledged)
    try:
        cache = opened(folder)
    except CostkitError:
        ended["failed open"] += 1
        lost |= known.keys()
    else:
        lost |= missing(cache, known)
        cache.close()
    return Kills(
        kills=ended["killed"],
        acknowledged=len(known),
        lost=len(lost),
        failed_opens=ended["failed open"],
        failed_writers=ended["failed write"],
    )


def _killed(folder: Path, acknowledged: Path, *, first: int, random: Random) -> tuple[str, set[str], list[str]]:
    """Run one process until it is killed; return how it ended, what it missed, and the lines it acknowledged."""
    command = [sys.executable, "-c", _CHILD, str(folder), str(acknowledged), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  our own code
        assert process.stdout is not None  # noqa: S101  it is a pipe
        opening = process.stdout.readline()
        lines = [process.stdout.readline() for _ in range(random.randint(0, _MOST_WRITES_BEFORE_KILL))]
        time.sleep(random.uniform(0, _MOST_SECONDS_BEFORE_KILL))
        process.kill()
        lines += process.stdout.readlines()
    # The kill may cut the last line short: that one was not acknowledged.
    written = [line for line in lines if line.endswith("\n")]
    if not opening.endswith("\n"):
        return "failed open", set(), []
    end = "killed" if process.returncode == -signal.SIGKILL else "failed write"
    return end, set(opening.split()[1:]), written


def write(folder: str, acknowledged: str, first: str) -> None:
    """Be the process that is killed: say what is missing, then store and acknowledge without an end."""
    cache = opened(Path(folder))
    print("missing", *missing(cache, _read(Path(acknowledged))), flush=True)  # noqa: T201  the parent reads it
    for number in itertools.count(int(first)):
        kept = cache.store(cache.ticket(_asked(number), scope=_WRITER), _answered(number))
        if kept is None:
            raise SystemExit("an answer was not kept")
        print(kept, number, flush=True)  # noqa: T201


def missing(cache: ResponseCache, acknowledged: Mapping[str, int]) -> set[str]:
    """Return those acknowledged entries, by id with the number of their question, that a cache does not serve whole."""
    found = {key: cache.lookup(_asked(number), scope=_WRITER) for key, number in acknowledged.items()}
    return {
        key
        for key, number in acknowledged.items()
        if (found[key].entry_id, found[key].answer) != (key, _answered(number))
    }


def _read(acknowledged: Path) -> dict[str, int]:
    lines = acknowledged.read_text(encoding="utf-8").splitlines()
    return {key: int(number) for key, number in map(str.split, lines)}


def _asked(number: int) -> str:
    return f"Where is order {number}?"


def _answered(number: int) -> str:
    return f"Order {number} is on its way. " * (1 + number % 50)


# --- Threads and tasks ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question on one document.

    Attributes:
        text: The question.
        document: Number of the document.
    """

    text: str
    document: int

    @property
    def scope(self) -> Scope:
        """Who asks: each document belongs to one tenant."""
        return _scope(self.document)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was known at one moment, by document.

    Attributes:
        gone: The newest version whose invalidation had returned: none before it may be served from then on.
        finished: How many invalidations had returned.
    """

    gone: tuple[int, ...]
    finished: tuple[int, ...]


class Checker:
    """Knows every document's version, and compares what a cache does with what it may do.

    Attributes:
        counts: Operations by kind.
        errors: What went wrong.
        stale: What was served too late.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.errors: list[str] = []
        self.stale: list[str] = []
        self._versions = [0] * _DOCUMENTS  # also the number of changes begun
        self._gone = [0] * _DOCUMENTS
        self._finished = [0] * _DOCUMENTS
        self._kept: dict[str, tuple[Question, int]] = {}
        self._lock = Lock()

    def seen(self) -> Seen:
        """Return what is known now; take it before a look-up starts."""
        with self._lock:
            return Seen(gone=tuple(self._gone), finished=tuple(self._finished))

    def changed(self, document: int) -> int:
        """Give a document its next version, which is returned, before it is invalidated."""
        with self._lock:
            self._versions[document] += 1
            return self._versions[document]

    def invalidated(self, document: int, version: int) -> None:
        """Take note that the invalidation after a change has returned."""
        with self._lock:
            self.counts["invalidate"] += 1
            self._finished[document] += 1
            self._gone[document] = max(self._gone[document], version)

    def answer(self, question: Question) -> str:
        """Answer a question from its document as it is now."""
        return f"{question.document} {self._versions[question.document]}"

    def looked_up(self, found: Lookup, seen: Seen) -> None:
        """Judge a look-up; near questions of other documents may be served, in their own versions."""
        with self._lock:
            self.counts[f"look-up: {found.kind}"] += 1
            if found.kind == "bypass":
                self.errors.append(found.reason)
            if found.answer is None:
                return
            document, version = map(int, found.answer.split())
            if version < seen.gone[document]:
                self.stale.append(f"document {document}: {version} after {seen.gone[document]} ({found.kind})")

    def stored(self, entry_id: str | None, question: Question, seen: Seen) -> None:
        """Judge a store; ``seen`` is from before the look-up. It may be refused where the document changed since."""
        document = question.document
        with self._lock:
            self.counts["store" if entry_id else "store: refused"] += 1
            if entry_id is not None:
                before = self._kept.get(entry_id, (question, 0))[1]
                self._kept[entry_id] = (question, max(before, seen.finished[document]))
            elif seen.finished[document] == self._versions[document]:
                self.errors.append(f"not kept, and document {document} had not changed")

    def failed(self, error: Exception) -> None:
        """Take note of an exception."""
        with self._lock:
            self.errors.append(repr(error))

    def standing(self) -> dict[str, Question]:
        """Return the acknowledged entries whose document did not change after their look-up had started."""
        return {
            key: question
            for key, (question, finished) in self._kept.items()
            if finished == self._versions[question.document]
        }


def stress(cache: ResponseCache, *, going: Callable[[], bool], seed: int) -> Stress:
    """Look up, store and invalidate from threads and asyncio tasks at once, then look for every entry that stands.

    Args:
        cache: An empty cache.
        going: Asked before each step; False ends the run.
        seed: Of what is done; in which order is up to the machine.
    """
    began = time.perf_counter()
    checker = Checker()
    with ThreadPoolExecutor(_THREADS) as threads:
        running = [threads.submit(_work, cache, checker, going, f"thread {one}, {seed}") for one in range(_THREADS)]
        asyncio.run(_work_in_tasks(cache, checker, going, seed))
    for one in running:
        one.result()
    standing = checker.standing()
    lost = sum(not _stands(cache, checker, key, question) for key, question in standing.items())
    return Stress(
        seconds=round(time.perf_counter() - began, 1),
        threads=_THREADS,
        tasks=_TASKS,
        operations=dict(sorted(checker.counts.items())),
        errors=len(checker.errors),
        first_errors=tuple(checker.errors[:_SHOWN_ERRORS]),
        stale=len(checker.stale),
        checked=len(standing),
        lost=lost,
    )


def _work(cache: ResponseCache, checker: Checker, going: Callable[[], bool], seed: str) -> None:
    random = Random(seed)  # noqa: S311  draws, no secret
    while going():
        try:
            if random.random() < _CHANGES:
                document = random.randrange(_CHANGING)
                version = checker.changed(document)
                cache.invalidate(str(document), tenant=_scope(document).tenant)
                checker.invalidated(document, version)
                continue
            question, seen = _question(random), checker.seen()
            found = cache.lookup(question.text, scope=question.scope)
            checker.looked_up(found, seen)
            if not found.hit:
                answer = checker.answer(question)
                time.sleep(random.uniform(0, _MODEL_SECONDS))
                checker.stored(cache.store(found.ticket, answer, evidence=_evidence(question)), question, seen)
        except Exception as error:  # noqa: BLE001  whatever it is, it is counted
            checker.failed(error)


async def _work_in_tasks(cache: ResponseCache, checker: Checker, going: Callable[[], bool], seed: int) -> None:
    await asyncio.gather(*(_awork(cache, checker, going, f"task {one}, {seed}") for one in range(_TASKS)))


async def _awork(cache: ResponseCache, checker: Checker, going: Callable[[], bool], seed: str) -> None:
    """Do what ``_work`` does, through the doors of asyncio."""
    random = Random(seed)  # noqa: S311
    while going():
        try:
            if random.random() < _CHANGES:
                document = random.randrange(_CHANGING)
                version = checker.changed(document)
                await cache.ainvalidate(str(document), tenant=_scope(document).tenant)
                checker.invalidated(document, version)
                continue
            question, seen = _question(random), checker.seen()
            found = await cache.alookup(question.text, scope=question.scope)
            checker.looked_up(found, seen)
            if not found.hit:
                answer = checker.answer(question)
                await asyncio.sleep(random.uniform(0, _MODEL_SECONDS))
                checker.stored(await cache.astore(found.ticket, answer, evidence=_evidence(question)), question, seen)
        except Exception as error:  # noqa: BLE001
            checker.failed(error)


def _stands(cache: ResponseCache, checker: Checker, entry_id: str, question: Question) -> bool:
    seen = checker.seen()
    found = cache.lookup(question.text, scope=question.scope)
    checker.looked_up(found, seen)
    return found.entry_id == entry_id


def _question(random: Random) -> Question:
    document = random.randrange(_DOCUMENTS)
    return Question(text=random.choice(_WORDINGS).format(document, random.randrange(_TOPICS)), document=document)


def _scope(document: int) -> Scope:
    return Scope(tenant=f"tenant-{document % _TENANTS}")


def _evidence(question: Question) -> list[Evidence]:
    return [Evidence(document_id=str(question.document))]


# --- The program ------------------------------------------------------------------------------------------------------


@click.command()
@click.option("--kills", type=click.IntRange(min=1), default=50, show_default=True, help="Processes to kill.")
@click.option("--seconds", type=click.FloatRange(min=0), default=60, show_default=True, help="Length of the stress.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(kills: int, seconds: float, seed: int, *, as_json: bool) -> None:
    """Kill a writing process again and again, then use one cache from threads and tasks at once.

    The exit code is 1 if anything was lost, stale or failed.

    Example: python -m costkit_evals.cache_endurance --kills 50 --seconds 60 --json
    """
    progress = Progress()
    progress.start(kills)
    with tempfile.TemporaryDirectory() as folder:
        try:
            killed = kill(Path(folder) / "killed", kills=kills, seed=seed, on_kill=progress.advance)
        finally:
            progress.stop()
        cache = opened(Path(folder) / "stressed")
        deadline = time.monotonic() + seconds
        stressed = stress(cache, going=lambda: time.monotonic() < deadline, seed=seed)
        cache.close()
    if as_json:
        click.echo(json.dumps({"kills": asdict(killed), "stress": asdict(stressed)}, indent=2))
    else:
        click.echo(_text(killed, stressed))
    if (
        killed.lost
        or killed.failed_opens
        or killed.failed_writers
        or stressed.errors
        or stressed.stale
        or stressed.lost
    ):
        raise SystemExit(1)


def _text(killed: Kills, stressed: Stress) -> str:
    operations = ", ".join(f"{count:,} {kind}" for kind, count in stressed.operations.items())
    return (
        f"{killed.kills} kills: {killed.lost} of {killed.acknowledged:,} acknowledged entries lost, "
        f"{killed.failed_opens} openings and {killed.failed_writers} writers failed\n"
        f"{stressed.threads} threads and {stressed.tasks} tasks, {stressed.seconds} s: {stressed.errors} errors, "
        f"{stressed.stale} stale answers, {stressed.lost} of {stressed.checked:,} entries lost\n  {operations}"
    ) + "".join(f"\n  {error}" for error in stressed.first_errors)


if __name__ == "__main__":
    main()
