"""A Qdrant server as the store of the response cache, for applications of more than one process."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from costkit.cache.index import (
    AT_ONCE,
    CHANGE_FIELD,
    EXPIRES_FIELD,
    IDENTITY_FIELD,
    KEYWORD_FIELDS,
    NUMBER_FIELDS,
    READ_FIELD,
    Found,
    Payload,
    Point,
)
from costkit.cache.patience import left_seconds, spend
from costkit.errors import MissingExtraError, StoreError

if TYPE_CHECKING:
    import httpx
    from qdrant_client import QdrantClient
    from qdrant_client.models import Filter

__all__ = ["QdrantIndex"]

# For calls that no question waits for: creating a collection, invalidating, going through the whole store.
PATIENT_SECONDS = 30


class QdrantIndex:
    """A cache store in one collection of a Qdrant server; same payload and same filters as ``EdgeIndex``.

    Args:
        client: A connected ``qdrant_client.QdrantClient`` (its local mode works too).
        collection: Collection name; it is created if missing.
        dimensions: Length of the vectors.

    Raises:
        StoreError: The server cannot be reached, or the collection holds vectors of another length.
    """

    def __init__(self, client: QdrantClient, *, collection: str, dimensions: int) -> None:
        self._client = client
        self._collection = collection
        with _translated(collection):
            if not client.collection_exists(collection):
                _create_once(client, collection, dimensions)
            found = client.get_collection(collection)
            size = found.config.params.vectors.size  # type: ignore[union-attr]
            _index_fields(client, collection, found.payload_schema)
        if size != dimensions:
            raise StoreError(
                f"collection {collection!r} holds vectors of {size} dimensions, the embedder gives {dimensions}; "
                "name another collection= or use the embedder it was built with"
            )

    @classmethod
    def connect(cls, url: str, *, collection: str, dimensions: int, api_key: str | None = None) -> QdrantIndex:
        """Connect to the server at ``url``, for example ``http://localhost:6333``.

        A question waits for it no longer than ``ResponseCache(store_timeout_seconds=...)`` says; with a client of your
        own, the client's timeout holds for each call.
        """
        try:
            from qdrant_client import QdrantClient
        except ImportError:
            raise MissingExtraError(
                feature="a cache at url=", package="qdrant-client", install="costkit[qdrant]"
            ) from None

        with _translated(collection):
            client = QdrantClient(
                url=url,
                api_key=api_key,
                timeout=PATIENT_SECONDS,
                event_hooks={"request": [_within_allowance]},
                # The check runs in a thread of its own, and warns there where the server is down.
                check_compatibility=False,
            )
        return cls(client, collection=collection, dimensions=dimensions)

    def retrieve(self, ids: Sequence[str]) -> dict[str, Payload]:
        """Return the payloads of those ids that exist, as most replicas have them: also just after a change."""
        from qdrant_client.models import ReadConsistencyType

        with _translated(self._collection):
            records = self._client.retrieve(
                self._collection, ids=list(ids), with_payload=True, consistency=ReadConsistencyType.MAJORITY
            )
        return {str(record.id): record.payload or {} for record in records}

    def nearest(self, vector: Sequence[float], *, identity: str, limit: int) -> list[Found]:
        """Return the nearest entries of one identity, best first."""
        with _translated(self._collection):
            response = self._client.query_points(
                self._collection, query=list(vector), query_filter=_where(identity=identity), limit=limit
            )
        return [Found(id=str(point.id), payload=point.payload or {}, score=point.score) for point in response.points]

    def lowest(
        self, field: Literal["expires_at", "worth"], *, limit: int, tenant: str | None = None
    ) -> dict[str, Payload]:
        """Return the points with the lowest values of a field, of one tenant or of all, in ascending order."""
        from qdrant_client.models import OrderBy

        with _translated(self._collection):
            records, _ = self._client.scroll(
                self._collection, scroll_filter=_where(tenant=tenant), limit=limit, order_by=OrderBy(key=field)
            )
        return {str(record.id): record.payload or {} for record in records}

    def scan(self, *, kind: str | None = None, with_vectors: bool = False) -> Iterator[list[Point]]:
        """Yield every point, or every point of one kind, a batch at a time; others may write meanwhile."""
        offset = None
        while True:
            with _translated(self._collection):
                records, offset = self._client.scroll(
                    self._collection,
                    scroll_filter=_where(kind=kind),
                    limit=AT_ONCE,
                    offset=offset,
                    with_vectors=with_vectors,
                )
            yield [Point(id=str(one.id), payload=one.payload or {}, vector=_flat(one.vector)) for one in records]
            if offset is None:
                return

    def upsert(self, point_id: str, payload: Payload, vector: Sequence[float] | None = None) -> None:
        """Write one point and wait until it can be read."""
        self.upsert_all([Point(id=point_id, payload=payload, vector=vector)])

    def upsert_all(self, points: Sequence[Point]) -> None:
        """Write several points, in one order on all replicas, and wait until they can be read."""
        from qdrant_client.models import PointStruct, WriteOrdering

        rows = [
            PointStruct(id=one.id, vector={} if one.vector is None else list(one.vector), payload=dict(one.payload))
            for one in points
        ]
        with _translated(self._collection):
            self._client.upsert(self._collection, points=rows, wait=True, ordering=WriteOrdering.STRONG)

    def patch(self, point_id: str, fields: Payload) -> None:
        """Set some payload fields of a point; the server refuses an id that is not there."""
        with _translated(self._collection):
            self._client.set_payload(self._collection, payload=dict(fields), points=[point_id], wait=True)

    def delete(self, ids: Sequence[str], *, expired_by: float | None = None, changed_by: int | None = None) -> None:
        """Delete those ids that exist, or of them what has expired, or has not changed later."""
        from qdrant_client.models import FieldCondition, Filter, FilterSelector, HasIdCondition, PointIdsList, Range

        most = {EXPIRES_FIELD: expired_by, CHANGE_FIELD: changed_by}
        old = [FieldCondition(key=field, range=Range(lte=value)) for field, value in most.items() if value is not None]
        selector: PointIdsList | FilterSelector = PointIdsList(points=list(ids))
        if old:
            selector = FilterSelector(filter=Filter(must=[HasIdCondition(has_id=list(ids)), *old]))
        with _translated(self._collection):
            self._client.delete(self._collection, points_selector=selector, wait=True)

    def delete_entries_of(self, document_key: str, *, read_before: float | None = None) -> int:
        """Delete every entry that rests on a document; return how many there were."""
        from qdrant_client.models import FieldCondition, Filter, Range

        old = [] if read_before is None else [FieldCondition(key=READ_FIELD, range=Range(lt=read_before))]
        resting = Filter(must=[_where(documents=document_key), *old])
        with _translated(self._collection):
            found = self._client.count(self._collection, count_filter=resting, exact=True).count
            if found:
                self._client.delete(self._collection, points_selector=resting, wait=True)
        return found

    def count(self, *, identity: str | None = None, kind: str | None = None, tenant: str | None = None) -> int:
        """Return the number of points: of all, or of those of one identity, kind and tenant."""
        within = _where(identity=identity, kind=kind, tenant=tenant)
        with _translated(self._collection):
            return self._client.count(self._collection, count_filter=within, exact=True).count

    def optimize(self) -> None:
        """Do nothing: a server optimises by itself."""

    def close(self) -> None:
        """Close the client."""
        with _translated(self._collection):
            self._client.close()


def _create_once(client: QdrantClient, collection: str, dimensions: int) -> None:
    """Create the collection, unless another worker that starts at the same time was faster."""
    try:
        _create(client, collection, dimensions)
    except Exception:
        if not client.collection_exists(collection):
            raise


def _create(client: QdrantClient, collection: str, dimensions: int) -> None:
    from qdrant_client.models import Distance, HnswConfigDiff, VectorParams

    client.create_collection(
        collection,
        vectors_config=VectorParams(size=dimensions, distance=Distance.COSINE),
        hnsw_config=HnswConfigDiff(m=0, payload_m=16),
    )


def _index_fields(client: QdrantClient, collection: str, known: Container[str]) -> None:
    """Index the fields that are filtered or ordered by, as far as they are not yet."""
    from qdrant_client.local.qdrant_local import QdrantLocal
    from qdrant_client.models import FloatIndexParams, FloatIndexType, KeywordIndexParams, KeywordIndexType

    if isinstance(client._client, QdrantLocal):  # local mode keeps no payload index and warns when asked for one
        return
    keyword, number = KeywordIndexType.KEYWORD, FloatIndexType.FLOAT
    wanted = {
        field: KeywordIndexParams(type=keyword, is_tenant=field == IDENTITY_FIELD) for field in KEYWORD_FIELDS
    } | {field: FloatIndexParams(type=number) for field in NUMBER_FIELDS}
    for field, schema in wanted.items():
        if field not in known:
            client.create_payload_index(collection, field, field_schema=schema)


def _where(**wanted: str | None) -> Filter:
    """Return a filter on the given fields; None is no condition."""
    from qdrant_client.models import FieldCondition, Filter, MatchValue

    given = {field: value for field, value in wanted.items() if value is not None}
    return Filter(must=[FieldCondition(key=field, match=MatchValue(value=value)) for field, value in given.items()])


def _flat(vector: object) -> Sequence[float] | None:
    """Return a point's vector; local mode gives an empty dict where there is none."""
    return vector if isinstance(vector, list) and vector else None


def _within_allowance(request: httpx.Request) -> None:
    """Let a call that a question waits for take no longer than what is left of the question's allowance.

    The client itself counts in whole seconds.
    """
    left = left_seconds()
    if left is not None:
        request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), max(left, 0.001))


@contextmanager
def _translated(collection: str) -> Iterator[None]:
    """Turn the client's and the transport's exceptions into ours, and count the time."""
    try:
        with spend():
            yield
    except (StoreError, MissingExtraError):
        raise
    except Exception as error:
        raise StoreError(f"the Qdrant collection {collection!r} failed: {error}") from error
