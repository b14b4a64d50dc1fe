"""What a call's config says to the chain itself: the values under ``configurable``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda

from langchain_costkit._question import plain

# LangGraph puts its own bookkeeping beside the user's values; it differs from call to call and shapes no answer.
_BOOKKEEPING = ("__pregel_", "checkpoint_")
_THREAD = "thread_id"
# Where a RunnableWithMessageHistory stands around the chain, it puts the history itself here; the chain gets that as
# input, and what the conversation is called shapes no answer.
_WITH_HISTORY = "message_history"
_CONVERSATIONS = {"session_id", "conversation_id", _WITH_HISTORY}


def settings_in(config: RunnableConfig, chain: Runnable[object, object]) -> Mapping[str, object]:
    """Return the values under ``configurable`` that an answer of ``chain`` may depend on, as plain values."""
    given = config.get("configurable") or {}
    names = {_THREAD, *(_CONVERSATIONS if _WITH_HISTORY in given else ())}.intersection(given)
    left_out = names - {spec.id for spec in chain.config_specs} if names else names
    return {
        name: plain(value)
        for name, value in given.items()
        if not name.startswith(_BOOKKEEPING) and name not in left_out
    }


def keeps_history(chain: object) -> bool:
    """Return whether a part of ``chain`` keeps a conversation: its answers depend on more than its input.

    That is a ``RunnableWithMessageHistory``, known by its field for LangChain warns on the class, or a graph with a
    checkpointer.
    """
    return any(
        hasattr(part, "get_session_history") or getattr(part, "checkpointer", None) not in (None, False)
        for part in _parts(chain, set())
    )


def _parts(value: object, seen: set[int]) -> Iterator[object]:
    """Yield the runnables in ``value``, itself included, however they are nested."""
    if isinstance(value, Mapping):
        inner = list(value.values())
    elif isinstance(value, (list, tuple)):
        inner = list(value)
    elif isinstance(value, Runnable) and id(value) not in seen:
        seen.add(id(value))
        yield value
        inner = [*vars(value).values(), *(value.deps if isinstance(value, RunnableLambda) else [])]
    else:
        return
    for one in inner:
        yield from _parts(one, seen)
