"""Which part of a chain's input is the question, and the rest as plain JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.prompt_values import PromptValue

from costkit.errors import ConfigurationError

QUESTION_KEYS = ("question", "input", "query")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question and everything else its answer depends on.

    Attributes:
        question: The question alone.
        inputs: All other input, as plain JSON values where it has such a form.
    """

    question: str
    inputs: Mapping[str, object] = field(default_factory=dict)


def asked_by(value: object, *, question_key: str | None) -> Asked:
    """Find the question in the input of a runnable.

    Args:
        value: A string, a message list, a prompt value or a mapping.
        question_key: The mapping's key that holds the question. Default: the first of ``question``, ``input``,
            ``query``, else the last human message under ``messages``.

    Raises:
        ConfigurationError: There is no question in ``value``.
    """
    if isinstance(value, Mapping):
        return _in_mapping(value, question_key)
    asked = _in_plain(value)
    if asked is None:
        raise ConfigurationError(
            f"the input, a {type(value).__name__}, holds no question; pass a string, messages or a mapping with 'question'"
        )
    return asked


def _in_mapping(value: Mapping[str, object], question_key: str | None) -> Asked:
    keys = (question_key,) if question_key is not None else (*QUESTION_KEYS, "messages")
    key = next((key for key in keys if key in value), None)
    asked = None if key is None else _in_plain(value[key])
    if key is None or asked is None:
        raise ConfigurationError(
            f"the input has keys {sorted(map(str, value))} and no question in {keys}; set question_key="
        )
    others = {name: plain(item) for name, item in value.items() if name != key}
    return Asked(question=asked.question, inputs={"rest": others, "history": asked.inputs})


def _in_plain(value: object) -> Asked | None:
    if isinstance(value, str):
        return Asked(question=value)
    if isinstance(value, BaseMessage):
        value = [value]
    if isinstance(value, PromptValue):
        value = value.to_messages()
    if not isinstance(value, Sequence) or not all(isinstance(message, BaseMessage) for message in value):
        return None
    messages: list[BaseMessage] = list(value)
    at = last_human(messages)
    if at is None:
        return None
    last = messages[at]
    beside = {**_marks(last), "content": beside_text(last.content)}
    around = {"before": plain(messages[:at]), "asked": beside, "after": plain(messages[at + 1 :])}
    return Asked(question=str(last.text), inputs=around)


def beside_text(content: str | list[str | dict[str, Any]]) -> list[object]:
    """Return the blocks of a question that are no text, such as images, with the places of its text.

    Text between other blocks is told word for word, for it says which block is which.
    """
    if isinstance(content, str) or all(map(_is_text, content)):
        return []
    one_text = sum(map(_is_text, content)) == 1
    return [(None if one_text else _text(block)) if _is_text(block) else block for block in content]


def _is_text(block: str | dict[str, Any]) -> bool:
    return isinstance(block, str) or block.get("type") == "text"


def _text(block: str | dict[str, Any]) -> object:
    return block if isinstance(block, str) else block.get("text")


def last_human(messages: Sequence[BaseMessage]) -> int | None:
    """Return the position of the last human message, or None."""
    return next((at for at in reversed(range(len(messages))) if isinstance(messages[at], HumanMessage)), None)


def plain(value: object) -> object:
    """Return messages and documents as plain values, without their ids; all else as it is."""
    if isinstance(value, BaseMessage):
        return {"message": value.type, "content": value.content, **_marks(value), **_calls(value)}
    if isinstance(value, Document):
        return {"document": value.page_content, "metadata": value.metadata}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _marks(message: BaseMessage) -> dict[str, object]:
    """Return what a message says beside its content; on an answer, extra fields are the provider's own notes."""
    extra = {} if isinstance(message, AIMessage) else plain(message.additional_kwargs)
    return {"name": message.name, "extra": extra}


def _calls(message: BaseMessage) -> dict[str, object]:
    calls = getattr(message, "tool_calls", None)
    return {"tool_calls": [{"name": call["name"], "args": call["args"]} for call in calls]} if calls else {}
