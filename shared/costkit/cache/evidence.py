"""What an answer rests on: the texts that were read for it, and whether they are still what retrieval finds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple

from costkit.cache.guard_reading import Reading, read, read_all
from costkit.cache.guards import facts_in
from costkit.cache.lookup import Evidence

__all__ = ["Read", "content_hash", "evidence_of", "still_holds"]

# Numbers of a list's items and of citations are the writer's own.
_NUMBERING = re.compile(r"^\s*\d+[.)]\s|\[\d+\]", re.MULTILINE)


class Read(NamedTuple):
    """One text that was read for an answer.

    Attributes:
        document_id: The document's id in the user's corpus.
        text: What was read of it, or None where that is not at hand.
        content_hash: Hash of the text as it was found, where only a part was read. Default: the hash of ``text``.
    """

    document_id: str
    text: str | None
    content_hash: str | None = None


def content_hash(text: str) -> str:
    """Return SHA-256 over a text in UTF-8, in hex."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def evidence_of(read_texts: Iterable[Read], *, answer: str = "", question: str = "") -> tuple[Evidence, ...]:
    """Return what an answer rests on, each text once, in the order they were first read.

    Args:
        read_texts: The texts that were read.
        answer: The answer in words, where it is to be known which texts support it.
        question: Its question; what it says already needs no support.
    """
    told = _Told(answer, question)
    texts: dict[tuple[str, str | None], bool] = {}
    for name, text, found_as in read_texts:
        digest = found_as or (None if text is None else content_hash(text))
        texts[name, digest] = texts.get((name, digest), False) or told.by(text or "")
    return tuple(Evidence(document_id=name, content_hash=digest, supports=by) for (name, digest), by in texts.items())


def still_holds(kept: Iterable[Evidence], fresh: Iterable[Evidence]) -> str | None:
    """Say why an answer does not hold in what was retrieved now, or None if it does.

    Every text that supports the answer must have been found again word for word, under an id it had; if none is known
    to support it, every text that was read. So the answer's numbers and names stand in the fresh evidence in the same
    words. That they stand there somewhere is not enough: "14 days" may be another document's.

    Args:
        kept: What the answer rests on.
        fresh: What was retrieved for the question now.
    """
    kept = list(kept)
    if not kept:
        return "it rests on no known document"
    again = {(item.document_id, item.content_hash) for item in fresh}
    found = {item.content_hash for item in kept if (item.document_id, item.content_hash) in again}
    for item in [item for item in kept if item.supports] or kept:
        if item.content_hash is None:
            return f"the text of {item.document_id!r} that it rests on is not known"
        if item.content_hash not in found:
            return f"the text of {item.document_id!r} that it rests on was not retrieved again"
    return None


class _Told:
    """The numbers, dates, codes and names that an answer tells its question."""

    def __init__(self, answer: str, question: str) -> None:
        self._parts = read_all(_NUMBERING.sub(" ", answer))
        self._question = read(question)

    def by(self, text: str) -> bool:
        """Say whether a text tells one of them."""
        return bool(self._parts) and any(self._tells(part, piece) for piece in read_all(text) for part in self._parts)

    def _tells(self, part: Reading, piece: Reading) -> bool:
        return bool(facts_in(part, piece) - facts_in(part, self._question))
