"""What the doors to the cache share: the event that tells of a decision, and what tells models apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from langchain_core.language_models import BaseChatModel
from langchain_core.load import dumpd

from costkit.cache.identity import canonical_json

# Name of the custom event that every decision of the cache is dispatched as.
CACHE_EVENT = "costkit_cache"


def fingerprint(runnable: object) -> str | None:
    """Return a hash of a runnable's serialised graph, or None where a part of it has no serialised form."""
    graph = dumpd(runnable)
    return None if _is_opaque(graph) else hashlib.sha256(canonical_json(graph).encode()).hexdigest()


def settings_of(model: BaseChatModel) -> str:
    """Return what tells the answers of a chat model apart from those of another, as text.

    A class that cannot be serialised need not tell its settings either: then its own plain fields tell them.
    """
    kind = type(model)
    told = [f"{kind.__module__}.{kind.__qualname__}", model._llm_type, dict(model._identifying_params)]
    plain = {name: value for name, value in model if isinstance(value, str | int | float)}
    return fingerprint(model) or json.dumps([*told, plain], sort_keys=True, default=repr)


def _is_opaque(node: object) -> bool:
    if isinstance(node, Mapping):
        return node.get("type") == "not_implemented" or any(_is_opaque(value) for value in node.values())
    return isinstance(node, list) and any(_is_opaque(value) for value in node)
