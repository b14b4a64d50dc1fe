"""Response cache: exact match first, then the nearest earlier questions under the same identity, scored.

``ResponseCache`` decides and stores; ``FittedScore`` says how surely an earlier answer serves; ``EdgeIndex`` (Qdrant in
process) and ``QdrantIndex`` (a Qdrant server) keep the entries. A hit is a value that says what matched, how close it
was, how old it is and what it rests on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from costkit.cache.agreement import same_text as same_text
    from costkit.cache.certificate import Certificate as Certificate
    from costkit.cache.conversation import Conversation as Conversation
    from costkit.cache.drift import DriftMonitor as DriftMonitor
    from costkit.cache.edge import EdgeIndex as EdgeIndex
    from costkit.cache.equivalence import Candidate as Candidate
    from costkit.cache.equivalence import Coefficients as Coefficients
    from costkit.cache.equivalence import CosineScore as CosineScore
    from costkit.cache.equivalence import Equivalence as Equivalence
    from costkit.cache.equivalence import FittedScore as FittedScore
    from costkit.cache.equivalence import Verdict as Verdict
    from costkit.cache.guards import Finding as Finding
    from costkit.cache.identity import Identity as Identity
    from costkit.cache.index import CacheIndex as CacheIndex
    from costkit.cache.lookup import Evidence as Evidence
    from costkit.cache.lookup import Fresh as Fresh
    from costkit.cache.lookup import Lookup as Lookup
    from costkit.cache.lookup import Ticket as Ticket
    from costkit.cache.pair_model import PairModel as PairModel
    from costkit.cache.qdrant import QdrantIndex as QdrantIndex
    from costkit.cache.response import ResponseCache as ResponseCache

__all__ = [
    "CacheIndex",
    "Candidate",
    "Certificate",
    "Coefficients",
    "Conversation",
    "CosineScore",
    "DriftMonitor",
    "EdgeIndex",
    "Equivalence",
    "Evidence",
    "Finding",
    "FittedScore",
    "Fresh",
    "Identity",
    "Lookup",
    "PairModel",
    "QdrantIndex",
    "ResponseCache",
    "Ticket",
    "Verdict",
    "same_text",
]

_HOMES = {
    "CacheIndex": "costkit.cache.index",
    "Candidate": "costkit.cache.equivalence",
    "Certificate": "costkit.cache.certificate",
    "Coefficients": "costkit.cache.equivalence",
    "Conversation": "costkit.cache.conversation",
    "CosineScore": "costkit.cache.equivalence",
    "DriftMonitor": "costkit.cache.drift",
    "EdgeIndex": "costkit.cache.edge",
    "Equivalence": "costkit.cache.equivalence",
    "Evidence": "costkit.cache.lookup",
    "Finding": "costkit.cache.guards",
    "FittedScore": "costkit.cache.equivalence",
    "Fresh": "costkit.cache.lookup",
    "Identity": "costkit.cache.identity",
    "Lookup": "costkit.cache.lookup",
    "PairModel": "costkit.cache.pair_model",
    "QdrantIndex": "costkit.cache.qdrant",
    "ResponseCache": "costkit.cache.response",
    "Ticket": "costkit.cache.lookup",
    "Verdict": "costkit.cache.equivalence",
    "same_text": "costkit.cache.agreement",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
