"""A small HTTP server that speaks the part of Qdrant's REST interface that costkit uses, over qdrant-client's local mode.

It shows that requests and answers fit the wire, and it can hang, be slow, refuse, and come back. It says nothing of
how a real server filters, orders or replicates.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import TypeAdapter
from qdrant_client import QdrantClient, models

FOUND: dict[str, Any] = {"title": "qdrant", "version": "1.20.0", "commit": "0"}


class QdrantRest:
    """The server, on a free port of this machine.

    Attributes:
        delay_seconds: What every request takes longer.
        requests: How many have come.
        asked: Their methods and paths.
        broken: Calls that fail, such as ``POST points/payload``.
    """

    def __init__(self) -> None:
        self.delay_seconds = 0.0
        self.requests = 0
        self.asked: list[str] = []
        self.broken: set[str] = set()
        self._store = QdrantClient(":memory:")
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._released.set()
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen, on the port of before."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), _handler(self))
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections."""
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def hang(self) -> None:
        """Take requests, and answer none of them until ``release``."""
        self._released.clear()

    def release(self) -> None:
        """Answer again."""
        self._released.set()

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, object]:
        """Return the status and the result of one request."""
        self.requests += 1
        self.asked.append(f"{method} {path}")
        time.sleep(self.delay_seconds)
        self._released.wait()
        if path == "/":
            return 200, None
        _, _, collection, *rest = path.split("?")[0].split("/")
        call = _CALLS.get((method, "/".join(rest)))
        if call is None or f"{method} {'/'.join(rest)}" in self.broken:
            return 500, None
        with self._lock:
            try:
                return 200, call(self._store, collection, body)
            except (KeyError, ValueError) as error:
                return 404, str(error)


def _handler(rest: QdrantRest) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            status, result = rest.answer(self.command, self.path, json.loads(body) if body else {})
            answer = FOUND if self.path == "/" else {"result": result, "status": "ok", "time": 0.0}
            packed = json.dumps(answer).encode()
            try:
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(packed)))
                self.end_headers()
                self.wfile.write(packed)
            except BrokenPipeError:
                pass  # the client no longer waited

        do_GET = do_PUT = do_POST = do_DELETE = _reply  # noqa: N815  the base class's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
            """Say nothing."""

    return Handler


def _read(kind: Any, value: Any) -> Any:
    return None if value is None else TypeAdapter(kind).validate_python(value)


def _plain(value: Any) -> Any:
    return TypeAdapter(Any).dump_python(value, mode="json")


def _create(store: QdrantClient, name: str, body: dict[str, Any]) -> bool:
    return store.create_collection(name, vectors_config=_read(models.VectorParams, body["vectors"]))


def _upsert(store: QdrantClient, name: str, body: dict[str, Any]) -> Any:
    return _plain(store.upsert(name, [models.PointStruct(**one) for one in body["points"]]))


def _retrieve(store: QdrantClient, name: str, body: dict[str, Any]) -> Any:
    return _plain(store.retrieve(name, body["ids"], with_payload=body["with_payload"], with_vectors=False))


def _query(store: QdrantClient, name: str, body: dict[str, Any]) -> Any:
    where = _read(models.Filter, body["filter"])
    return _plain(store.query_points(name, query=body["query"]["nearest"], query_filter=where, limit=body["limit"]))


def _scroll(store: QdrantClient, name: str, body: dict[str, Any]) -> Any:
    records, offset = store.scroll(
        name,
        scroll_filter=_read(models.Filter, body["filter"]),
        limit=body["limit"],
        order_by=_read(models.OrderBy, body.get("order_by")),
        offset=body.get("offset"),
        with_vectors=body["with_vector"],
    )
    return {"points": _plain(records), "next_page_offset": offset}


def _delete(store: QdrantClient, name: str, body: dict[str, Any]) -> Any:
    selector = models.PointIdsList(**body) if "points" in body else models.FilterSelector(**body)
    return _plain(store.delete(name, selector))


def _count(store: QdrantClient, name: str, body: dict[str, Any]) -> Any:
    return _plain(store.count(name, count_filter=_read(models.Filter, body["filter"]), exact=body["exact"]))


def _set_payload(store: QdrantClient, name: str, body: dict[str, Any]) -> Any:
    return _plain(store.set_payload(name, payload=body["payload"], points=body["points"]))


_CALLS: dict[tuple[str, str], Callable[[QdrantClient, str, dict[str, Any]], Any]] = {
    ("GET", "exists"): lambda store, name, _: {"exists": store.collection_exists(name)},
    ("GET", ""): lambda store, name, _: _plain(store.get_collection(name)),
    ("PUT", ""): _create,
    ("PUT", "index"): lambda *_: {"operation_id": 0, "status": "completed"},
    ("PUT", "points"): _upsert,
    ("POST", "points"): _retrieve,
    ("POST", "points/query"): _query,
    ("POST", "points/scroll"): _scroll,
    ("POST", "points/delete"): _delete,
    ("POST", "points/count"): _count,
    ("POST", "points/payload"): _set_payload,
}


@pytest.fixture
def qdrant_rest() -> Iterator[QdrantRest]:
    server = QdrantRest()
    yield server
    server.stop()
