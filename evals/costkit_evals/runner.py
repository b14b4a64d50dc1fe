"""Runs pipelines over a golden set in both frameworks and keeps every scored row on disk.

The work is cut into units (framework, phase, pipeline, reader), which a few processes share. A unit's rows are written
in one step when it is complete, so a run that was cut off goes on where it stopped.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from multiprocessing.managers import SyncManager
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING, get_args

from costkit import __version__
from costkit.context.relevance import shipped
from costkit.embed import default_embedder
from costkit.errors import ConfigurationError, DataError
from costkit.prices import default_book
from costkit.tokens import default_counter
from costkit_evals.golden import GoldenSet
from costkit_evals.pipelines import PIPELINES, Pipeline, Settings
from costkit_evals.result import Framework, Phase, ReaderName
from costkit_evals.scoring import Scored
from costkit_evals.traffic import Asking, conversations, first_pass, replay

if TYPE_CHECKING:
    from costkit_evals.workbench import Workbench

__all__ = ["TOKENS", "Plan", "Unit", "askings", "finish", "plan_units", "run"]

# The vectors of all tokens of the corpus: processes share them during a run, and nobody needs them afterwards.
TOKENS = "tokens.npz"
# Each process takes about a gigabyte.
_MOST_PROCESSES = 4
# A question with a reduced context takes about as long as so many without.
_CONTEXT_TAKES = 4


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One pipeline in one framework over one phase with one reader."""

    framework: Framework
    phase: Phase
    pipeline: str
    reader: ReaderName

    @property
    def name(self) -> str:
        """A file name."""
        return f"{self.framework}-{self.phase}-{self.pipeline}-{self.reader}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that decides what a run computes.

    Attributes:
        golden: The set.
        settings: What the pipelines are built with.
        frameworks: Which frameworks to run.
        pipelines: Which pipelines.
        seed: Of the replay's order and all resampling.
    """

    golden: GoldenSet
    settings: Settings
    frameworks: tuple[Framework, ...] = get_args(Framework)
    pipelines: tuple[str, ...] = tuple(PIPELINES)
    seed: int = 7

    @property
    def key(self) -> str:
        """Equal for runs that compute the same rows."""
        parts = {
            "costkit": __version__,
            "embedder": default_embedder().name,
            "golden": self.golden.fingerprint,
            "prices": default_book().snapshot,
            "relevance": {name: asdict(fitted) for name, fitted in shipped().items()},
            "seed": self.seed,
            "settings": asdict(self.settings),
            "token_counter": default_counter().name,
        }
        return json.dumps(parts, sort_keys=True)


def plan_units(plan: Plan) -> list[Unit]:
    """Return the units of a run, in the order in which they are worked on."""
    return [
        Unit(framework=framework, phase=phase, pipeline=name, reader=reader)
        for framework in plan.frameworks
        for phase in get_args(Phase)
        if askings(plan, phase)
        for name in plan.pipelines
        for reader in _readers(phase, PIPELINES[name])
        if reader == "tiered" or not plan.settings.real_models
    ]


def run(plan: Plan, folder: Path, *, on_done: Callable[[Unit, int], None]) -> dict[Unit, list[Scored]]:
    """Run every unit that ``folder`` does not hold yet, and return the rows of all.

    Args:
        plan: What to run.
        folder: The run folder. Rows of a run with another plan in it are thrown away.
        on_done: Called with a unit and a number of questions as they are answered.

    Raises:
        ConfigurationError: The folder cannot be written.
    """
    rows = _claim(plan, folder)
    units = plan_units(plan)
    missing = [unit for unit in units if not _file(rows, unit).exists()]
    for unit in set(units) - set(missing):
        on_done(unit, len(askings(plan, unit.phase)))
    if missing:
        _run_missing(plan, missing, rows, on_done)
    return {unit: list(_read(_file(rows, unit))) for unit in units}


def finish(folder: Path) -> None:
    """Set the rows of a completed run aside as ``answers``, so that the next run starts anew."""
    (folder / TOKENS).unlink(missing_ok=True)
    shutil.rmtree(folder / "answers", ignore_errors=True)
    (folder / "rows").replace(folder / "answers")


def _readers(phase: Phase, pipeline: Pipeline) -> tuple[ReaderName, ...]:
    """Return the readers a pipeline is run with in a phase; none where the phase has nothing new to say about it.

    With the cache off, ``cache`` is the naive pipeline and ``route+cache`` is ``route``. A replay is about the cache,
    alone and with everything else, and conversations about what grows with history. Naive and all also run with each
    reader at both tiers.
    """
    if phase == "first":
        if pipeline.name in ("cache", "route+cache"):
            return ()
        return ("tiered", "strong", "weak") if pipeline.name in ("naive", "all") else ("tiered",)
    if phase == "replay":
        return ("tiered",) if pipeline.name in ("naive", "cache", "all") else ()
    return ("tiered",) if pipeline.name in ("naive", "prompt", "all") else ()


def askings(plan: Plan, phase: Phase) -> list[Asking]:
    """Return what is asked in a phase, in order; empty where the set holds nothing for it."""
    if phase == "first":
        return first_pass(plan.golden)
    if phase == "conversation":
        return conversations(plan.golden)
    if not (plan.golden.paraphrases or plan.golden.near_misses):
        return []
    return replay(plan.golden, seed=plan.seed)


def _claim(plan: Plan, folder: Path) -> Path:
    """Return the folder for the rows, emptied if they belong to another plan."""
    rows = folder / "rows"
    key = folder / "plan.json"
    try:
        same_plan = key.exists() and key.read_text(encoding="utf-8") == plan.key
        if rows.exists() and not same_plan:
            shutil.rmtree(rows)
            (folder / TOKENS).unlink(missing_ok=True)
        rows.mkdir(parents=True, exist_ok=True)
        key.write_text(plan.key, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"the output folder {str(folder)!r} cannot be written ({error.strerror}); name another with --out"
        ) from None
    return rows


def _file(rows: Path, unit: Unit) -> Path:
    return rows / f"{unit.name}.jsonl"


def _run_missing(plan: Plan, missing: Sequence[Unit], rows: Path, on_done: Callable[[Unit, int], None]) -> None:
    """Share the units among processes and pass their progress on; a cut run stops all at once."""
    from costkit_evals.workbench import Workbench

    Workbench(plan, rows.parent).warm()
    processes = min(os.cpu_count() or 1, _MOST_PROCESSES, len(missing))
    context = multiprocessing.get_context("spawn")
    # One process per core: a second thread for small products would only wait for the other process.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with (
        context.Manager() as manager,
        ProcessPoolExecutor(processes, context, initializer=_open_worker, initargs=(plan, rows.parent)) as pool,
    ):
        progress = _queue(manager)
        longest_first = sorted(missing, key=lambda unit: -_duration(plan, unit))
        jobs = [pool.submit(_work, unit, _file(rows, unit), progress) for unit in longest_first]
        try:
            _follow(jobs, progress, on_done)
        except BaseException:
            for process in multiprocessing.active_children():
                if not process.name.startswith("SyncManager"):  # it ends with its own block
                    process.terminate()
            raise


def _duration(plan: Plan, unit: Unit) -> int:
    """Return about how long a unit takes, in questions that are answered from whole chunks."""
    return len(askings(plan, unit.phase)) * (_CONTEXT_TAKES if "context" in PIPELINES[unit.pipeline].parts else 1)


@dataclass(frozen=True)
class _Worker:
    """What a worker process needs for all its units; opened with the first one, so that a failure is that unit's."""

    plan: Plan
    folder: Path

    @cached_property
    def workbench(self) -> Workbench:
        from costkit_evals.workbench import Workbench

        return Workbench(self.plan, self.folder)


_worker: _Worker


def _open_worker(plan: Plan, folder: Path) -> None:
    global _worker
    # Ctrl-C, which a terminal sends to every process, is for the parent: it stops the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker = _Worker(plan, folder)


def _queue(manager: SyncManager) -> Queue[tuple[Unit, int]]:
    return manager.Queue()


def _follow(
    jobs: Sequence[Future[None]], progress: Queue[tuple[Unit, int]], on_done: Callable[[Unit, int], None]
) -> None:
    pending = set(jobs)
    while pending:
        done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
        for unit, count in _drained(progress):
            on_done(unit, count)
        for job in done:
            job.result()


def _drained(progress: Queue[tuple[Unit, int]]) -> Iterator[tuple[Unit, int]]:
    while True:
        try:
            yield progress.get_nowait()
        except Empty:
            return


def _work(unit: Unit, file: Path, progress: Queue[tuple[Unit, int]]) -> None:
    """Run one unit in a worker process."""
    scored = _worker.workbench.run(unit, askings(_worker.plan, unit.phase), partial(_tell, progress, unit))
    _write(file, scored)


def _tell(progress: Queue[tuple[Unit, int]], unit: Unit, count: int) -> None:
    progress.put((unit, count))


def _write(path: Path, rows: Sequence[Scored]) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        file.writelines(json.dumps(row.to_json(), ensure_ascii=False) + "\n" for row in rows)
    Path(file.name).replace(path)


def _read(path: Path) -> Iterator[Scored]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            yield Scored.from_json(json.loads(line))
        except (ValueError, TypeError, KeyError):
            raise DataError(
                "not a row of this version; delete the file to run it again", path=path, line=number
            ) from None
