"""What every store of the response cache promises: Qdrant Edge, qdrant-client in its local mode and over the wire (the
server is a stand-in, see conftest.py), and a Qdrant server if COSTKIT_TEST_QDRANT_URL names one.
"""

from __future__ import annotations

import multiprocessing
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import pytest
from qdrant_edge import UpdateOperation

from costkit.cache import CacheIndex, EdgeIndex, QdrantIndex
from costkit.cache.documents import Documents
from costkit.cache.index import AT_ONCE, Point
from costkit.errors import StoreError, StoreLockedError

DIMENSIONS = 4


def _local_qdrant(_folder: Path) -> QdrantIndex:
    from qdrant_client import QdrantClient

    return QdrantIndex(QdrantClient(":memory:"), collection="contract", dimensions=DIMENSIONS)


def _qdrant_server(_folder: Path) -> QdrantIndex:
    url = os.environ.get("COSTKIT_TEST_QDRANT_URL")
    if not url:
        pytest.skip("COSTKIT_TEST_QDRANT_URL names no Qdrant server")
    return QdrantIndex.connect(url, collection=f"contract-{uuid.uuid4().hex}", dimensions=DIMENSIONS)


def _edge(folder: Path) -> EdgeIndex:
    return EdgeIndex.open(folder / "edge", dimensions=DIMENSIONS)


def _over_rest(_folder: Path, url: str) -> QdrantIndex:
    return QdrantIndex.connect(url, collection="contract", dimensions=DIMENSIONS)


STORES = {"edge": _edge, "qdrant-local": _local_qdrant, "qdrant-rest": _over_rest, "qdrant-server": _qdrant_server}


@pytest.fixture(params=STORES)
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CacheIndex]:
    make: Callable[..., CacheIndex] = STORES[request.param]
    rest = [request.getfixturevalue("qdrant_rest").url] if make is _over_rest else []
    made = make(tmp_path, *rest)
    yield made
    made.close()


def put(index: CacheIndex, vector: list[float] | None, *, identity: str = "a", documents: tuple[str, ...] = ()) -> str:
    point_id = str(uuid.uuid4())
    index.upsert(point_id, {"identity": identity, "documents": list(documents)}, vector)
    return point_id


def test_a_point_is_read_back_by_its_id(index: CacheIndex) -> None:
    point_id = put(index, [1, 0, 0, 0], documents=("d",))

    assert index.retrieve([point_id, str(uuid.uuid4())]) == {point_id: {"identity": "a", "documents": ["d"]}}


def test_the_nearest_come_first_with_their_cosine(index: CacheIndex) -> None:
    far = put(index, [0, 1, 0, 0])
    near = put(index, [2, 0, 0, 0])

    found = index.nearest([1, 0, 0, 0], identity="a", limit=5)

    assert [one.id for one in found] == [near, far]
    assert found[0].score == pytest.approx(1.0, abs=1e-6)
    assert found[1].score == pytest.approx(0.0, abs=1e-6)


def test_no_search_crosses_identities(index: CacheIndex) -> None:
    put(index, [1, 0, 0, 0], identity="b")

    assert index.nearest([1, 0, 0, 0], identity="a", limit=5) == []


def test_a_point_without_a_vector_is_never_found_by_a_search(index: CacheIndex) -> None:
    put(index, None)

    assert index.nearest([1, 0, 0, 0], identity="a", limit=5) == []


def test_an_upsert_replaces(index: CacheIndex) -> None:
    point_id = put(index, [1, 0, 0, 0])
    index.upsert(point_id, {"identity": "a", "documents": [], "n": 2}, [0, 1, 0, 0])

    assert index.retrieve([point_id])[point_id]["n"] == 2
    assert (index.count(), index.count(identity="a"), index.count(identity="b")) == (1, 1, 0)


def test_points_are_counted_by_kind(index: CacheIndex) -> None:
    for kind, identity in (("entry", "a"), ("entry", "b"), ("document", "a")):
        index.upsert(str(uuid.uuid4()), {"kind": kind, "identity": identity})

    assert (index.count(), index.count(kind="entry"), index.count(kind="document")) == (3, 2, 1)
    assert index.count(identity="a", kind="entry") == 1


def test_entries_of_a_document_are_deleted_and_counted(index: CacheIndex) -> None:
    put(index, [1, 0, 0, 0], documents=("d", "e"))
    put(index, [1, 0, 0, 0], documents=("d",))
    kept = put(index, [1, 0, 0, 0], documents=("e",))

    assert index.delete_entries_of("d") == 2
    assert index.delete_entries_of("d") == 0
    assert [one.id for one in index.nearest([1, 0, 0, 0], identity="a", limit=5)] == [kept]


def test_a_document_of_many_entries_loses_them_all(index: CacheIndex) -> None:
    """Embedded, more than one batch."""
    entries = [
        Point(id=str(uuid.UUID(int=number)), payload={"identity": "a", "documents": ["d"]}, vector=[1, 0, 0, 0])
        for number in range(AT_ONCE + 10)
    ]
    index.upsert_all(entries)

    assert index.delete_entries_of("d") == AT_ONCE + 10
    assert index.count() == 0


def test_points_are_counted_within_a_tenant(index: CacheIndex) -> None:
    for kind, tenant in (("entry", "a"), ("entry", ""), ("document", "a")):
        index.upsert(str(uuid.uuid4()), {"kind": kind, "tenant": tenant})

    assert index.count(tenant="a") == 2
    assert index.count(tenant="a", kind="entry") == 1
    assert index.count(tenant="") == 1


@pytest.mark.parametrize("field", ["worth", "expires_at"])
def test_the_lowest_come_in_order_and_others_are_left_out(
    index: CacheIndex, field: Literal["worth", "expires_at"]
) -> None:
    for tenant, value in (("a", 3.5), ("b", 0.25), ("a", -1.0), ("a", 1e15)):
        index.upsert(str(uuid.uuid4()), {"tenant": tenant, field: value}, [1, 0, 0, 0])
    index.upsert(str(uuid.uuid4()), {"tenant": "a"})

    assert [one[field] for one in index.lowest(field, limit=3).values()] == [-1.0, 0.25, 3.5]
    assert [one[field] for one in index.lowest(field, limit=9, tenant="a").values()] == [-1.0, 3.5, 1e15]
    assert index.lowest(field, limit=9, tenant="c") == {}


def test_a_patch_sets_some_fields_and_moves_the_point_in_its_order(index: CacheIndex) -> None:
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    index.upsert(first, {"identity": "a", "worth": 1.0, "hits": 0}, [1, 0, 0, 0])
    index.upsert(second, {"identity": "a", "worth": 2.0, "hits": 0}, [0, 1, 0, 0])

    index.patch(first, {"worth": 3.0, "hits": 1})

    assert list(index.lowest("worth", limit=2)) == [second, first]
    assert index.retrieve([first])[first] == {"identity": "a", "worth": 3.0, "hits": 1}
    assert index.nearest([1, 0, 0, 0], identity="a", limit=1)[0].id == first


def test_a_patch_never_makes_a_point(index: CacheIndex) -> None:
    """A hit that is counted while its entry is deleted must not bring a part of it back."""
    with suppress(StoreError):
        index.patch(str(uuid.uuid4()), {"worth": 3.0})

    assert index.count() == 0


def test_points_are_deleted_by_id(index: CacheIndex) -> None:
    gone, kept = put(index, [1, 0, 0, 0]), put(index, None)

    index.delete([gone, str(uuid.uuid4())])

    assert list(index.retrieve([gone, kept])) == [kept]


def test_only_what_has_expired_is_deleted_where_that_is_asked(index: CacheIndex) -> None:
    """An entry that was written anew between reading and deleting stays."""
    ids = [str(uuid.uuid4()) for _ in range(3)]
    for point_id, expires_at in zip(ids, (9.0, 10.0, 11.0), strict=True):
        index.upsert(point_id, {"expires_at": expires_at})

    index.delete([*ids, str(uuid.uuid4())], expired_by=10.0)

    assert list(index.retrieve(ids)) == [ids[2]]


def test_only_what_has_not_changed_later_is_deleted_where_that_is_asked(index: CacheIndex) -> None:
    """A document that changed between reading and deleting stays known; changes are counted in microseconds."""
    ids = [str(uuid.uuid4()) for _ in range(3)]
    for point_id, number in zip(ids, (-1, 0, 1), strict=True):
        index.upsert(point_id, {"kind": "document", "invalidated_at": 1_790_000_000_000_000 + number})

    index.delete(ids, changed_by=1_790_000_000_000_000)

    assert list(index.retrieve(ids)) == [ids[2]]


def test_entries_that_were_made_after_a_change_stay(index: CacheIndex) -> None:
    kept = str(uuid.uuid4())
    for point_id, read_at in ((str(uuid.uuid4()), 1.0), (str(uuid.uuid4()), 1.5), (kept, 2.0)):
        index.upsert(point_id, {"identity": "a", "documents": ["d"], "read_at": read_at}, [1, 0, 0, 0])

    assert index.delete_entries_of("d", read_before=2.0) == 2
    assert [one.id for one in index.nearest([1, 0, 0, 0], identity="a", limit=5)] == [kept]


def test_a_scan_gives_every_point_of_more_than_one_batch(index: CacheIndex) -> None:
    count = AT_ONCE + 10
    points = [
        Point(
            id=str(uuid.UUID(int=number)),
            payload={"kind": "entry" if number % 2 else "document", "number": number},
            vector=[0.0, 1.0, 0.0, 0.0] if number % 2 else None,
        )
        for number in range(count)
    ]
    index.upsert_all(points)

    scanned = [point for batch in index.scan(with_vectors=True) for point in batch]
    entries = [point for batch in index.scan(kind="entry") for point in batch]

    assert sorted(scanned, key=lambda point: point.id) == points
    assert {point.payload["number"] for point in entries} == set(range(1, count, 2))
    assert all(point.vector is None for point in entries)


def test_deleting_while_scanning_skips_nothing(index: CacheIndex) -> None:
    index.upsert_all([Point(id=str(uuid.UUID(int=number)), payload={"kind": "a"}) for number in range(AT_ONCE + 10)])

    for batch in index.scan(kind="a"):
        index.delete([point.id for point in batch])

    assert index.count() == 0


def test_a_store_still_answers_after_it_was_optimised(index: CacheIndex) -> None:
    point_id = put(index, [1, 0, 0, 0])
    index.optimize()

    assert [one.id for one in index.nearest([1, 0, 0, 0], identity="a", limit=5)] == [point_id]


def test_edge_indexes_the_fields_of_a_folder_that_an_older_version_made(tmp_path: Path) -> None:
    """Without its index a field cannot be ordered by."""
    index = _edge(tmp_path)
    for field in ("worth", "expires_at", "kind", "tenant"):
        index._live().update(UpdateOperation.delete_field_index(field))
    index.upsert(str(uuid.uuid4()), {"worth": 1.0})
    with pytest.raises(StoreError, match="worth"):
        index.lowest("worth", limit=1)
    index.close()

    again = _edge(tmp_path)

    assert len(again.lowest("worth", limit=1)) == 1
    again.close()


def test_changes_of_documents_have_rising_whole_numbers(index: CacheIndex) -> None:
    documents = Documents(index, clock=lambda: 1_763_720_000.123456)
    numbers = [documents.latest_change()]
    for name in "abc":
        documents.invalidate(name, tenant="acme")
        numbers.append(documents.latest_change())

    assert numbers == [0, 1_763_720_000_123_456, 1_763_720_000_123_457, 1_763_720_000_123_458]


def test_edge_keeps_entries_over_a_reopening(tmp_path: Path) -> None:
    first = _edge(tmp_path)
    point_id = put(first, [1, 0, 0, 0])
    first.close()

    second = _edge(tmp_path)

    assert [one.id for one in second.nearest([1, 0, 0, 0], identity="a", limit=5)] == [point_id]
    second.close()


def test_edge_is_shared_inside_a_process_and_closed_by_its_last_user(tmp_path: Path) -> None:
    first, second = _edge(tmp_path), _edge(tmp_path)
    point_id = put(first, [1, 0, 0, 0])
    first.close()

    assert list(second.retrieve([point_id])) == [point_id]

    second.close()
    with pytest.raises(StoreError, match="closed"):
        second.count()


def _open_elsewhere(folder: Path, told: multiprocessing.Queue[str]) -> None:
    try:
        EdgeIndex.open(folder, dimensions=DIMENSIONS)
    except StoreLockedError as error:
        told.put(str(error))
    else:
        told.put("opened")


def test_a_second_process_on_the_folder_gets_an_error_that_names_url(tmp_path: Path) -> None:
    index = _edge(tmp_path)
    context = multiprocessing.get_context("spawn")
    told: multiprocessing.Queue[str] = context.Queue()
    process = context.Process(target=_open_elsewhere, args=(tmp_path / "edge", told))
    process.start()

    assert "url=" in told.get(timeout=60)

    process.join()
    index.close()


def test_vectors_of_another_length_are_refused_while_the_folder_is_open_too(tmp_path: Path) -> None:
    index = _edge(tmp_path)

    with pytest.raises(StoreError, match="vector size"):
        EdgeIndex.open(tmp_path / "edge", dimensions=DIMENSIONS + 1)
    index.close()


def test_vectors_of_another_length_are_refused(tmp_path: Path) -> None:
    _edge(tmp_path).close()

    with pytest.raises(StoreError, match="vector size"):
        EdgeIndex.open(tmp_path / "edge", dimensions=DIMENSIONS + 1)
