"""Context: retrieved documents cut to the sentences a question needs, under a hard token budget, with exact offsets.

``ContextReducer`` decides; a ``Reranker`` scores; a ``Reduction`` says what was kept, what was dropped and why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from costkit.context.calibration import Calibration as Calibration
    from costkit.context.calibration import calibrated as calibrated
    from costkit.context.curves import Curves as Curves
    from costkit.context.document import Document as Document
    from costkit.context.document import Dropped as Dropped
    from costkit.context.document import Kept as Kept
    from costkit.context.document import Passage as Passage
    from costkit.context.document import Place as Place
    from costkit.context.document import Reduction as Reduction
    from costkit.context.economics import Economics as Economics
    from costkit.context.economics import Worth as Worth
    from costkit.context.economics import worth_compressing as worth_compressing
    from costkit.context.embedding import from_embedder as from_embedder
    from costkit.context.profile import Profile as Profile
    from costkit.context.reduce import ContextReducer as ContextReducer
    from costkit.context.reduce import reducer_for as reducer_for
    from costkit.context.rerank import Reranker as Reranker
    from costkit.context.rerank import from_fastembed_cross_encoder as from_fastembed_cross_encoder
    from costkit.context.rerank import from_flashrank as from_flashrank
    from costkit.context.static import condense as condense

__all__ = [
    "Calibration",
    "ContextReducer",
    "Curves",
    "Document",
    "Dropped",
    "Economics",
    "Kept",
    "Passage",
    "Place",
    "Profile",
    "Reduction",
    "Reranker",
    "Worth",
    "calibrated",
    "condense",
    "from_embedder",
    "from_fastembed_cross_encoder",
    "from_flashrank",
    "reducer_for",
    "worth_compressing",
]

_HOMES = {
    "Calibration": "costkit.context.calibration",
    "ContextReducer": "costkit.context.reduce",
    "Curves": "costkit.context.curves",
    "Document": "costkit.context.document",
    "Dropped": "costkit.context.document",
    "Economics": "costkit.context.economics",
    "Kept": "costkit.context.document",
    "Passage": "costkit.context.document",
    "Place": "costkit.context.document",
    "Profile": "costkit.context.profile",
    "Reduction": "costkit.context.document",
    "Reranker": "costkit.context.rerank",
    "Worth": "costkit.context.economics",
    "calibrated": "costkit.context.calibration",
    "condense": "costkit.context.static",
    "from_embedder": "costkit.context.embedding",
    "from_fastembed_cross_encoder": "costkit.context.rerank",
    "from_flashrank": "costkit.context.rerank",
    "reducer_for": "costkit.context.reduce",
    "worth_compressing": "costkit.context.economics",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
