"""Prompt-cache breakpoints in LangChain: ``prompt = CacheBreakpointPromptTemplate.from_prompt(prompt)``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.prompts import (
    BasePromptTemplate,
    ChatPromptTemplate,
    HumanMessagePromptTemplate,
    MessagesPlaceholder,
    PromptTemplate,
    StringPromptTemplate,
)
from langchain_core.prompts.chat import MessageLike

from costkit.errors import ConfigurationError
from costkit.prompt import Placement, Stability, Ttl, cache_control
from costkit.prompt.template import check_stability, cut, least_stable, place_texts, takes_breakpoints

__all__ = ["CacheBreakpointPromptTemplate"]


class CacheBreakpointPromptTemplate(ChatPromptTemplate):
    """A chat prompt that marks its stable beginning for Anthropic's prompt cache.

    Text that stands in the template is stable, a history of messages lasts for its session, and what a variable fills
    in is new every time. A mark stands at the end of each stable beginning that is long enough to be cached; a prompt
    without one, or with marks of your own, comes out as the plain template would.

    Make one with ``from_prompt``.

    Attributes:
        model: The Claude model that will be asked. None marks from the smallest minimum of any model; a mark on a
            prefix that is too short for a model costs nothing. For another provider's model nothing is marked.
        stability: How long the value of a variable stays the same, for variables that are not new every time.
        ttl: Lifetime of marks by stability. Default: five minutes.
    """

    model: str | None = None
    stability: dict[str, Stability] = {}  # noqa: RUF012  pydantic copies it for each instance
    ttl: dict[Stability, Ttl | None] | None = None

    @classmethod
    def from_prompt(
        cls,
        prompt: BasePromptTemplate[Any],
        *,
        model: str | None = None,
        stability: Mapping[str, Stability] | None = None,
        ttl: Mapping[Stability, Ttl | None] | None = None,
    ) -> CacheBreakpointPromptTemplate:
        """Make one from a chat prompt, or from a text prompt as the human message.

        Args:
            prompt: The prompt. It is not changed.
            model: The model that will be asked. Default: unknown.
            stability: How long a variable's value stays the same: ``static``, ``daily``, ``session`` or ``turn``.
                Default: ``session`` for placeholders of messages and ``turn`` for all else.
            ttl: Lifetime of marks by stability; None for no mark. Default: five minutes.

        Raises:
            ConfigurationError: The prompt is of another kind, or ``stability`` names no variable of it.
        """
        if isinstance(prompt, StringPromptTemplate):
            prompt = ChatPromptTemplate(
                [HumanMessagePromptTemplate(prompt=prompt)], partial_variables=prompt.partial_variables
            )
        if not isinstance(prompt, ChatPromptTemplate):
            raise ConfigurationError(f"prompt must be a chat or text prompt template, got {type(prompt).__name__}")
        known = {*prompt.input_variables, *prompt.partial_variables, *prompt.optional_variables}
        check_stability(stability or {}, known)
        fields = {name: value for name, value in prompt.__dict__.items() if name not in ("model", "stability", "ttl")}
        return cls(**fields, model=model, stability=dict(stability or {}), ttl=None if ttl is None else dict(ttl))

    @classmethod
    def get_lc_namespace(cls) -> list[str]:
        """Return this module's path: the parent's path names a module that this class is not in."""
        return cls.__module__.split(".")

    def __add__(self, other: Any) -> ChatPromptTemplate:
        """Append messages; the result marks its stable beginning too."""
        joined = super().__add__(other)
        return type(self).from_prompt(joined, model=self.model, stability=self.stability, ttl=self.ttl)

    def format_messages(self, **kwargs: Any) -> list[BaseMessage]:
        """Return the messages of the prompt, the stable beginning marked."""
        values = self._merge_partial_and_user_variables(**kwargs)
        return self._marked([(one, _formatted(one, values)) for one in self.messages], values)

    async def aformat_messages(self, **kwargs: Any) -> list[BaseMessage]:
        """Do what ``format_messages`` does, for templates that format asynchronously."""
        values = self._merge_partial_and_user_variables(**kwargs)
        return self._marked([(one, await _aformatted(one, values)) for one in self.messages], values)

    def _marked(
        self, formatted: Sequence[tuple[MessageLike, list[BaseMessage]]], values: Mapping[str, Any]
    ) -> list[BaseMessage]:
        messages = [message for _, made in formatted for message in made]
        if has_marks(messages) or (self.model is not None and not takes_breakpoints(self.model)):
            return messages
        # A value fixed by partial() is the same in every request, unless a function computes it.
        fixed = {name: "static" for name, value in self.partial_variables.items() if not callable(value)}
        stability: dict[str, Stability] = {**fixed, **self.stability}  # type: ignore[dict-item]
        pieces = [_pieces(source, message, values, stability) for source, made in formatted for message in made]
        return mark(messages, pieces, model=self.model, ttl=self.ttl)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A stretch of a message that is equally stable.

    Attributes:
        text: Its text.
        stability: How long it stays the same.
        block: Which content block of the message it is; None in a message of plain text.
    """

    text: str
    stability: Stability
    block: int | None = None


def mark(
    messages: Sequence[BaseMessage],
    pieces: Sequence[Sequence[Piece]],
    *,
    model: str | None,
    ttl: Mapping[Stability, Ttl | None] | None = None,
) -> list[BaseMessage]:
    """Return the messages with cache breakpoints where they pay; messages without one are the very same objects.

    Args:
        messages: The messages.
        pieces: The pieces of each.
        model: The model that will be asked, if known.
        ttl: Lifetime of marks by stability. Default: five minutes.
    """
    placed = iter(place_texts([(one.text, one.stability) for of in pieces for one in of], model=model, ttl=ttl))
    return [_with_marks(message, of, [next(placed) for _ in of]) for message, of in zip(messages, pieces, strict=True)]


def has_marks(messages: Sequence[BaseMessage]) -> bool:
    """True if a block carries a cache breakpoint already."""
    return any(
        isinstance(block, dict) and "cache_control" in block
        for message in messages
        if isinstance(message.content, list)
        for block in message.content
    )


def pieces_of(message: BaseMessage, stability: Stability) -> list[Piece]:
    """Return a message that is equally stable throughout as pieces, one per text block."""
    if isinstance(message.content, str):
        return [Piece(text=message.content, stability=stability)]
    return [Piece(text=_text(block), stability=stability, block=at) for at, block in enumerate(message.content)]


def _with_marks(message: BaseMessage, pieces: Sequence[Piece], placements: Sequence[Placement]) -> BaseMessage:
    marks = [None if one.ttl is None else cache_control(one.ttl) for one in placements]
    if not any(marks) or not isinstance(message, (SystemMessage, HumanMessage, AIMessage)):
        return message
    content: list[str | dict[str, Any]] = []
    for piece, made in zip(pieces, marks, strict=True):
        given = {"type": "text", "text": piece.text} if piece.block is None else message.content[piece.block]
        block = {"type": "text", "text": given} if isinstance(given, str) else dict(given)
        # Only text takes a mark everywhere; the provider refuses one on blank text.
        takes_mark = made is not None and block.get("type") == "text" and piece.text.strip()
        content.append({**block, "cache_control": made} if takes_mark else given)
    return message.model_copy(update={"content": content})


def _pieces(
    source: MessageLike, message: BaseMessage, values: Mapping[str, Any], stability: Mapping[str, Stability]
) -> list[Piece]:
    if isinstance(source, BaseMessage):
        return pieces_of(message, "static")
    if isinstance(source, MessagesPlaceholder):
        return pieces_of(message, stability.get(source.variable_name, "session"))
    templates = getattr(source, "prompt", None)
    if isinstance(templates, PromptTemplate) and isinstance(message.content, str):
        return _split(templates, message.content, values, stability)
    if isinstance(templates, list) and len(templates) == len(message.content):
        worst = [least_stable(template.input_variables, stability) for template in templates]
        return [Piece(text=_text(b), stability=worst[at], block=at) for at, b in enumerate(message.content)]
    return pieces_of(message, least_stable(source.input_variables, stability))


def _split(
    template: PromptTemplate, text: str, values: Mapping[str, Any], stability: Mapping[str, Stability]
) -> list[Piece]:
    """Cut a filled text where it becomes less stable."""
    if template.template_format != "f-string":
        return [Piece(text=text, stability=least_stable(template.input_variables, stability))]
    parts: list[tuple[str, Stability]] = []
    for literal, name, spec, conversion in Formatter().parse(template.template):
        parts.append((literal, "static"))
        if name is not None:
            slot = f"{{{name}{'!' + conversion if conversion else ''}{':' + spec if spec else ''}}}"
            value = slot.format(**{**template.partial_variables, **values})
            parts.append((value, least_stable([name], stability)))
    return [Piece(text=text, stability=how) for text, how in cut(parts, text)]


def _text(block: str | dict[str, Any]) -> str:
    return block if isinstance(block, str) else str(block.get("text") or "")


def _formatted(source: MessageLike, values: Mapping[str, Any]) -> list[BaseMessage]:
    return [source] if isinstance(source, BaseMessage) else source.format_messages(**values)


async def _aformatted(source: MessageLike, values: Mapping[str, Any]) -> list[BaseMessage]:
    return [source] if isinstance(source, BaseMessage) else await source.aformat_messages(**values)
