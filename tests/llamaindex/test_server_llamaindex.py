"""The local Messages-API server, through LlamaIndex's unmodified Anthropic LLM."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import pytest
from llama_index.core.llms import CachePoint, ChatMessage, TextBlock
from llama_index.core.tools import FunctionTool
from llama_index.llms.anthropic import Anthropic

from costkit.ledger.usage import Usage
from costkit.testing import Fault, MessagesServer, WordCounter

MODEL = "claude-sonnet-4-5"
LONG = " ".join(["policy"] * 2000)


def answer(request: dict[str, object]) -> object:
    """Call the tool if there is one."""
    return (
        [{"type": "tool_use", "name": "days_off", "input": {"year": 2026}}]
        if request.get("tools")
        else "twenty five days"
    )


def days_off(year: int) -> str:
    """Look up the days off."""
    return f"25 in {year}"


@pytest.fixture
def server() -> Iterator[MessagesServer]:
    with MessagesServer(counter=WordCounter(), answer=answer) as running:
        yield running


@pytest.fixture
def llm(server: MessagesServer) -> Anthropic:
    return Anthropic(model=MODEL, base_url=server.url, api_key="key", max_retries=0, max_tokens=100)


def asked(text: str = "how many days") -> list[ChatMessage]:
    return [ChatMessage(role="user", content=text)]


def cached() -> list[ChatMessage]:
    point = CachePoint(cache_control={"type": "ephemeral", "ttl": "1h"})
    return [ChatMessage(role="user", blocks=[TextBlock(text=LONG), point, TextBlock(text="how many days")])]


def test_complete_and_chat(llm: Anthropic, server: MessagesServer) -> None:
    assert llm.complete("how many days").text == "twenty five days"
    assert llm.chat(asked()).message.content == "twenty five days"
    assert server.requests[0].usage == Usage(uncached_input_tokens=3, output_tokens=3)


async def test_async_chat(llm: Anthropic) -> None:
    assert (await llm.achat(asked())).message.content == "twenty five days"


def test_stream(llm: Anthropic) -> None:
    pieces = list(llm.stream_chat(asked()))
    assert pieces[-1].message.content == "twenty five days"
    assert len(pieces) > 1


async def test_async_stream(llm: Anthropic) -> None:
    pieces = [piece async for piece in await llm.astream_chat(asked())]
    assert pieces[-1].message.content == "twenty five days"


def test_cache_points_are_billed_and_reported(llm: Anthropic, server: MessagesServer) -> None:
    first, second = llm.chat(cached()), llm.chat(cached())
    billed = [Usage.from_anthropic(one.raw["usage"].model_dump()) for one in (first, second)]
    assert billed == [one.usage for one in server.requests]
    assert server.requests[0].usage.cache_write_1h_tokens == 2000
    assert server.requests[1].usage.cache_read_tokens == 2000


def test_tools(llm: Anthropic) -> None:
    response = llm.chat_with_tools([FunctionTool.from_defaults(days_off)], user_msg="how many days")
    (call,) = llm.get_tool_calls_from_response(response)
    assert (call.tool_name, call.tool_kwargs) == ("days_off", {"year": 2026})


def test_streamed_tools(llm: Anthropic) -> None:
    pieces = list(llm.stream_chat_with_tools([FunctionTool.from_defaults(days_off)], user_msg="how many days"))
    (call,) = llm.get_tool_calls_from_response(pieces[-1])
    assert call.tool_kwargs == {"year": 2026}


def test_errors_reach_the_caller() -> None:
    with MessagesServer(counter=WordCounter(), faults=[Fault(status=529)]) as server:
        llm = Anthropic(model=MODEL, base_url=server.url, api_key="key", max_retries=0)
        with pytest.raises(anthropic.APIStatusError) as caught:
            llm.chat(asked())
        assert caught.value.status_code == 529


def test_rate_limit_is_retried() -> None:
    faults = [Fault(status=429, retry_after_seconds=0.01)]
    with MessagesServer(counter=WordCounter(), faults=faults) as server:
        llm = Anthropic(model=MODEL, base_url=server.url, api_key="key", max_retries=1)
        assert llm.chat(asked()).message.content
        assert [request.status for request in server.requests] == [429, 200]
