"""One embedded folder and several processes: who has the cache, who runs without, and what a fork may touch."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from costkit.cache import Evidence, ResponseCache
from costkit.errors import ConfigurationError, StoreLockedError
from costkit.ledger import Ledger
from costkit.scope import Scope
from costkit.testing import HashEmbedder, ListRecorder

ACME = Scope(tenant="acme")
ASKED = "How long is the warranty?"
PATIENCE_SECONDS = 120

OPEN = """
import sys
from costkit.cache import Evidence, ResponseCache
from costkit.scope import Scope
from costkit.testing import HashEmbedder, ListRecorder

ACME = Scope(tenant="acme")
recorder = ListRecorder()

def opened(**options):
    return ResponseCache(version="1", embedder=HashEmbedder(), path=sys.argv[1], recorder=recorder, **options)
"""


def opened(folder: Path, **options: object) -> ResponseCache:
    return ResponseCache(
        version="1",
        embedder=HashEmbedder(),
        path=folder,
        recorder=ListRecorder(),
        **options,  # type: ignore[arg-type]
    )


def run(code: str, folder: Path, *, check: bool = True) -> str:
    """Run a program in a process of its own and return what it printed."""
    command = [sys.executable, "-c", OPEN + code, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=check, timeout=PATIENCE_SECONDS).stdout


def test_a_second_process_gets_an_error_that_names_url(tmp_path: Path) -> None:
    cache = opened(tmp_path / "cache")
    said = run(
        """
try:
    opened()
except Exception as error:
    print(type(error).__name__, error)
""",
        tmp_path / "cache",
    )
    cache.close()

    assert said.startswith("StoreLockedError")
    assert str(tmp_path / "cache") in said
    assert "url='http://" in said


def test_a_second_process_may_run_without_a_cache(tmp_path: Path) -> None:
    """Questions go through and are booked; whoever invalidates there is told that it did not reach the cache."""
    cache = opened(tmp_path / "cache")
    cache.store(cache.ticket(ASKED, scope=ACME), "Two years.", evidence=[Evidence(document_id="warranty")])
    said = run(
        """
cache = opened(on_locked="bypass")
found = [cache.lookup("How long is the warranty?", scope=ACME) for _ in range(3)]
print([one.kind for one in found], cache.store(cache.ticket("a", scope=ACME), "b"))
print([event.decision for event in recorder.events], "url=" in recorder.events[0].reason)
try:
    cache.invalidate("warranty", tenant="acme")
except Exception as error:
    print(type(error).__name__)
cache.close()
""",
        tmp_path / "cache",
    )

    assert said.splitlines() == [
        "['bypass', 'bypass', 'bypass'] None",
        "['bypass', 'bypass', 'bypass'] True",
        "StoreLockedError",
    ]
    assert cache.lookup(ASKED, scope=ACME).hit
    cache.close()


def test_of_processes_that_create_a_folder_together_one_has_it_and_the_others_are_told(tmp_path: Path) -> None:
    code = """
try:
    cache = opened()
    print("open", flush=True)
    sys.stdin.read()
    cache.close()
except Exception as error:
    print(type(error).__name__, flush=True)
"""
    command = [sys.executable, "-c", OPEN + code, str(tmp_path / "cache")]
    together = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(5)]
    said = [one.stdout.readline().strip() for one in together if one.stdout]
    for one in together:
        one.communicate(timeout=PATIENCE_SECONDS)

    assert sorted(said) == ["StoreLockedError"] * 4 + ["open"]


def test_without_another_process_on_locked_changes_nothing(tmp_path: Path) -> None:
    cache = opened(tmp_path / "cache", on_locked="bypass")
    cache.store(cache.ticket(ASKED, scope=ACME), "Two years.")

    assert cache.lookup(ASKED, scope=ACME).hit
    cache.close()


def test_a_wrong_on_locked_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"on_locked must be one of .* got 'wait'"):
        opened(tmp_path / "cache", on_locked="wait")


def test_the_folder_is_free_again_after_close_and_after_a_kill(tmp_path: Path) -> None:
    code = """
cache = opened()
cache.store(cache.ticket("How long is the warranty?", scope=ACME), "Two years.")
print("stored", flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", OPEN + code, str(tmp_path / "cache")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "stored\n"
        with pytest.raises(StoreLockedError):
            opened(tmp_path / "cache")
        process.send_signal(signal.SIGKILL)

    cache = opened(tmp_path / "cache")
    assert cache.lookup(ASKED, scope=ACME).answer == "Two years."
    cache.close()


def test_a_forked_child_stands_aside_and_the_parent_goes_on(tmp_path: Path) -> None:
    """A look-up through the parent's handle would hang (gunicorn --preload)."""
    said = run(
        """
import os
cache = opened()
cache.store(cache.ticket("How long is the warranty?", scope=ACME), "Two years.")
child = os.fork()
if child == 0:
    found = cache.lookup("How long is the warranty?", scope=ACME)
    try:
        opened()
    except Exception as error:
        print(found.kind, "before a fork" in found.reason, type(error).__name__, flush=True)
    cache.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(cache.lookup("How long is the warranty?", scope=ACME).answer)
cache.close()
""",
        tmp_path / "cache",
    )

    assert said.splitlines() == ["bypass True StoreLockedError", "Two years."]


def test_a_child_may_open_a_folder_of_its_own(tmp_path: Path) -> None:
    said = run(
        """
import os
cache = opened()
if os.fork() == 0:
    sys.argv[1] += "-child"
    own = opened()
    own.store(own.ticket("How long is the warranty?", scope=ACME), "Two years.")
    print(own.lookup("How long is the warranty?", scope=ACME).kind, flush=True)
    own.close()
    os._exit(0)
print(os.waitstatus_to_exitcode(os.wait()[1]))
cache.close()
""",
        tmp_path / "cache",
    )

    assert said.splitlines() == ["exact", "0"]


def test_a_child_does_not_wait_for_a_call_that_its_parent_is_making(tmp_path: Path) -> None:
    said = run(
        """
import os, threading, time
from qdrant_client import QdrantClient
from costkit.cache.qdrant import QdrantIndex

served = QdrantIndex(QdrantClient(":memory:"), collection="asked", dimensions=HashEmbedder().dimensions)
cache = ResponseCache(version="1", embedder=HashEmbedder(), index=served, recorder=recorder, wait_seconds=25)
leads, over = threading.Event(), threading.Event()

def answer():
    with cache.join("How long is the warranty?", scope=ACME):
        leads.set()
        over.wait()

threading.Thread(target=answer).start()
leads.wait()
if os.fork() == 0:
    began = time.monotonic()
    print(cache.join("How long is the warranty?", scope=ACME).kind, time.monotonic() - began < 20, flush=True)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.wait()[1]))
over.set()
cache.close()
""",
        tmp_path / "cache",
    )

    assert said.splitlines() == ["miss True", "0"]


# --- uvicorn --workers 4 ----------------------------------------------------------------------------------------------

APP = """
import os
from contextlib import asynccontextmanager

from fastapi import FastAPI

from costkit.cache import ResponseCache
from costkit.ledger import default_ledger
from costkit.scope import Scope
from costkit.testing import HashEmbedder


@asynccontextmanager
async def lifespan(app):
    app.state.cache = ResponseCache(version="1", embedder=HashEmbedder(), on_locked="bypass")
    yield
    app.state.cache.close()
    default_ledger().close()


app = FastAPI(lifespan=lifespan)


@app.get("/ask")
async def ask(question: str):
    found = await app.state.cache.alookup(question, scope=Scope(tenant="acme"))
    await app.state.cache.astore(found.ticket, "Two years.")
    return {"worker": os.getpid(), "kind": found.kind}
"""


@contextmanager
def service(folder: Path) -> Iterator[str]:
    (folder / "app.py").write_text(APP)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--workers", "4", "--port", str(port), "--timeout-worker-healthcheck", str(PATIENCE_SECONDS)]
    command = [sys.executable, "-m", "uvicorn", "app:app", "--log-level", "warning", *options]
    search = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": search, "COSTKIT_HOME": str(folder / "home")}
    with subprocess.Popen(command, cwd=folder, env=environment) as running:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            running.terminate()
            status = running.wait(PATIENCE_SECONDS)
    assert status == 0


def asked(url: str) -> tuple[int, str] | None:
    """Ask a service which worker answered and how; None while it does not listen."""
    try:
        reply = httpx.get(f"{url}/ask", params={"question": ASKED}, timeout=PATIENCE_SECONDS).json()
    except httpx.ConnectError:
        return None
    return reply["worker"], reply["kind"]


def test_of_four_workers_one_has_the_cache_and_the_ledger_counts_what_the_others_let_pass(tmp_path: Path) -> None:
    answered: list[tuple[int, str]] = []
    with service(tmp_path) as url:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len({worker for worker, _ in answered}) < 4:
            assert time.monotonic() < deadline, f"only these have answered: {answered}"
            with ThreadPoolExecutor(8) as crowd:  # one after another they may all reach the same worker
                replies = list(crowd.map(asked, [url] * 8))
            answered += filter(None, replies)
            if None in replies:
                time.sleep(0.2)  # the workers are still starting

    kinds = [{kind for one, kind in answered if one == worker} for worker in {worker for worker, _ in answered}]
    assert kinds.count({"bypass"}) == 3
    assert set().union(*kinds) - {"bypass"} <= {"miss", "exact", "semantic"}  # semantic: stored since the exact look-up
    ledger = Ledger.at(tmp_path / "home" / "ledger.db")
    booked = Counter(str(event.details["hit_kind"]) for event in ledger.events())
    ledger.close()
    assert booked == Counter(kind for _, kind in answered)
