"""The program ``costkit`` as a user runs it: help with examples, exit codes by cause, and quick second runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from costkit.embed import Embedder
from costkit.ledger import Event, Ledger, Usage
from costkit.scope import Scope

PROGRAM = Path(sys.executable).with_name("costkit")
COMMANDS = sorted(entry.name for entry in entry_points(group="costkit.commands"))


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, cwd=cwd, check=False)


@pytest.fixture
def ledger_url(tmp_path: Path) -> str:
    """A ledger of three priced calls for two tenants."""
    ledger = Ledger.at(tmp_path / "ledger.db")
    for tenant, cost in (("acme", 1_000), ("acme", 2_000), ("globex", 10)):
        ledger.record(
            Event(
                kind="model",
                part="model",
                decision="answered",
                model="claude-haiku-4-5",
                usage=Usage(uncached_input_tokens=100, output_tokens=10),
                cost_nano_usd=cost,
                scope=Scope(tenant=tenant),
                at=datetime(2026, 11, 1, tzinfo=UTC),
            )
        )
    ledger.close()
    return f"sqlite:///{tmp_path / 'ledger.db'}"


def test_help_lists_every_installed_command_and_the_exit_codes() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)
    assert "Exit codes" in done.stdout


SUBCOMMANDS = [["cache", name] for name in ("calibrate", "invalidate", "sample", "stats", "train")]


@pytest.mark.parametrize("command", [*([name] for name in COMMANDS), ["ledger", "report"], *SUBCOMMANDS], ids=" ".join)
def test_the_help_of_a_command_shows_an_example_of_it(command: list[str]) -> None:
    done = run(*command, "--help")
    assert done.returncode == 0
    assert "Example" in done.stdout
    assert f"costkit {' '.join(command)}" in done.stdout.partition("Example")[2]
    assert "\\b" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["no-such-command"], 2, "no-such-command"),
        (["ledger", "report", "--no-such-option"], 2, "--no-such-option"),
        (["ledger", "report", "--by", "colour", "--db", "sqlite://"], 2, "colour"),
        (["ledger", "report", "--db", "not a url"], 2, "not a url"),
        (["ledger", "report", "--db", "sqlite:////proc/no/ledger.db"], 5, "/proc/no/ledger.db"),
        (["eval", "--golden", "/no/such/set"], 3, "/no/such/set"),
        (["models", "--check", "--from", "."], 2, "--from"),
        (["cache", "calibrate"], 2, "--stream"),
        (["cache", "calibrate", "--stream", "/no/such/stream.jsonl"], 3, "/no/such/stream.jsonl"),
        (["cache", "stats", "--path", "/no/such/cache"], 5, "/no/such/cache"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_is_one_message_that_shows_the_value_and_an_exit_code_by_cause(
    arguments: list[str], code: int, said: str, tmp_path: Path
) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_model_has_an_exit_code_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSTKIT_MODELS", str(tmp_path))
    done = run("models", "--check", "--json")
    assert done.returncode == 6
    assert json.loads(done.stdout)["ready"] is False
    assert "costkit models" in done.stderr


def test_an_interrupt_ends_with_130(tmp_path: Path) -> None:
    """A named pipe makes the program wait at a place that every file passes."""
    pipe = tmp_path / "questions.jsonl"
    os.mkfifo(pipe)
    arguments = [str(PROGRAM), "eval", "--golden", str(pipe)]
    with (
        subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as running,
        pipe.open("w"),  # opens once the program reads
    ):
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "interrupted" in said


def test_preparing_the_models_again_changes_nothing(minilm: Embedder) -> None:
    first, second = (json.loads(run("models", "--json").stdout) for _ in range(2))
    assert first == second
    assert second == {"model": "minilm", "ready": True, "fresh": False, "folder": second["folder"]}


def test_the_ledger_report_is_a_table_and_json(ledger_url: str) -> None:
    table = run("ledger", "report", "--db", ledger_url, "--by", "tenant,feature,model,tier")
    assert table.returncode == 0
    acme, globex = (next(line for line in table.stdout.splitlines() if name in line) for name in ("acme", "globex"))
    assert table.stdout.index(acme) < table.stdout.index(globex)
    assert acme.split() == ["acme", "-", "claude-haiku-4-5", "-", *"2 0 200 0 20 0.000003 0.000000".split()]

    rows = json.loads(run("ledger", "report", "--db", ledger_url, "--by", "tenant", "--json").stdout)
    assert [(row["group"], row["calls"], Decimal(row["cost_usd"])) for row in rows] == [
        ({"tenant": "acme"}, 2, Decimal("0.000003")),
        ({"tenant": "globex"}, 1, Decimal("0.00000001")),
    ]


def test_a_project_without_a_ledger_is_told_so_and_gets_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSTKIT_HOME", str(tmp_path / "home"))
    done = run("ledger", "report")
    assert done.returncode == 5
    assert str(tmp_path / "home") in done.stderr
    assert not (tmp_path / "home").exists()


def test_the_module_is_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "costkit.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == run("--version").stdout
