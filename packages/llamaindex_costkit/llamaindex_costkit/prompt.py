"""Prompt-cache breakpoints in LlamaIndex: ``prompt = CacheBreakpointPromptTemplate.from_prompt(prompt)``."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.llms.generic_utils import messages_to_prompt as default_messages_to_prompt
from llama_index.core.base.llms.types import (
    CacheControl,
    CachePoint,
    ChatMessage,
    ContentBlock,
    MessageRole,
    TextBlock,
)
from llama_index.core.prompts import BasePromptTemplate, ChatPromptTemplate, PromptTemplate

from costkit.errors import ConfigurationError
from costkit.prompt import Placement, Stability, Ttl, minimum_tokens, place
from costkit.prompt.template import check_stability, cut, least_stable, place_texts, takes_breakpoints
from llamaindex_costkit._delegate import names_of

__all__ = ["CacheBreakpointPromptTemplate"]

# LlamaIndex's own notion of a variable in a template.
_SLOT = re.compile(r"\{([^{}]+)\}")

_log = logging.getLogger("costkit.prompt")


class CacheBreakpointPromptTemplate(ChatPromptTemplate):
    """A chat prompt that marks its stable beginning for Anthropic's prompt cache, as ``text_qa_template`` or alone.

    Text that stands in the template is stable, and what a variable fills in is new every time. A mark (LlamaIndex's
    ``CachePoint``) stands at the end of each stable beginning that is long enough to be cached. The prompt is filled
    as the plain template would be where it has marks of your own, and for models that are not Claude; behind a router
    all models must be Claude, and the largest minimum counts.

    LlamaIndex's Anthropic class turns a system message into one string and loses a ``CachePoint`` in it without a
    word. The mark therefore stands on the first fixed text of the user's message, whose prefix covers tools and system
    prompt as well. A user message that begins with a variable leaves no place for it: begin it with a fixed line,
    such as ``Context:``.

    LlamaIndex's context chat engines read the ``template`` of a prompt, which no chat prompt has: give them plain
    prompts. Make one with ``from_prompt``.

    Attributes:
        model: The Claude model that will be asked, where the prompt is filled without one at hand.
        stability: How long the value of a variable stays the same, for variables that are not new every time.
        ttl: Lifetime of marks by stability. Default: five minutes.
    """

    model: str | None = None
    stability: dict[str, Stability] = {}  # noqa: RUF012  # pydantic copies it for each instance
    ttl: dict[Stability, Ttl | None] | None = None

    @classmethod
    def from_prompt(
        cls,
        prompt: BasePromptTemplate,
        *,
        model: str | None = None,
        stability: Mapping[str, Stability] | None = None,
        ttl: Mapping[Stability, Ttl | None] | None = None,
    ) -> CacheBreakpointPromptTemplate:
        """Make one from a chat prompt, or from a text prompt as the user's message.

        Args:
            prompt: The prompt. It is not changed.
            model: The model that will be asked, where the prompt is filled without one at hand. In an engine the
                answering model is known and needs no mention.
            stability: How long a variable's value stays the same: ``static``, ``daily``, ``session`` or ``turn``.
                Default: ``static`` for variables that are filled already and ``turn`` for all else.
            ttl: Lifetime of marks by stability; None for no mark. Default: five minutes.

        Raises:
            ConfigurationError: The prompt is of another kind, or ``stability`` names no variable of it.
        """
        if not isinstance(prompt, (PromptTemplate, ChatPromptTemplate)):
            raise ConfigurationError(
                f"prompt must be a PromptTemplate or ChatPromptTemplate, got {type(prompt).__name__}; "
                "pass one of the templates it chooses from"
            )
        known = {*prompt.template_vars, *(prompt.template_var_mappings or {}).values()}
        check_stability(stability or {}, known)
        fixed: dict[str, Stability] = dict.fromkeys(prompt.kwargs, "static")
        lifetimes = None if ttl is None else dict(ttl)
        place([], ttl=lifetimes)  # a lifetime that cannot work is named here, not at the first question
        how: dict[str, Stability] = {**fixed, **(stability or {})}
        return cls.model_construct(**dict(_as_chat(prompt)), model=model, stability=how, ttl=lifetimes)

    def format(
        self,
        llm: BaseLLM | None = None,  # LlamaIndex's signature
        messages_to_prompt: Callable[[Sequence[ChatMessage]], str] | None = None,
        **kwargs: object,
    ) -> str:
        """Return the prompt as one text, which has no place for marks."""
        messages, _ = self._filled(kwargs)
        return (messages_to_prompt or default_messages_to_prompt)(messages)

    def format_messages(self, llm: BaseLLM | None = None, **kwargs: object) -> list[ChatMessage]:
        """Return the messages of the prompt, the stable beginning marked if a Claude model is to read them."""
        messages, values = self._filled(kwargs)
        models = names_of(llm) if llm is not None else () if self.model is None else (self.model,)
        if _has_marks(messages) or not all(map(takes_breakpoints, models)):
            return messages
        pieces = [
            _pieces(template, message, values, self.stability)
            for template, message in zip(self.message_templates, messages, strict=False)
        ]
        return _marked(messages, pieces, model=_most_demanding(models), ttl=self.ttl)

    def _filled(self, given: Mapping[str, object]) -> tuple[list[ChatMessage], Mapping[str, object]]:
        """Return the messages as the plain template fills them, and the values by the template's own names."""
        values = self._map_all_vars({**self.kwargs, **given})
        messages = [template.format_vars(**values) for template in self.message_templates]
        if self.output_parser is not None:
            messages = self.output_parser.format_messages(messages)
        return messages, values


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """A stretch of a message that is equally stable.

    Attributes:
        text: Its text, empty for a block that is no text.
        stability: How long it stays the same.
        block: Which block of the message it belongs to.
        markable: A cache point may follow it.
    """

    text: str
    stability: Stability
    block: int
    markable: bool


def _marked(
    messages: Sequence[ChatMessage],
    pieces: Sequence[Sequence[_Piece]],
    *,
    model: str | None,
    ttl: Mapping[Stability, Ttl | None] | None,
) -> list[ChatMessage]:
    """Return the messages with cache points where they pay; messages without one are the very same objects."""
    placed = iter(place_texts([(one.text, one.stability) for of in pieces for one in of], model=model, ttl=ttl))
    placements = [[next(placed) for _ in of] for of in pieces]
    asked = [
        (one, where)
        for of, wheres in zip(pieces, placements, strict=True)
        for one, where in zip(of, wheres, strict=True)
        if where.ttl
    ]
    if asked and not any(one.markable for one, _ in asked):
        _tell_once(
            "no cache breakpoint was placed: LlamaIndex loses one in a system message, and the user's message begins "
            "with a variable; begin it with a fixed line such as 'Context:'"
        )
    changed = [_with_points(*one) for one in zip(messages, pieces, placements, strict=False)]
    return [*changed, *messages[len(changed) :]]


def _with_points(message: ChatMessage, pieces: Sequence[_Piece], placements: Sequence[Placement]) -> ChatMessage:
    marks = [where.ttl if piece.markable else None for piece, where in zip(pieces, placements, strict=True)]
    if not any(marks):
        return message
    blocks: list[ContentBlock] = []
    for at, block in enumerate(message.blocks):
        own = [(piece, mark) for piece, mark in zip(pieces, marks, strict=True) if piece.block == at]
        blocks.extend(_cut(own) if any(mark for _, mark in own) else [block])
    return message.model_copy(update={"blocks": blocks})


def _cut(pieces: Sequence[tuple[_Piece, Ttl | None]]) -> Iterator[ContentBlock]:
    """Cut a text block after each mark."""
    text = ""
    for piece, mark in pieces:
        text += piece.text
        if mark is not None:
            yield TextBlock(text=text)
            yield CachePoint(cache_control=CacheControl(type="ephemeral", ttl=mark))
            text = ""
    if text:
        yield TextBlock(text=text)


def _pieces(
    template: ChatMessage, message: ChatMessage, values: Mapping[str, object], stability: Mapping[str, Stability]
) -> list[_Piece]:
    """Cut a filled message where it becomes less stable."""
    if len(template.blocks) != len(message.blocks):
        return [_Piece(text="", stability="turn", block=0, markable=False)]
    markable = message.role not in (MessageRole.SYSTEM, MessageRole.DEVELOPER)
    pieces: list[_Piece] = []
    for at, (source, block) in enumerate(zip(template.blocks, message.blocks, strict=True)):
        if isinstance(source, TextBlock) and isinstance(block, TextBlock):
            cut = _split(source.text, block.text, values, stability)
            pieces += [_Piece(text=text, stability=how, block=at, markable=markable) for text, how in cut]
        else:
            pieces.append(
                _Piece(text="", stability=least_stable(source.get_template_vars(), stability), block=at, markable=False)
            )
    return pieces


def _split(
    template: str, filled: str, values: Mapping[str, object], stability: Mapping[str, Stability]
) -> list[tuple[str, Stability]]:
    """Return the filled text in stretches of falling stability."""
    parts: list[tuple[str, Stability]] = []
    end = 0
    for slot in _SLOT.finditer(template):
        name = slot.group(1)
        parts.append((template[end : slot.start()], "static"))
        filled_in = name in values
        parts.append((str(values.get(name, slot.group(0))), least_stable([name], stability) if filled_in else "static"))
        end = slot.end()
    return cut([*parts, (template[end:], "static")], filled)


def _most_demanding(models: Sequence[str]) -> str | None:
    """Return the model with the largest minimum, so that a mark holds whichever of them answers."""
    return max(models, key=lambda model: minimum_tokens(model) or 0, default=None)


def _has_marks(messages: Sequence[ChatMessage]) -> bool:
    return any(isinstance(block, CachePoint) for message in messages for block in message.blocks)


def _as_chat(prompt: PromptTemplate | ChatPromptTemplate) -> ChatPromptTemplate:
    """Return a chat prompt of its own with all that ``prompt`` says."""
    if isinstance(prompt, ChatPromptTemplate):
        messages = [message.model_copy() for message in prompt.message_templates]
    else:
        messages = [ChatMessage(role=MessageRole.USER, content=prompt.template)]
    return ChatPromptTemplate(
        message_templates=messages,
        prompt_type=prompt.metadata.get("prompt_type", "custom"),
        output_parser=prompt.output_parser,
        metadata=dict(prompt.metadata),
        template_var_mappings=prompt.template_var_mappings,
        function_mappings=prompt.function_mappings,
        **prompt.kwargs,
    )


@cache
def _tell_once(message: str) -> None:
    _log.warning(message)
