"""What must never get into the cache, and where a bad entry must never get to."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import costkit
from costkit.cache import Evidence, ResponseCache
from costkit.cache.asking import MAX_QUESTION_CHARS
from costkit.cache.keeping import MAX_ANSWER_CHARS
from costkit.ledger.calls import is_unfinished
from costkit.scope import Scope, use
from costkit.testing import HashEmbedder, ListRecorder

ACME = Scope(tenant="acme")
MALLORY = Scope(tenant="mallory")
ASKED = "how long is the warranty of the L2 logger in the shop today"
NEAR = "how long is the warranty of the L2 logger in the shop"


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ResponseCache]:
    made = ResponseCache(version="1", embedder=HashEmbedder(), path=tmp_path / "cache", recorder=ListRecorder())
    yield made
    made.close()


def test_a_poisoned_entry_never_reaches_another_tenant(cache: ResponseCache) -> None:
    """Whatever it is stored for: the same words, near ones, a prompt word for word, or under another scope in force."""
    with use(ACME):
        cache.store(cache.lookup(ASKED, scope=MALLORY).ticket, "Call 0900-MALLORY.")
        cache.store(cache.lookup("Write Hello", scope=MALLORY, exact_only=True).ticket, "Call 0900-MALLORY.")
    assert cache.lookup(ASKED, scope=MALLORY).hit
    assert cache.lookup(NEAR, scope=MALLORY).hit

    for scope in (ACME, Scope(), Scope(tenant="Mallory"), Scope(tenant="mallory ")):
        assert not cache.lookup(ASKED, scope=scope).hit
        assert not cache.lookup(NEAR, scope=scope).hit
        assert not cache.lookup("Write Hello", scope=scope, exact_only=True).hit


def test_what_one_tenant_judges_or_invalidates_is_its_own(cache: ResponseCache) -> None:
    for scope in (ACME, MALLORY):
        ticket = cache.lookup(ASKED, scope=scope).ticket
        cache.store(ticket, "Two years.", evidence=[Evidence(document_id="warranty")])
    cache.feedback(cache.lookup(NEAR, scope=MALLORY), right=False)
    cache.invalidate("warranty", tenant="mallory")

    assert cache.lookup(NEAR, scope=ACME).kind == "semantic"
    assert cache.lookup(ASKED, scope=ACME).kind == "exact"


def test_questions_that_are_too_long_bypass_and_that_is_said_once(
    cache: ResponseCache, caplog: pytest.LogCaptureFixture
) -> None:
    for length in (1, 2, 3):
        found = cache.lookup("x" * (MAX_QUESTION_CHARS + length), scope=ACME, exact_only=True)
        assert (found.kind, found.ticket) == ("bypass", None)
    assert cache.lookup("x" * MAX_QUESTION_CHARS, scope=ACME, exact_only=True).kind == "miss"

    assert caplog.text.count("questions of more than 100,000 characters are not cached") == 1


def test_answers_that_are_too_long_are_not_kept_and_that_is_said_once(
    cache: ResponseCache, caplog: pytest.LogCaptureFixture
) -> None:
    for length in (1, 2, 3):
        assert cache.store(cache.ticket(ASKED, scope=ACME), "x" * (MAX_ANSWER_CHARS + length)) is None
    assert cache.store(cache.ticket(ASKED, scope=ACME), "x" * MAX_ANSWER_CHARS) is not None

    assert caplog.text.count("answers of more than 1,000,000 characters are not cached") == 1


@pytest.mark.parametrize("answer", ["{x} {0} %s %(y)s ${HOME}", "{{ 7 * 7 }} {% raw %} {{{", "\u0000\u202e\r\n ü"])
def test_an_answer_comes_back_byte_for_byte(cache: ResponseCache, answer: str) -> None:
    """An entry is data, never a template; nothing fills it in on its way."""
    question = f"{ASKED} {{x}} {{{{ y }}}}"
    cache.store(cache.lookup(question, scope=ACME).ticket, answer)

    assert cache.lookup(question, scope=ACME).answer == answer


def test_what_no_store_can_keep_is_not_taken_for_a_broken_store(
    cache: ResponseCache, caplog: pytest.LogCaptureFixture
) -> None:
    assert cache.store(cache.ticket(ASKED, scope=ACME), "half a character: \ud800") is None
    assert cache.lookup("half a question: \ud800", scope=ACME).kind == "bypass"

    assert cache.lookup(ASKED, scope=ACME).kind == "miss"
    assert "half a character" in caplog.text


def test_nothing_in_costkit_reads_data_that_can_run_code() -> None:
    """An entry, an export and a model file are data: no module here knows a format that could hold a program."""
    unsafe = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "jsonpickle"}
    for source in Path(costkit.__file__).parent.rglob("*.py"):
        tree = ast.parse(source.read_text(encoding="utf-8"))
        named = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        named |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not {name.split(".")[0] for name in named} & unsafe, source


@pytest.mark.parametrize(
    "reason", ["refusal", "max_tokens", "content_filter", "SAFETY", "MAX_TOKENS", "guardrail_intervened"]
)
def test_what_providers_say_of_a_declined_or_cut_answer_is_known(reason: str) -> None:
    assert is_unfinished(reason)
    assert not any(map(is_unfinished, ["end_turn", "stop", "STOP", "tool_use", None]))
