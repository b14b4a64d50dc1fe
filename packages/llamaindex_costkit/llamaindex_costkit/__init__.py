"""costkit for LlamaIndex: response cache, context reduction, prompt-cache breakpoints, model router, cost ledger.

Each part is one line around what you have: ``CostkitQueryEngine(engine, version="support-3")``,
``CostkitNodePostprocessor()``, ``CacheBreakpointPromptTemplate.from_prompt(prompt)``, ``CostkitRouterLLM([haiku, opus])``
and ``get_dispatcher().add_event_handler(CostkitEventHandler())``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llamaindex_costkit.cache import CostkitCachedLLM as CostkitCachedLLM
    from llamaindex_costkit.cache import CostkitQueryEngine as CostkitQueryEngine
    from llamaindex_costkit.context import CostkitNodePostprocessor as CostkitNodePostprocessor
    from llamaindex_costkit.context import CostkitTransformComponent as CostkitTransformComponent
    from llamaindex_costkit.ingest import CostkitDocumentStore as CostkitDocumentStore
    from llamaindex_costkit.ledger import CostkitEventHandler as CostkitEventHandler
    from llamaindex_costkit.prompt import CacheBreakpointPromptTemplate as CacheBreakpointPromptTemplate
    from llamaindex_costkit.route import CostkitRouterLLM as CostkitRouterLLM

__all__ = [
    "CacheBreakpointPromptTemplate",
    "CostkitCachedLLM",
    "CostkitDocumentStore",
    "CostkitEventHandler",
    "CostkitNodePostprocessor",
    "CostkitQueryEngine",
    "CostkitRouterLLM",
    "CostkitTransformComponent",
]

_HOMES = {
    "CacheBreakpointPromptTemplate": "llamaindex_costkit.prompt",
    "CostkitCachedLLM": "llamaindex_costkit.cache",
    "CostkitDocumentStore": "llamaindex_costkit.ingest",
    "CostkitEventHandler": "llamaindex_costkit.ledger",
    "CostkitNodePostprocessor": "llamaindex_costkit.context",
    "CostkitQueryEngine": "llamaindex_costkit.cache",
    "CostkitRouterLLM": "llamaindex_costkit.route",
    "CostkitTransformComponent": "llamaindex_costkit.context",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
