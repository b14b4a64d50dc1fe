"""How a fresh answer is kept: as an entry of its own, in its neighbours' cluster, unless a document has changed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from costkit.cache.agreement import SameAnswer
from costkit.cache.entries import Entry, changed_since, entry_id, is_newer
from costkit.cache.identity import document_keys
from costkit.cache.index import CacheIndex, Found, lock_of
from costkit.cache.judgements import Judgements, cluster_id
from costkit.cache.learning import cluster_of
from costkit.cache.lifetime import Lifetime
from costkit.cache.lookup import Evidence, Ticket
from costkit.cache.replay import NEIGHBOURS
from costkit.cache.upkeep import Upkeep
from costkit.embed import Embedder
from costkit.ledger.usage import Usage

__all__ = ["Answer", "Keeping", "Kept", "unfit"]

MAX_ANSWER_CHARS = 1_000_000

_log = logging.getLogger("costkit.cache")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A complete answer.

    Attributes:
        text: As an adapter encoded it.
        words: In words.
        evidence: The documents it rests on.
        usage: Tokens it took.
        cost_nano_usd: What it cost; None is unpriced.
    """

    text: str
    words: str
    evidence: Sequence[Evidence]
    usage: Usage
    cost_nano_usd: int | None


@dataclass(frozen=True, kw_only=True)
class Kept:
    """An answer that was kept.

    Attributes:
        entry_id: Its entry.
        entry: That entry.
        near: The nearest other entries of its identity.
        new: False if it replaced one.
    """

    entry_id: str
    entry: Entry
    near: Sequence[Found]
    new: bool


def unfit(answer: str) -> str | None:
    """Return why an answer cannot be kept, or None."""
    if len(answer) > MAX_ANSWER_CHARS:
        return f"answers of more than {MAX_ANSWER_CHARS:,} characters are not cached"
    try:
        answer.encode()
    except UnicodeEncodeError:
        return "answers that hold half a character (a lone surrogate) are not cached: no store can keep them"
    return None


class Keeping:
    """Writes entries.

    Args:
        index: The store.
        embedder: Turns questions into vectors.
        judgements: What judged hits have taught; an answer that replaces another does not inherit its verdicts.
        upkeep: Says what an answer is worth.
        lifetime: When entries end.
        same_answer: Says whether two answers say the same, if that is known.
        keep_words: Whether answers are kept in words too, where they will be compared.
        clock: Returns the time in seconds since 1970.
    """

    def __init__(
        self,
        index: CacheIndex,
        *,
        embedder: Embedder,
        judgements: Judgements,
        upkeep: Upkeep,
        lifetime: Lifetime,
        same_answer: SameAnswer | None,
        keep_words: bool,
        clock: Callable[[], float],
    ) -> None:
        self._index = index
        self._embedder = embedder
        self._judgements = judgements
        self._upkeep = upkeep
        self._lifetime = lifetime
        self._same_answer = same_answer
        self._keep_words = keep_words
        self._clock = clock

    def keep(self, ticket: Ticket, answer: Answer) -> Kept | None:
        """Write an answer, or return None if a document it rests on has changed since the look-up."""
        own_id = entry_id(ticket)
        vector = ticket.vector
        if vector is None and ticket.near:
            vector = self._embedder.embed([ticket.question])[0].tolist()
        near = self._near(own_id, ticket, vector)
        entry = self._entry(own_id, ticket, answer, near)
        new = self._written(own_id, entry, vector)
        if new is None:
            return None
        self._judgements.renewed(own_id, entry.cluster, ticket.question)
        return Kept(entry_id=own_id, entry=entry, near=near, new=new)

    def name_answer(self, kept: Kept, words: str) -> None:
        """Give an answer the name of the first near answer that says the same, or else one of its own."""
        assert self._same_answer is not None  # noqa: S101  checked by the caller
        records = self._judgements.records([(one.id, cluster_id(one)) for one in kept.near])
        known = {entry.answer: one for one, (entry, _) in zip(kept.near, records, strict=True) if entry.answer}
        same = (
            name for name, one in known.items() if self._same_answer(Entry.from_payload(one.payload).in_words, words)
        )
        self._judgements.answered(kept.entry_id, kept.entry.cluster, next(same, kept.entry_id))

    def _entry(self, own_id: str, ticket: Ticket, answer: Answer, near: Sequence[Found]) -> Entry:
        tenant, now = ticket.identity.tenant, self._clock()
        return Entry(
            identity=ticket.identity.key,
            tenant=tenant,
            question=ticket.question,
            answer=answer.text,
            words=answer.words if self._keep_words and answer.words != answer.text else None,
            cluster=_cluster(own_id, near),
            documents=tuple(document_keys(tenant, (item.document_id for item in answer.evidence))),
            evidence=tuple(answer.evidence),
            read_at=ticket.read_at,
            created_at=now,
            expires_at=self._lifetime.ends(own_id, created_at=now, feature=ticket.scope.feature),
            usage=answer.usage,
            cost_nano_usd=answer.cost_nano_usd,
            worth=self._upkeep.worth(tenant, hits=0, usage=answer.usage, cost_nano_usd=answer.cost_nano_usd),
        )

    def _written(self, own_id: str, entry: Entry, vector: Sequence[float] | None) -> bool | None:
        """Write an entry unless a document of it has changed; return whether it is new, or None."""
        with lock_of(self._index):  # what is checked has to hold when it is written
            there = self._index.retrieve([own_id, *entry.documents])
            replaced = there.pop(own_id, None)
            if changed_since(entry.read_at, there.values()):
                _log.info("an answer was not cached: a document it rests on was invalidated while it was made")
                return None
            if replaced is not None and is_newer(replaced):
                return None
            self._index.upsert(own_id, entry.to_payload(), vector)
        return replaced is None

    def _near(self, own_id: str, ticket: Ticket, vector: Sequence[float] | None) -> list[Found]:
        """Return the nearest other entries of an entry's identity."""
        if vector is None:
            return []
        found = self._index.nearest(vector, identity=ticket.identity.key, limit=NEIGHBOURS + 1)
        return [one for one in found if one.id != own_id][:NEIGHBOURS]


def _cluster(own_id: str, near: Sequence[Found]) -> str:
    """Return the cluster of a new entry: that of its nearest neighbour, or one of its own."""
    if not near:
        return own_id
    return cluster_of(own_id, nearest_cluster_id=cluster_id(near[0]), cosine=near[0].score)
