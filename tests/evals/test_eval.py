"""``costkit eval`` as a user runs it: both frameworks, all five parts, clear errors, clean stops, the same result again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from costkit.cli import main
from costkit.embed import Embedder
from costkit.errors import ConfigurationError
from costkit.testing import MessagesServer
from costkit_evals import options
from costkit_evals.result import Result

TOPICS = ("leave", "travel", "laptops", "badges", "canteen", "parking", "training", "visitors", "printing", "lockers")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A golden set of ten documents, each long enough that the naive context does not fit the budget."""
    folder = tmp_path_factory.mktemp("golden") / "tiny"
    folder.mkdir()
    filler = "The office publishes this page for everybody and reviews it once a year together with the works council. "
    documents, questions = [], []
    for number, topic in enumerate(TOPICS, 1):
        fact = f"The yearly allowance for {topic} is {number * 10} euros."
        text = f"{filler * 6}{fact} {filler * 6}"
        start = text.index(fact)
        documents.append({"id": topic, "title": f"All about {topic}", "text": text})
        questions.append(
            {
                "id": f"q{number}",
                "question": f"What is the yearly allowance for {topic}?",
                "answers": [f"{number * 10} euros"],
                "gold_ids": [topic],
                "supporting": [{"doc_id": topic, "start": start, "end": start + len(fact)}],
                "answerable": True,
                "kind": "single",
            }
        )
    paraphrases = [{"question_id": "q1", "paraphrases": ["What's the yearly allowance for leave?"]}]
    near = {"a": "What is the leave allowance in 2025?", "b": "What is the leave allowance in 2026?"}
    near_misses = [near | {"answer_a": "10 euros", "answer_b": "20 euros", "docs_a": ["leave"], "docs_b": ["travel"]}]
    turns = [
        {
            "question": question,
            "standalone": standalone,
            "self_contained": own,
            "answers": [answer],
            "gold_ids": [topic],
        }
        for question, standalone, own, answer, topic in (
            (
                "What is the yearly allowance for travel?",
                "What is the yearly allowance for travel?",
                True,
                "20 euros",
                "travel",
            ),
            ("And for parking?", "What is the yearly allowance for parking?", False, "60 euros", "parking"),
        )
    ]
    files = {
        "corpus.jsonl": documents,
        "questions.jsonl": questions,
        "paraphrases.jsonl": paraphrases,
        "near_miss.jsonl": near_misses,
        "conversations.jsonl": [{"id": "c1", "turns": turns}],
    }
    for name, rows in files.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "costkit.cli", "eval", *map(str, arguments)]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="session")
def finished(tiny: Path, tmp_path_factory: pytest.TempPathFactory, minilm: Embedder) -> Path:
    """The run folder of one whole run."""
    folder = tmp_path_factory.mktemp("run")
    done = run("--golden", tiny, "--out", folder, "--no-gate", "--metrics", "id_based_context_recall")
    assert done.returncode == 0, done.stderr
    assert "first pass" in done.stdout
    return folder


def result_of(folder: Path) -> Result:
    return Result.from_json((folder / "result.json").read_text())


def test_every_part_works_in_both_frameworks_on_ten_documents(finished: Path) -> None:
    result = result_of(finished)

    for framework in ("langchain", "llamaindex"):
        naive = result.row(framework=framework, phase="first", pipeline="naive", reader="tiered")
        ours = result.row(framework=framework, phase="first", pipeline="all", reader="tiered")
        replayed = result.row(framework=framework, phase="replay", pipeline="all", reader="tiered")
        assert naive is not None
        assert ours is not None
        assert replayed is not None
        assert ours.tokens["context"].value < naive.tokens["context"].value
        assert ours.tokens["cache_read"].value > 0
        assert naive.tokens["cache_read"].value == 0
        assert ours.tier_share["cheap"] > 0
        assert replayed.hits.semantic >= 1
        assert ours.usd_per_question is not None
        assert naive.usd_per_question is not None
        assert ours.usd_per_question.value < naive.usd_per_question.value
        assert sum(ours.usd_by_segment.values()) == pytest.approx(ours.usd_per_question.value)


def test_a_paraphrase_is_served_and_a_near_miss_is_not(finished: Path) -> None:
    """The near miss differs in the year alone and has another answer."""
    row = result_of(finished).row(framework="langchain", phase="replay", pipeline="cache", reader="tiered")

    assert row is not None
    assert row.hits.semantic >= 1
    assert row.hits.wrong == 0


def test_both_frameworks_build_the_same_naive_context(finished: Path) -> None:
    result = result_of(finished)
    contexts = {
        framework: row.tokens["context"].value
        for framework in ("langchain", "llamaindex")
        if (row := result.row(framework=framework, phase="first", pipeline="naive", reader="tiered"))
    }

    assert contexts["langchain"] == pytest.approx(contexts["llamaindex"], rel=0.01)


def test_ragas_agrees_with_our_own_recall_by_ids(finished: Path) -> None:
    row = result_of(finished).row(framework="langchain", phase="first", pipeline="all", reader="tiered")

    assert row is not None
    own, theirs = row.metrics["id_recall"], row.metrics["ragas_id_based_context_recall"]
    assert own is not None
    assert theirs is not None
    assert own.value == pytest.approx(theirs.value)


def test_the_report_says_that_no_model_answered_and_loads_nothing(finished: Path) -> None:
    page = (finished / "report.html").read_text()

    assert "No language model answered" in page
    assert "<script src" not in page


def test_a_cut_run_goes_on_where_it_stopped_and_gives_the_same_result(
    tiny: Path, tmp_path: Path, finished: Path
) -> None:
    folder = tmp_path / "cut"
    options = ("--golden", tiny, "--out", folder, "--no-gate", "--metrics", "id_based_context_recall")
    process = subprocess.Popen(command(*options), stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(lambda: any((folder / "rows").glob("*.jsonl")), process)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)

    assert process.returncode == 130
    assert told.rstrip().endswith("interrupted; the same command goes on where it stopped")
    kept = {path.name: path.stat().st_mtime_ns for path in (folder / "rows").glob("*.jsonl")}

    again = run(*options)

    assert again.returncode == 0, again.stderr
    assert {name: (folder / "answers" / name).stat().st_mtime_ns for name in kept} == kept
    assert result_of(folder).fingerprint == result_of(finished).fingerprint


def living_in_group(group: int) -> list[str]:
    """Return the commands of a process group's members; one that ended and waits to be reaped is no longer alive."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = stat.read_text().rpartition(")")
            state, _, member_of = rest.split()[:3]
            if int(member_of) == group and state != "Z":
                found.append(name)
    return found


def wait_for(holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not holds():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def exits(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["costkit", "eval", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--pipelines", "naive,magic"), 2, "unknown pipeline 'magic'"),
        (("--frameworks", "haystack"), 2, "unknown framework 'haystack'"),
        (("--pipelines", ","), 2, "at least one each"),
        (("--metrics", "vibes"), 2, "unknown metric 'vibes'"),
        (("--model", "gpt-nonsense"), 2, "ANTHROPIC_API_KEY"),
        (("--split", "train"), 2, "no split 'train'"),
        (("--map", "question"), 2, "FIELD=KEY"),
        (("--golden", "/nowhere"), 3, "/nowhere"),
    ],
)
def test_a_wrong_option_is_one_clear_error(
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)

    assert exits(monkeypatch, "--golden", tiny, *options) == code

    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told


def test_an_unknown_model_is_named(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test")

    assert exits(monkeypatch, "--golden", tiny, "--model", "claude-nonsense-9", "--model", "claude-opus-4-5") == 2

    assert "unknown model 'claude-nonsense-9'" in capsys.readouterr().err


def test_an_output_folder_that_cannot_be_written_is_one_clear_error(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")

    assert exits(monkeypatch, "--golden", tiny, "--out", tmp_path / "file" / "run") == 2

    assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("corpus.jsonl", b"", "the corpus is empty"),
        ("corpus.jsonl", b'{"text": "x"}\n', "'id' is missing"),
        ("corpus.jsonl", b'{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}\n', "stands there twice"),
        ("questions.jsonl", b'{"id": "q1", "question"\n', "questions.jsonl:1: not JSON"),
        ("questions.jsonl", b"\xff\xfe", "not UTF-8"),
    ],
)
def test_a_bad_golden_set_is_one_clear_error(
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes,
    message: str,
) -> None:
    for path in tiny.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).write_bytes(content)

    assert exits(monkeypatch, "--golden", tmp_path) == 3

    assert message in capsys.readouterr().err


def test_real_models_are_called_through_the_frameworks_own_classes(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider here is the local Messages-API server; its usage is what the result must hold."""
    with MessagesServer(lambda _request: "10 euros") as server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", "test")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        models = ("--model", "claude-haiku-4-5", "--model", "claude-opus-4-5")
        limits = ("--limit", 2, "--pipelines", "naive,all", "--metrics", "none", "--no-gate")
        done = run("--golden", tiny, "--out", tmp_path / "run", *models, *limits)
        asked = {request.body["model"] for request in server.requests}

    assert done.returncode == 0, done.stderr
    assert asked == {"claude-haiku-4-5", "claude-opus-4-5"}
    for framework in ("langchain", "llamaindex"):
        row = result_of(tmp_path / "run").row(framework=framework, phase="first", pipeline="naive", reader="tiered")
        assert row is not None
        assert row.metrics["containment"] is not None
        assert row.tokens["prompt"].value > row.tokens["context"].value > 0
        assert row.usd_per_question is not None
        assert row.usd_per_question.value > 0


def test_a_failing_question_is_unscored_and_the_coverage_gate_sees_it(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider refuses every question about travel; the rest of the run goes on."""

    def answer(request: Mapping[str, object]) -> str:
        if "allowance for travel?" in json.dumps(request["messages"]).rpartition("Question:")[2]:
            raise ConfigurationError("refused")
        return "10 euros"

    with MessagesServer(answer) as server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", "test")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        models = ("--model", "claude-haiku-4-5", "--model", "claude-opus-4-5")
        limits = ("--limit", 3, "--pipelines", "naive", "--frameworks", "langchain", "--metrics", "none")
        done = run("--golden", tiny, "--out", tmp_path / "run", *models, *limits)

    row = result_of(tmp_path / "run").row(framework="langchain", phase="first", pipeline="naive", reader="tiered")
    assert row is not None
    assert (row.asked, row.n) == (3, 2)
    assert done.returncode == 12, done.stderr
    assert "q2 is not scored" in done.stderr


def test_a_cancelled_run_leaves_no_worker_behind(tiny: Path, tmp_path: Path, minilm: Embedder) -> None:
    folder = tmp_path / "cut"
    process = subprocess.Popen(
        command("--golden", tiny, "--out", folder, "--no-gate"),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: any((folder / "rows").glob("*.jsonl")), process)
    process.terminate()
    process.communicate(timeout=60)

    assert process.returncode == 130
    deadline = time.monotonic() + 120
    while living_in_group(process.pid):
        assert time.monotonic() < deadline, living_in_group(process.pid)
        time.sleep(0.1)


def test_every_token_of_a_prompt_belongs_to_one_segment(finished: Path) -> None:
    for row in result_of(finished).rows:
        total = row.tokens["prompt"].value + row.tokens["output"].value
        assert sum(row.tokens_by_segment.values()) == pytest.approx(total)


def test_the_handbook_has_a_baseline_to_be_held_against() -> None:
    assert options.baseline(None, options.handbook()) is not None
