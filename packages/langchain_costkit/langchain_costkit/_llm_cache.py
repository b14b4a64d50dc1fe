"""The response cache behind LangChain's own cache hook, at the level of one model call."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.messages import BaseMessage, HumanMessage, messages_from_dict
from langchain_core.outputs import ChatGeneration

from costkit.cache import Conversation, Evidence, ResponseCache
from costkit.cache.doors import cache_for, question_span
from costkit.errors import ConfigurationError, DataError
from langchain_costkit._calls import paid_for
from langchain_costkit._encoding import decode_generations, encode_generations, in_words, is_complete
from langchain_costkit._question import beside_text, last_human
from langchain_costkit._scoped import scope_of

__all__ = ["CostkitSemanticCache"]

QuestionFinder = Callable[[Sequence[BaseMessage]], str | None]

# Every entry rests on this document, so that one invalidation clears them all.
_ALL = Evidence(document_id="langchain_costkit.CostkitSemanticCache")

_log = logging.getLogger("costkit.cache")


class CostkitSemanticCache(BaseCache):
    """Semantic cache for ``set_llm_cache(CostkitSemanticCache())``.

    The model, its settings and everything in the prompt around the question must be equal for a hit; only the
    question may differ in wording. ``stream`` and ``astream`` of a model bypass LangChain's cache hook by design:
    use ``langchain_costkit.cached`` for those, or ``CostkitMiddleware`` in agents; and ``cached`` for chains whose
    retrieved context differs from call to call. A crowd that asks one thing at once makes one call each here, since
    LangChain does not say when a call has failed; behind ``cached`` it makes one in all.

    Args:
        question: Where the question stands. A string is a marker in the last human message, after which the question
            follows (``"Question:"``); a callable gets the messages and returns the question's text, or None.
            Default: the last human message; where that has several paragraphs or over 100 tokens, only the prompt
            word for word is served.
        cache: Where answers live. Default: Qdrant Edge in ``.costkit/cache``.
        require_tenant: True stands aside where the scope names no tenant. With ``cache`` it is set there.
    """

    def __init__(
        self,
        *,
        question: QuestionFinder | str | None = None,
        cache: ResponseCache | None = None,
        require_tenant: bool = False,
    ) -> None:
        if isinstance(question, str) and not question.strip():
            raise ConfigurationError(
                f"question={question!r}: a marker is the text before the question, such as 'Question:'"
            )
        self.cache = cache_for(cache, version="langchain-llm-1", require_tenant=require_tenant)
        self._question = question
        self._told = False

    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """Return the generations of an earlier call, or None."""
        key = self._key(prompt, llm_string)
        found = self.cache.lookup(**vars(key), scope=scope_of(None))
        if found.answer is None:
            return None
        try:
            return decode_generations(found.answer, mark=found.mark)
        except (ValueError, KeyError, TypeError) as error:
            _log.warning("a kept answer cannot be read: %r", error)
            return None

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Keep the generations of a call, if all are complete answers in words."""
        answers = [one.message if isinstance(one, ChatGeneration) else one.text for one in return_val]
        if not answers or not all(is_complete(answer) for answer in answers):
            return
        try:
            text = encode_generations(return_val)
        except DataError as error:
            _log.info("an answer was not cached: %s", error)
            return
        key = self._key(prompt, llm_string)
        ticket = self.cache.ticket(**vars(key), scope=scope_of(None))
        usage, cost = paid_for(return_val)
        words = "\n".join(map(in_words, answers))
        self.cache.store(ticket, text, words=words, evidence=(_ALL,), usage=usage, cost_nano_usd=cost)

    def clear(self, **kwargs: Any) -> None:
        """Drop every entry of the tenant in force; without one, every entry."""
        self.cache.invalidate(_ALL.document_id, tenant=scope_of(None).tenant)

    def _key(self, prompt: str, llm_string: str) -> _Key:
        read = _read(prompt)
        spot = self._spot(read)
        if spot is None or not read.text[slice(*spot)].strip():
            filled = read.text if question_span(read.text) is None else ""
            return _Key(
                question=read.text.strip() or prompt,
                inputs={"llm": llm_string, "prompt": prompt},
                conversation=_conversation(read, filled),
                exact_only=True,
            )
        start, end = spot
        before, after = read.text[:start], read.text[end:]
        marker = self._question if isinstance(self._question, str) else ""
        return _Key(
            question=read.text[start:end],
            inputs={"llm": llm_string, "prompt": {"messages": read.around, "before": before, "after": after}},
            conversation=_conversation(read, before.removesuffix(marker) + after),
        )

    def _spot(self, read: _Prompt) -> tuple[int, int] | None:
        """Return where the question stands in the last human message, or None where that cannot be told."""
        if isinstance(self._question, str):
            at = read.text.rfind(self._question)
            return None if at < 0 else (at + len(self._question), len(read.text))
        if self._question is not None:
            return question_span(read.text, self._question(read.messages) or "")
        spot = question_span(read.text)
        if spot is None and not self._told:
            self._told = True
            _log.warning(
                "the last human message is a filled prompt, so only the same prompt word for word is served; "
                "say where its question stands with CostkitSemanticCache(question='Question:'), or use cached(chain)"
            )
        return spot


@dataclass(frozen=True, kw_only=True)
class _Key:
    question: str
    inputs: Mapping[str, object]
    conversation: Conversation
    exact_only: bool = False


@dataclass(frozen=True, kw_only=True)
class _Prompt:
    """A prompt as LangChain hands it to a cache: its last human text, its messages, and all but that text.

    ``said`` is what stands around the text but for instructions: earlier messages, and images beside the text.
    """

    text: str
    messages: Sequence[BaseMessage]
    around: Sequence[object] = field(default_factory=list)
    said: Sequence[object] = field(default_factory=list)


def _conversation(read: _Prompt, around: str) -> Conversation:
    """Return what a question in a prompt can refer to: all the rest of the prompt, for a model remembers nothing else."""
    return Conversation(whole=[*read.said, around] if around.strip() else read.said)


def _read(prompt: str) -> _Prompt:
    """Read LangChain's serialised messages; a completion model's prompt is plain text."""
    try:
        items = json.loads(prompt)
        messages = messages_from_dict([{"type": item["kwargs"]["type"], "data": item["kwargs"]} for item in items])
    except (ValueError, KeyError, TypeError, AttributeError):
        messages = []
    if not messages:
        return _Prompt(text=prompt, messages=[HumanMessage(prompt)])
    at = last_human(messages)
    if at is None:
        return _Prompt(text="", messages=messages, around=items)
    beside = beside_text(messages[at].content)
    rest = {**items[at], "kwargs": {**items[at]["kwargs"], "content": beside}}
    said = [item for item in items[:at] if item["kwargs"]["type"] != "system"]
    return _Prompt(
        text=str(messages[at].text),
        messages=messages,
        around=[*items[:at], rest, *items[at + 1 :]],
        said=[*said, *beside],
    )
