"""Which part of a chain's input is the question, and the rest as plain JSON values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    convert_to_messages,
)
from langchain_core.prompt_values import PromptValue

from costkit.cache import Conversation
from costkit.errors import ConfigurationError

QUESTION_KEYS = ("question", "input", "query")
# Names under which chains are given what was said before, whatever its form; message lists are found under any name.
HISTORY_KEYS = ("chat_history", "history", "messages")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question and everything else its answer depends on.

    Attributes:
        question: The question alone.
        inputs: All other input but the conversation, as plain JSON values where it has such a form.
        conversation: What was said before the question, and its rewrite if one came along.
    """

    question: str
    inputs: Mapping[str, object] = field(default_factory=dict)
    conversation: Conversation = field(default_factory=Conversation)


def asked_by(value: object, *, question_key: str | None, standalone_key: str | None = None) -> Asked:
    """Find the question in the input of a runnable.

    Args:
        value: A string, a message list, a prompt value or a mapping.
        question_key: The mapping's key that holds the question. Default: the first of ``question``, ``input``,
            ``query``, else the last human message under ``messages``.
        standalone_key: The mapping's key that holds the question rewritten to stand alone.

    Raises:
        ConfigurationError: There is no question in ``value``, or the rewrite is no text.
    """
    if isinstance(value, Mapping):
        return _in_mapping(value, question_key, standalone_key)
    found = _in_plain(value)
    if found is None:
        raise ConfigurationError(
            f"the input, a {type(value).__name__}, holds no question; pass a string, messages or a mapping with 'question'"
        )
    return Asked(
        question=found.question, inputs=found.beside, conversation=_conversation(found.before, unread=found.images)
    )


def _in_mapping(value: Mapping[str, object], question_key: str | None, standalone_key: str | None) -> Asked:
    keys = (question_key,) if question_key is not None else (*QUESTION_KEYS, "messages")
    key = next((key for key in keys if key in value), None)
    found = None if key is None else _in_plain(value[key])
    if key is None or found is None:
        raise ConfigurationError(
            f"the input has keys {sorted(map(str, value))} and no question in {keys}; set question_key="
        )
    standalone = None if standalone_key is None else value.get(standalone_key)
    if not isinstance(standalone, str | None):
        raise ConfigurationError(
            f"standalone_key={standalone_key!r} holds {standalone!r}; put the rewrite there as text"
        )
    others = {name: item for name, item in value.items() if name not in (key, standalone_key)}
    histories = [others.pop(name) for name in list(others) if _is_history(name, others[name])]
    read = [_messages(item) for item in histories]
    before = _without(found.question, [message for messages in read for message in messages or ()])
    unread = [plain(item) for item, messages in zip(histories, read, strict=True) if messages is None]
    return Asked(
        question=found.question,
        inputs={"rest": plain(others), "history": found.beside, "system": plain(_instructions(before))},
        conversation=_conversation([*before, *found.before], unread=[*unread, *found.images], standalone=standalone),
    )


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A question, the messages before it, what else its message holds, and all of its list that is no conversation."""

    question: str
    before: Sequence[BaseMessage] = ()
    images: Sequence[object] = ()
    beside: Mapping[str, object] = field(default_factory=dict)


def _in_plain(value: object) -> _Found | None:
    if isinstance(value, str):
        return _Found(question=value)
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
    images = beside_text(last.content)
    asked = {**_marks(last), "content": images}
    beside = {"system": plain(_instructions(messages[:at])), "asked": asked, "after": plain(messages[at + 1 :])}
    return _Found(question=str(last.text), before=messages[:at], images=images, beside=beside)


# --- the conversation ------------------------------------------------------------------------------------------------


_SPOKEN = re.compile(r"^(Human|AI): ", re.MULTILINE)  # as LangChain writes messages into one text


def _conversation(
    before: Sequence[BaseMessage], *, unread: Sequence[object] = (), standalone: str | None = None
) -> Conversation:
    """Return what was said before a question; system messages are instructions and no part of it."""
    said = [message for message in before if not isinstance(message, SystemMessage)]
    in_words = all(
        isinstance(one, HumanMessage | AIMessage) and not _calls(one) and not beside_text(one.content) for one in said
    )
    asked = [str(message.text) for message in said if isinstance(message, HumanMessage)]
    return Conversation(
        whole=[*map(plain, said), *unread], asked=asked if in_words and not unread else None, standalone=standalone
    )


def _instructions(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    return [message for message in messages if isinstance(message, SystemMessage)]


def _is_history(name: str, value: object) -> bool:
    listed = isinstance(value, (list, tuple)) and any(isinstance(item, BaseMessage) for item in value)
    return listed or name in HISTORY_KEYS


def _messages(value: object) -> list[BaseMessage] | None:
    """Return a history as messages, or None where it has another form."""
    if isinstance(value, str):
        start, *parts = _SPOKEN.split(value)
        turns = [(who.lower(), said.strip()) for who, said in zip(parts[::2], parts[1::2], strict=True)]
        return None if start.strip() else convert_to_messages(turns)
    if not value:
        return []
    try:
        return convert_to_messages(value) if isinstance(value, list | tuple) else None
    except (ValueError, NotImplementedError, TypeError):
        return None


def _without(question: str, history: list[BaseMessage]) -> list[BaseMessage]:
    """Return a history without the question, which graphs append before it is answered."""
    last = history[-1] if history else None
    return history[:-1] if isinstance(last, HumanMessage) and str(last.text) == question else history


# --- messages as plain values ----------------------------------------------------------------------------------------


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
