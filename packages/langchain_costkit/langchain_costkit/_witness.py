"""What an answer rests on and what it cost, seen through the chain's own callbacks while it is made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

from langchain_core.documents import Document

from costkit.cache import Evidence
from costkit.cache.evidence import evidence_of
from costkit.ledger.calls import Tally
from costkit.prices import default_book
from langchain_costkit._calls import Call, ModelCallHandler
from langchain_costkit._hits import CACHE_EVENT
from langchain_costkit.context import SPANS_KEY

# Metadata keys under which applications name the document that a chunk came from.
_NAMES = ("id", "doc_id", "document_id", "source")


class Witness(ModelCallHandler):
    """Collects the evidence, tokens and cost of one call of a chain.

    Attributes:
        tally: The model calls so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tally = Tally()
        self._read: list[tuple[str, str | None]] = []

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """The documents seen, each under every name it carries, so that any of them invalidates the answer."""
        return evidence_of(self._read)

    def on_retriever_end(self, documents: Sequence[Document], *, run_id: UUID, **kwargs: Any) -> None:
        """Note the documents that a retriever of the chain returned."""
        known = {name for name, _ in self._read}
        # An inner retriever ends first, so a copy that was cut later says nothing new.
        self._read += [(name, text) for name, text in read_in(documents) if text is not None or name not in known]

    def on_custom_event(self, name: str, data: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Note what an answer rests on that a cached part of the chain served."""
        if name == CACHE_EVENT and data["decision"] == "hit":
            self.tally.add(None, 0)
            self._read += [(document_id, None) for document_id in data["documents"]]

    def call_ended(self, call: Call) -> None:
        """Add up a model call that returned."""
        if call.failure:
            return
        if call.replayed:
            self.tally.add(None, 0, unfinished=call.unfinished)
        else:
            cost, _ = call.price(default_book())
            self.tally.add(call.usage, cost, unfinished=call.unfinished)


def documents_in(value: object) -> list[Document]:
    """Return ``value`` if it is a document, or the documents it lists."""
    listed = value if isinstance(value, (list, tuple)) else [value]
    return [one for one in listed if isinstance(one, Document)]


def read_in(documents: Iterable[Document]) -> Iterator[tuple[str, str | None]]:
    """Yield each name that a document carries with the document's text, or None for a copy that was cut."""
    for document in documents:
        text = None if SPANS_KEY in document.metadata else document.page_content
        named = (document.metadata.get(key) for key in _NAMES)
        for name in dict.fromkeys([document.id, *(str(name) for name in named if name)]):
            if name:
                yield name, text
