"""Anthropic's Messages API on the wire: what a request may hold, how an answer is cut to it, and the streamed events.

Sources: https://platform.claude.com/docs/en/api/messages, .../api/errors and .../build-with-claude/streaming. Error
texts follow the provider's, so that code which reads them can be tested.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from costkit.errors import ConfigurationError
from costkit.ledger.usage import Usage

if TYPE_CHECKING:
    from costkit.tokens import TokenCounter

__all__ = ["ERROR_TYPES", "Composition", "compose", "error_body", "events", "message_body", "validate", "wire_usage"]

# Status -> the provider's error type and a text for it.
ERROR_TYPES: Mapping[int, tuple[str, str]] = {
    400: ("invalid_request_error", "The request is invalid."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "There is an issue with your billing or payment information."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "Not found."),
    413: ("request_too_large", "Request exceeds the maximum allowed number of bytes."),
    429: ("rate_limit_error", "This request would exceed your rate limit. Please try again later."),
    500: ("api_error", "Internal server error"),
    504: ("timeout_error", "The request timed out while processing."),
    529: ("overloaded_error", "Overloaded"),
}

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]


@dataclass(frozen=True, kw_only=True)
class Composition:
    """An answer as the provider would return it.

    Attributes:
        content: Its content blocks, cut to ``max_tokens`` and to the stop sequences.
        stop_reason: Why it ends.
        stop_sequence: The sequence that ended it, if one did.
        output_tokens: Its tokens.
    """

    content: tuple[Mapping[str, object], ...]
    stop_reason: StopReason
    stop_sequence: str | None
    output_tokens: int


def validate(request: Mapping[str, object], *, count_only: bool = False) -> None:
    """Check a request as the provider does before it looks at the cache marks.

    Args:
        request: The request's body.
        count_only: True for ``/v1/messages/count_tokens``, which takes no ``max_tokens``.

    Raises:
        ConfigurationError: The provider would refuse it with status 400; the message is the one it gives.
    """
    _check_fields(request, count_only=count_only)
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ConfigurationError(
            "messages: Field required" if messages is None else "messages: at least one message is required"
        )
    for number, message in enumerate(messages):
        role = message.get("role") if isinstance(message, Mapping) else None
        if role not in ("user", "assistant", "system"):
            raise ConfigurationError(
                f"messages.{number}.role: Input should be 'user', 'assistant' or 'system', got {role!r}"
            )
        if any(_is_blank_text(block) for block in _blocks(message)):
            raise ConfigurationError("messages: text content blocks must be non-empty")
    _check_tool_pairs(messages)


def _check_fields(request: Mapping[str, object], *, count_only: bool) -> None:
    limit = request.get("max_tokens")
    if limit is None and not count_only:
        raise ConfigurationError("max_tokens: Field required")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        raise ConfigurationError(f"max_tokens: Input should be a whole number of 0 or more, got {limit!r}")
    stops = request.get("stop_sequences") or []
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop.strip() for stop in stops):
        raise ConfigurationError("stop_sequences: each stop sequence must contain non-whitespace")
    tools = request.get("tools") or []
    names = [tool.get("name") for tool in tools if isinstance(tool, Mapping)] if isinstance(tools, list) else [None]
    if not all(isinstance(name, str) and name for name in names):
        raise ConfigurationError("tools.0.name: Field required")
    if len(set(names)) < len(names):
        raise ConfigurationError("tools: Tool names must be unique.")


def _check_tool_pairs(messages: Sequence[Mapping[str, object]]) -> None:
    """Every tool use is answered in the next turn, and every tool result answers one in the turn before."""
    talk = [message for message in messages if message["role"] != "system"]
    turns = [
        [block for one in turn for block in _blocks(one)] for _, turn in groupby(talk, key=lambda one: one["role"])
    ]
    for number, turn in enumerate(turns):
        before = turns[number - 1] if number else []
        after = turns[number + 1] if number + 1 < len(turns) else []
        missing = _ids(turn, "tool_use", "id") - _ids(after, "tool_result", "tool_use_id")
        if missing:
            raise ConfigurationError(
                f"messages.{number}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(sorted(missing))}. Each `tool_use` block must have a corresponding `tool_result` block in "
                "the next message."
            )
        unexpected = _ids(turn, "tool_result", "tool_use_id") - _ids(before, "tool_use", "id")
        if unexpected:
            raise ConfigurationError(
                f"messages.{number}: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{', '.join(sorted(unexpected))}. Each `tool_result` block must have a corresponding `tool_use` block "
                "in the previous message."
            )


def _ids(blocks: Sequence[Mapping[str, object]], kind: str, key: str) -> set[str]:
    return {str(block.get(key)) for block in blocks if block.get("type") == kind}


def _blocks(message: Mapping[str, object]) -> list[Mapping[str, object]]:
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in content if isinstance(block, Mapping)] if isinstance(content, list) else []


def _is_blank_text(block: Mapping[str, object]) -> bool:
    return block.get("type") == "text" and not block.get("text")


def compose(
    answer: str | Sequence[Mapping[str, object]],
    request: Mapping[str, object],
    *,
    counter: TokenCounter,
    new_id: Callable[[], str],
) -> Composition:
    """Turn an answer into content blocks that respect the request's ``max_tokens`` and stop sequences.

    Args:
        answer: The text, or the content blocks.
        request: The request's body.
        counter: Counts output tokens.
        new_id: Names tool uses that came without an id.
    """
    limit = request.get("max_tokens")
    room = limit if isinstance(limit, int) else 0
    content: list[Mapping[str, object]] = []
    reason: StopReason = "end_turn"
    stop_sequence, used = None, 0
    for block in [{"type": "text", "text": answer}] if isinstance(answer, str) else answer:
        whole, stop_sequence = _until_stop(block, request.get("stop_sequences"))
        part = _fit(whole, room - used, counter)
        if not _is_blank_text(part):
            content.append({"id": new_id(), **part} if part.get("type") == "tool_use" else part)
            used += counter.count(_output(part))
        if part is not whole:
            reason, stop_sequence = "max_tokens", None
            break
        if stop_sequence is not None:
            reason = "stop_sequence"
            break
        if part.get("type") == "tool_use":
            reason = "tool_use"
    return Composition(content=tuple(content), stop_reason=reason, stop_sequence=stop_sequence, output_tokens=used)


def _until_stop(block: Mapping[str, object], stops: object) -> tuple[Mapping[str, object], str | None]:
    """Cut a text block at the first stop sequence in it; the sequence itself is not part of the answer."""
    text = block.get("text")
    if block.get("type") != "text" or not isinstance(text, str) or not isinstance(stops, list):
        return block, None
    found = min(((text.find(stop), stop) for stop in stops if stop in text), default=None)
    return (block, None) if found is None else ({**block, "text": text[: found[0]]}, found[1])


def _fit(block: Mapping[str, object], room: int, counter: TokenCounter) -> Mapping[str, object]:
    """Return the block itself if it has at most ``room`` tokens, else the part of its text that fits."""
    if counter.count(_output(block)) <= room:
        return block
    text = str(block.get("text", "")) if block.get("type") == "text" else ""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if counter.count(text[:middle]) <= room else (low, middle - 1)
    return {"type": "text", "text": text[:low]}


def _output(block: Mapping[str, object]) -> str:
    """Return what the model had to write for a block."""
    if block.get("type") == "tool_use":
        return f"{block.get('name')} {json.dumps(block.get('input') or {}, ensure_ascii=False)}"
    return str(block.get("text") or block.get("thinking") or "")


def wire_usage(usage: Usage) -> dict[str, object]:
    """Return ``usage`` as the provider's usage object, with cache writes split by lifetime."""
    return {
        "input_tokens": usage.uncached_input_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_5m_tokens,
            "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
        },
        "output_tokens": usage.output_tokens,
        "service_tier": "standard",
    }


def message_body(composed: Composition, *, message_id: str, model: object, usage: Usage) -> dict[str, object]:
    """Return the provider's message object."""
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": list(composed.content),
        "stop_reason": composed.stop_reason,
        "stop_sequence": composed.stop_sequence,
        "usage": wire_usage(usage),
    }


def error_body(status: int, message: str, *, request_id: str) -> dict[str, object]:
    """Return the provider's error object for ``status``."""
    kind = ERROR_TYPES.get(status, ERROR_TYPES[500])[0]
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}


def events(message: Mapping[str, object], usage: Usage) -> Iterator[Mapping[str, object]]:
    """Yield the events that stream ``message``.

    As the provider does, ``message_start`` carries the whole usage with the first output token, and ``message_delta``
    cumulative counts without the split of writes by lifetime.
    """
    billed = wire_usage(usage)
    content = message["content"]
    empty: dict[str, object] = {"content": [], "stop_reason": None, "stop_sequence": None}
    yield {"type": "message_start", "message": {**message, **empty, "usage": {**billed, "output_tokens": 1}}}
    yield {"type": "ping"}
    for index, block in enumerate(content if isinstance(content, list) else []):
        start, deltas = _streamed(block)
        yield {"type": "content_block_start", "index": index, "content_block": start}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    ending = {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"]}
    totals = {name: count for name, count in billed.items() if name not in ("cache_creation", "service_tier")}
    yield {"type": "message_delta", "delta": ending, "usage": totals}
    yield {"type": "message_stop"}


def _streamed(block: Mapping[str, object]) -> tuple[Mapping[str, object], list[Mapping[str, object]]]:
    """Return the block that opens a streamed one, and the deltas that fill it."""
    kind = block.get("type")
    if kind == "text":
        return {**block, "text": ""}, [{"type": "text_delta", "text": part} for part in _parts(block.get("text"))]
    if kind == "tool_use":
        written = json.dumps(block.get("input") or {}, ensure_ascii=False)
        parts = [{"type": "input_json_delta", "partial_json": part} for part in ["", *_parts(written)]]
        return {**block, "input": {}}, list(parts)
    if kind == "thinking":
        thought = [{"type": "thinking_delta", "thinking": part} for part in _parts(block.get("thinking"))]
        signed = {"type": "signature_delta", "signature": block.get("signature") or ""}
        return {**block, "thinking": "", "signature": ""}, [*thought, signed]
    return block, []


def _parts(text: object) -> list[str]:
    return re.findall(r"\s*\S+\s*$|\s*\S+|\s+", str(text or ""))
