"""What the cache learns from its hits: feedback, re-asks, audits, drift; and shadow mode, which serves nothing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from costkit.cache import FittedScore, Fresh, ResponseCache
from costkit.cache.certificate import Certificate, Data, Tally
from costkit.cache.drift import DriftMonitor
from costkit.cache.judgements import Judgements
from costkit.errors import ConfigurationError
from costkit.scope import Scope
from costkit.testing import FixedClock, HashEmbedder, ListRecorder

ANN = Scope(tenant="acme", user="ann")
ASKED = "how long is the warranty of the L2 logger in the shop today"
NEAR = "how long is the warranty of the L2 logger in the shop"

Make = Callable[..., ResponseCache]


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(1_000_000.0)


@pytest.fixture
def make(tmp_path: Path, clock: FixedClock) -> Make:
    def build(**options: object) -> ResponseCache:
        settings: dict[str, object] = {"version": "v1", "recorder": ListRecorder()} | options
        return ResponseCache(embedder=HashEmbedder(), path=tmp_path / "cache", clock=clock, **settings)  # type: ignore[arg-type]

    return build


def filled(cache: ResponseCache) -> ResponseCache:
    cache.store(cache.lookup(ASKED, scope=ANN).ticket, "Two years.")
    return cache


def test_a_hit_that_was_wrong_is_never_served_for_that_question_again(make: Make) -> None:
    cache = filled(make())
    hit = cache.lookup(NEAR, scope=ANN)
    assert hit.kind == "semantic"

    cache.feedback(hit, right=False)

    again = cache.lookup(NEAR.upper(), scope=ANN)
    assert (again.kind, again.answer) == ("miss", None)
    assert "wrongly before" in again.reason
    assert cache.lookup(ASKED, scope=ANN).kind == "exact"
    cache.close()


def test_feedback_takes_the_mark_that_was_written_on_an_answer(make: Make) -> None:
    cache = filled(make())
    mark = cache.lookup(NEAR, scope=ANN).mark

    cache.feedback(mark, right=False)

    assert not cache.lookup(NEAR, scope=ANN).hit
    cache.close()


def test_an_exact_answer_judged_wrong_is_asked_anew_and_its_new_answer_is_served(make: Make) -> None:
    cache = filled(make())
    cache.feedback(cache.lookup(ASKED, scope=ANN), right=False)

    missed = cache.lookup(ASKED, scope=ANN)
    assert not missed.hit
    cache.store(missed.ticket, "Three years.")

    assert cache.lookup(ASKED, scope=ANN).answer == "Three years."
    cache.close()


def test_right_feedback_raises_what_the_cache_believes_of_the_entry(make: Make) -> None:
    cache = filled(make())
    before = cache.lookup(NEAR, scope=ANN)
    cache.feedback(before, right=True)

    after = cache.lookup(NEAR, scope=Scope(tenant="acme", user="bea"))

    assert before.probability is not None
    assert after.probability is not None
    assert after.probability > before.probability
    assert "1 of 1 judged hits" in after.reason
    cache.close()


def test_feedback_on_a_miss_says_what_it_needs(make: Make) -> None:
    cache = make()
    with pytest.raises(ConfigurationError, match="served nothing"):
        cache.feedback(cache.lookup(ASKED, scope=ANN), right=True)
    with pytest.raises(ConfigurationError, match="entry_id"):
        cache.feedback({"kind": "semantic"}, right=True)
    cache.close()


@pytest.mark.parametrize(("seconds", "lowered"), [(60, True), (121, False)])
def test_a_near_question_soon_after_a_hit_lowers_the_entry(
    make: Make, clock: FixedClock, seconds: int, *, lowered: bool
) -> None:
    cache = filled(make())
    first = cache.lookup(NEAR, scope=ANN)
    clock.advance(seconds)

    again = cache.lookup(NEAR, scope=ANN)

    assert first.probability is not None
    assert again.probability is not None
    assert (again.probability < first.probability) is lowered
    cache.close()


def test_shadow_mode_says_what_it_would_serve_and_serves_nothing(make: Make) -> None:
    recorder = ListRecorder()
    cache = filled(make(shadow=True, recorder=recorder))

    near, exact = cache.lookup(NEAR, scope=ANN), cache.lookup(ASKED, scope=ANN)

    assert [(one.kind, one.hit, one.answer) for one in (near, exact)] == [("shadow", False, None)] * 2
    assert near.matched_question == ASKED
    assert near.ticket is not None
    assert [event.decision for event in recorder.events] == ["miss", "shadow", "shadow"]
    cache.close()


def test_audited_hits_are_judged_against_a_fresh_answer_off_the_path(make: Make) -> None:
    seen: list[tuple[str, str, str]] = []

    def judge(question: str, served: str, fresh: str) -> bool:
        seen.append((question, served, fresh))
        return served == fresh

    recorder = ListRecorder()
    cache = filled(make(audit_share=1.0, judge=judge, recorder=recorder))
    hit = cache.lookup(NEAR, scope=ANN)
    assert hit.audit
    cache.audit(hit, "Two years.", lambda: Fresh(text="Three years.", cost_nano_usd=7))
    cache.close()

    booked = recorder.events[-1]
    assert (booked.kind, booked.decision, booked.cost_nano_usd) == ("judge", "wrong", 7)
    assert seen == [(NEAR, "Two years.", "Three years.")]
    reopened = make()
    assert not reopened.lookup(NEAR, scope=ANN).hit
    reopened.close()


def test_an_audit_that_fails_is_said_and_breaks_nothing(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    cache = filled(make(audit_share=1.0, judge=lambda *_: True))

    def fails() -> Fresh:
        raise RuntimeError("no model")

    cache.audit(cache.lookup(NEAR, scope=ANN), "Two years.", fails)
    cache.close()

    assert "no model" in caplog.text


def test_after_drift_only_exact_questions_are_served(make: Make) -> None:
    monitor = DriftMonitor(target=0.05, grid=(0.5, 1.0, 9.0), threshold=0.5)
    cache = filled(make(monitor=monitor))
    hit = cache.lookup(NEAR, scope=ANN)
    other = hit.mark | {"question": "something else altogether"}
    for _ in range(40):
        cache.feedback(other, right=False, source="audit")

    drifted = cache.lookup(NEAR, scope=ANN)

    assert drifted.kind == "miss"
    assert "only exact questions" in drifted.reason
    assert cache.lookup(ASKED, scope=ANN).kind == "exact"
    cache.close()


def test_a_number_that_differs_is_no_hit_however_close_the_wording(make: Make) -> None:
    first = "what does the plan with 30 seats cost in the shop today"
    cache = make()
    cache.store(cache.lookup(first, scope=ANN).ticket, "90 euros.")

    found = cache.lookup(first.replace("30", "60"), scope=ANN)

    assert found.kind == "miss"
    assert "number: 60 against 30" in found.reason.replace(" seats", "").replace(" seat", "")
    cache.close()


def test_a_threshold_alone_means_the_cosine_and_nothing_else(make: Make) -> None:
    recorder = ListRecorder()
    cosine, fitted = (
        make(recorder=recorder, **options) for options in ({"threshold": 0.9}, {"equivalence": FittedScore()})
    )
    for cache in (cosine, fitted):
        cache.lookup(ASKED, scope=ANN)

    assert [one.details["equivalence"] for one in recorder.events] == ["cosine", FittedScore().name]
    assert (cosine.threshold, fitted.threshold) == (0.9, FittedScore().threshold)
    cosine.close()
    fitted.close()


@pytest.mark.parametrize(
    ("options", "names"),
    [({"audit_share": 2.0}, "audit_share"), ({"audit_share": 0.1}, "judge"), ({"threshold": 3.0}, "threshold")],
)
def test_options_that_cannot_work_are_named(make: Make, options: dict[str, object], names: str) -> None:
    with pytest.raises(ConfigurationError, match=names):
        make(**options)


def certificate(**changes: object) -> Certificate:
    tally = Tally(questions=1000, hits=400, wrong=2, clusters=200, wrong_clusters=1)
    fields: dict[str, object] = {
        "score": FittedScore().name,
        "threshold": 0.8,
        "target": 0.05,
        "confidence": 0.95,
        "bound": 0.024,
        "certified": tally,
        "test": tally,
        "entries": 10,
        "embedder": HashEmbedder().name,
        "neighbours": 5,
        "data": Data(file="log.jsonl", sha256="0" * 64, rows=3000),
        "made": "2026-11-21",
        "costkit": "0.1.0",
        "seed": 7,
    }
    return Certificate(**fields | changes)  # type: ignore[arg-type]


def test_a_hit_that_a_certificate_covers_carries_its_bound(make: Make) -> None:
    cache = filled(make(certificate=certificate()))

    hit = cache.lookup(NEAR, scope=ANN)

    assert cache.threshold == 0.8
    assert (hit.kind, hit.bound, hit.mark["bound"]) == ("semantic", 0.024, 0.024)
    cache.close()


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"score": "other-fit"}, "other-fit"), ({"embedder": "other"}, "other"), ({"entries": 0}, "at most 0 entries")],
)
def test_a_hit_outside_its_certificate_is_uncertified_and_the_log_says_why(
    make: Make, caplog: pytest.LogCaptureFixture, changes: dict[str, object], why: str
) -> None:
    cache = filled(make(certificate=certificate(**changes)))

    assert cache.lookup(NEAR, scope=ANN).bound == "uncertified"
    assert why in caplog.text
    cache.close()


def test_drift_voids_the_certificate(make: Make) -> None:
    monitor = DriftMonitor(target=0.05, grid=(0.8, 1.0), threshold=0.8)
    cache = filled(make(certificate=certificate(), monitor=monitor))
    hit = cache.lookup(NEAR, scope=ANN)
    assert hit.bound == 0.024
    for number in range(400):
        # A burst of wrong ones, then enough right ones for semantic hits to come back: without the certificate.
        mark = hit.mark | {"question": f"question {number}", "entry_id": f"e{number}", "cluster_id": f"e{number}"}
        cache.feedback(mark | {"score": 2.0}, right=number > 20, source="audit")

    later = cache.lookup(NEAR, scope=Scope(tenant="acme", user="bea"))

    assert (later.kind, later.bound) == ("semantic", "uncertified")
    cache.close()


def test_a_certificate_has_its_own_threshold(make: Make) -> None:
    with pytest.raises(ConfigurationError, match="certificate"):
        make(certificate=certificate(), threshold=0.9)


# --- what others write at the same time, and what begins anew ---------------------------------------------------------


def test_no_judgement_is_lost_between_threads(make: Make) -> None:
    cache = filled(make())
    hit = cache.lookup(NEAR, scope=ANN)
    assert hit.served is not None
    wrong = [replace(hit, served=replace(hit.served, question=f"{NEAR} {number}")) for number in range(24)]

    with ThreadPoolExecutor(8) as pool:
        for one in wrong:
            pool.submit(cache.feedback, one, right=False)
            pool.submit(cache.feedback, hit, right=True)

    [(entry, _)] = Judgements(cache._index, monitor=None, name="").records(
        [(hit.served.entry_id, hit.served.cluster_id)]
    )
    assert (entry.right, entry.wrong, len(entry.refused)) == (24, 24, 24)
    cache.close()


def test_a_new_answer_is_not_judged_by_what_the_old_one_was(make: Make) -> None:
    cache = filled(make())
    before = cache.lookup(NEAR, scope=ANN)
    for number in range(5):
        assert before.served is not None
        asked = replace(before.served, question=f"{NEAR} {number}")
        cache.feedback(replace(before, served=asked), right=False)
    assert (cache.lookup(NEAR, scope=ANN).score or 0) < (before.score or 0)

    ticket = cache.ticket(ASKED, scope=ANN)
    cache.store(ticket, "Three years.")

    after = cache.lookup(NEAR, scope=ANN)
    assert (after.answer, after.score) == ("Three years.", before.score)
    cache.close()


def test_a_monitor_of_another_target_begins_anew(make: Make) -> None:
    grid = (0.5, 6.0)
    drifted = make(monitor=DriftMonitor(target=0.01, grid=grid, threshold=0.5), audit_share=1.0, judge=lambda *_: False)
    filled(drifted)
    hit = drifted.lookup(NEAR, scope=ANN)
    assert hit.served is not None
    for number in range(9):
        other = replace(hit, served=replace(hit.served, question=f"{NEAR} {number}"))
        drifted.feedback(other, right=False, source="audit")
    assert "only exact" in drifted.lookup(f"{NEAR} again", scope=ANN).reason
    drifted.close()

    calibrated = make(monitor=DriftMonitor(target=0.3, grid=grid, threshold=0.5))
    assert "only exact" not in calibrated.lookup(f"{NEAR} again", scope=ANN).reason
    calibrated.close()


def test_in_shadow_mode_the_fresh_answer_judges_the_stored_one(make: Make) -> None:
    seen: list[tuple[str, str, str]] = []

    def judge(*given: str) -> bool:
        seen.append(given)  # type: ignore[arg-type]
        return False

    recorder = ListRecorder()
    cache = filled(make(shadow=True, audit_share=1.0, judge=judge, recorder=recorder))
    shown = cache.lookup(NEAR, scope=ANN)
    assert (shown.kind, shown.audit) == ("shadow", False)
    cache.store(shown.ticket, "Five years.")
    cache.close()

    assert seen == [(NEAR, "Two years.", "Five years.")]
    assert [(event.kind, event.decision) for event in recorder.events if event.kind == "judge"] == [("judge", "wrong")]


def test_while_only_exact_hits_are_served_the_fresh_answers_bring_semantic_ones_back(make: Make) -> None:
    monitor = DriftMonitor(target=0.3, grid=(0.5, 6.0), threshold=0.5, exact_only=True)
    cache = filled(make(monitor=monitor, judge=lambda _question, stored, fresh: stored == fresh))
    kinds = []
    for number in range(12):
        found = cache.lookup(f"{NEAR} on day {'x' * number}", scope=ANN)
        kinds.append(found.kind)
        cache.store(found.ticket, "Two years.")
        cache._aside.submit(lambda: None).result()
    assert kinds[0] == "miss"
    assert "semantic" in kinds
    cache.close()
