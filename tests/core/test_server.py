"""The local Messages-API server, through the unmodified anthropic SDK."""

from __future__ import annotations

import json
import socket
import struct
import threading
import urllib.request
from collections.abc import Iterator
from urllib.error import HTTPError, URLError

import anthropic
import pytest

from costkit.errors import ConfigurationError
from costkit.ledger.usage import Usage
from costkit.testing import Fault, FixedClock, MessagesServer, WordCounter

MODEL = "claude-opus-5-5"
LONG = " ".join(["policy"] * 1000)
SYSTEM = [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}]
QUESTION = [{"role": "user", "content": "how many days"}]
SEARCH = {
    "name": "search",
    "description": "finds",
    "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}},
}


def served(**options: object) -> MessagesServer:
    return MessagesServer(counter=WordCounter(), **options)


def client(server: MessagesServer, **options: object) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.url, **{"api_key": "key", "max_retries": 0, **options})


@pytest.fixture
def server() -> Iterator[MessagesServer]:
    with served(answer=lambda request: "twenty five days in total") as running:
        yield running


class TestAnswers:
    def test_text_answer_and_usage(self, server: MessagesServer) -> None:
        with client(server) as sdk:
            message = sdk.messages.create(model=MODEL, max_tokens=100, messages=QUESTION)
        assert message.content[0].text == "twenty five days in total"
        assert (message.stop_reason, message.model, message.role) == ("end_turn", MODEL, "assistant")
        assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 5)

    def test_answer_sees_the_request(self) -> None:
        with served(answer=lambda request: f"{request['model']} {request['messages'][0]['content']}") as server:
            with client(server) as sdk:
                message = sdk.messages.create(model=MODEL, max_tokens=100, messages=QUESTION)
            assert message.content[0].text == f"{MODEL} how many days"

    def test_default_answer_and_default_counter_need_nothing(self) -> None:
        with MessagesServer() as server, client(server) as sdk:
            message = sdk.messages.create(model=MODEL, max_tokens=100, messages=QUESTION)
        assert message.content[0].text
        assert message.usage.input_tokens > 0

    def test_max_tokens_cuts_the_text(self, server: MessagesServer) -> None:
        with client(server) as sdk:
            message = sdk.messages.create(model=MODEL, max_tokens=2, messages=QUESTION)
        assert message.content[0].text.split() == ["twenty", "five"]
        assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 2)

    def test_first_stop_sequence_cuts_the_text(self, server: MessagesServer) -> None:
        with client(server) as sdk:
            message = sdk.messages.create(
                model=MODEL, max_tokens=9, messages=QUESTION, stop_sequences=["total", " days"]
            )
        assert message.content[0].text == "twenty five"
        assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", " days")

    def test_max_tokens_before_a_stop_sequence_wins(self, server: MessagesServer) -> None:
        with client(server) as sdk:
            message = sdk.messages.create(model=MODEL, max_tokens=1, messages=QUESTION, stop_sequences=["total"])
        assert (message.stop_reason, message.stop_sequence) == ("max_tokens", None)

    def test_stop_sequence_at_the_start_leaves_no_content(self, server: MessagesServer) -> None:
        with client(server) as sdk:
            message = sdk.messages.create(model=MODEL, max_tokens=9, messages=QUESTION, stop_sequences=["twenty"])
        assert (message.content, message.stop_reason) == ([], "stop_sequence")

    def test_prewarm_writes_the_cache_and_answers_nothing(self, server: MessagesServer) -> None:
        with client(server) as sdk:
            warm = sdk.messages.create(
                model=MODEL, max_tokens=0, system=SYSTEM, messages=[{"role": "user", "content": "w"}]
            )
            real = sdk.messages.create(model=MODEL, max_tokens=9, system=SYSTEM, messages=QUESTION)
        assert (warm.content, warm.stop_reason, warm.usage.output_tokens) == ([], "max_tokens", 0)
        assert warm.usage.cache_creation_input_tokens == 1000
        assert real.usage.cache_read_input_tokens == 1000

    def test_count_tokens(self, server: MessagesServer) -> None:
        with client(server) as sdk:
            counted = sdk.messages.count_tokens(model=MODEL, system=LONG, messages=QUESTION)
        assert counted.input_tokens == 1003

    async def test_async_client(self, server: MessagesServer) -> None:
        async with anthropic.AsyncAnthropic(base_url=server.url, api_key="key", max_retries=0) as sdk:
            message = await sdk.messages.create(model=MODEL, max_tokens=100, messages=QUESTION)
        assert message.content[0].text == "twenty five days in total"


class TestTools:
    CALL = ({"type": "text", "text": "let me look"}, {"type": "tool_use", "name": "search", "input": {"q": "days off"}})

    def test_tool_use_and_its_result(self) -> None:
        def answer(request: dict[str, object]) -> object:
            return self.CALL if len(request["messages"]) == 1 else "found"

        with served(answer=answer) as server, client(server) as sdk:
            first = sdk.messages.create(model=MODEL, max_tokens=100, messages=QUESTION, tools=[SEARCH])
            assert first.stop_reason == "tool_use"
            use = first.content[1]
            assert (use.name, use.input) == ("search", {"q": "days off"})
            result = {"type": "tool_result", "tool_use_id": use.id, "content": "twenty"}
            talk = [*QUESTION, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
            second = sdk.messages.create(model=MODEL, max_tokens=100, messages=talk, tools=[SEARCH])
            assert second.content[0].text == "found"

    def test_a_tool_use_that_does_not_fit_is_left_out(self) -> None:
        with served(answer=lambda request: self.CALL) as server, client(server) as sdk:
            message = sdk.messages.create(model=MODEL, max_tokens=4, messages=QUESTION, tools=[SEARCH])
        assert [block.type for block in message.content] == ["text"]
        assert message.stop_reason == "max_tokens"

    def test_streamed_tool_use(self) -> None:
        with (
            served(answer=lambda request: self.CALL) as server,
            client(server) as sdk,
            sdk.messages.stream(model=MODEL, max_tokens=100, messages=QUESTION, tools=[SEARCH]) as stream,
        ):
            final = stream.get_final_message()
        assert final.content[1].input == {"q": "days off"}
        assert final.stop_reason == "tool_use"


class TestStreaming:
    def test_events_come_in_the_providers_order_with_usage_where_it_belongs(self, server: MessagesServer) -> None:
        with client(server) as sdk:
            stream = sdk.messages.create(model=MODEL, max_tokens=100, system=SYSTEM, messages=QUESTION, stream=True)
            events = list(stream)
        kinds = [event.type for event in events]
        assert kinds[:2] == ["message_start", "content_block_start"]  # the SDK swallows the ping between them
        assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
        assert set(kinds[2:-3]) == {"content_block_delta"}
        start, delta = events[0].message.usage, events[-2].usage
        assert start.cache_creation.ephemeral_5m_input_tokens == start.cache_creation_input_tokens == 1000
        assert (start.input_tokens, start.output_tokens) == (3, 1)
        assert (delta.input_tokens, delta.output_tokens, delta.cache_creation_input_tokens) == (3, 5, 1000)
        assert "cache_creation" not in delta.model_fields_set

    def test_streamed_text_is_the_answer(self, server: MessagesServer) -> None:
        with (
            client(server) as sdk,
            sdk.messages.stream(model=MODEL, max_tokens=100, messages=QUESTION) as stream,
        ):
            pieces = list(stream.text_stream)
        assert "".join(pieces) == "twenty five days in total"
        assert len(pieces) > 1

    def test_every_character_survives_streaming(self) -> None:
        awkward = "  two  spaces\n\n- a list\n\ttabs, ünïcödé \u2028 and the end \n"
        with (
            served(answer=lambda request: awkward) as server,
            client(server) as sdk,
            sdk.messages.stream(model=MODEL, max_tokens=100, messages=QUESTION) as stream,
        ):
            assert stream.get_final_text() == awkward

    def test_streamed_thinking(self) -> None:
        thought = [
            {"type": "redacted_thinking", "data": "x"},
            {"type": "thinking", "thinking": "step by step", "signature": "sig"},
            {"type": "text", "text": "so"},
        ]
        with (
            served(answer=lambda request: thought) as server,
            client(server) as sdk,
            sdk.messages.stream(model=MODEL, max_tokens=100, messages=QUESTION) as stream,
        ):
            final = stream.get_final_message()
        assert (final.content[1].thinking, final.content[1].signature) == ("step by step", "sig")
        assert (final.content[0].data, final.content[2].text) == ("x", "so")

    def test_a_client_that_leaves_early_is_billed(self, server: MessagesServer) -> None:
        with client(server) as sdk:
            stream = sdk.messages.create(model=MODEL, max_tokens=100, messages=QUESTION, stream=True)
            next(iter(stream))
            stream.close()
        assert server.requests[0].usage == Usage(uncached_input_tokens=3, output_tokens=5)


class TestPromptCache:
    def test_write_read_and_expiry_follow_the_clock(self) -> None:
        clock = FixedClock()
        with served(clock=clock) as server, client(server) as sdk:
            usages = []
            for seconds in (0, 100, 300):
                clock.advance(seconds)
                usages.append(sdk.messages.create(model=MODEL, max_tokens=9, system=SYSTEM, messages=QUESTION).usage)
        assert [usage.cache_creation_input_tokens for usage in usages] == [1000, 0, 1000]
        assert [usage.cache_read_input_tokens for usage in usages] == [0, 1000, 0]
        assert [usage.input_tokens for usage in usages] == [3, 3, 3]

    def test_one_hour_writes_are_split_out(self, server: MessagesServer) -> None:
        hour = [SYSTEM[0] | {"cache_control": {"type": "ephemeral", "ttl": "1h"}}]
        with client(server) as sdk:
            usage = sdk.messages.create(model=MODEL, max_tokens=9, system=hour, messages=QUESTION).usage
        assert usage.cache_creation.ephemeral_1h_input_tokens == 1000
        assert usage.cache_creation.ephemeral_5m_input_tokens == 0
        assert Usage.from_anthropic(usage.model_dump()) == server.requests[0].usage

    def test_each_api_key_is_a_workspace(self, server: MessagesServer) -> None:
        for key in ("red", "blue"):
            with client(server, api_key=key) as sdk:
                usage = sdk.messages.create(model=MODEL, max_tokens=9, system=SYSTEM, messages=QUESTION).usage
            assert usage.cache_read_input_tokens == 0

    def test_parallel_cold_requests_all_write(self) -> None:
        """No entry can be read before the response that writes it has begun."""
        together = threading.Barrier(3)

        def answer(request: dict[str, object]) -> str:
            together.wait(timeout=30)
            return "done"

        with served(answer=answer) as server, client(server) as sdk:
            threads = [
                threading.Thread(
                    target=sdk.messages.create,
                    kwargs={"model": MODEL, "max_tokens": 9, "system": SYSTEM, "messages": QUESTION},
                )
                for _ in range(3)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert [request.usage.cache_write_5m_tokens for request in server.requests] == [1000] * 3

    def test_minimums_can_be_overridden(self) -> None:
        with served(minimums={"mine": 2}) as server, client(server) as sdk:
            automatic = {"cache_control": {"type": "ephemeral"}}
            usage = sdk.messages.create(model="mine", max_tokens=9, messages=QUESTION, extra_body=automatic).usage
        assert usage.cache_creation_input_tokens == 3

    def test_marks_are_explained(self, server: MessagesServer) -> None:
        with client(server) as sdk:
            sdk.messages.create(model=MODEL, max_tokens=9, system=SYSTEM, messages=QUESTION)
        (mark,) = server.requests[0].marks
        assert (mark.path, mark.outcome) == ("system.0", "written")


class TestErrors:
    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"system": [SYSTEM[0]] * 5}, "A maximum of 4 blocks with cache_control may be provided. Found 5."),
            ({"messages": []}, "at least one message is required"),
            ({"messages": [{"role": "robot", "content": "hi"}]}, "messages.0.role"),
            ({"messages": [{"role": "user", "content": ""}]}, "text content blocks must be non-empty"),
            ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
            ({"max_tokens": -1}, "max_tokens"),
            ({"max_tokens": 0, "stream": True}, "max_tokens: 0"),
            ({"stop_sequences": [" "]}, "stop_sequences"),
            ({"tools": [{"description": "nameless"}]}, "tools.0.name"),
            ({"tools": [SEARCH, SEARCH]}, "Tool names must be unique"),
            (
                {
                    "messages": [
                        *QUESTION,
                        {
                            "role": "assistant",
                            "content": [{"type": "tool_use", "id": "t1", "name": "search", "input": {}}],
                        },
                    ]
                },
                "`tool_use` ids were found without `tool_result` blocks immediately after: t1",
            ),
            (
                {
                    "messages": [
                        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t9", "content": "x"}]}
                    ]
                },
                "unexpected `tool_use_id` found in `tool_result` blocks: t9",
            ),
        ],
    )
    def test_invalid_requests_are_status_400(self, server: MessagesServer, wrong: dict, message: str) -> None:
        request = {"model": MODEL, "max_tokens": 9, "messages": QUESTION} | wrong
        with client(server) as sdk, pytest.raises(anthropic.BadRequestError) as caught:
            sdk.messages.create(**request)
        assert caught.value.body["type"] == "error"
        assert caught.value.body["error"]["type"] == "invalid_request_error"
        assert message in caught.value.body["error"]["message"]
        assert server.requests[0].status == 400
        assert message in server.requests[0].error

    @pytest.mark.parametrize(
        ("body", "message"),
        [(b"{", "not valid JSON"), (b"[]", "JSON object"), (b'{"model": "m"}', "max_tokens: Field required")],
    )
    def test_broken_bodies_are_status_400(self, server: MessagesServer, body: bytes, message: str) -> None:
        request = urllib.request.Request(f"{server.url}/v1/messages", data=body, headers={"x-api-key": "k"})
        with pytest.raises(HTTPError) as caught:
            urllib.request.urlopen(request)
        with caught.value as response:
            answer = json.load(response)
            assert response.status == 400
            assert answer["request_id"] == response.headers["request-id"]
        assert message in answer["error"]["message"]

    @pytest.mark.parametrize("headers", [{}, {"x-api-key": ""}, {"authorization": "Bearer "}])
    def test_a_missing_or_blank_key_is_status_401(self, server: MessagesServer, headers: dict[str, str]) -> None:
        with pytest.raises(HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(f"{server.url}/v1/messages", data=b"{}", headers=headers))
        with caught.value as response:
            assert response.status == 401
            assert json.load(response)["error"] == {"type": "authentication_error", "message": "invalid x-api-key"}

    def test_bearer_token_is_accepted(self, server: MessagesServer) -> None:
        with client(server, api_key=None, auth_token="token") as sdk:
            assert sdk.messages.create(model=MODEL, max_tokens=9, messages=QUESTION).content

    def test_unknown_path_is_status_404(self, server: MessagesServer) -> None:
        with client(server) as sdk, pytest.raises(anthropic.NotFoundError):
            sdk.models.list()

    def test_429_with_retry_after_is_retried_by_the_sdk(self) -> None:
        faults = [Fault(status=429, retry_after_seconds=0.01), Fault(status=529, retry_after_seconds=0.01)]
        with served(faults=faults) as server, client(server, max_retries=2) as sdk:
            assert sdk.messages.create(model=MODEL, max_tokens=9, messages=QUESTION).content
            assert [request.status for request in server.requests] == [429, 529, 200]
            assert server.requests[0].usage is None

    def test_429_and_529_reach_a_client_without_retries(self) -> None:
        faults = [Fault(status=429, retry_after_seconds=7), None, Fault(status=529, message="try later")]
        with served(faults=faults) as server, client(server) as sdk:
            with pytest.raises(anthropic.RateLimitError) as limited:
                sdk.messages.create(model=MODEL, max_tokens=9, messages=QUESTION)
            assert limited.value.response.headers["retry-after"] == "7"
            assert sdk.messages.create(model=MODEL, max_tokens=9, messages=QUESTION).content
            with pytest.raises(anthropic.APIStatusError) as overloaded:
                sdk.messages.create(model=MODEL, max_tokens=9, messages=QUESTION)
            assert overloaded.value.status_code == 529
            assert overloaded.value.body["error"] == {"type": "overloaded_error", "message": "try later"}

    def test_failed_requests_write_no_cache(self) -> None:
        calls = []

        def answer(request: dict[str, object]) -> str:
            calls.append(request)
            if len(calls) == 1:
                raise RuntimeError("no model here")
            return "fine"

        with served(answer=answer) as server, client(server) as sdk:
            with pytest.raises(anthropic.InternalServerError, match="no model here"):
                sdk.messages.create(model=MODEL, max_tokens=9, system=SYSTEM, messages=QUESTION)
            usage = sdk.messages.create(model=MODEL, max_tokens=9, system=SYSTEM, messages=QUESTION).usage
        assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (0, 1000)

    def test_unknown_fault_status_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match=r"Fault.status must be one of .* got 418"):
            Fault(status=418)


class TestLife:
    def test_credentials_are_not_kept(self, server: MessagesServer) -> None:
        with client(server, api_key="secret-key") as sdk:
            sdk.messages.create(model=MODEL, max_tokens=9, messages=QUESTION)
        assert "secret-key" not in repr(server.requests)

    def test_listens_on_the_loopback_address_and_frees_its_port(self) -> None:
        with served() as server:
            url = server.url
            assert url.startswith("http://127.0.0.1:")
        with pytest.raises(ConfigurationError, match="inside `with`"):
            _ = server.url
        with pytest.raises(URLError):
            urllib.request.urlopen(url)

    def test_a_client_that_resets_its_connection_disturbs_nobody(self, caplog: pytest.LogCaptureFixture) -> None:
        body = json.dumps({"model": MODEL, "max_tokens": 10**6, "stream": True, "messages": QUESTION}).encode()
        head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: k\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        with served(answer=lambda request: "word " * 50_000) as server:
            with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as raw:
                raw.sendall(head + body)
                raw.recv(100)
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with client(server) as sdk:
                assert sdk.messages.create(model=MODEL, max_tokens=9, messages=QUESTION).content
        assert not [record for record in caplog.records if record.levelname == "ERROR"]

    def test_stopping_ends_an_idle_connection(self) -> None:
        with served() as server:
            raw = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))
            with client(server) as sdk:  # answered after the idle connection was accepted
                sdk.messages.create(model=MODEL, max_tokens=9, messages=QUESTION)
        with raw:
            raw.settimeout(30)
            assert raw.recv(1) == b""

    def test_stops_with_connections_still_open(self) -> None:
        with served() as server:
            sdk = client(server)
            sdk.messages.create(model=MODEL, max_tokens=9, messages=QUESTION)
        sdk.close()
