"""What an answer rests on and what it cost, seen through the chain's own callbacks while it is made."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from langchain_core.documents import Document

from costkit.cache import Evidence
from costkit.ledger.usage import Usage
from costkit.prices import default_book
from langchain_costkit._calls import Billed, ModelCallHandler, Started
from langchain_costkit._hits import CACHE_EVENT

# Metadata keys under which applications name the document that a chunk came from.
_NAMES = ("id", "doc_id", "document_id", "source")


class Witness(ModelCallHandler):
    """Collects the evidence, tokens and cost of one call of a chain.

    Attributes:
        usage: Tokens of the model calls so far.
        cost_nano_usd: Their cost; None as soon as one is unpriced, or where none was seen: a model that is called
            past the callbacks costs too.
        complete: False once a model was cut short or declined.
    """

    def __init__(self) -> None:
        super().__init__()
        self.usage = Usage()
        self.cost_nano_usd: int | None = None
        self._priced = False
        self.complete = True
        self._hashes: dict[str, str | None] = {}

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """The documents seen, each under every name it carries, so that any of them invalidates the answer."""
        return tuple(Evidence(document_id=name, content_hash=digest) for name, digest in self._hashes.items())

    def on_retriever_end(self, documents: Sequence[Document], *, run_id: UUID, **kwargs: Any) -> None:
        """Note the documents that a retriever of the chain returned."""
        for document in documents:
            digest = hashlib.sha256(document.page_content.encode("utf-8", "replace")).hexdigest()
            # An inner retriever ends first, so the whole text counts and not a reduced copy of it.
            if document.id:
                self._hashes.setdefault(document.id, digest)
            for name in {str(document.metadata[key]) for key in _NAMES if document.metadata.get(key)} - {document.id}:
                # Several chunks share a source: no one hash is the source's.
                self._hashes[name] = digest if self._hashes.get(name, digest) == digest else None

    def on_custom_event(self, name: str, data: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Note what an answer rests on that a cached part of the chain served."""
        if name == CACHE_EVENT and data["decision"] == "hit":
            self._add(0)
            for document_id in data["documents"]:
                self._hashes.setdefault(document_id, None)

    def call_ended(self, run_id: UUID, started: Started, billed: Billed) -> None:
        """Add up a model call."""
        self.complete = self.complete and not billed.unfinished
        if billed.replayed:
            self._add(0)
            return
        cost = None
        if billed.model is not None and billed.usage is not None:
            cost = default_book().price(billed.model, billed.usage).cost_nano_usd
        self.usage += billed.usage or Usage()
        self._add(cost)

    def _add(self, cost_nano_usd: int | None) -> None:
        before = self.cost_nano_usd if self._priced else 0
        self.cost_nano_usd = None if cost_nano_usd is None or before is None else before + cost_nano_usd
        self._priced = True
