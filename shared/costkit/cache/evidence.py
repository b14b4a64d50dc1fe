"""What an answer rests on: the documents that were read for it, each with the hash of its text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from costkit.cache.lookup import Evidence

__all__ = ["evidence_of"]


def evidence_of(read: Iterable[tuple[str, str | None]]) -> tuple[Evidence, ...]:
    """Return the documents that an answer rests on, each once, in the order they were first read.

    Args:
        read: A document's id and the text that was read under it: None where only a part of the text, or none of it,
            is at hand. An id under which several texts were read (chunks of one document) has no one hash.

    Returns:
        One piece of evidence per id; the hash is SHA-256 over the text in UTF-8, in hex.
    """
    hashes: dict[str, str | None] = {}
    for document_id, text in read:
        digest = None if text is None else hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
        hashes[document_id] = digest if hashes.get(document_id, digest) == digest else None
    return tuple(Evidence(document_id=name, content_hash=digest) for name, digest in hashes.items())
