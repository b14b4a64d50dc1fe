"""What answers rest on: texts and their hashes, changes of documents, and answers that are checked against fresh texts."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costkit.cache import EdgeIndex, Evidence, ResponseCache
from costkit.cache.documents import Documents
from costkit.cache.evidence import Read, evidence_of, still_holds
from costkit.cache.identity import document_keys, document_point_id
from costkit.cache.index import Point
from costkit.cache.lookup import Ticket
from costkit.errors import StoreError
from costkit.scope import Scope, use
from costkit.testing import FixedClock, HashEmbedder, ListRecorder

ACME, GLOBEX = Scope(tenant="acme"), Scope(tenant="globex")
QUESTION = "how long is the warranty"


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


# --- the texts that an answer rests on -------------------------------------------------------------------------------


def test_each_text_is_evidence_once_under_its_document_and_its_hash() -> None:
    read = [Read("refunds", "within 14 days"), Read("shipping", "on Monday"), Read("refunds", "within 14 days")]

    assert evidence_of([*read, Read("refunds", "to the card")]) == (
        Evidence(document_id="refunds", content_hash=digest("within 14 days")),
        Evidence(document_id="shipping", content_hash=digest("on Monday")),
        Evidence(document_id="refunds", content_hash=digest("to the card")),
    )


def test_a_text_that_is_not_at_hand_has_no_hash_and_a_cut_one_that_of_the_whole() -> None:
    assert evidence_of([Read("refunds", None), Read("shipping", "on Mon", digest("on Monday"))]) == (
        Evidence(document_id="refunds"),
        Evidence(document_id="shipping", content_hash=digest("on Monday")),
    )


def test_text_that_has_no_utf_8_form_is_evidence_too() -> None:
    assert evidence_of([Read("broken", "\ud800")])[0].content_hash is not None


TEXTS = {
    "refunds": "Refunds are paid within 14 days to the card that was charged.",
    "late": "The office in Harstad Quay is closed in August.",
    "plans": "Article L2-100 costs 2,500 euros. The Team plan holds ten seats.",
}


@pytest.mark.parametrize(
    ("answer", "question", "supporting"),
    [
        ("Within fourteen days.", "When are refunds paid?", {"refunds"}),
        ("After 14 days; it costs €2500.", "When, and what does it cost?", {"refunds", "plans"}),
        ("Order L2-100.", "Which article do I need?", {"plans"}),
        ("In August.", "When is it closed?", {"late"}),
        ("That is Harstad Quay.", "Which office is closed?", {"late"}),
        ("1. Open the box.\n2. Count 14 days [1].", "What now?", {"refunds"}),
        ("1. Open the box.\n10. Close it [10].", "What now?", set()),
        ("No, never.", "May I bring a cat?", set()),
        ("Yes, within 14 days.", "Is it paid within 14 days?", set()),
        ("", "When are refunds paid?", set()),
    ],
)
def test_a_text_supports_an_answer_by_a_number_date_code_or_name_that_the_question_lacks(
    answer: str, question: str, supporting: set[str]
) -> None:
    found = evidence_of([Read(*one) for one in TEXTS.items()], answer=answer, question=question)

    assert {one.document_id for one in found if one.supports} == supporting


def test_support_is_found_at_the_end_of_a_long_text() -> None:
    long = "The office is closed on Sundays and the cats are not allowed at work. " * 200 + TEXTS["refunds"]

    [found] = evidence_of([Read("long", long)], answer="It takes 14 days.", question="How long?")

    assert found.supports


# --- whether it still holds ------------------------------------------------------------------------------------------


def piece(name: str, text: str | None, *, supports: bool = False) -> Evidence:
    return Evidence(document_id=name, content_hash=text, supports=supports)


A, A_CHANGED, B, C = piece("a", "1"), piece("a", "2"), piece("b", "1b"), piece("c", "1c")
A_SUPPORTS = piece("a", "1", supports=True)


@pytest.mark.parametrize(
    ("kept", "fresh", "reason"),
    [
        ([A, B], [B, A], None),
        ([A, B], [A, B, C], None),
        ([A_SUPPORTS, B], [A, C], None),
        ([A_SUPPORTS, B], [A_CHANGED, B], "the text of 'a'"),
        ([A_SUPPORTS, B], [B, C], "the text of 'a'"),
        ([A, B], [A, C], "the text of 'b'"),
        ([A], [], "the text of 'a'"),
        ([A], [piece("b", "1")], "the text of 'a'"),
        ([piece("chunk-7", "1"), A], [piece("chunk-9", "1"), A], None),
        ([piece("a", None)], [piece("a", None)], "not known"),
        ([piece("a", None), piece("b", "1b", supports=True)], [B], None),
        ([], [A], "no known document"),
    ],
    ids=[
        "the same texts",
        "a text more",
        "what supports it is there",
        "what supports it has changed",
        "what supports it is gone",
        "nothing is known to support it, and one text is gone",
        "nothing was retrieved",
        "the words stand in another document",
        "one of two names of a text is new",
        "a text that is not known",
        "a text that is not known supports nothing",
        "no evidence",
    ],
)
def test_an_answer_holds_while_each_text_that_supports_it_is_found(
    kept: list[Evidence], fresh: list[Evidence], reason: str | None
) -> None:
    found = still_holds(kept, fresh)

    assert (found is None) if reason is None else (found is not None and reason in found)


pieces = st.builds(
    Evidence, document_id=st.sampled_from("abc"), content_hash=st.sampled_from("123"), supports=st.booleans()
)


@given(st.lists(pieces, min_size=1), st.lists(pieces))
def test_more_texts_never_end_an_answer_and_it_ends_with_any_that_supports_it(
    kept: list[Evidence], more: list[Evidence]
) -> None:
    assert still_holds(kept, [*more, *kept]) is None
    needed = [one for one in kept if one.supports] or kept
    for gone in needed:
        rest = [one for one in [*more, *kept] if one.content_hash != gone.content_hash]
        assert still_holds(kept, rest) is not None


# --- checked before it is served -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeIndex]:
    opened = EdgeIndex.open(tmp_path_factory.mktemp("edge"), dimensions=HashEmbedder().dimensions)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(1_000_000.0)


@pytest.fixture
def recorder() -> ListRecorder:
    return ListRecorder()


@pytest.fixture
def cache(index: EdgeIndex, clock: FixedClock, recorder: ListRecorder) -> ResponseCache:
    return fresh_cache(index, clock, recorder)


def fresh_cache(index: EdgeIndex, clock: FixedClock, recorder: ListRecorder) -> ResponseCache:
    """Return a cache without entries on the shared store."""
    return ResponseCache(version=uuid.uuid4().hex, embedder=HashEmbedder(), index=index, recorder=recorder, clock=clock)


def keep(cache: ResponseCache, *documents: str, question: str = QUESTION, scope: Scope = ACME) -> str | None:
    ticket = cache.lookup(question, scope=scope).ticket
    return cache.store(ticket, "Two years.", evidence=[Evidence(document_id=name) for name in documents])


def served(cache: ResponseCache, question: str = QUESTION, scope: Scope = ACME) -> bool:
    return cache.lookup(question, scope=scope).hit


@pytest.mark.parametrize(("question", "kind"), [(QUESTION, "exact"), ("the warranty how long is", "semantic")])
def test_a_hit_that_fails_its_check_is_a_miss_that_says_so(
    cache: ResponseCache, recorder: ListRecorder, question: str, kind: str
) -> None:
    keep(cache, "warranty", "offices")
    asked: list[Sequence[Evidence]] = []

    def gone(kept: Sequence[Evidence]) -> str:
        asked.append(kept)
        return "its text is gone"

    passed = cache.lookup(question, scope=ACME, check=lambda kept: None)
    found = cache.lookup(question, scope=ACME, check=gone)

    assert passed.kind == kind
    assert [one.document_id for one in asked[0]] == ["warranty", "offices"]
    assert (found.kind, found.hit, found.score) == ("miss", False, passed.score)
    assert found.reason.endswith("but its text is gone")
    assert (recorder.events[-1].decision, recorder.events[-1].saved_nano_usd) == ("miss", 0)
    assert cache.store(found.ticket, "Three years.") is not None
    assert cache.lookup(question, scope=ACME).answer == "Three years."


def test_nothing_is_checked_where_nothing_would_be_served(cache: ResponseCache) -> None:
    keep(cache, "warranty")

    def fail(kept: Sequence[Evidence]) -> str:
        raise AssertionError("retrieval for nothing")

    assert cache.lookup("where is the office", scope=ACME, check=fail).kind == "miss"


def test_a_check_that_breaks_makes_the_cache_stand_aside(cache: ResponseCache) -> None:
    keep(cache, "warranty")

    def fail(kept: Sequence[Evidence]) -> str:
        raise RuntimeError("the vector store is down")

    found = cache.lookup(QUESTION, scope=ACME, check=fail)

    assert (found.kind, "the vector store is down" in found.reason) == ("bypass", True)


async def test_the_async_look_up_checks_too(cache: ResponseCache) -> None:
    keep(cache, "warranty")

    assert (await cache.alookup(QUESTION, scope=ACME, check=lambda kept: "gone")).kind == "miss"


def test_a_mark_names_each_document_once(cache: ResponseCache) -> None:
    ticket = cache.lookup(QUESTION, scope=ACME).ticket
    cache.store(ticket, "Two years.", evidence=[A, A_CHANGED, B])

    assert cache.lookup(QUESTION, scope=ACME).mark["documents"] == ["a", "b"]


# --- changes ---------------------------------------------------------------------------------------------------------


def test_a_document_that_is_ingested_as_it_was_drops_nothing(cache: ResponseCache) -> None:
    assert cache.ingested("warranty", "hash of two", tenant="acme")
    keep(cache, "warranty")

    assert not cache.ingested("warranty", "hash of two", tenant="acme")
    assert served(cache)
    assert cache.ingested("warranty", "hash of three", tenant="acme")
    assert not served(cache)


def test_a_document_that_is_not_known_yet_drops_what_rests_on_it(cache: ResponseCache) -> None:
    keep(cache, "unknown")

    assert cache.ingested("unknown", "hash", tenant="acme")
    assert not served(cache)


def test_after_an_invalidation_the_same_content_counts_as_changed(cache: ResponseCache) -> None:
    """Between the two its text may have been another."""
    cache.ingested("warranty", "hash", tenant="acme")
    cache.invalidate("warranty", tenant="acme")

    assert cache.ingested("warranty", "hash", tenant="acme")


def test_without_a_tenant_a_document_is_everybodys(cache: ResponseCache) -> None:
    scopes = (ACME, GLOBEX, Scope())
    for scope in scopes:
        keep(cache, "warranty", scope=scope)

    assert cache.invalidate("warranty") == len(scopes)
    assert not any(served(cache, scope=scope) for scope in scopes)


@pytest.mark.parametrize("named", [True, False])
def test_with_a_tenant_named_or_in_force_a_document_is_its_own(cache: ResponseCache, named: bool) -> None:
    for scope in (ACME, GLOBEX, Scope()):
        keep(cache, "warranty", scope=scope)

    if named:
        assert cache.invalidate("warranty", tenant="acme") == 1
    else:
        with use(ACME):
            assert cache.ingested("warranty", uuid.uuid4().hex)

    assert [served(cache, scope=scope) for scope in (ACME, GLOBEX, Scope())] == [False, True, True]


def test_an_answer_in_the_making_is_refused_when_everybodys_document_changes(cache: ResponseCache) -> None:
    ticket = cache.lookup(QUESTION, scope=ACME).ticket
    cache.invalidate("warranty")

    assert cache.store(ticket, "Two years.", evidence=[Evidence(document_id="warranty")]) is None


def test_a_broken_store_is_no_silent_success(tmp_path: Path) -> None:
    cache = ResponseCache(version="1", embedder=HashEmbedder(), path=tmp_path, recorder=ListRecorder())
    cache.close()

    with pytest.raises(StoreError):
        cache.ingested("warranty", "hash")
    assert cache.ticket(QUESTION) is None


# --- clocks ----------------------------------------------------------------------------------------------------------


def test_a_change_in_the_tick_of_the_look_up_refuses_the_answer(cache: ResponseCache) -> None:
    ticket = cache.lookup(QUESTION, scope=ACME).ticket
    cache.invalidate("warranty", tenant="acme")

    assert cache.store(ticket, "Two years.", evidence=[Evidence(document_id="warranty")]) is None


def test_an_answer_made_after_the_change_is_kept_in_the_same_tick(cache: ResponseCache) -> None:
    cache.invalidate("warranty", tenant="acme")

    assert keep(cache, "warranty") is not None
    assert served(cache)


def test_a_clock_that_is_set_back_hides_no_change(cache: ResponseCache, clock: FixedClock) -> None:
    cache.invalidate("something else", tenant="acme")
    ticket = cache.lookup(QUESTION, scope=ACME).ticket
    clock.now -= 3600.0
    cache.invalidate("warranty", tenant="acme")

    assert cache.store(ticket, "Two years.", evidence=[Evidence(document_id="warranty")]) is None


def test_caches_with_clocks_that_differ_agree_on_what_came_first(index: EdgeIndex, recorder: ListRecorder) -> None:
    ahead = fresh_cache(index, FixedClock(2_000_000.0), recorder)
    behind = fresh_cache(index, FixedClock(1_000.0), recorder)
    ahead.invalidate("something else", tenant="acme")
    ticket = ahead.lookup(QUESTION, scope=ACME).ticket

    behind.invalidate("warranty", tenant="acme")

    assert ahead.store(ticket, "Two years.", evidence=[Evidence(document_id="warranty")]) is None


DOCUMENTS = {
    "who works at Veldmark": ["people"],
    "where does Veldmark work": ["places"],
    "who at Veldmark works where": ["people", "places"],
}
steps = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from(sorted(DOCUMENTS))),
    st.tuples(st.just("answer"), st.integers(0, 3)),
    st.tuples(st.just("change"), st.sampled_from(["people", "places"])),
    st.tuples(st.just("clock"), st.sampled_from([-3600.0, 0.0, 0.001, 3600.0])),
)


class Company:
    """Documents with versions, and answers that quote the versions they were made from."""

    def __init__(self, cache: ResponseCache, clock: FixedClock) -> None:
        self.cache = cache
        self.clock = clock
        self.scope = Scope(tenant=uuid.uuid4().hex)
        self.versions = {"people": 0, "places": 0}
        self.open: list[tuple[Ticket | None, str, str]] = []

    def ask(self, question: str) -> bool:
        found = self.cache.lookup(question, scope=self.scope, exact_only=True)
        now = json.dumps([self.versions[name] for name in DOCUMENTS[question]])
        if found.hit:
            assert found.answer == now, "a stale answer was served"
        else:
            self.open.append((found.ticket, question, now))
        return found.hit

    def answer(self, which: int) -> None:
        if which < len(self.open):
            ticket, question, made_from = self.open.pop(which)
            evidence = [Evidence(document_id=name) for name in DOCUMENTS[question]]
            self.cache.store(ticket, made_from, evidence=evidence)

    def change(self, name: str) -> None:
        self.versions[name] += 1
        self.cache.invalidate(name, tenant=self.scope.tenant)

    def do(self, step: str, value: object) -> None:
        if step == "clock":
            self.clock.now += float(str(value))
        else:
            getattr(self, step)(value)


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=30))
def test_no_order_of_questions_answers_changes_and_clocks_serves_a_stale_answer(
    index: EdgeIndex, steps: list[tuple[str, object]]
) -> None:
    clock = FixedClock(1_000_000.0)
    company = Company(fresh_cache(index, clock, ListRecorder()), clock)

    for step, value in steps:
        company.do(step, value)
        for question in DOCUMENTS:
            company.ask(question)

    company.open.clear()
    for question in DOCUMENTS:  # and what is asked after the last change is kept
        if not company.ask(question):
            company.answer(0)
        assert company.ask(question)


# --- other stores, other versions ------------------------------------------------------------------------------------


def test_an_entry_from_before_changes_had_numbers_hangs_on_everybodys_documents_too(
    index: EdgeIndex, cache: ResponseCache
) -> None:
    name = uuid.uuid4().hex
    entry_id = keep(cache, name)
    assert entry_id is not None
    own = document_point_id("acme", name)
    [stored] = [point for points in index.scan(with_vectors=True) for point in points if point.id == entry_id]
    old = {**stored.payload, "schema": 3, "documents": [own], "read_at": 999_999.5}
    earlier = {"kind": "document", "schema": 3, "document_id": name, "invalidated_at": 999_999.0}
    index.upsert_all([Point(id=entry_id, payload=old, vector=stored.vector), Point(id=own, payload=earlier)])
    assert served(cache)

    index.upsert(own, earlier | {"invalidated_at": 999_999.75})
    assert not served(cache)
    index.upsert(own, earlier)
    cache.invalidate(name)
    assert not served(cache)


def test_a_store_that_is_imported_brings_its_numbers_along(tmp_path: Path, recorder: ListRecorder) -> None:
    """Else a change here could have a number below those that the imported answers were made at."""
    ahead = ResponseCache(
        version="1", embedder=HashEmbedder(), path=tmp_path / "a", recorder=recorder, clock=FixedClock(2_000_000.0)
    )
    ahead.invalidate("offices", tenant="acme")
    keep(ahead, "warranty")
    ahead.export_to(tmp_path / "export.jsonl")
    ahead.close()
    edge = EdgeIndex.open(tmp_path / "b", dimensions=HashEmbedder().dimensions)
    behind = ResponseCache(
        version="1", embedder=HashEmbedder(), index=edge, recorder=recorder, clock=FixedClock(1_000_000.0)
    )
    behind.invalidate("people", tenant="acme")
    behind.import_from(tmp_path / "export.jsonl")
    [entry] = [point for points in edge.scan(kind="entry", with_vectors=True) for point in points]

    behind.invalidate("warranty", tenant="acme")
    edge.upsert_all([entry])  # as if the change had been cut short before it cleaned up

    assert not served(behind)
    behind.close()


# --- threads ---------------------------------------------------------------------------------------------------------


class Interrupted:
    """A store in which something happens just before an entry is written."""

    def __init__(self, index: EdgeIndex, before_entry: Callable[[], object]) -> None:
        self._index = index
        self._before_entry = before_entry

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def upsert(self, point_id: str, payload: Mapping[str, object], vector: Sequence[float] | None = None) -> None:
        if payload["kind"] == "entry":
            self._before_entry()
        self._index.upsert(point_id, payload, vector)


def test_an_invalidation_between_the_check_of_an_answer_and_its_write_ends_it(
    index: EdgeIndex, clock: FixedClock, recorder: ListRecorder
) -> None:
    store: Any = Interrupted(index, lambda: cache.invalidate("warranty", tenant="acme"))
    cache = ResponseCache(version=uuid.uuid4().hex, embedder=HashEmbedder(), index=store, recorder=recorder)

    assert keep(cache, "warranty") is not None
    assert not served(cache)


class Corpus:
    """Documents that several threads change, and what each look-up may count on."""

    def __init__(self, cache: ResponseCache, names: Sequence[str]) -> None:
        self.cache = cache
        self.names = names
        self.text = dict.fromkeys(names, 0)
        self.invalidated = dict.fromkeys(names, 0)
        self.stale: list[str] = []
        self.hits = 0
        self.changes = 0
        self._lock = threading.Lock()

    def change(self, name: str) -> None:
        with self._lock:
            self.text[name] += 1
            version = self.text[name]
        self.cache.invalidate(name, tenant="acme")
        with self._lock:
            self.invalidated[name] = max(self.invalidated[name], version)
            self.changes += 1

    def ask(self, first: str, second: str) -> None:
        with self._lock:
            at_least = dict(self.invalidated)
        found = self.cache.lookup(f"about {first} and {second}", scope=ACME, exact_only=True)
        if found.answer is None:
            read = {name: self.text[name] for name in (first, second)}
            self.cache.store(found.ticket, json.dumps(read), evidence=[Evidence(document_id=name) for name in read])
            return
        with self._lock:
            self.hits += 1
            self.stale += [
                f"{name}: {version} served, {at_least[name]} was invalidated before the look-up"
                for name, version in json.loads(found.answer).items()
                if version < at_least[name]
            ]


def test_no_look_up_after_an_invalidation_serves_what_it_ended_while_threads_ask_write_and_invalidate(
    tmp_path: Path,
) -> None:
    edge = EdgeIndex.open(tmp_path, dimensions=HashEmbedder().dimensions)
    # Other threads get their turn where it is most dangerous: an answer is checked and not yet written.
    store: Any = Interrupted(edge, lambda: time.sleep(0.002))
    cache = ResponseCache(version="1", embedder=HashEmbedder(), index=store, recorder=ListRecorder())
    corpus = Corpus(cache, "abcd")

    def work(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(150):
            first, second = draw.sample(corpus.names, 2)
            if draw.random() < 0.1:
                corpus.change(first)
            else:
                corpus.ask(first, second)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)

    assert corpus.stale == []
    assert corpus.changes > 50
    assert corpus.hits > 50
    for name in corpus.names:
        corpus.change(name)
    assert not any(
        cache.lookup(f"about {one} and {other}", scope=ACME, exact_only=True).hit for one in "abcd" for other in "abcd"
    )
    cache.close()


def test_changes_of_many_threads_all_have_numbers_of_their_own(index: EdgeIndex, clock: FixedClock) -> None:
    documents = Documents(index, clock=clock)
    before = documents.latest_change()

    def change(name: str) -> None:
        for turn in range(20):
            documents.invalidate(f"{name} {turn}", tenant="acme")

    threads = [threading.Thread(target=change, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keys = document_keys("acme", [f"{name} {turn}" for name in "abcd" for turn in range(20)])
    numbers = [point["invalidated_at"] for point in index.retrieve(keys).values()]

    assert len(numbers) == len(set(numbers)) == 80
    assert min(numbers, key=float) > before  # type: ignore[arg-type]
    assert max(numbers, key=float) == documents.latest_change()  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_worker_that_is_forked_while_a_document_changes_can_change_documents_itself(index: EdgeIndex) -> None:
    inside, go_on = threading.Event(), threading.Event()

    class Slow(Interrupted):
        def upsert(self, point_id: str, payload: Mapping[str, object], vector: Sequence[float] | None = None) -> None:
            inside.set()
            go_on.wait()
            self._index.upsert(point_id, payload, vector)

    slow: Any = Slow(index, lambda: None)
    own: Any = SimpleNamespace(  # the parent's store is dead in the child
        retrieve=lambda ids: {}, upsert=lambda *point: None, delete_entries_of=lambda key, read_before: 0
    )
    thread = threading.Thread(target=Documents(slow, clock=time.time).invalidate, args=("a",), kwargs={"tenant": None})
    thread.start()
    inside.wait()
    worker = os.fork()
    if worker == 0:
        signal.alarm(20)  # ends a child that waits for the parent's thread
        os._exit(Documents(own, clock=time.time).invalidate("b", tenant=None))
    go_on.set()
    thread.join()

    assert os.waitpid(worker, 0)[1] == 0


def test_an_answer_that_comes_late_does_not_take_the_place_of_a_newer_one(tmp_path: Path) -> None:
    on_its_way, go_on = threading.Event(), threading.Event()

    class Waiting(HashEmbedder):
        def embed(self, texts: Sequence[str]) -> Any:
            if threading.current_thread().name == "late":
                on_its_way.set()
                go_on.wait()
            return super().embed(texts)

    acme, asked = Scope(tenant="acme"), "how long is the warranty of the logger"
    evidence = [Evidence(document_id="warranty")]
    cache = ResponseCache(version="1", embedder=Waiting(), path=tmp_path / "late", recorder=ListRecorder())
    old = cache.ticket(asked, scope=acme)
    late = threading.Thread(target=cache.store, args=(old, "Two."), kwargs={"evidence": evidence}, name="late")
    late.start()
    on_its_way.wait()
    cache.invalidate("warranty", tenant="acme")
    cache.store(cache.lookup(asked, scope=acme).ticket, "Three.", evidence=evidence)
    go_on.set()
    late.join()

    assert cache.lookup(asked, scope=acme).answer == "Three."
    cache.close()
