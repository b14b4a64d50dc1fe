"""What goes into a reduction and what comes out: documents, kept and dropped spans, and how kept spans are joined."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from costkit.context.economics import Worth
from costkit.errors import ConfigurationError

__all__ = [
    "Decision",
    "Document",
    "DropReason",
    "Dropped",
    "Kept",
    "Passage",
    "Place",
    "Reduction",
    "as_context",
    "distinct",
    "passage_of",
]

Decision = Literal["kept", "reduced", "static", "nothing", "fallback"]
DropReason = Literal["duplicate", "boilerplate", "irrelevant", "budget", "surplus"]

_BETWEEN_DOCUMENTS = "\n\n"
_OMISSION = " ... "


@dataclass(frozen=True, kw_only=True)
class Document:
    """One retrieved document or chunk.

    Attributes:
        id: Tells it apart from the other documents of one call.
        text: Its text; all offsets count characters of this string.
        title: Title of the document it comes from, empty if unknown. It helps scoring and counts against the budget.
    """

    id: str
    text: str
    title: str = ""

    def __post_init__(self) -> None:
        for name in ("id", "text", "title"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise ConfigurationError(f"Document.{name} must be a string, got {value!r}: convert it first")


@dataclass(frozen=True, kw_only=True, order=True)
class Place:
    """Where in which document a text stands.

    Attributes:
        document_id: The document.
        start: Offset of its first character.
        end: Offset after its last character.
    """

    document_id: str
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A span that stays: ``document.text[start:end] == text``.

    Attributes:
        document_id: The document it stands in.
        start: Offset of its first character.
        end: Offset after its last character.
        text: The span's text, unchanged.
        rank: Place of its document in the order given, from 0.
        score: Relevance as the reranker saw it, higher is better; None where nothing was scored.
        probability: That the question needs the span; None where the reranker's scores are not calibrated.
        also_in: Where else it stands: places in other documents that are not kept there, since this span speaks for
            them. A citation of this span may name them too.
    """

    document_id: str
    start: int
    end: int
    text: str
    rank: int
    score: float | None
    probability: float | None = None
    also_in: tuple[Place, ...] = ()

    @property
    def places(self) -> tuple[Place, ...]:
        """All places that the span speaks for, its own first."""
        return (Place(document_id=self.document_id, start=self.start, end=self.end), *self.also_in)


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A span that was left out.

    Attributes:
        document_id: The document it stands in.
        start: Offset of its first character.
        end: Offset after its last character.
        tokens: What keeping it would have cost, by the counter in use.
        reason: ``duplicate`` if the same text was weighed elsewhere, ``boilerplate`` if most documents begin or end with
            it, ``irrelevant`` if it scored far below the best, ``budget`` if others were worth more, or ``surplus`` if
            more documents were left than asked for.
    """

    document_id: str
    start: int
    end: int
    tokens: int
    reason: DropReason


@dataclass(frozen=True, kw_only=True)
class Passage:
    """What is left of one document.

    Attributes:
        document_id: The document.
        title: Its title.
        text: Its kept spans joined: by the original white space where they are neighbours; else by a line break if
            one lies in the gap, and by " ... " within a paragraph.
        kept: The spans, in source order.
    """

    document_id: str
    title: str
    text: str
    kept: tuple[Kept, ...]

    @property
    def score(self) -> float | None:
        """The best score among its spans, or None where nothing was scored."""
        return max((span.score for span in self.kept if span.score is not None), default=None)


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """The outcome of one reduction.

    Attributes:
        passages: What is left, per document; documents of which nothing is left are absent.
        dropped: What was left out, in source order.
        tokens_before: Tokens of all documents given, titles and separators included, by the counter in use.
        tokens_after: Tokens of ``context``.
        seconds: Time taken.
        decision: ``kept`` if all fitted the budget; ``reduced`` to what the question needs; ``static`` if cut without
            regard to the question; ``nothing`` if nothing given bears on the question; or ``fallback`` if scoring or
            counting failed.
        reason: Why, in one sentence.
        economics: What the reduction does to the bill, in numbers; None where no ``Economics`` was given.
    """

    passages: tuple[Passage, ...]
    dropped: tuple[Dropped, ...]
    tokens_before: int
    tokens_after: int
    seconds: float
    decision: Decision
    reason: str
    economics: Worth | None = None

    @property
    def kept(self) -> tuple[Kept, ...]:
        """All kept spans, in the order of the passages."""
        return tuple(span for passage in self.passages for span in passage.kept)

    @property
    def context(self) -> str:
        """The passages under their titles, a blank line between them: the text that the budget counts."""
        return as_context(self.passages)

    @property
    def saved_tokens(self) -> int:
        """Tokens that the reduction took out of the prompt."""
        return max(self.tokens_before - self.tokens_after, 0)

    def texts(self) -> dict[str, str]:
        """Return the text that is left of each document, by document id, in the order of the passages."""
        return {passage.document_id: passage.text for passage in self.passages}


def distinct(documents: Iterable[Document]) -> list[Document]:
    """Return the documents, each once.

    Raises:
        ConfigurationError: Two different documents have one id.
    """
    found: dict[str, Document] = {}
    for document in documents:
        if found.setdefault(document.id, document) != document:
            raise ConfigurationError(f"documents has two different documents of the id {document.id!r}: number them")
    return list(found.values())


def as_context(passages: Iterable[Passage]) -> str:
    """Join passages as a prompt shows them: each under its title, a blank line between."""
    return _BETWEEN_DOCUMENTS.join(
        f"{passage.title}\n{passage.text}" if passage.title else passage.text for passage in passages
    )


def passage_of(document: Document, kept: Sequence[Kept]) -> Passage:
    """Join the kept spans of one document, given in source order."""
    parts: list[str] = []
    for previous, span in zip([None, *kept], kept, strict=False):
        if previous is not None:
            parts.append(_joint(document.text[previous.end : span.start]))
        parts.append(span.text)
    return Passage(document_id=document.id, title=document.title, text="".join(parts), kept=tuple(kept))


def _joint(gap: str) -> str:
    if not gap or gap.isspace():
        return gap
    return "\n" if "\n" in gap else _OMISSION
