"""The FastAPI recipe as it stands on its page, served by two real worker processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import httpx
import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from costkit.cache import EdgeIndex
from costkit.embed import Embedder
from costkit.ledger import Ledger

DOCS = Path(__file__).parents[2] / "docs"
PATIENCE_SECONDS = 120

# Wraps the page's application, so that a client sees which process answered.
SERVED = """
import os

from app import app


async def served(scope, receive, send):
    async def signed(message):
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"x-worker", str(os.getpid()).encode())]
        await send(message)

    await app(scope, receive, signed)
"""


@pytest.fixture
def project(tmp_path: Path, minilm: Embedder) -> Path:
    document = Sybil(parsers=[PythonCodeBlockParser()]).parse(DOCS / "recipes" / "fastapi.md")
    (block,) = [str(example.parsed) for example in document.examples() if "# app.py" in str(example.parsed)]
    (tmp_path / "app.py").write_text(block)
    (tmp_path / "served.py").write_text(SERVED)
    return tmp_path


@contextmanager
def service(project: Path) -> Iterator[str]:
    """Yield the address of two starting workers; they have closed of their own accord when the block has ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--workers", "2", "--port", str(port), "--timeout-worker-healthcheck", str(PATIENCE_SECONDS)]
    command = [sys.executable, "-m", "uvicorn", "served:served", "--log-level", "warning", *options]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(project), str(DOCS), os.environ.get("PYTHONPATH")])),
        "COSTKIT_HOME": str(project / "home"),
        "COSTKIT_EMBEDDER": "minilm",
    }
    with subprocess.Popen(command, cwd=project, env=environment) as running:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            running.terminate()
            status = running.wait(PATIENCE_SECONDS)
    assert status == 0


def ask(url: str, path: str, tenant: str) -> tuple[int, str]:
    """Ask on a connection of its own, so that any worker may take it; return who answered, and what."""
    question = {"text": "When are refunds paid?"}
    reply = httpx.post(f"{url}{path}", json=question, headers={"x-tenant": tenant}, timeout=PATIENCE_SECONDS)
    reply.raise_for_status()
    return int(reply.headers["x-worker"]), reply.text


def ask_both(url: str) -> dict[tuple[int, str], str]:
    """Ask as one new tenant after another until two workers have answered on both paths; return who was served where."""
    served: dict[tuple[int, str], str] = {}
    began = time.monotonic()
    for number in count():
        path, tenant = ("/ask", "/stream")[number % 2], f"tenant-{number}"
        assert time.monotonic() - began < PATIENCE_SECONDS, f"only these have answered: {sorted(served)}"
        try:
            worker, text = ask(url, path, tenant)
        except httpx.ConnectError:
            time.sleep(0.2)  # the workers are still starting
            continue
        assert "Refunds are paid within 14 days." in text
        served[worker, path] = tenant
        if len(served) == 4:
            break
    return served


def test_two_workers_share_one_ledger_and_leave_no_lock(project: Path) -> None:
    with service(project) as url:
        served = ask_both(url)
        assert httpx.post(f"{url}/ask", json={"text": "When?"}).status_code == 422, "a call without a tenant is refused"

    ledger = Ledger.at(project / "home" / "ledger.db")
    booked = {(event.scope.tenant, event.scope.endpoint) for event in ledger.events() if event.kind == "model"}
    assert booked >= {(tenant, path) for (_, path), tenant in served.items()}
    assert {event.scope.feature for event in ledger.events()} == {"help-desk"}
    ledger.close()

    (folder,) = (project / "home" / "cache").iterdir()
    kept = EdgeIndex.open(folder, dimensions=384)
    assert kept.count() > 0
    kept.close()
