"""The HTTP side of the local server: one thread per connection, JSON or server-sent events, and a clean stop."""

from __future__ import annotations

import json
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["HttpServer", "Reply"]

_logger = logging.getLogger("costkit.testing")


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What to send back.

    Attributes:
        status: HTTP status.
        headers: Headers beyond those of the body's type and length.
        body: The JSON body, where nothing is streamed.
        stream: Server-sent events, each with its ``type``, or None for a plain body.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, object] = field(default_factory=dict)
    stream: Iterable[Mapping[str, object]] | None = None


Respond = Callable[[str, Mapping[str, str], bytes], Reply]


class HttpServer(ThreadingHTTPServer):
    """Listens on a free port of 127.0.0.1 and answers every POST with ``respond(path, headers, body)``."""

    daemon_threads = True

    def __init__(self, respond: Respond) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.respond = respond
        self._open: set[socket.socket] = set()
        self._stopping = False
        self._guard = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), name="costkit-messages", daemon=True)

    def start(self) -> None:
        """Begin to accept connections."""
        self._thread.start()

    def stop(self) -> None:
        """Stop accepting, end every open connection and free the port."""
        self.shutdown()
        self._thread.join()
        with self._guard:
            self._stopping = True
            for connection in self._open:
                _end(connection)
        self.server_close()

    def opened(self, connection: socket.socket) -> None:
        """Remember a connection, so that ``stop`` can end it."""
        with self._guard:
            self._open.add(connection)
            if self._stopping:
                _end(connection)

    def closed(self, connection: socket.socket) -> None:
        """Forget a connection."""
        with self._guard:
            self._open.discard(connection)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002  the signature is the base's
        """Log what a connection died of, unless the client left or the server stopped."""
        error = sys.exception()
        level = logging.DEBUG if isinstance(error, OSError) else logging.ERROR
        _logger.log(level, "connection from %s ended with an error", client_address, exc_info=error)


def _end(connection: socket.socket) -> None:
    with suppress(OSError):  # the client may have left in this moment
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # the delayed acknowledgements it waits for cost 40 ms per small write
    server: HttpServer

    def setup(self) -> None:
        super().setup()
        self.server.opened(self.connection)

    def finish(self) -> None:
        self.server.closed(self.connection)
        super().finish()

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.server.respond(self.path.partition("?")[0], headers, raw)
        if reply.stream is None:
            self._send_json(reply)
        else:
            self._send_stream(reply, reply.stream)

    def do_GET(self) -> None:
        self.do_POST()

    def _send_json(self, reply: Reply) -> None:
        payload = json.dumps(reply.body, ensure_ascii=False).encode()
        self._send_head(reply, {"content-type": "application/json", "content-length": str(len(payload))})
        self.wfile.write(payload)

    def _send_stream(self, reply: Reply, stream: Iterable[Mapping[str, object]]) -> None:
        self._send_head(reply, {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"})
        for event in stream:
            chunk = f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")

    def _send_head(self, reply: Reply, own: Mapping[str, str]) -> None:
        self.send_response(reply.status)
        # Framework clients pool connections and are rarely closed in tests, which then warn of open sockets.
        for name, value in {**own, **reply.headers, "connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the base class's
        _logger.debug(format, *args)
