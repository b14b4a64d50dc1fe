"""What an answer rests on and what it cost, seen through the chain's own callbacks while it is made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from langchain_core.documents import Document

from costkit.cache import Evidence
from costkit.cache.evidence import Read, evidence_of
from costkit.ledger.calls import Tally
from costkit.prices import default_book
from langchain_costkit._calls import Call, ModelCallHandler
from langchain_costkit._hits import CACHE_EVENT
from langchain_costkit.context import SPANS_KEY

# Metadata keys under which applications and vector stores name a chunk, or the document that it came from.
_NAMES = ("id", "_id", "doc_id", "document_id", "source")


class Witness(ModelCallHandler):
    """Collects the evidence, tokens and cost of one call of a chain.

    Args:
        source_id_key: As for ``cached``.

    Attributes:
        tally: The model calls so far.
    """

    def __init__(self, *, source_id_key: str | None = None) -> None:
        super().__init__()
        self.tally = Tally()
        self._source_id_key = source_id_key
        self._read: list[Read] = []

    def evidence(self, *, answer: str = "", question: str = "") -> tuple[Evidence, ...]:
        """Return the texts seen, each under every name it carries, so that any of them invalidates the answer.

        Args:
            answer: The answer in words, where it is to be known which texts support it.
            question: Its question.
        """
        return evidence_of(self._read, answer=answer, question=question)

    def on_retriever_end(self, documents: Sequence[Document], *, run_id: UUID, **kwargs: Any) -> None:
        """Note the documents that a retriever of the chain returned."""
        known = {one.document_id for one in self._read}
        # An inner retriever ends first, so a copy that was cut later says nothing new.
        found = read_in(documents, source_id_key=self._source_id_key)
        self._read += [one for one in found if one.text is not None or one.document_id not in known]

    def on_custom_event(self, name: str, data: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Note what an answer rests on that a cached part of the chain served."""
        if name == CACHE_EVENT and data["decision"] == "hit":
            self.tally.add(None, 0)
            self._rests_on(data)

    def call_ended(self, call: Call) -> None:
        """Add up a model call that returned, and note one that failed."""
        if call.failure:
            self.tally.fail()
        elif call.replayed:
            self.tally.add(None, 0, unfinished=call.unfinished)
            self._rests_on(call.mark)
        else:
            cost, _ = call.price(default_book())
            self.tally.add(call.usage, cost, unfinished=call.unfinished)

    def _rests_on(self, mark: Mapping[str, object]) -> None:
        """Note the documents of an answer that was served within the chain, as its mark names them."""
        documents = mark.get("documents")
        self._read += [Read(str(name), None) for name in (documents if isinstance(documents, list) else ())]


def documents_in(value: object) -> list[Document]:
    """Return ``value`` if it is a document, or the documents it lists."""
    listed = value if isinstance(value, (list, tuple)) else [value]
    return [one for one in listed if isinstance(one, Document)]


def read_in(documents: Iterable[Document], *, source_id_key: str | None = None) -> Iterator[Read]:
    """Yield each name that a document carries with the document's text, or None for a copy that was cut."""
    for document in documents:
        text = None if SPANS_KEY in document.metadata else document.page_content
        named = (document.metadata.get(key) for key in (source_id_key, *_NAMES) if key)
        for name in dict.fromkeys([document.id, *(str(name) for name in named if name)]):
            if name:
                yield Read(name, text)
