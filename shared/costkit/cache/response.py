"""The response cache: decides whether an earlier answer may be served, keeps new ones, and learns from its hits."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from costkit.cache.equivalence import CosineScore, Equivalence, FittedScore
from costkit.cache.identity import Identity, document_point_id
from costkit.cache.index import CacheIndex, Found, Payload
from costkit.cache.judgements import Choice, Judgements, choose, cluster_id
from costkit.cache.learning import ReAsks, Served, Source, audits, cluster_of
from costkit.cache.lookup import Evidence, Fresh, Lookup, Ticket
from costkit.cache.replay import NEIGHBOURS
from costkit.embed import Embedder, default_embedder
from costkit.errors import ConfigurationError, StoreError
from costkit.home import home
from costkit.ledger.usage import Event, Recorder, Usage, default_recorder
from costkit.scope import Scope, current
from costkit.text import normalise_question

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from costkit.cache.certificate import Certificate
    from costkit.cache.drift import DriftMonitor

__all__ = ["Judge", "ResponseCache", "default_folder"]

Judge = Callable[[str, str, str], bool]

# No Scope can name it: a scope's tenant is never empty.
PRIVATE_TENANT = ""
SCHEMA = 2
# Where entries that have ended stand in the way, this many are looked at instead.
NEIGHBOURS_BEHIND = 50
DEFAULT_TTL_SECONDS = 24 * 3600.0

_log = logging.getLogger("costkit.cache")


class ResponseCache:
    """Semantic response cache: exact match first, then the nearest earlier questions, scored.

    The identity (tenant, version, embedder, all other input) is a hard filter; only the question is compared. An
    entry ends with its time to live or as soon as a document it rests on is invalidated. If the store fails, the
    cache stands aside: look-ups bypass, nothing is raised, and the failure is logged once.

    Args:
        version: Version of everything that shapes an answer (prompt, model, corpus). A new version starts empty.
        embedder: Turns questions into vectors. Default: ``costkit.embed.default_embedder()``.
        index: Where entries live. Default: Qdrant Edge in ``path``, or the server at ``url``.
        url: Address of a Qdrant server, instead of a local folder.
        path: Folder of the embedded store. Default: ``cache/<embedder>`` in ``costkit.home.home()``.
        equivalence: Scores earlier questions. Default: the shipped ``FittedScore``.
        threshold: Least score of a semantic hit. Without ``equivalence`` it is a cosine similarity, 0 to 1, and nothing
            but the cosine counts; above 1 only exact hits are served. Default: the threshold of the certificate or of
            the score.
        certificate: What ``costkit cache calibrate`` wrote: its threshold is used, and hits that it covers carry its
            bound.
        shadow: True decides and books, but serves nothing.
        ttl_seconds: Time to live of an entry, counted from its creation.
        require_tenant: True bypasses the cache where no tenant is set; False files such calls under one private tenant.
        audit_share: Share of the semantic hits (0 to 1) that also get a fresh answer, off the path; needs ``judge``.
        judge: Takes the question, the served answer and a fresh one, in words, and says whether the served one was
            right.
        monitor: Watches the audits for drift and tightens the threshold. Default: none.
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
        equivalence: Equivalence | None = None,
        threshold: float | None = None,
        certificate: Certificate | None = None,
        shadow: bool = False,
        ttl_seconds: float = DEFAULT_TTL_SECONDS,
        require_tenant: bool = False,
        audit_share: float = 0.0,
        judge: Judge | None = None,
        monitor: DriftMonitor | None = None,
        recorder: Recorder | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not isinstance(version, str) or not version.strip():
            raise ConfigurationError(f"version must be a non-empty string such as 'support-3', got {version!r}")
        if not ttl_seconds > 0:
            raise ConfigurationError(f"ttl_seconds must be above 0, got {ttl_seconds!r}")
        if not 0 <= audit_share <= 1:
            raise ConfigurationError(f"audit_share must be a share of the hits from 0 to 1, got {audit_share!r}")
        if audit_share and judge is None:
            raise ConfigurationError(f"audit_share={audit_share!r} needs judge=, which compares two answers")
        if sum(given is not None for given in (index, url, path)) > 1:
            raise ConfigurationError("give one of index=, url= and path=, not several")
        if certificate is not None and threshold is not None:
            raise ConfigurationError(f"threshold={threshold!r} would void the certificate, which has its own: give one")
        self.version = version
        self.ttl_seconds = ttl_seconds
        self.require_tenant = require_tenant
        self.shadow = shadow
        self.certificate = certificate
        self.equivalence = equivalence or (FittedScore() if threshold is None else CosineScore(threshold=threshold))
        self.threshold = _threshold(self.equivalence, threshold, certificate)
        self._audit_share = audit_share
        self._judge = judge
        self._embedder = embedder if embedder is not None else default_embedder()
        self._index = index if index is not None else _open_index(self._embedder, url=url, path=path)
        self._judgements = Judgements(self._index, monitor=monitor, name=f"{version}\n{self.equivalence.name}")
        self._re_asks = ReAsks(clock=clock)
        self._auditors = ThreadPoolExecutor(1, thread_name_prefix="costkit-audit")
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

    def feedback(self, hit: Lookup | Mapping[str, object], *, right: bool, source: Source = "explicit") -> None:
        """Say whether a served answer was right; the cache learns from it, and never serves a wrong pair again.

        Args:
            hit: The look-up, or its ``mark`` as it was written on the answer.
            right: Whether the answer served the question.
            source: Who says so: a user (``explicit``), an ``audit``, or code that replaced the answer (``edit``).

        Raises:
            ConfigurationError: ``hit`` is no hit.
            StoreError: The store could not be written.
        """
        served = _served(hit)
        self._judgements.judged(served, right=right, source=source)
        score = hit.score if isinstance(hit, Lookup) else hit.get("score")
        if source == "audit" and isinstance(score, int | float):
            self._judgements.audited(score, right=right, at=self._clock())

    def audit(self, hit: Lookup, served: str, fresh: Callable[[], Fresh]) -> None:
        """Judge a hit that was drawn for an audit against a fresh answer, off the path; other hits are left alone.

        Args:
            hit: The look-up.
            served: The answer that was served, in words.
            fresh: Makes the fresh answer. It runs in a thread of the cache's own, under the caller's context.
        """
        if hit.audit and not self._closed:
            self._auditors.submit(copy_context().run, self._audit, hit, served, fresh)

    def _audit(self, hit: Lookup, served: str, fresh: Callable[[], Fresh]) -> None:
        began = time.perf_counter()
        try:
            assert self._judge is not None  # noqa: S101  checked where audit_share is set
            made = fresh()
            right = self._judge(_served(hit).question, served, made.text)
            self.feedback(hit, right=right, source="audit")
        except Exception as error:  # noqa: BLE001  an audit that fails says nothing
            self._tell(f"an audit failed: {error!r}")
            return
        self._recorder.record(
            Event(
                kind="judge",
                part="cache",
                decision="right" if right else "wrong",
                reason="audit: a served answer was compared with a fresh one",
                scope=hit.ticket.scope if hit.ticket else Scope(),
                usage=made.usage,
                cost_nano_usd=made.cost_nano_usd,
                seconds=time.perf_counter() - began,
                run_id=hit.ticket.run_id if hit.ticket else None,
                details={"entry_id": hit.entry_id, "score": hit.score},
            )
        )

    def close(self) -> None:
        """Flush and release the store; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._auditors.shutdown()
            self._index.close()

    def _decide(
        self, question: str, inputs: Mapping[str, object], scope: Scope, run_id: str | None, *, exact_only: bool
    ) -> Lookup:
        ticket = self._ticket(question, inputs, scope, run_id, exact_only=exact_only)
        exact = self._exact(ticket)
        if exact is not None:
            return self._settled(exact)
        if exact_only:
            return Lookup(kind="miss", reason="not answered word for word before", ticket=ticket)
        vector = self._embedder.embed([question])[0]
        self._notice_re_asks(ticket, vector)
        return self._settled(self._nearest(replace(ticket, vector=vector.tolist())))

    def _settled(self, found: Lookup) -> Lookup:
        """Serve a hit, or in shadow mode only say that it would be."""
        if found.served is None or found.ticket is None:
            return found
        if self.shadow:
            return replace(found, kind="shadow", answer=None, reason=f"not served, in shadow mode: {found.reason}")
        if found.kind == "semantic":
            self._judgements.served(found.served)
        self._re_asks.served(found.served, user=found.ticket.scope.user, identity=found.ticket.identity.key)
        return found

    def _notice_re_asks(self, ticket: Ticket, vector: NDArray[np.float32]) -> None:
        def cosine(hit: Served) -> float:
            return float(self._embedder.embed([hit.question])[0] @ vector)

        for hit in self._re_asks.asked(user=ticket.scope.user, identity=ticket.identity.key, cosine=cosine):
            self._judgements.judged(hit, right=False, source="re-ask")

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
        found = Found(id=entry_id, payload=payload, score=1.0)
        [(record, _)] = self._judgements.records([(entry_id, cluster_id(found))])
        if record.refuses(ticket.question):
            return None
        return self._hit(
            "exact", found, ticket, probability=1.0, score=1.0, reason="the same question was answered before"
        )

    def _nearest(self, ticket: Ticket) -> Lookup:
        choice = choose(ticket.question, self._usable(ticket), self.equivalence, self._judgements)
        if choice is None:
            return Lookup(kind="miss", reason="no earlier question of this identity", ticket=ticket)
        monitor = self._judgements.monitor()
        threshold = self.threshold if monitor is None else max(self.threshold, monitor.threshold)
        if choice.score >= threshold and not (monitor and monitor.exact_only):
            return self._semantic_hit(choice, threshold, monitor, ticket)
        reason = f"the nearest question scores {choice.score:.3f}, below {threshold:.3f} ({choice.reason})"
        if monitor and monitor.exact_only:
            reason = f"only exact questions are served: {monitor.voided.reason if monitor.voided else 'drift'}"
        return Lookup(
            kind="miss",
            reason=reason,
            score=choice.score,
            cosine=choice.found.score,
            probability=choice.adjusted.probability,
            ticket=ticket,
        )

    def _semantic_hit(self, choice: Choice, threshold: float, monitor: DriftMonitor | None, ticket: Ticket) -> Lookup:
        hit = self._hit(
            "semantic",
            choice.found,
            ticket,
            score=choice.score,
            probability=choice.adjusted.probability,
            reason=f"a near question was answered before: score {choice.score:.3f} reaches {threshold:.3f}, "
            f"cosine {choice.found.score:.3f} ({choice.reason})",
        )
        assert hit.served is not None  # noqa: S101  every hit has it
        return replace(
            hit,
            bound=self._bound(monitor, ticket),
            # Judgements move the score's own probability, not one that they have moved already.
            served=replace(hit.served, probability=choice.verdict.probability),
            audit=bool(self._audit_share) and audits(hit.served.hit_id, share=self._audit_share),
        )

    def _bound(self, monitor: DriftMonitor | None, ticket: Ticket) -> float | Literal["uncertified"]:
        certificate = self.certificate
        if certificate is None or (monitor is not None and monitor.voided):
            return "uncertified"
        uncovered = certificate.covers(
            self.equivalence.name, self._embedder.name, self._index.count(identity=ticket.identity.key)
        )
        if uncovered is not None:
            self._tell(f"hits are uncertified: {uncovered}")
            return "uncertified"
        return certificate.bound

    def _usable(self, ticket: Ticket) -> list[Found]:
        """Return the nearest entries that may be served."""
        assert ticket.vector is not None  # noqa: S101  set by _decide
        for limit in (NEIGHBOURS, NEIGHBOURS_BEHIND):
            found = self._index.nearest(ticket.vector, identity=ticket.identity.key, limit=limit)
            usable = [one for one in found if not self._unusable(one.payload)][:NEIGHBOURS]
            if len(usable) == min(len(found), NEIGHBOURS) or len(found) < limit:
                break
        return usable

    def _unusable(self, payload: Payload) -> bool:
        """True if an entry has expired, is of another schema, or a document of it changed after it was read."""
        if payload.get("schema") != SCHEMA or self._clock() >= _number(payload["expires_at"]):
            return True
        documents = self._index.retrieve(_strings(payload["documents"])) if payload["documents"] else {}
        read_at = _number(payload["read_at"])
        return any(_number(document["invalidated_at"]) >= read_at for document in documents.values())

    def _hit(
        self,
        kind: Literal["exact", "semantic"],
        found: Found,
        ticket: Ticket,
        *,
        score: float,
        probability: float,
        reason: str,
    ) -> Lookup:
        payload = found.payload
        usage = payload["usage"]
        cost = payload["cost_nano_usd"]
        return Lookup(
            kind=kind,
            reason=reason,
            answer=str(payload["answer"]),
            score=score,
            cosine=found.score,
            probability=probability,
            age_seconds=max(self._clock() - _number(payload["created_at"]), 0.0),
            entry_id=found.id,
            matched_question=str(payload["question"]),
            evidence=tuple(Evidence(**item) for item in payload["evidence"]),  # type: ignore[attr-defined]
            saved=Usage(**usage),  # type: ignore[arg-type]
            saved_nano_usd=None if cost is None else int(_number(cost)),
            served=Served(
                hit_id=ticket.run_id or uuid.uuid4().hex,
                entry_id=found.id,
                cluster_id=cluster_id(found),
                question=ticket.question,
                probability=probability,
            ),
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
        payload["cluster"] = cluster = self._cluster(entry_id, ticket, vector)
        self._index.upsert(entry_id, payload, vector)
        self._judgements.renewed(entry_id, cluster, ticket.question)
        return entry_id

    def _cluster(self, entry_id: str, ticket: Ticket, vector: Sequence[float] | None) -> str:
        """Return the cluster of a new entry: that of its nearest neighbour, or one of its own."""
        near = self._index.nearest(vector, identity=ticket.identity.key, limit=2) if vector is not None else []
        other = next((one for one in near if one.id != entry_id), None)
        if other is None:
            return entry_id
        return cluster_of(entry_id, nearest_cluster_id=cluster_id(other), cosine=other.score)

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
                "cosine": found.cosine,
                "probability": found.probability,
                "bound": found.bound,
                "equivalence": self.equivalence.name,
                "matched_question": found.matched_question,
                "audit": found.audit,
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


def _threshold(equivalence: Equivalence, given: float | None, certificate: Certificate | None) -> float:
    if certificate is not None:
        return certificate.threshold
    return equivalence.threshold if given is None else given


def _served(hit: Lookup | Mapping[str, object]) -> Served:
    """Return what feedback needs of a hit or of its mark."""
    if isinstance(hit, Lookup):
        if hit.served is None:
            raise ConfigurationError(f"hit is a {hit.kind}, which served nothing: give feedback on hits")
        return hit.served
    missing = [key for key in ("entry_id", "cluster_id", "question", "probability") if hit.get(key) is None]
    if missing:
        raise ConfigurationError(
            f"hit lacks {missing[0]!r}: give a look-up or the whole mark of a hit, got {dict(hit)!r}"
        )
    return Served(
        hit_id="",
        entry_id=str(hit["entry_id"]),
        cluster_id=str(hit["cluster_id"]),
        question=str(hit["question"]),
        probability=_number(hit["probability"]),
    )


def default_folder(embedder: Embedder) -> Path:
    """Return where the embedded store of an embedder's vectors lies by default."""
    return home() / "cache" / _slug(embedder)


def _open_index(embedder: Embedder, *, url: str | None, path: Path | str | None) -> CacheIndex:
    if url is not None:
        from costkit.cache.qdrant import QdrantIndex

        return QdrantIndex.connect(url, collection=f"costkit-{_slug(embedder)}", dimensions=embedder.dimensions)
    from costkit.cache.edge import EdgeIndex

    folder = Path(path) if path is not None else default_folder(embedder)
    return EdgeIndex.open(folder, dimensions=embedder.dimensions)


def _slug(embedder: Embedder) -> str:
    return re.sub(r"[^a-z0-9]+", "-", embedder.name.lower()).strip("-")


def _number(value: object) -> float:
    if isinstance(value, (int, float)):
        return value
    raise StoreError(f"a cache entry holds {value!r} where a number belongs; the store was written by another program")


def _strings(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
