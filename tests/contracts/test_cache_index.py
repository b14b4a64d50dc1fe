"""What every store of the response cache promises: Qdrant Edge, qdrant-client's local mode, and a server if one is set."""

from __future__ import annotations

import multiprocessing
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from costkit.cache import CacheIndex, EdgeIndex, QdrantIndex
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


@pytest.fixture(params=[_edge, _local_qdrant, _qdrant_server], ids=["edge", "qdrant-local", "qdrant-server"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CacheIndex]:
    make: Callable[[Path], CacheIndex] = request.param
    made = make(tmp_path)
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
