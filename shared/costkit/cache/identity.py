"""What an answer depends on besides the wording of its question.

Two questions may share an answer only if their identities are equal, so the identity is a hard filter of every
search; only the normalised question is embedded. It fails closed: a part that cannot be written as canonical JSON
has no identity, and the look-up is bypassed.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from costkit.errors import ConfigurationError

__all__ = ["Identity", "canonical_json", "document_keys", "document_point_id"]

# Any fixed UUID serves; it keeps our point ids apart from ids that other programs derive from the same names.
_NAMESPACE = uuid.UUID("5d7a1c7e-6d0b-4c0e-9a8f-0f3c9f6f7b11")


def canonical_json(value: object) -> str:
    """Return ``value`` as JSON with sorted keys and no spaces, so that equal values give equal text.

    Raises:
        ConfigurationError: ``value`` holds something that JSON has no form for (also NaN, infinities, and keys that are
            no strings, which JSON would write like the strings they resemble).
    """
    _check_keys(value)
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"a part of the cache identity cannot be written as JSON ({error}); pass plain strings, numbers, lists and dicts"
        ) from None


def _check_keys(value: object) -> None:
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise ConfigurationError(f"a part of the cache identity has the key {wrong[0]!r}; JSON keys are strings")
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            _check_keys(item)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The key of everything that must be equal for an answer to be reused.

    Attributes:
        tenant: Whose data answered.
        user: Whose question it was, where users share no answers.
        version: The application's own version, or the hash of its serialised graph.
        embedder: Name of the embedding model, since vectors of different models do not compare.
        inputs: All further input of the call (locale, filters, history), as plain JSON values.
    """

    tenant: str
    user: str | None = None
    version: str
    embedder: str
    inputs: Mapping[str, object] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """SHA-256 over the canonical JSON of all parts, in hex."""
        return hashlib.sha256(canonical_json(vars(self) | {"inputs": dict(self.inputs)}).encode()).hexdigest()

    def entry_id(self, normalised_question: str) -> str:
        """Return the point id of the exact entry for a question, a UUID derived from identity and question."""
        return str(uuid.uuid5(_NAMESPACE, f"entry\n{self.key}\n{normalised_question}"))


def document_point_id(tenant: str | None, document_id: str) -> str:
    """Return the point id of a document's own point, a UUID derived from tenant (None: everybody's) and document id."""
    return str(uuid.uuid5(_NAMESPACE, f"document\n{canonical_json([tenant, document_id])}"))


def document_keys(tenant: str, document_ids: Iterable[str]) -> list[str]:
    """Return the ids of the points that an answer hangs on: of each document as the tenant's, and as everybody's."""
    return [document_point_id(owner, name) for name in dict.fromkeys(document_ids) for owner in (tenant, None)]
