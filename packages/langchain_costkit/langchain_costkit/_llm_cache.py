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

from costkit.cache import Evidence, ResponseCache
from costkit.cache.doors import cache_for, question_span
from costkit.errors import ConfigurationError, DataError
from langchain_costkit._calls import paid_for
from langchain_costkit._encoding import decode_generations, encode_generations, is_complete
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
    use ``langchain_costkit.cached`` for those, and for chains whose retrieved context differs from call to call.

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
        found = self.cache.lookup(key.question, inputs=key.inputs, scope=scope_of(None), exact_only=key.exact_only)
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
        ticket = self.cache.ticket(key.question, inputs=key.inputs, scope=scope_of(None), exact_only=key.exact_only)
        usage, cost = paid_for(return_val)
        self.cache.store(ticket, text, evidence=(_ALL,), usage=usage, cost_nano_usd=cost)

    def clear(self, **kwargs: Any) -> None:
        """Drop every entry of the tenant in force."""
        self.cache.invalidate(_ALL.document_id, tenant=scope_of(None).tenant)

    def _key(self, prompt: str, llm_string: str) -> _Key:
        read = _read(prompt)
        spot = self._spot(read)
        if spot is None or not read.text[slice(*spot)].strip():
            inputs: dict[str, object] = {"llm": llm_string, "prompt": prompt}
            return _Key(question=read.text.strip() or prompt, inputs=inputs, exact_only=True)
        start, end = spot
        around = {"messages": read.around, "before": read.text[:start], "after": read.text[end:]}
        return _Key(question=read.text[start:end], inputs={"llm": llm_string, "prompt": around})

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
    exact_only: bool = False


@dataclass(frozen=True, kw_only=True)
class _Prompt:
    """A prompt as LangChain hands it to a cache: its last human text, its messages, and all but that text."""

    text: str
    messages: Sequence[BaseMessage]
    around: Sequence[object] = field(default_factory=list)


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
    return _Prompt(text=str(messages[at].text), messages=messages, around=[*items[:at], rest, *items[at + 1 :]])
