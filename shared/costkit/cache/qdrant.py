"""A Qdrant server as the store of the response cache, for applications of more than one process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from costkit.cache.index import DOCUMENTS_FIELD, IDENTITY_FIELD, KIND_FIELD, Found, Payload
from costkit.errors import MissingExtraError, StoreError

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from qdrant_client.models import Filter

__all__ = ["QdrantIndex"]


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
            size = client.get_collection(collection).config.params.vectors.size  # type: ignore[union-attr]
        if size != dimensions:
            raise StoreError(
                f"collection {collection!r} holds vectors of {size} dimensions, the embedder gives {dimensions}; "
                "name another collection= or use the embedder it was built with"
            )

    @classmethod
    def connect(cls, url: str, *, collection: str, dimensions: int, api_key: str | None = None) -> QdrantIndex:
        """Connect to the server at ``url``, for example ``http://localhost:6333``."""
        try:
            from qdrant_client import QdrantClient
        except ImportError:
            raise MissingExtraError(
                feature="a cache at url=", package="qdrant-client", install="costkit[qdrant]"
            ) from None

        with _translated(collection):
            client = QdrantClient(url=url, api_key=api_key)
        return cls(client, collection=collection, dimensions=dimensions)

    def retrieve(self, ids: Sequence[str]) -> dict[str, Payload]:
        """Return the payloads of those ids that exist."""
        with _translated(self._collection):
            records = self._client.retrieve(self._collection, ids=list(ids), with_payload=True)
        return {str(record.id): record.payload or {} for record in records}

    def nearest(self, vector: Sequence[float], *, identity: str, limit: int) -> list[Found]:
        """Return the nearest entries of one identity, best first."""
        with _translated(self._collection):
            response = self._client.query_points(
                self._collection, query=list(vector), query_filter=_where(IDENTITY_FIELD, identity), limit=limit
            )
        return [Found(id=str(point.id), payload=point.payload or {}, score=point.score) for point in response.points]

    def upsert(self, point_id: str, payload: Payload, vector: Sequence[float] | None = None) -> None:
        """Write one point and wait until it can be read."""
        from qdrant_client.models import PointStruct

        point = PointStruct(id=point_id, vector={} if vector is None else list(vector), payload=dict(payload))
        with _translated(self._collection):
            self._client.upsert(self._collection, points=[point], wait=True)

    def delete_entries_of(self, document_key: str) -> int:
        """Delete every entry that rests on a document; return how many there were."""
        resting = _where(DOCUMENTS_FIELD, document_key)
        with _translated(self._collection):
            found = self._client.count(self._collection, count_filter=resting, exact=True).count
            if found:
                self._client.delete(self._collection, points_selector=resting, wait=True)
        return found

    def count(self, *, identity: str | None = None, kind: str | None = None) -> int:
        """Return the number of points, of the entries of one identity, or of the points of one kind."""
        wanted = {IDENTITY_FIELD: identity, KIND_FIELD: kind}
        within = _all_of({field: value for field, value in wanted.items() if value is not None})
        with _translated(self._collection):
            return self._client.count(self._collection, count_filter=within, exact=True).count

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
    from qdrant_client.local.qdrant_local import QdrantLocal
    from qdrant_client.models import Distance, HnswConfigDiff, KeywordIndexParams, KeywordIndexType, VectorParams

    client.create_collection(
        collection,
        vectors_config=VectorParams(size=dimensions, distance=Distance.COSINE),
        hnsw_config=HnswConfigDiff(m=0, payload_m=16),
    )
    if isinstance(client._client, QdrantLocal):  # local mode keeps no payload index and warns when asked for one
        return
    for field, is_tenant in ((IDENTITY_FIELD, True), (DOCUMENTS_FIELD, False)):
        schema = KeywordIndexParams(type=KeywordIndexType.KEYWORD, is_tenant=is_tenant)
        client.create_payload_index(collection, field, field_schema=schema)


def _where(field: str, value: str) -> Filter:
    return _all_of({field: value})


def _all_of(wanted: Mapping[str, str]) -> Filter:
    from qdrant_client.models import FieldCondition, Filter, MatchValue

    return Filter(must=[FieldCondition(key=field, match=MatchValue(value=value)) for field, value in wanted.items()])


@contextmanager
def _translated(collection: str) -> Iterator[None]:
    """Turn the client's and the transport's exceptions into ours."""
    try:
        yield
    except (StoreError, MissingExtraError):
        raise
    except Exception as error:
        raise StoreError(f"the Qdrant collection {collection!r} failed: {error}") from error
