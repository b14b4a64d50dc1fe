"""costkit for LangChain: drop-in parts that make a RAG chain cheap without making it worse.

Each part is one line around what you have: ``cached(chain)``, ``CostkitRetriever(retriever)``,
``CacheBreakpointPromptTemplate.from_prompt(prompt)``, ``CostkitRouterChatModel([haiku, opus])`` and
``CostkitUsageHandler()``. Agent middleware stands in ``langchain_costkit.middleware``, behind the extra ``agents``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_costkit.cache import CachedRunnable as CachedRunnable
    from langchain_costkit.cache import CostkitSemanticCache as CostkitSemanticCache
    from langchain_costkit.cache import cached as cached
    from langchain_costkit.context import CostkitDocumentCompressor as CostkitDocumentCompressor
    from langchain_costkit.context import CostkitDocumentTransformer as CostkitDocumentTransformer
    from langchain_costkit.context import CostkitRetriever as CostkitRetriever
    from langchain_costkit.ingest import CostkitRecordManager as CostkitRecordManager
    from langchain_costkit.ledger import CostkitUsageHandler as CostkitUsageHandler
    from langchain_costkit.prompt import CacheBreakpointPromptTemplate as CacheBreakpointPromptTemplate
    from langchain_costkit.route import CostkitRouterChain as CostkitRouterChain
    from langchain_costkit.route import CostkitRouterChatModel as CostkitRouterChatModel

__all__ = [
    "CacheBreakpointPromptTemplate",
    "CachedRunnable",
    "CostkitDocumentCompressor",
    "CostkitDocumentTransformer",
    "CostkitRecordManager",
    "CostkitRetriever",
    "CostkitRouterChain",
    "CostkitRouterChatModel",
    "CostkitSemanticCache",
    "CostkitUsageHandler",
    "cached",
]

_HOMES = {
    "CacheBreakpointPromptTemplate": "langchain_costkit.prompt",
    "CachedRunnable": "langchain_costkit.cache",
    "CostkitDocumentCompressor": "langchain_costkit.context",
    "CostkitDocumentTransformer": "langchain_costkit.context",
    "CostkitRecordManager": "langchain_costkit.ingest",
    "CostkitRetriever": "langchain_costkit.context",
    "CostkitRouterChain": "langchain_costkit.route",
    "CostkitRouterChatModel": "langchain_costkit.route",
    "CostkitSemanticCache": "langchain_costkit.cache",
    "CostkitUsageHandler": "langchain_costkit.ledger",
    "cached": "langchain_costkit.cache",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
