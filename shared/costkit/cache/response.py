"""The response cache: decides whether an earlier answer may be served, and keeps new ones."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from costkit.cache.identity import Identity, document_point_id
from costkit.cache.index import CacheIndex, Found, Payload
from costkit.cache.lookup import Evidence, Lookup, Ticket
from costkit.embed import Embedder, default_embedder
from costkit.errors import ConfigurationError, StoreError
from costkit.home import home
from costkit.ledger.usage import Event, Recorder, Usage, default_recorder
from costkit.scope import Scope, current
from costkit.text import normalise_question

__all__ = ["ResponseCache"]

# No Scope can name it: a scope's tenant is never empty.
PRIVATE_TENANT = ""
SCHEMA = 2
NEIGHBOURS = 5
DEFAULT_TTL_SECONDS = 24 * 3600.0

_log = logging.getLogger("costkit.cache")


class ResponseCache:
    """Semantic response cache with one fixed threshold, exact match first.

    The identity (tenant, version, embedder, all other input) is a hard filter; only the question is compared. An
    entry ends with its time to live or as soon as a document it rests on is invalidated. If the store fails, the
    cache stands aside: look-ups bypass, nothing is raised, and the failure is logged once.

    Args:
        version: Version of everything that shapes an answer (prompt, model, corpus). A new version starts empty.
        embedder: Turns questions into vectors. Default: ``costkit.embed.default_embedder()``.
        index: Where entries live. Default: Qdrant Edge in ``path``, or the server at ``url``.
        url: Address of a Qdrant server, instead of a local folder.
        path: Folder of the embedded store. Default: ``cache/<embedder>`` in ``costkit.home.home()``.
        threshold: Least cosine similarity of a semantic hit, 0 to 1; above 1 only exact hits are served.
        ttl_seconds: Time to live of an entry, counted from its creation.
        require_tenant: True bypasses the cache where no tenant is set; False files such calls under one private tenant.
        recorder: Where decisions are booked. Default: the process-wide ledger.
        clock: Returns the time in seconds since 1970.
    """

    def __init__(
        self,
        *,
        version: str,
        embedder: Embedder | None = None,
        index: CacheIndex | None = None,
        url: str | None = None,
        path: Path | str | None = None,
        threshold: float = 0.92,
        ttl_seconds: float = DEFAULT_TTL_SECONDS,
        require_tenant: bool = False,
        recorder: Recorder | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not isinstance(version, str) or not version.strip():
            raise ConfigurationError(f"version must be a non-empty string such as 'support-3', got {version!r}")
        if not 0.0 <= threshold <= 2.0:
            raise ConfigurationError(f"threshold must be a cosine similarity from 0 to 1, got {threshold!r}")
        if not ttl_seconds > 0:
            raise ConfigurationError(f"ttl_seconds must be above 0, got {ttl_seconds!r}")
        if sum(given is not None for given in (index, url, path)) > 1:
            raise ConfigurationError("give one of index=, url= and path=, not several")
        self.version = version
        self.threshold = threshold
        self.ttl_seconds = ttl_seconds
        self.require_tenant = require_tenant
        self._embedder = embedder if embedder is not None else default_embedder()
        self._index = index if index is not None else _open_index(self._embedder, url=url, path=path)
        self._recorder = recorder if recorder is not None else default_recorder()
        self._clock = clock
        self._told: set[str] = set()
        self._closed = False

    def lookup(
        self,
        question: str,
        *,
        inputs: Mapping[str, object] | None = None,
        scope: Scope | None = None,
        run_id: str | None = None,
        exact_only: bool = False,
    ) -> Lookup:
        """Decide whether an earlier answer serves ``question``.

        Args:
            question: The user's question alone, without prompt or context.
            inputs: All other input of the call, as plain JSON values; part of the identity.
            scope: Who asks. Default: the scope in force.
            run_id: Groups this decision with the other events of the question.
            exact_only: True serves and keeps the question word for word only, without an embedding.

        Returns:
            The decision. It never raises for a broken store.
        """
        began = time.perf_counter()
        scope = scope or current() or Scope()
        try:
            found = self._decide(question, inputs or {}, scope, run_id, exact_only=exact_only)
        except (ConfigurationError, StoreError) as error:
            self._tell(f"the cache stands aside: {error}")
            found = Lookup(kind="bypass", reason=str(error))
        except Exception as error:  # noqa: BLE001  whatever breaks here, the user's chain goes on
            self._tell(f"the cache stands aside: {error!r}")
            found = Lookup(kind="bypass", reason=f"look-up failed: {error!r}")
        self._recorder.record(self._event(found, scope, time.perf_counter() - began, run_id))
        return found

    def bypass(self, reason: str, *, scope: Scope | None = None, run_id: str | None = None) -> Lookup:
        """Book that the caller stands aside from the cache for one question, and log the reason once.

        Args:
            reason: Why, in one sentence.
            scope: Who asks. Default: the scope in force.
            run_id: Groups this decision with the other events of the question.
        """
        self._tell(f"the cache stands aside: {reason}")
        found = Lookup(kind="bypass", reason=reason)
        self._recorder.record(self._event(found, scope or current() or Scope(), 0.0, run_id))
        return found

    def ticket(
        self,
        question: str,
        *,
        inputs: Mapping[str, object] | None = None,
        scope: Scope | None = None,
        exact_only: bool = False,
    ) -> Ticket | None:
        """Return what ``store`` needs for a question that was answered without a look-up here.

        Frameworks whose look-up and store are separate calls come through this door. The arguments are those of
        ``lookup``; None means that the cache stands aside for them.
        """
        try:
            made = self._ticket(question, inputs or {}, scope or current() or Scope(), None, exact_only=exact_only)
            made.identity.key  # noqa: B018  raises where an input has no JSON form
        except ConfigurationError as error:
            self._tell(f"the cache stands aside: {error}")
            return None
        return made

    async def alookup(
        self,
        question: str,
        *,
        inputs: Mapping[str, object] | None = None,
        scope: Scope | None = None,
        run_id: str | None = None,
        exact_only: bool = False,
    ) -> Lookup:
        """Do what ``lookup`` does, in a thread."""
        return await asyncio.to_thread(
            self.lookup, question, inputs=inputs, scope=scope, run_id=run_id, exact_only=exact_only
        )

    def store(
        self,
        ticket: Ticket | None,
        answer: str,
        *,
        evidence: Sequence[Evidence] = (),
        usage: Usage | None = None,
        cost_nano_usd: int | None = None,
    ) -> str | None:
        """Keep an answer for the question of ``ticket``.

        Args:
            ticket: From the look-up that missed; None (after a bypass) stores nothing.
            answer: The complete answer, as text; adapters encode their types into it.
            evidence: The documents it rests on. An answer that rests on a document invalidated since the look-up is
                refused.
            usage: Tokens the answer took, booked as saved at every later hit.
            cost_nano_usd: What it cost; None is unpriced.

        Returns:
            The entry's id, or None if nothing was stored.
        """
        if ticket is None or not answer.strip():
            return None
        try:
            return self._keep(ticket, answer, evidence, usage or Usage(), cost_nano_usd)
        except Exception as error:  # noqa: BLE001  a store that fails must not lose the user's fresh answer
            self._tell(f"an answer was not cached: {error!r}")
            return None

    async def astore(
        self,
        ticket: Ticket | None,
        answer: str,
        *,
        evidence: Sequence[Evidence] = (),
        usage: Usage | None = None,
        cost_nano_usd: int | None = None,
    ) -> str | None:
        """Do what ``store`` does, in a thread."""
        return await asyncio.to_thread(
            self.store, ticket, answer, evidence=evidence, usage=usage, cost_nano_usd=cost_nano_usd
        )

    def invalidate(self, document_id: str, *, tenant: str | None = None) -> int:
        """Drop every answer that rests on a document; after it returns no such answer is served.

        Args:
            document_id: The document's id in the user's corpus.
            tenant: Whose document. Default: the tenant in force, else the private one.

        Returns:
            How many entries were dropped.

        Raises:
            StoreError: The store could not be written, so old answers may still be served.
        """
        tenant = Scope(tenant=tenant).tenant or (current() or Scope()).tenant or PRIVATE_TENANT
        point_id = document_point_id(tenant, document_id)
        # The switch is this one atomic write, checked at every hit; the deletion after it only cleans up.
        payload = {"kind": "document", "schema": SCHEMA, "document_id": document_id, "invalidated_at": self._clock()}
        self._index.upsert(point_id, payload)
        return self._index.delete_entries_of(point_id)

    async def ainvalidate(self, document_id: str, *, tenant: str | None = None) -> int:
        """Do what ``invalidate`` does, in a thread."""
        return await asyncio.to_thread(self.invalidate, document_id, tenant=tenant)

    def close(self) -> None:
        """Flush and release the store; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._index.close()

    def _decide(
        self, question: str, inputs: Mapping[str, object], scope: Scope, run_id: str | None, *, exact_only: bool
    ) -> Lookup:
        ticket = self._ticket(question, inputs, scope, run_id, exact_only=exact_only)
        exact = self._exact(ticket)
        if exact is not None:
            return exact
        if exact_only:
            return Lookup(kind="miss", reason="not answered word for word before", ticket=ticket)
        vector = self._embedder.embed([question])[0].tolist()
        return self._nearest(replace(ticket, vector=vector))

    def _ticket(
        self, question: str, inputs: Mapping[str, object], scope: Scope, run_id: str | None, *, exact_only: bool
    ) -> Ticket:
        if not question.strip():
            raise ConfigurationError("the question is empty")
        if scope.tenant is None:
            if self.require_tenant:
                raise ConfigurationError("require_tenant is set and the scope names no tenant")
            self._tell("no tenant in scope: answers are kept under one private tenant; set costkit.Scope(tenant=...)")
        identity = Identity(
            tenant=scope.tenant or PRIVATE_TENANT, version=self.version, embedder=self._embedder.name, inputs=inputs
        )
        return Ticket(
            identity=identity,
            question=question,
            vector=None,
            read_at=self._clock(),
            scope=scope,
            run_id=run_id,
            exact_only=exact_only,
        )

    def _exact(self, ticket: Ticket) -> Lookup | None:
        entry_id = _entry_id(ticket)
        payload = self._index.retrieve([entry_id]).get(entry_id)
        if payload is None or self._unusable(payload):
            return None
        return self._hit("exact", Found(id=entry_id, payload=payload, score=1.0), ticket)

    def _nearest(self, ticket: Ticket) -> Lookup:
        assert ticket.vector is not None  # noqa: S101  set by _decide
        best: Found | None = None
        for found in self._index.nearest(ticket.vector, identity=ticket.identity.key, limit=NEIGHBOURS):
            if self._unusable(found.payload):
                continue
            if found.score >= self.threshold:
                return self._hit("semantic", found, ticket)
            best = best or found
        if best is None:
            return Lookup(kind="miss", reason="no earlier question of this identity", ticket=ticket)
        reason = f"the nearest question scores {best.score:.3f}, below {self.threshold}"
        return Lookup(kind="miss", reason=reason, score=best.score, ticket=ticket)

    def _unusable(self, payload: Payload) -> bool:
        """True if an entry has expired, is of another schema, or a document of it changed after it was read."""
        if payload.get("schema") != SCHEMA or self._clock() >= _number(payload["expires_at"]):
            return True
        documents = self._index.retrieve(_strings(payload["documents"])) if payload["documents"] else {}
        read_at = _number(payload["read_at"])
        return any(_number(document["invalidated_at"]) >= read_at for document in documents.values())

    def _hit(self, kind: Literal["exact", "semantic"], found: Found, ticket: Ticket) -> Lookup:
        payload = found.payload
        close = "the same question" if kind == "exact" else f"cosine {found.score:.3f} reaches {self.threshold}"
        usage = payload["usage"]
        cost = payload["cost_nano_usd"]
        return Lookup(
            kind=kind,
            reason=f"{close} was answered before",
            answer=str(payload["answer"]),
            score=found.score,
            age_seconds=max(self._clock() - _number(payload["created_at"]), 0.0),
            entry_id=found.id,
            matched_question=str(payload["question"]),
            evidence=tuple(Evidence(**item) for item in payload["evidence"]),  # type: ignore[attr-defined]
            saved=Usage(**usage),  # type: ignore[arg-type]
            saved_nano_usd=None if cost is None else int(_number(cost)),
            ticket=ticket,
        )

    def _keep(
        self, ticket: Ticket, answer: str, evidence: Sequence[Evidence], usage: Usage, cost_nano_usd: int | None
    ) -> str | None:
        documents = [document_point_id(ticket.identity.tenant, item.document_id) for item in evidence]
        changed = self._index.retrieve(documents).values() if documents else ()
        if any(_number(document["invalidated_at"]) >= ticket.read_at for document in changed):
            _log.info("an answer was not cached: a document it rests on was invalidated while it was made")
            return None
        now = self._clock()
        entry_id = _entry_id(ticket)
        payload: dict[str, object] = {
            "kind": "entry",
            "schema": SCHEMA,
            "identity": ticket.identity.key,
            "tenant": ticket.identity.tenant,
            "question": ticket.question,
            "answer": answer,
            "documents": documents,
            "evidence": [vars(item) for item in evidence],
            "read_at": ticket.read_at,
            "created_at": now,
            "expires_at": now + self.ttl_seconds,
            "usage": vars(usage),
            "cost_nano_usd": cost_nano_usd,
        }
        vector = ticket.vector
        if vector is None and not ticket.exact_only:
            vector = self._embedder.embed([ticket.question])[0].tolist()
        self._index.upsert(entry_id, payload, vector)
        return entry_id

    def _event(self, found: Lookup, scope: Scope, seconds: float, run_id: str | None) -> Event:
        return Event(
            kind="cache",
            part="cache",
            decision="hit" if found.hit else found.kind,
            reason=found.reason,
            scope=scope,
            saved=found.saved,
            saved_nano_usd=found.saved_nano_usd,
            tier="cached" if found.hit else None,
            seconds=seconds,
            run_id=run_id,
            details={
                "hit_kind": found.kind,
                "score": found.score,
                "bound": found.bound,
                "entry_id": found.entry_id,
                "age_seconds": found.age_seconds,
            },
        )

    def _tell(self, message: str) -> None:
        """Log a message once per cache."""
        if message not in self._told:
            self._told.add(message)
            _log.warning(message)


def _entry_id(ticket: Ticket) -> str:
    """Return the id of a question's own entry; a prompt kept word for word never shares one with a question."""
    if ticket.exact_only:
        return ticket.identity.entry_id(f"verbatim\n{ticket.question}")
    return ticket.identity.entry_id(f"question\n{normalise_question(ticket.question)}")


def _open_index(embedder: Embedder, *, url: str | None, path: Path | str | None) -> CacheIndex:
    slug = re.sub(r"[^a-z0-9]+", "-", embedder.name.lower()).strip("-")
    if url is not None:
        from costkit.cache.qdrant import QdrantIndex

        return QdrantIndex.connect(url, collection=f"costkit-{slug}", dimensions=embedder.dimensions)
    from costkit.cache.edge import EdgeIndex

    folder = Path(path) if path is not None else home() / "cache" / slug
    return EdgeIndex.open(folder, dimensions=embedder.dimensions)


def _number(value: object) -> float:
    if isinstance(value, (int, float)):
        return value
    raise StoreError(f"a cache entry holds {value!r} where a number belongs; the store was written by another program")


def _strings(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
