"""A local server that speaks Anthropic's Messages API, with answers of your own and prompt caching as documented.

    with MessagesServer(answer=lambda request: "42") as server:
        client = anthropic.Anthropic(base_url=server.url, api_key="any", max_retries=0)

It listens on 127.0.0.1 only. Prompt-cache accounting is ``costkit.prompt.simulate``, the module that planning uses, so
what a test sees billed here is what the provider's documentation says. Each API key is a workspace of its own.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING

from costkit.errors import ConfigurationError, CostkitError
from costkit.ledger.usage import Usage
from costkit.prompt.simulate import MarkReport, PromptCache
from costkit.testing._http import HttpServer, Reply
from costkit.testing._wire import ERROR_TYPES, Composition, compose, error_body, events, message_body, validate

if TYPE_CHECKING:
    from costkit.tokens import TokenCounter

__all__ = ["Answer", "Fault", "MessagesServer", "ReceivedRequest"]

Answer = Callable[[dict[str, object]], "str | Sequence[Mapping[str, object]]"]

MESSAGES = "/v1/messages"
COUNT_TOKENS = "/v1/messages/count_tokens"

_logger = logging.getLogger("costkit.testing")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """An error that the server answers with instead of a message.

    Attributes:
        status: HTTP status the provider uses: 400, 401, 402, 403, 404, 413, 429, 500, 504 or 529.
        message: Its text. Default: the provider's for that status.
        retry_after_seconds: Value of the ``retry-after`` header, or None for none.
    """

    status: int
    message: str = ""
    retry_after_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.status not in ERROR_TYPES:
            raise ConfigurationError(f"Fault.status must be one of {sorted(ERROR_TYPES)}, got {self.status!r}")


@dataclass(frozen=True, kw_only=True)
class ReceivedRequest:
    """One request the server saw.

    Attributes:
        path: Its path.
        body: Its JSON body; empty if it was no JSON object.
        headers: Its headers, lower-cased, without credentials.
        status: The status it was answered with.
        error: The message of the error it was answered with, or an empty text.
        usage: What it was billed, for a message that was answered.
        marks: What became of its cache marks.
    """

    path: str
    body: Mapping[str, object]
    headers: Mapping[str, str]
    status: int
    error: str = ""
    usage: Usage | None = None
    marks: tuple[MarkReport, ...] = ()


class MessagesServer:
    """Serves ``/v1/messages`` and ``/v1/messages/count_tokens`` while the ``with`` block lasts.

    Args:
        answer: Called with each request's body, from the thread that serves it; returns the text of the answer or its
            content blocks (``text``, ``tool_use``, ``thinking``). What it returns is cut to the request's
            ``max_tokens`` and stop sequences. If it raises, the client gets status 500. Default: a greeting.
        counter: Counts input and output tokens. Default: ``costkit.tokens.default_counter()``.
        minimums: Shortest cached prefix in tokens by model id, over the published table.
        clock: Seconds for the prompt cache's lifetimes.
        faults: Taken one per request to ``/v1/messages``, in order: an error to answer with, or None to let the
            request through. When they run out, every request goes through.

    Raises:
        ConfigurationError: A minimum is no whole number of tokens.
    """

    def __init__(
        self,
        answer: Answer | None = None,
        *,
        counter: TokenCounter | None = None,
        minimums: Mapping[str, int] | None = None,
        clock: Callable[[], float] = time.time,
        faults: Iterable[Fault | None] = (),
    ) -> None:
        if counter is None:
            from costkit.tokens import default_counter  # loads its tables only when nothing else counts

            counter = default_counter()
        self._answer = answer or _greet
        self._counter = counter
        self._cache = PromptCache(counter=counter, minimums=minimums)
        self._clock = clock
        self._faults = iter(faults)
        self._received: list[ReceivedRequest] = []
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._http: HttpServer | None = None

    @property
    def url(self) -> str:
        """Base URL to give to a client.

        Raises:
            ConfigurationError: The server is not running.
        """
        if self._http is None:
            raise ConfigurationError("MessagesServer.url is known while the server runs: use it inside `with`")
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The requests answered so far, in that order."""
        with self._lock:
            return list(self._received)

    def __enter__(self) -> MessagesServer:
        self._http = HttpServer(self._respond)
        self._http.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._http is not None:
            self._http.stop()
            self._http = None

    def _respond(self, path: str, headers: Mapping[str, str], raw: bytes) -> Reply:
        """Answer one request and keep a record of it."""
        request_id = self._new_id("req")
        body: dict[str, object] = {}
        try:
            self._admit(path, headers)
            body = _parsed(raw)
            reply, record = self._count(body) if path == COUNT_TOKENS else self._message(body, headers)
        except _Refusal as refusal:
            reply, record = self._refuse(refusal.fault, request_id)
        except ConfigurationError as error:
            reply, record = self._refuse(Fault(status=400, message=str(error)), request_id)
        seen = {name: value for name, value in headers.items() if name not in ("x-api-key", "authorization")}
        with self._lock:
            self._received.append(replace(record, path=path, body=body, headers=seen))
        return replace(reply, headers={**reply.headers, "request-id": request_id})

    def _admit(self, path: str, headers: Mapping[str, str]) -> None:
        if path not in (MESSAGES, COUNT_TOKENS):
            raise _Refusal(Fault(status=404))
        if not _api_key(headers):
            raise _Refusal(Fault(status=401))
        if path == MESSAGES:
            with self._lock:
                fault = next(self._faults, None)
            if fault is not None:
                raise _Refusal(fault)

    def _count(self, body: dict[str, object]) -> tuple[Reply, ReceivedRequest]:
        validate(body, count_only=True)
        return Reply(status=200, body={"input_tokens": self._cache.count(body)}), _EMPTY

    def _message(self, body: dict[str, object], headers: Mapping[str, str]) -> tuple[Reply, ReceivedRequest]:
        validate(body)
        charge = self._cache.open(body, at=self._clock(), workspace=_api_key(headers))
        composed = self._composed(body)
        self._cache.begin(charge, at=self._clock())
        usage = replace(charge.usage, output_tokens=composed.output_tokens)
        message = message_body(composed, message_id=self._new_id("msg"), model=body["model"], usage=usage)
        record = replace(_EMPTY, usage=usage, marks=charge.marks)
        if body.get("stream"):
            return Reply(status=200, stream=events(message, usage)), record
        return Reply(status=200, body=message), record

    def _composed(self, body: dict[str, object]) -> Composition:
        if body["max_tokens"] == 0:
            return Composition(content=(), stop_reason="max_tokens", stop_sequence=None, output_tokens=0)
        try:
            answer = self._answer(body)
            return compose(answer, body, counter=self._counter, new_id=lambda: self._new_id("toolu"))
        except Exception as error:
            _logger.exception("the answer function failed")
            raise _Refusal(Fault(status=500, message=f"the answer function raised {error!r}")) from error

    def _refuse(self, fault: Fault, request_id: str) -> tuple[Reply, ReceivedRequest]:
        message = fault.message or ERROR_TYPES[fault.status][1]
        wait = fault.retry_after_seconds
        reply = Reply(
            status=fault.status,
            headers={} if wait is None else {"retry-after": f"{wait:g}"},
            body=error_body(fault.status, message, request_id=request_id),
        )
        return reply, replace(_EMPTY, status=fault.status, error=message)

    def _new_id(self, kind: str) -> str:
        return f"{kind}_{next(self._numbers):024d}"


_EMPTY = ReceivedRequest(path="", body={}, headers={}, status=200)


class _Refusal(CostkitError):  # noqa: N818  ends one request, not the caller's program
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def _greet(request: dict[str, object]) -> str:  # noqa: ARG001  the signature is ``Answer``
    return "Hello from the local server."


def _api_key(headers: Mapping[str, str]) -> str:
    bearer = headers.get("authorization", "").removeprefix("Bearer")
    return headers.get("x-api-key", "").strip() or bearer.strip()


def _parsed(raw: bytes) -> dict[str, object]:
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise ConfigurationError(f"The request body is not valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise ConfigurationError(f"The request body must be a JSON object, got {body!r:.80}")
    return body
