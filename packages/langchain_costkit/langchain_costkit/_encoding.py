"""Answers as JSON text and back: strings, messages, documents and dicts or lists of them, and nothing else.

Every container is a list that begins with its kind, so that no stored data can be mistaken for a message or a
document. Never pickle: an entry is data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, message_to_dict, messages_from_dict
from langchain_core.messages.utils import message_chunk_to_message
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables.utils import AddableDict

from costkit.cache import doors
from costkit.errors import DataError
from costkit.ledger.calls import is_unfinished

# Facts about one call to the provider, untrue of a replay.
_OF_THE_CALL = ("id", "usage", "token_usage", "headers", "costkit")


def encode(value: object) -> str:
    """Return an answer as JSON text.

    Raises:
        DataError: It holds a value of another type.
    """
    try:
        return json.dumps(_packed(value), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DataError(f"an answer cannot be kept, since it has no JSON form: {error}") from None


def decode(text: str) -> object:
    """Return the answer that ``encode`` wrote, newly made."""
    return _unpacked(json.loads(text))


def encode_generations(generations: Sequence[Generation]) -> str:
    """Return a model's generations as JSON text."""
    return encode(
        [
            {"message": one.message, "info": one.generation_info}
            if isinstance(one, ChatGeneration)
            else {"text": one.text, "info": one.generation_info}
            for one in generations
        ]
    )


def decode_generations(text: str, *, mark: Mapping[str, object]) -> list[Generation]:
    """Return the generations that ``encode_generations`` wrote, their messages marked as a hit."""
    generations: list[Generation] = []
    for one in cast("list[dict[str, Any]]", decode(text)):
        if "message" in one:
            message = cast("BaseMessage", marked(one["message"], mark))
            generations.append(ChatGeneration(message=message, generation_info=one["info"]))
        else:
            generations.append(Generation(text=one["text"], generation_info=one["info"]))
    return generations


def marked(answer: object, mark: Mapping[str, object]) -> object:
    """Return ``answer`` with ``response_metadata["costkit"]`` set if it is a message, or holds one as ``answer``."""
    if isinstance(answer, AIMessage):
        return answer.model_copy(update={"response_metadata": {**answer.response_metadata, "costkit": dict(mark)}})
    if isinstance(answer, dict) and isinstance(answer.get("answer"), AIMessage):
        return {**answer, "answer": marked(answer["answer"], mark)}
    return answer


def in_words(answer: object) -> str:
    """Return what a cached answer says: a text, a message's text, or what a dict holds under ``answer``."""
    if isinstance(answer, Mapping):
        answer = answer.get("answer", "")
    return str(answer.text) if isinstance(answer, BaseMessage) else str(answer)


def is_complete(answer: object) -> bool:
    """True for a whole, non-empty answer in words: not a tool call, a refusal or an answer cut by its length."""
    if isinstance(answer, str):
        return bool(answer.strip())
    if isinstance(answer, AIMessage):
        return bool(str(answer.text).strip()) and not answer.tool_calls and not stopped_early(answer)
    if isinstance(answer, Mapping):
        return is_complete(answer.get("answer"))
    return False


def stopped_early(message: BaseMessage) -> bool:
    """True if the provider says that the model was cut short or declined."""
    facts = message.response_metadata
    return is_unfinished(facts.get("stop_reason") or facts.get("finish_reason"))


def whole(chunk: object) -> object:
    """Return the sum of a stream's chunks as the value that ``invoke`` would have returned."""
    if isinstance(chunk, AIMessageChunk):
        return message_chunk_to_message(chunk)
    if isinstance(chunk, Mapping):
        return {key: whole(item) for key, item in chunk.items()}
    return chunk


def pieces(answer: object) -> Iterator[object]:
    """Yield a kept answer as a stream's chunks, whose sum is the answer."""
    if isinstance(answer, str):
        yield from doors.pieces(answer)
    elif isinstance(answer, AIMessage):
        yield from _message_pieces(answer)
    elif isinstance(answer, Mapping):
        for key, item in answer.items():
            parts = pieces(item) if key == "answer" else iter([item])
            yield from (AddableDict({key: part}) for part in parts)
    else:
        yield answer


def _message_pieces(message: AIMessage) -> Iterator[AIMessageChunk]:
    if isinstance(message.content, str):
        yield from (AIMessageChunk(content=part) for part in doors.pieces(message.content))
        content: Any = ""
    else:
        content = message.content  # blocks have no natural pieces
    fields = message.model_dump(include={"additional_kwargs", "response_metadata", "usage_metadata", "name"})
    yield AIMessageChunk(content=content, chunk_position="last", **fields)


def _packed(value: object) -> object:
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, BaseMessage):
        return ["message", message_to_dict(_detached(value))]
    if isinstance(value, Document):
        return ["document", value.page_content, _packed(value.metadata), value.id]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return ["dict", {key: _packed(item) for key, item in value.items()}]
    if isinstance(value, (list, tuple)):
        return ["list", *(_packed(item) for item in value)]
    raise TypeError(f"it holds a {type(value).__name__}; only text, numbers, messages and documents are kept")


def _unpacked(value: object) -> object:
    if not isinstance(value, list):
        return value
    kind, *rest = value
    if kind == "message":
        return messages_from_dict(rest)[0]
    if kind == "document":
        content, metadata, document_id = rest
        return Document(page_content=content, metadata=cast("dict[str, Any]", _unpacked(metadata)), id=document_id)
    if kind == "dict":
        return {key: _unpacked(item) for key, item in rest[0].items()}
    return [_unpacked(item) for item in rest]


def _detached(message: BaseMessage) -> BaseMessage:
    """Return a copy without what belongs to the one call that made it: its id and its usage."""
    facts = {key: item for key, item in message.response_metadata.items() if key not in _OF_THE_CALL}
    update: dict[str, object] = {"id": None, "response_metadata": facts}
    if isinstance(message, AIMessage) and message.usage_metadata is not None:
        update["usage_metadata"] = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    return message.model_copy(update=update)
