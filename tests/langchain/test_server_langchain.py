"""The local Messages-API server, through LangChain's unmodified ChatAnthropic."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool

from costkit.ledger.usage import Usage
from costkit.testing import Fault, MessagesServer, WordCounter

MODEL = "claude-opus-5-5"
LONG = " ".join(["policy"] * 1000)


def answer(request: dict[str, object]) -> object:
    """Call the tool if there is one and it has not been called yet."""
    if request.get("tools") and len(request["messages"]) == 1:
        return [{"type": "tool_use", "name": "days_off", "input": {"year": 2026}}]
    return "twenty five days"


@tool
def days_off(year: int) -> str:
    """Look up the days off."""
    return f"25 in {year}"


@pytest.fixture
def server() -> Iterator[MessagesServer]:
    with MessagesServer(counter=WordCounter(), answer=answer) as running:
        yield running


@pytest.fixture
def model(server: MessagesServer) -> ChatAnthropic:
    return ChatAnthropic(model=MODEL, base_url=server.url, api_key="key", max_retries=0, max_tokens=100)


def prompt(ttl: str = "5m") -> list[object]:
    marked = {"type": "text", "text": LONG, "cache_control": {"type": "ephemeral", "ttl": ttl}}
    return [SystemMessage(content=[marked]), HumanMessage("how many days")]


def test_invoke(model: ChatAnthropic) -> None:
    message = model.invoke("how many days")
    assert message.text == "twenty five days"
    assert message.response_metadata["stop_reason"] == "end_turn"
    assert Usage.from_langchain(message.usage_metadata) == Usage(uncached_input_tokens=3, output_tokens=3)


async def test_ainvoke(model: ChatAnthropic) -> None:
    assert (await model.ainvoke("how many days")).text == "twenty five days"


@pytest.mark.parametrize("ttl", ["5m", "1h"])
def test_cache_marks_are_billed_and_reported(model: ChatAnthropic, server: MessagesServer, ttl: str) -> None:
    first, second = (model.invoke(prompt(ttl)) for _ in range(2))
    assert [Usage.from_langchain(one.usage_metadata) for one in (first, second)] == [
        one.usage for one in server.requests
    ]
    assert server.requests[0].usage.cache_write_tokens == 1000
    assert server.requests[1].usage.cache_read_tokens == 1000


def test_stream_and_its_usage(model: ChatAnthropic, server: MessagesServer) -> None:
    model.invoke(prompt())
    chunks = list(model.stream(prompt()))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.text == "twenty five days"
    assert len(chunks) > 2
    assert Usage.from_langchain(whole.usage_metadata) == server.requests[1].usage


async def test_astream(model: ChatAnthropic) -> None:
    assert "".join([chunk.text async for chunk in model.astream("how many days")]) == "twenty five days"


def test_tools(model: ChatAnthropic) -> None:
    bound = model.bind_tools([days_off])
    first = bound.invoke("how many days")
    (call,) = first.tool_calls
    assert (call["name"], call["args"]) == ("days_off", {"year": 2026})
    result = ToolMessage(days_off.invoke(call["args"]), tool_call_id=call["id"])
    assert bound.invoke([HumanMessage("how many days"), first, result]).text == "twenty five days"


def test_streamed_tools(model: ChatAnthropic) -> None:
    chunks = list(model.bind_tools([days_off]).stream("how many days"))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == [("days_off", {"year": 2026})]


def test_stop_sequences_and_max_tokens(model: ChatAnthropic) -> None:
    stopped = model.invoke("how many days", stop=[" five"])
    assert (stopped.text, stopped.response_metadata["stop_reason"]) == ("twenty", "stop_sequence")
    cut = model.invoke("how many days", max_tokens=1)
    assert cut.response_metadata["stop_reason"] == "max_tokens"


def test_errors_reach_the_caller() -> None:
    with MessagesServer(counter=WordCounter(), faults=[Fault(status=429)]) as server:
        model = ChatAnthropic(model=MODEL, base_url=server.url, api_key="key", max_retries=0)
        with pytest.raises(anthropic.RateLimitError):
            model.invoke("hi")
        with pytest.raises(anthropic.BadRequestError, match="maximum of 4 blocks"):
            model.invoke([SystemMessage(content=prompt()[0].content * 5), HumanMessage("hi")])


def test_rate_limit_is_retried() -> None:
    faults = [Fault(status=429, retry_after_seconds=0.01)]
    with MessagesServer(counter=WordCounter(), faults=faults) as server:
        model = ChatAnthropic(model=MODEL, base_url=server.url, api_key="key", max_retries=1)
        assert model.invoke("hi").text
        assert [request.status for request in server.requests] == [429, 200]


def test_tokens_are_counted_by_the_server(model: ChatAnthropic) -> None:
    assert model.get_num_tokens_from_messages([HumanMessage("how many days")]) == 3
