"""What happens to an entry after it is written: it ends, makes room, is dropped, moves, and outlives an upgrade."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from costkit.cache import EdgeIndex, Evidence, ResponseCache
from costkit.cache.documents import REMEMBERED_SECONDS
from costkit.cache.entries import SCHEMA
from costkit.cache.index import CacheIndex, Payload
from costkit.cache.upkeep import Swept
from costkit.errors import ConfigurationError, DataError
from costkit.ledger.usage import Usage
from costkit.scope import Scope
from costkit.testing import FixedClock, HashEmbedder, ListRecorder

ACME = Scope(tenant="acme")
BOLT = Scope(tenant="bolt")
ASKED = "how long is the warranty of the L2 logger in the shop today"
NEAR = "how long is the warranty of the L2 logger in the shop"

Make = Callable[..., ResponseCache]


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(1_000_000.0)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[EdgeIndex]:
    opened = EdgeIndex.open(tmp_path / "cache", dimensions=HashEmbedder().dimensions)
    yield opened
    opened.close()


@pytest.fixture
def make(index: EdgeIndex, clock: FixedClock) -> Make:
    def build(**options: object) -> ResponseCache:
        settings: dict[str, object] = {"version": "v1", "index": index, "ttl_seconds": 100.0} | options
        return ResponseCache(embedder=HashEmbedder(), recorder=ListRecorder(), clock=clock, **settings)  # type: ignore[arg-type]

    return build


def keep(cache: ResponseCache, question: str, scope: Scope = ACME, *, cost: int | None = None, on: str = "") -> str:
    """Ask a question that misses, and store an answer to it."""
    evidence = [Evidence(document_id=on)] if on else []
    made = cache.store(
        cache.lookup(question, scope=scope).ticket, f"Answer to {question}", evidence=evidence, cost_nano_usd=cost
    )
    assert made is not None
    return made


def asked(cache: ResponseCache, scope: Scope = ACME, *, among: int = 20) -> list[int]:
    """Return the numbers of the questions that ``keep`` stored and the cache still has."""
    return [number for number in range(among) if cache.lookup(question(number), scope=scope).kind == "exact"]


def question(number: int) -> str:
    """Questions that have no word in common."""
    return f"w{number} x{number} y{number} z{number}"


# --- time to live -----------------------------------------------------------------------------------------------------


def test_entries_that_were_written_together_do_not_end_together(make: Make, clock: FixedClock) -> None:
    cache = make()
    for number in range(20):
        keep(cache, question(number))

    clock.advance(89.0)
    assert len(asked(cache)) == 20
    clock.advance(6.0)
    assert 0 < len(asked(cache)) < 20
    clock.advance(5.0)
    assert asked(cache) == []


def test_hits_do_not_prolong_a_life(make: Make, clock: FixedClock) -> None:
    cache = make()
    keep(cache, ASKED)
    for _ in range(9):
        clock.advance(10.0)
        last = cache.lookup(ASKED, scope=ACME)
    assert last.kind in ("exact", "miss")

    clock.advance(10.0)

    assert cache.lookup(ASKED, scope=ACME).kind == "miss"


def test_each_feature_has_its_time_to_live(make: Make, clock: FixedClock) -> None:
    cache = make(ttl_seconds={"prices": 10.0, None: 1000.0})
    prices, manuals = Scope(tenant="acme", feature="prices"), Scope(tenant="acme", feature="manuals")
    keep(cache, question(0), prices)
    keep(cache, question(1), manuals)
    keep(cache, question(2))

    clock.advance(10.0)

    assert asked(cache, manuals) == [1, 2]
    clock.advance(990.0)
    assert asked(cache, manuals) == []


def test_a_feature_is_never_served_what_it_would_not_have_kept_so_long(make: Make, clock: FixedClock) -> None:
    cache = make(ttl_seconds={"prices": 10.0, None: 1000.0})
    keep(cache, ASKED, ACME)
    clock.advance(10.0)

    assert cache.lookup(ASKED, scope=ACME).hit
    assert not cache.lookup(ASKED, scope=Scope(tenant="acme", feature="prices")).hit


def test_a_volatile_feature_serves_the_same_question_alone(make: Make) -> None:
    cache = make(volatile=["prices"])
    prices = Scope(tenant="acme", feature="prices")
    keep(cache, ASKED, prices)

    assert cache.lookup(ASKED.upper(), scope=prices).kind == "exact"
    assert cache.lookup(NEAR, scope=prices).kind == "miss"
    assert cache.lookup(NEAR, scope=ACME).kind == "miss"  # nor does it lend its answers to near questions of others


def test_questions_too_long_to_compare_are_served_word_for_word_alone(make: Make) -> None:
    """Embedders read the beginning: two long texts that differ at the end have one vector."""
    cache = make()
    long = "the same long beginning " * 100
    keep(cache, f"{long} and then this")

    assert cache.lookup(f"{long} and then this", scope=ACME).kind == "exact"
    assert cache.lookup(f"{long} and then that", scope=ACME).kind == "miss"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"ttl_seconds": 0}, "ttl_seconds must be .* got 0"),
        ({"ttl_seconds": float("inf")}, "ttl_seconds must be .* got inf"),
        ({"ttl_seconds": {"prices": -1}}, r"ttl_seconds\['prices'\] must be .* got -1"),
        ({"ttl_seconds": "a day"}, "ttl_seconds must be .* got 'a day'"),
        ({"volatile": "prices"}, r"volatile must be a collection .* got 'prices'"),
        ({"max_entries_per_tenant": 0}, "max_entries_per_tenant must be 1 or more, got 0"),
    ],
    ids=repr,
)
def test_a_wrong_lifetime_is_named(make: Make, options: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        make(**options)


# --- purge and eviction -----------------------------------------------------------------------------------------------


def test_what_has_ended_is_deleted_as_new_answers_come(make: Make, clock: FixedClock, index: EdgeIndex) -> None:
    cache = make(ttl_seconds={"short": 10.0, None: 1000.0})
    for number in range(40):
        keep(cache, f"{question(number)} old", Scope(tenant="acme", feature="short"))
    clock.advance(10.0)

    for number in range(20):
        keep(cache, question(number))

    assert index.count(kind="entry") == 20
    assert len(asked(cache)) == 20


def test_a_full_tenant_gives_up_what_saves_least(make: Make, index: EdgeIndex) -> None:
    cache = make(max_entries_per_tenant=3)
    for number, cost in enumerate([500, 10, 300]):
        keep(cache, question(number), cost=cost)
    keep(cache, question(0), BOLT, cost=1)

    keep(cache, question(3), cost=100)

    assert asked(cache) == [0, 2, 3]
    assert asked(cache, BOLT) == [0]
    assert index.count(kind="entry", tenant="acme") == 3


def test_an_answer_that_is_served_often_outlives_a_dearer_one(make: Make) -> None:
    cache = make(max_entries_per_tenant=2)
    keep(cache, question(0), cost=100)
    keep(cache, question(1), cost=350)
    for _ in range(3):
        cache.lookup(question(0), scope=ACME)

    keep(cache, question(2), cost=1000)

    assert asked(cache) == [0, 2]


def test_an_answer_that_was_served_long_ago_gives_way_in_the_end(make: Make) -> None:
    """Without ageing, one that had 50 hits once would stay for ever."""
    cache = make(max_entries_per_tenant=3)
    keep(cache, question(0), cost=10)
    for _ in range(50):
        cache.lookup(question(0), scope=ACME)

    for number in range(1, 200):
        keep(cache, question(number), cost=10)

    assert 0 not in asked(cache)


def test_the_newest_answer_is_never_the_one_that_goes(make: Make) -> None:
    cache = make(max_entries_per_tenant=2)
    for number in range(2):
        keep(cache, question(number), cost=1000)
    keep(cache, question(2), cost=1)

    assert 2 in asked(cache)


def test_unpriced_answers_compete_by_their_tokens(make: Make) -> None:
    cache = make(max_entries_per_tenant=2)
    for number, tokens in enumerate([900, 50]):
        ticket = cache.lookup(question(number), scope=ACME).ticket
        cache.store(ticket, "Yes.", usage=Usage(uncached_input_tokens=tokens), cost_nano_usd=None)
    keep(cache, question(2))

    assert asked(cache) == [0, 2]


def test_the_private_tenant_has_the_same_cap(make: Make, index: EdgeIndex) -> None:
    cache = make(max_entries_per_tenant=3)
    for number in range(10):
        keep(cache, question(number), Scope())

    assert index.count(kind="entry") == 3


def test_a_new_process_goes_on_with_the_age_of_the_store(make: Make) -> None:
    """A floor that began at 0 again would put every new answer below all old ones."""
    first = make(max_entries_per_tenant=3)
    for number in range(60):
        keep(first, question(number), cost=10)

    second = make(max_entries_per_tenant=3)
    for number in range(60, 63):
        keep(second, question(number), cost=10)

    assert asked(second, among=70) == [60, 61, 62]


def test_an_answer_that_replaces_one_takes_no_room(make: Make) -> None:
    cache = make(max_entries_per_tenant=2)
    keep(cache, question(0), cost=1)
    ticket = cache.ticket(question(1), scope=ACME)
    for _ in range(5):
        cache.store(ticket, "Yes.", cost_nano_usd=100)

    assert asked(cache) == [0, 1]


# --- negative memory --------------------------------------------------------------------------------------------------


def test_a_pair_once_judged_wrong_never_hits_again(make: Make, clock: FixedClock, index: EdgeIndex) -> None:
    """Not after the entry ended, was purged, was answered anew, was dropped, nor in another process."""
    cache = make()
    keep(cache, ASKED)
    hit = cache.lookup(NEAR, scope=ACME)
    assert hit.kind == "semantic"
    cache.feedback(hit, right=False)
    assert not cache.lookup(NEAR, scope=ACME).hit

    clock.advance(100.0)
    cache.optimize()
    assert index.count(kind="entry") == 0
    again = keep(cache, ASKED)
    assert not cache.lookup(NEAR, scope=ACME).hit

    cache.drop(again)
    keep(cache, ASKED)
    assert not cache.lookup(NEAR, scope=ACME).hit
    assert not make().lookup(NEAR, scope=ACME).hit
    assert cache.lookup(f"{NEAR} today please", scope=ACME).kind == "semantic"


# --- drop -------------------------------------------------------------------------------------------------------------


async def test_one_answer_can_be_dropped(make: Make, index: EdgeIndex) -> None:
    cache = make()
    dropped, kept = keep(cache, question(0)), keep(cache, question(1))
    cache.lookup(f"{question(0)} please", scope=ACME)

    assert await cache.adrop(dropped)

    assert not await cache.adrop(dropped)
    assert asked(cache) == [1]
    assert cache.lookup(question(1), scope=ACME).entry_id == kept


def test_only_entries_can_be_dropped(make: Make) -> None:
    cache = make()
    keep(cache, ASKED, on="warranty")
    cache.invalidate("warranty", tenant="acme")
    document = next(point.id for points in cache._index.scan(kind="document") for point in points)

    assert not cache.drop(document)
    with pytest.raises(ConfigurationError, match=r"entry_id must be .* got 'mine'"):
        cache.drop("mine")


# --- optimise ---------------------------------------------------------------------------------------------------------


def test_optimize_deletes_what_ended_and_what_nothing_refers_to(
    make: Make, clock: FixedClock, index: EdgeIndex
) -> None:
    cache = make(ttl_seconds={"short": 10.0, None: 1000.0})
    keep(cache, ASKED, Scope(tenant="acme", feature="short"))
    cache.feedback(cache.lookup(NEAR, scope=ACME), right=True)  # leaves a record of the entry and one of its cluster
    keep(cache, question(1))
    resting = keep(cache, question(2), on="warranty")
    kept = index.retrieve([resting])[resting]
    cache.invalidate("warranty", tenant="acme")
    index.upsert(resting, kept)  # as if the process had been killed before it cleaned up
    clock.advance(10.0)

    swept = cache.optimize()

    assert swept == Swept(expired=1, stale=1, upgraded=0, records=1, documents=0, unreadable=0)
    assert index.count(kind="entry") == 1
    assert index.count(kind="cluster record") == 0
    assert asked(cache) == [1]


def test_optimize_keeps_what_is_in_use(make: Make) -> None:
    cache = make()
    keep(cache, ASKED)
    hit = cache.lookup(NEAR, scope=ACME)
    cache.feedback(hit, right=True)
    before = cache.lookup(NEAR, scope=ACME).probability

    assert cache.optimize() == Swept(expired=0, stale=0, upgraded=0, records=0, documents=0, unreadable=0)
    assert cache.lookup(NEAR, scope=ACME).probability == before


def test_optimize_forgets_documents_that_changed_long_ago_and_that_nothing_rests_on(
    make: Make, clock: FixedClock, index: EdgeIndex
) -> None:
    cache = make(ttl_seconds=10 * REMEMBERED_SECONDS)
    cache.invalidate("offices")
    cache.invalidate("warranty")
    keep(cache, ASKED, on="warranty")  # after its change
    cache.ingested("prices", "a hash")
    clock.advance(REMEMBERED_SECONDS)
    cache.invalidate("holidays")
    in_flight = cache.ticket(question(1), scope=ACME)
    cache.invalidate("menus")

    assert cache.optimize().documents == 1
    assert cache.optimize().documents == 0
    known = {point.payload["document_id"] for points in index.scan(kind="document") for point in points}
    assert known == {"warranty", "prices", "holidays", "menus"}
    assert not cache.ingested("prices", "a hash")
    assert cache.lookup(ASKED, scope=ACME).hit
    assert cache.store(in_flight, "Stale.", evidence=[Evidence(document_id="menus")]) is None


def test_an_export_from_before_a_forgotten_change_brings_no_stale_answer_back(
    make: Make, tmp_path: Path, clock: FixedClock
) -> None:
    cache = make(ttl_seconds=10 * REMEMBERED_SECONDS)
    keep(cache, question(1), on="warranty")
    keep(cache, question(2))
    cache.export_to(tmp_path / "old.jsonl")
    cache.invalidate("warranty", tenant="acme")
    clock.advance(REMEMBERED_SECONDS)
    assert cache.optimize().documents == 1

    cache.import_from(tmp_path / "old.jsonl")

    assert asked(cache) == [2]


# --- export and import ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cache.jsonl", "cache.jsonl.gz"])
def test_a_store_comes_back_whole_from_its_export(make: Make, tmp_path: Path, clock: FixedClock, name: str) -> None:
    cache = make()
    keep(cache, ASKED, cost=700, on="warranty")
    cache.feedback(cache.lookup(NEAR, scope=ACME), right=False)
    keep(cache, question(1), BOLT)
    cache.invalidate("offices", tenant="acme")
    verbatim = cache.lookup("Write Hello", scope=ACME, exact_only=True).ticket
    cache.store(verbatim, 'A "quoted" {x} answer\nof two lines: ü')
    clock.advance(1.0)

    written = cache.export_to(tmp_path / name)
    other = make(index=None, path=tmp_path / "other")
    read = other.import_from(tmp_path / name)

    assert read == written
    assert _points(other._index) == _points(cache._index)
    assert (written["entry"], written["document"], written["entry record"]) == (3, 1, 1)
    found = other.lookup(ASKED, scope=ACME)
    assert (found.kind, found.saved_nano_usd, found.evidence) == ("exact", 700, (Evidence(document_id="warranty"),))
    assert other.lookup(f"{NEAR} today please", scope=ACME).kind == "semantic"
    assert not other.lookup(NEAR, scope=ACME).hit
    assert other.lookup(question(1), scope=BOLT).hit
    assert not other.lookup(question(1), scope=ACME).hit
    said = other.lookup("Write Hello", scope=ACME, exact_only=True).answer
    assert said == 'A "quoted" {x} answer\nof two lines: ü'
    other.close()


def _points(index: CacheIndex) -> dict[str, tuple[Payload, list[float] | None]]:
    found = {point.id: point for points in index.scan(with_vectors=True) for point in points}
    return {key: (one.payload, None if one.vector is None else list(one.vector)) for key, one in found.items()}


def test_an_import_never_undoes_what_the_store_knows(make: Make, tmp_path: Path, clock: FixedClock) -> None:
    cache = make()
    keep(cache, ASKED)
    for number in (1, 2):
        keep(cache, question(number), on="warranty" if number == 2 else "")
    cache.invalidate("offices", tenant="acme")
    cache.export_to(tmp_path / "old.jsonl")
    clock.advance(0.5)
    in_flight = cache.ticket(question(3), scope=ACME)
    clock.advance(0.5)
    cache.feedback(cache.lookup(NEAR, scope=ACME), right=False)
    cache.store(cache.ticket(question(1), scope=ACME), "Newer.")
    cache.invalidate("warranty", tenant="acme")
    cache.invalidate("offices", tenant="acme")

    cache.import_from(tmp_path / "old.jsonl")

    assert not cache.lookup(NEAR, scope=ACME).hit
    assert cache.lookup(question(1), scope=ACME).answer == "Newer."
    assert not cache.lookup(question(2), scope=ACME).hit
    assert cache.store(in_flight, "Stale.", evidence=[Evidence(document_id="offices")]) is None


def test_an_import_leaves_out_what_has_ended(make: Make, tmp_path: Path, clock: FixedClock, index: EdgeIndex) -> None:
    cache = make()
    keep(cache, ASKED)
    cache.export_to(tmp_path / "old.jsonl")
    clock.advance(100.0)
    cache.optimize()

    assert cache.import_from(tmp_path / "old.jsonl")["entry"] == 0
    assert index.count(kind="entry") == 0


def test_an_export_never_overwrites_and_leaves_no_half_file(make: Make, tmp_path: Path) -> None:
    cache = make()
    (tmp_path / "mine.jsonl").write_text("precious")

    with pytest.raises(ConfigurationError, match=r"mine\.jsonl' exists"):
        cache.export_to(tmp_path / "mine.jsonl")
    with pytest.raises(ConfigurationError, match=r"nowhere.* cannot be written"):
        cache.export_to(tmp_path / "nowhere" / "cache.jsonl")
    assert (tmp_path / "mine.jsonl").read_text() == "precious"


HEAD = {"costkit_cache": 1, "schema": SCHEMA, "embedder": HashEmbedder().name, "dimensions": 256, "points": 1}
ZEROS = base64.b64encode(bytes(4 * 256)).decode()
DOCUMENT = {"kind": "document", "schema": SCHEMA, "document_id": "d", "invalidated_at": 1.0}
ONE = "5d7a1c7e-6d0b-5c0e-9a8f-0f3c9f6f7b11"


@pytest.mark.parametrize(
    ("lines", "line", "said"),
    [
        ([], 1, "is no export of a cache"),
        (['{"text": "a"}'], 1, "is no export of a cache"),
        ([{**HEAD, "embedder": "other"}], 1, "'embedder': 'other'.*import it under the embedder"),
        ([{**HEAD, "costkit_cache": 2}], 1, "'costkit_cache': 2"),
        ([HEAD, "no json"], 2, "no point of a cache"),
        ([HEAD, {"id": "mine", "payload": DOCUMENT, "vector": None}], 2, "no point of a cache"),
        ([HEAD, {"id": ONE, "payload": {}, "vector": None}], 2, "KeyError\\('kind'\\)"),
        ([HEAD, {"id": ONE, "payload": DOCUMENT | {"invalidated_at": "x"}, "vector": None}], 2, "got 'x'"),
        ([HEAD, {"id": ONE, "payload": DOCUMENT, "vector": "AAAA"}], 2, "no point of a cache"),
        ([HEAD, {"id": ONE, "payload": DOCUMENT, "vector": ZEROS}], 2, "256 finite numbers"),
        ([HEAD, {"id": ONE, "payload": {"kind": "entry", "schema": SCHEMA + 1}, "vector": None}], 2, "upgrade costkit"),
        ([HEAD, {"id": ONE, "payload": {"kind": "entry", "schema": SCHEMA}, "vector": None}], 2, "KeyError"),
        ([HEAD, {"id": ONE, "payload": {"kind": "entry record", "record": {}}, "vector": None}], 2, "record"),
    ],
    ids=range(13),
)
def test_a_line_that_is_no_point_is_named(
    make: Make, tmp_path: Path, lines: list[object], line: int, said: str
) -> None:
    file = tmp_path / "file.jsonl"
    file.write_text("".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in lines))

    with pytest.raises(DataError, match=said) as raised:
        make().import_from(file)

    assert (raised.value.path, raised.value.line) == (file, line)


def test_a_file_that_cannot_be_read_is_named(make: Make, tmp_path: Path) -> None:
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(json.dumps(HEAD).encode())[:-10])
    for name in ("absent.jsonl", "cut.jsonl.gz"):
        with pytest.raises(DataError, match=name):
            make().import_from(tmp_path / name)


# --- schema -----------------------------------------------------------------------------------------------------------


def rewritten(index: EdgeIndex, entry_id: str, changes: dict[str, object], *, without: tuple[str, ...] = ()) -> None:
    """Give an entry the payload that another version of costkit wrote."""
    stored = next(point for points in index.scan(with_vectors=True) for point in points if point.id == entry_id)
    payload = {key: value for key, value in stored.payload.items() if key not in without}
    index.upsert(entry_id, payload | changes, stored.vector)


def test_an_entry_of_the_last_schema_is_served(make: Make, index: EdgeIndex) -> None:
    cache = make()
    rewritten(index, keep(cache, ASKED, cost=700), {"schema": 2}, without=("hits", "worth"))

    assert cache.lookup(ASKED, scope=ACME).saved_nano_usd == 700
    assert cache.lookup(NEAR, scope=ACME).kind == "semantic"
    assert cache.lookup(NEAR, scope=ACME).hits == 2


def test_optimize_brings_entries_into_the_present_schema(make: Make, index: EdgeIndex) -> None:
    cache = make(max_entries_per_tenant=2)
    old = [keep(cache, question(number), cost=10) for number in range(2)]
    for one in old:
        rewritten(index, one, {"schema": 2}, without=("hits", "worth"))

    assert cache.optimize().upgraded == 2
    assert {index.retrieve([one])[one]["schema"] for one in old} == {SCHEMA}
    keep(cache, question(2), cost=10)
    assert index.count(kind="entry") == 2
    assert cache.optimize().upgraded == 0


def test_an_entry_of_a_newer_schema_is_left_alone_and_said_once(
    make: Make, index: EdgeIndex, clock: FixedClock, caplog: pytest.LogCaptureFixture
) -> None:
    cache = make(max_entries_per_tenant=1)
    newer = keep(cache, ASKED, cost=1)
    rewritten(index, newer, {"schema": SCHEMA + 1, "answer": {"of": "another form"}})
    before = index.retrieve([newer])

    missed = cache.lookup(ASKED, scope=ACME)
    assert missed.kind == "miss"
    assert cache.store(missed.ticket, "Two years.") is None
    for number in range(20):
        keep(cache, question(number), cost=10)
    clock.advance(100.0)

    assert cache.optimize().unreadable == 1
    assert index.retrieve([newer]) == before
    assert caplog.text.count("upgrade costkit") == 1


@pytest.mark.parametrize(
    "changes",
    [{"schema": 1}, {"schema": None}, {"expires_at": "soon"}, {"usage": {"tokens": 3}}, {"evidence": [{"id": 3}]}],
    ids=repr,
)
def test_an_entry_that_cannot_be_read_is_a_miss_and_can_be_replaced(
    make: Make, index: EdgeIndex, changes: dict[str, object]
) -> None:
    cache = make()
    rewritten(index, keep(cache, ASKED), changes)

    missed = cache.lookup(ASKED, scope=ACME)
    assert missed.kind == "miss"
    cache.store(missed.ticket, "Two years.")

    assert cache.lookup(ASKED, scope=ACME).answer == "Two years."
