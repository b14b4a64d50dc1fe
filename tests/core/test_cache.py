"""The response cache: what it serves, what it never serves, and that it never breaks the caller."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costkit.cache import EdgeIndex, Evidence, Identity, ResponseCache
from costkit.errors import ConfigurationError, StoreError
from costkit.ledger.usage import Usage
from costkit.scope import Scope, use
from costkit.testing import FixedClock, HashEmbedder, ListRecorder

ACME = Scope(tenant="acme")


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(1_000_000.0)


@pytest.fixture
def recorder() -> ListRecorder:
    return ListRecorder()


@pytest.fixture
def cache(tmp_path: Path, clock: FixedClock, recorder: ListRecorder) -> Iterator[ResponseCache]:
    made = make(tmp_path, clock, recorder)
    yield made
    made.close()


def make(folder: Path, clock: FixedClock, recorder: ListRecorder, **options: object) -> ResponseCache:
    settings: dict[str, object] = {"version": "v1", "ttl_seconds": 100.0} | options
    return ResponseCache(
        embedder=HashEmbedder(),
        path=folder / "cache",
        recorder=recorder,
        clock=clock,
        **settings,  # type: ignore[arg-type]
    )


def answer(
    cache: ResponseCache, question: str, text: str, scope: Scope = ACME, evidence: Sequence[str] = ()
) -> str | None:
    ticket = cache.lookup(question, scope=scope).ticket
    return cache.store(ticket, text, evidence=[Evidence(document_id=one) for one in evidence])


def test_the_same_question_hits_exactly_whatever_its_case_and_spacing(cache: ResponseCache) -> None:
    answer(cache, "How long is the warranty?", "Two years.")

    found = cache.lookup("  how long is the  WARRANTY ?", scope=ACME)

    assert (found.kind, found.answer, found.score) == ("exact", "Two years.", 1.0)


def test_a_near_question_hits_semantically_and_says_what_it_matched(cache: ResponseCache) -> None:
    answer(cache, "how long is the warranty of the L2 logger in the shop today", "Two years.")

    found = cache.lookup("how long is the warranty of the L2 logger in the shop", scope=ACME)

    assert (found.kind, found.answer) == ("semantic", "Two years.")
    assert found.matched_question == "how long is the warranty of the L2 logger in the shop today"
    assert found.cosine is not None
    assert 0.92 <= found.cosine < 1.0
    assert found.score is not None
    assert found.score >= cache.threshold
    assert found.bound == "uncertified"


def test_a_far_question_misses_and_the_reason_gives_the_score(cache: ResponseCache) -> None:
    answer(cache, "how long is the warranty", "Two years.")

    found = cache.lookup("how long is the office", scope=ACME)

    assert (found.kind, found.hit) == ("miss", False)
    assert f"below {cache.threshold:.3f}" in found.reason


@pytest.mark.parametrize("scope", [Scope(tenant="other"), Scope(tenant="private"), Scope()])
def test_no_answer_crosses_a_tenant(cache: ResponseCache, scope: Scope) -> None:
    answer(cache, "how long is the warranty", "Two years.")

    assert not cache.lookup("how long is the warranty", scope=scope).hit


@pytest.mark.parametrize("name", ["private", "None", "null"])
def test_no_tenant_can_be_named_like_the_private_one(cache: ResponseCache, name: str) -> None:
    answer(cache, "how long is the warranty", "Two years.", scope=Scope())

    assert not cache.lookup("how long is the warranty", scope=Scope(tenant=name)).hit
    assert cache.invalidate("warranty", tenant=name) == 0


def test_an_exact_look_up_compares_word_for_word(cache: ResponseCache) -> None:
    ticket = cache.lookup("Write Hello", scope=ACME, exact_only=True).ticket
    cache.store(ticket, "Hello")

    assert cache.lookup("Write Hello", scope=ACME, exact_only=True).hit
    assert not cache.lookup("write hello", scope=ACME, exact_only=True).hit


def test_closing_twice_leaves_other_caches_alone(
    cache: ResponseCache, tmp_path: Path, clock: FixedClock, recorder: ListRecorder
) -> None:
    other = make(tmp_path, clock, recorder)
    other.close()
    other.close()

    assert cache.lookup("how long is the warranty", scope=ACME).kind == "miss"


def test_other_input_is_identity(cache: ResponseCache) -> None:
    ticket = cache.lookup("how long is the warranty", inputs={"locale": "en"}, scope=ACME).ticket
    cache.store(ticket, "Two years.")

    assert cache.lookup("how long is the warranty", inputs={"locale": "en"}, scope=ACME).hit
    assert not cache.lookup("how long is the warranty", inputs={"locale": "de"}, scope=ACME).hit


def test_another_version_starts_empty(
    cache: ResponseCache, tmp_path: Path, clock: FixedClock, recorder: ListRecorder
) -> None:
    answer(cache, "how long is the warranty", "Two years.")
    newer = make(tmp_path, clock, recorder, version="v2")

    assert not newer.lookup("how long is the warranty", scope=ACME).hit
    newer.close()


def test_input_without_a_json_form_bypasses(cache: ResponseCache) -> None:
    found = cache.lookup("how long is the warranty", inputs={"handle": object()}, scope=ACME)

    assert (found.kind, found.ticket) == ("bypass", None)


def test_an_entry_ends_with_its_time_to_live(cache: ResponseCache, clock: FixedClock) -> None:
    answer(cache, "how long is the warranty", "Two years.")
    clock.advance(89.0)
    assert cache.lookup("how long is the warranty", scope=ACME).age_seconds == 89.0

    clock.advance(11.0)

    assert not cache.lookup("how long is the warranty", scope=ACME).hit


def test_an_invalidated_document_takes_its_answers_with_it(cache: ResponseCache) -> None:
    answer(cache, "how long is the warranty", "Two years.", evidence=["warranty"])
    answer(cache, "where is the office", "In Harstad Quay.", evidence=["offices"])

    assert cache.invalidate("warranty", tenant="acme") == 1

    assert not cache.lookup("how long is the warranty", scope=ACME).hit
    assert cache.lookup("where is the office", scope=ACME).hit


def test_an_answer_computed_before_the_change_is_refused(cache: ResponseCache, clock: FixedClock) -> None:
    ticket = cache.lookup("how long is the warranty", scope=ACME).ticket
    clock.advance(1.0)
    cache.invalidate("warranty", tenant="acme")
    clock.advance(1.0)

    assert cache.store(ticket, "Two years.", evidence=[Evidence(document_id="warranty")]) is None
    assert not cache.lookup("how long is the warranty", scope=ACME).hit


def test_an_answer_computed_after_the_change_is_kept(cache: ResponseCache, clock: FixedClock) -> None:
    cache.invalidate("warranty", tenant="acme")
    clock.advance(1.0)

    answer(cache, "how long is the warranty", "Three years.", evidence=["warranty"])

    assert cache.lookup("how long is the warranty", scope=ACME).answer == "Three years."


def test_another_tenants_invalidation_changes_nothing(cache: ResponseCache) -> None:
    answer(cache, "how long is the warranty", "Two years.", evidence=["warranty"])

    assert cache.invalidate("warranty", tenant="other") == 0
    assert cache.lookup("how long is the warranty", scope=ACME).hit


def test_a_hit_books_what_it_saved(cache: ResponseCache, recorder: ListRecorder) -> None:
    ticket = cache.lookup("how long is the warranty", scope=ACME).ticket
    cache.store(ticket, "Two years.", usage=Usage(uncached_input_tokens=900, output_tokens=20), cost_nano_usd=5_000)

    cache.lookup("how long is the warranty", scope=ACME)

    event = recorder.events[-1]
    assert (event.decision, event.tier, event.saved.input_tokens, event.saved_nano_usd) == ("hit", "cached", 900, 5_000)
    assert event.scope == ACME


def test_the_scope_in_force_is_used(cache: ResponseCache) -> None:
    with use(ACME):
        answer(cache, "how long is the warranty", "Two years.", scope=ACME)
        assert cache.lookup("how long is the warranty").hit
    assert not cache.lookup("how long is the warranty").hit


def test_without_a_tenant_the_private_one_is_used_and_said_once(
    cache: ResponseCache, caplog: pytest.LogCaptureFixture
) -> None:
    answer(cache, "how long is the warranty", "Two years.", scope=Scope())

    assert cache.lookup("how long is the warranty", scope=Scope()).hit
    assert [record.message for record in caplog.records].count(caplog.records[0].message) == 1
    assert "private tenant" in caplog.records[0].message


def test_require_tenant_bypasses(tmp_path: Path, clock: FixedClock, recorder: ListRecorder) -> None:
    cache = make(tmp_path, clock, recorder, require_tenant=True)

    assert cache.lookup("how long is the warranty", scope=Scope()).kind == "bypass"
    assert cache.lookup("how long is the warranty", scope=ACME).kind == "miss"
    cache.close()


@pytest.mark.parametrize("text", ["", "  \n"])
def test_empty_answers_and_questions_are_not_kept(cache: ResponseCache, text: str) -> None:
    assert answer(cache, "how long is the warranty", text) is None
    assert cache.lookup(text, scope=ACME).kind == "bypass"


def test_a_broken_store_bypasses_and_is_logged_once(
    cache: ResponseCache, caplog: pytest.LogCaptureFixture, recorder: ListRecorder
) -> None:
    cache.close()

    kinds = [cache.lookup("how long is the warranty", scope=ACME).kind for _ in range(3)]

    assert kinds == ["bypass"] * 3
    assert len(caplog.records) == 1
    assert [event.decision for event in recorder.events] == ["bypass"] * 3


def test_invalidate_raises_where_the_store_is_broken(cache: ResponseCache) -> None:
    """A silent failure here would go on serving stale answers."""
    cache.close()

    with pytest.raises(StoreError):
        cache.invalidate("warranty", tenant="acme")


async def test_the_async_doors_do_the_same(cache: ResponseCache) -> None:
    ticket = (await cache.alookup("how long is the warranty", scope=ACME)).ticket
    await cache.astore(ticket, "Two years.", evidence=[Evidence(document_id="warranty")])
    assert (await cache.alookup("how long is the warranty", scope=ACME)).kind == "exact"

    assert await cache.ainvalidate("warranty", tenant="acme") == 1


@pytest.mark.parametrize(
    ("option", "value"), [("version", " "), ("threshold", -0.1), ("ttl_seconds", 0.0), ("url", "http://127.0.0.1:1")]
)
def test_a_wrong_option_is_named(
    tmp_path: Path, clock: FixedClock, recorder: ListRecorder, option: str, value: object
) -> None:
    with pytest.raises(ConfigurationError, match=option):
        make(tmp_path, clock, recorder, **{option: value})


def test_two_caches_share_the_default_folder_of_one_process(
    tmp_path: Path, clock: FixedClock, recorder: ListRecorder, cache: ResponseCache
) -> None:
    other = make(tmp_path, clock, recorder)
    answer(cache, "how long is the warranty", "Two years.")

    assert other.lookup("how long is the warranty", scope=ACME).hit
    other.close()


@given(st.dictionaries(st.text(), st.one_of(st.text(), st.integers(), st.booleans(), st.none())))
def test_the_identity_does_not_depend_on_the_order_of_keys(inputs: dict[str, object]) -> None:
    backwards = dict(reversed(inputs.items()))
    keys = {Identity(tenant="t", version="v", embedder="e", inputs=one).key for one in (inputs, backwards)}

    assert len(keys) == 1


@given(st.text(), st.text())
def test_tenant_and_version_never_run_into_each_other(tenant: str, version: str) -> None:
    one = Identity(tenant=tenant, version=version, embedder="e")
    other = Identity(tenant=tenant + version, version="", embedder="e")

    assert (one.key == other.key) == (version == "")


@pytest.mark.parametrize("value", [math.nan, math.inf, {1, 2}, object(), {1: "x"}, [{None: "x"}]])
def test_an_input_without_a_json_form_has_no_identity(value: object) -> None:
    with pytest.raises(ConfigurationError, match="JSON"):
        _ = Identity(tenant="t", version="v", embedder="e", inputs={"x": value}).key


def test_the_edge_folder_is_reused_after_close(tmp_path: Path, clock: FixedClock, recorder: ListRecorder) -> None:
    first = make(tmp_path, clock, recorder)
    answer(first, "how long is the warranty", "Two years.")
    first.close()
    index = EdgeIndex.open(tmp_path / "cache", dimensions=HashEmbedder().dimensions)

    second = ResponseCache(version="v1", embedder=HashEmbedder(), index=index, recorder=recorder, clock=clock)

    assert second.lookup("how long is the warranty", scope=ACME).hit
    second.close()
