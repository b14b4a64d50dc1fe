"""How an answer is kept: the fields of an entry, its form in the store, and how older forms are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from costkit.cache.identity import document_keys
from costkit.cache.index import Payload
from costkit.cache.lookup import Evidence, Ticket
from costkit.errors import DataError, StoreError
from costkit.ledger.usage import Usage
from costkit.text import normalise_question

__all__ = ["SCHEMA", "Entry", "change_of", "changed_since", "entry_id", "is_newer"]

# Version of the stored form, on every entry and every document's point. A new one needs a line in _UPGRADES.
SCHEMA = 4


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One kept answer.

    Attributes:
        identity: Key of its identity, the filter of every search.
        tenant: Whose answer it is.
        question: The question it answers.
        answer: The answer as text, as an adapter encoded it.
        words: The answer in words, where answers are compared with one another.
        cluster: The cluster of near entries that it belongs to.
        documents: Ids of the points of the documents it rests on.
        evidence: Those documents.
        read_at: The latest change of a document that the store knew of when the question was looked up, before any
            document was read; see ``costkit.cache.documents``.
        created_at: When it was kept.
        expires_at: When it ends.
        usage: Tokens that the answer took.
        cost_nano_usd: What it cost; None is unpriced.
        hits: How often it was served.
        worth: What it is worth keeping for, see ``costkit.cache.upkeep``.
    """

    identity: str
    tenant: str
    question: str
    answer: str
    words: str | None = None
    cluster: str
    documents: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    read_at: int
    created_at: float
    expires_at: float
    usage: Usage = field(default_factory=Usage)
    cost_nano_usd: int | None = None
    hits: int = 0
    worth: float = 0.0

    @property
    def in_words(self) -> str:
        """The answer in words."""
        return self.answer if self.words is None else self.words

    def stale(self, documents: Mapping[str, Payload]) -> bool:
        """True if a document that the entry rests on was invalidated after its question was looked up.

        Args:
            documents: The documents' points that exist, by id; others may be among them.
        """
        return changed_since(self.read_at, [documents[key] for key in self.documents if key in documents])

    def to_payload(self) -> dict[str, object]:
        """Return the entry as the store keeps it."""
        return {
            **vars(self),
            "kind": "entry",
            "schema": SCHEMA,
            "documents": list(self.documents),
            "evidence": [vars(item) for item in self.evidence],
            "usage": vars(self.usage),
        }

    @classmethod
    def from_payload(cls, payload: Payload) -> Entry:
        """Return the entry that ``to_payload`` wrote, in this version of costkit or in an older one.

        Raises:
            DataError: It was written by a newer version, by one too old, or by another program.
        """
        payload = _upgraded(payload)
        try:
            cost = payload["cost_nano_usd"]
            return cls(
                identity=str(payload["identity"]),
                tenant=str(payload["tenant"]),
                question=str(payload["question"]),
                answer=str(payload["answer"]),
                words=None if payload.get("words") is None else str(payload["words"]),
                cluster=str(payload["cluster"]),
                documents=tuple(map(str, payload["documents"])),  # type: ignore[call-overload]
                evidence=tuple(Evidence(**item) for item in payload["evidence"]),  # type: ignore[attr-defined]
                read_at=int(payload["read_at"]),  # type: ignore[call-overload]
                created_at=float(payload["created_at"]),  # type: ignore[arg-type]
                expires_at=float(payload["expires_at"]),  # type: ignore[arg-type]
                usage=Usage(**payload["usage"]),  # type: ignore[arg-type]
                cost_nano_usd=None if cost is None else int(cost),  # type: ignore[call-overload]
                hits=int(payload["hits"]),  # type: ignore[call-overload]
                worth=float(payload["worth"]),  # type: ignore[arg-type]
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"a cache entry cannot be read ({error!r}) and is not served") from error


def entry_id(ticket: Ticket) -> str:
    """Return the id of a question's own entry; a prompt kept word for word never shares one with a question."""
    if ticket.exact_only:
        return ticket.identity.entry_id(f"verbatim\n{ticket.question}")
    return ticket.identity.entry_id(f"question\n{normalise_question(ticket.question)}")


def changed_since(read_at: int, documents: Iterable[Payload]) -> bool:
    """True if one of the documents, given as their points' payloads, changed later than ``read_at``."""
    return any(change_of(document) > read_at for document in documents)


def change_of(document: Payload) -> int:
    """Return the number of the latest change that a document's point holds."""
    number = _number(document["invalidated_at"])
    return int(number * 1e6 if document.get("schema") in (2, 3) else number)  # which held seconds


def is_newer(payload: Payload) -> bool:
    """True if a newer version of costkit wrote this entry: it is then left alone."""
    schema = payload.get("schema")
    return isinstance(schema, int) and schema > SCHEMA


def _upgraded(payload: Payload) -> Payload:
    """Return an entry's payload in the present schema."""
    schema = payload.get("schema")
    if is_newer(payload):
        raise DataError(
            f"cache entries of schema {schema} were written by a newer costkit, this one reads up to {SCHEMA}: they are "
            "left alone; upgrade costkit to serve them"
        )
    while schema != SCHEMA:
        if schema not in _UPGRADES:
            raise DataError(f"cache entries of schema {schema!r} are not served: this costkit reads 2 to {SCHEMA}")
        payload = _UPGRADES[schema](payload)
        schema = payload["schema"]
    return payload


def _with_worth(payload: Payload) -> Payload:
    """Schema 2 counted no hits and had no order to evict by."""
    return {"hits": 0, "worth": 0.0, **payload, "schema": 3}


def _with_everybodys_documents(payload: Payload) -> Payload:
    """Until schema 3 an answer hung on its tenant's documents alone, and changes had no numbers but times in seconds."""
    names = [str(item["document_id"]) for item in payload["evidence"]]  # type: ignore[attr-defined]
    documents = document_keys(str(payload["tenant"]), names)
    read_at = int(float(payload["read_at"]) * 1e6)  # type: ignore[arg-type]
    return {**payload, "documents": documents, "read_at": read_at, "schema": 4}


# From each older schema to the next. There is none from 1, whose private tenant could be named by a scope.
_UPGRADES: Mapping[object, Callable[[Payload], Payload]] = {2: _with_worth, 3: _with_everybodys_documents}


def _number(value: object) -> float:
    if isinstance(value, (int, float)):
        return value
    raise StoreError(f"a document's point holds {value!r} where a number belongs; another program wrote to the store")
