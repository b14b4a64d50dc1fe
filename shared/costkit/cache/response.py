"""The response cache: decides whether an earlier answer may be served, keeps new ones, and learns from its hits."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, Unpack, get_args

from costkit.cache.agreement import SameAnswer, decision_name
from costkit.cache.asking import Asking, Filing, SharedBy
from costkit.cache.auditing import Auditing, Judge, served_by
from costkit.cache.conversation import Conversation
from costkit.cache.deciding import Deciding
from costkit.cache.documents import Documents
from costkit.cache.entries import entry_id
from costkit.cache.equivalence import CosineScore, Equivalence, FittedScore
from costkit.cache.flight import DEFAULT_WAIT_SECONDS, Flights, Steps, afinish, finish, shared
from costkit.cache.index import CacheIndex, Found
from costkit.cache.judgements import Judgements
from costkit.cache.keeping import Answer, Keeping, Kept, unfit
from costkit.cache.learning import ReAsks, Source
from costkit.cache.lifetime import DEFAULT_TTL_SECONDS, Lifetime
from costkit.cache.lookup import Check, Evidence, Fresh, Lookup, Ticket, WouldBe
from costkit.cache.notices import Notices
from costkit.cache.outage import Outage
from costkit.cache.patience import allow
from costkit.cache.stores import LockedIndex, OnLocked, open_index
from costkit.cache.upkeep import DEFAULT_MOST_ENTRIES, Swept, Upkeep
from costkit.embed import Embedder, default_embedder
from costkit.errors import ConfigurationError, StoreError
from costkit.ledger.usage import Event, Recorder, Usage, default_recorder
from costkit.scope import Scope, current

if TYPE_CHECKING:
    from costkit.cache.certificate import Certificate
    from costkit.cache.drift import DriftMonitor

__all__ = ["Judge", "ResponseCache"]

P = ParamSpec("P")

MOST_WAIT_SECONDS = 24 * 3600.0


class ResponseCache:
    """Semantic response cache: exact match first, then the nearest earlier questions, scored.

    The identity (tenant, version, embedder, all other input) is a hard filter; only the question is compared. An
    entry ends with its time to live or as soon as a document it rests on is invalidated. If the store fails, the
    cache stands aside: look-ups bypass, nothing is raised, and it says so once, and once more when it is back.

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
        ttl_seconds: Time to live of an entry in seconds, counted from its creation and never prolonged by hits; or one
            for each ``Scope.feature``, where the key None stands for all others. Entries end up to a tenth sooner, each
            at another time.
        volatile: Features (``Scope.feature``) whose answers change so often that only the same question is served.
        max_entries_per_tenant: Beyond it the answers that save least are evicted, by what a hit saves, hits and age.
        wait_seconds: How long a question may wait for the call of an equal or near one that is being answered, see
            ``join``. 0 never waits: for streams whose first words matter more than a second call.
        shared_by: Who shares answers. With ``tenant`` all users of a tenant; with ``user`` each user has their own, and
            a scope without a user bypasses; ``everyone`` lets answers cross tenants: for answers from public documents.
        require_tenant: True bypasses the cache where no tenant is set; False files such calls under one private tenant.
        audit_share: Share of the semantic hits (0 to 1) that also get a fresh answer, off the path; needs ``judge``.
        judge: Takes the question, the served answer and a fresh one, in words, and says whether the served one was
            right.
        monitor: Watches the audits for drift and tightens the threshold. Default: none.
        same_answer: Takes two answers in words and says whether they say the same (``same_text`` where answers are
            canned). Each new answer is compared with those of its nearest questions, off the path; then near questions
            with the same answer speak for it and those with another against it. Default: not known.
        on_locked: What to do if another process holds the folder: ``raise`` or, with ``bypass``, run without a cache,
            every look-up booked as a bypass.
        store_timeout_seconds: How long the calls to a Qdrant server may keep one look-up, or one storing, waiting
            altogether; then the cache stands aside, and tries the server again every 10 seconds. The embedded store
            answers within the process and is not timed.
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
        ttl_seconds: float | Mapping[str | None, float] = DEFAULT_TTL_SECONDS,
        volatile: Collection[str] = (),
        max_entries_per_tenant: int = DEFAULT_MOST_ENTRIES,
        wait_seconds: float = DEFAULT_WAIT_SECONDS,
        shared_by: SharedBy = "tenant",
        require_tenant: bool = False,
        audit_share: float = 0.0,
        judge: Judge | None = None,
        monitor: DriftMonitor | None = None,
        same_answer: SameAnswer | None = None,
        on_locked: OnLocked = "raise",
        store_timeout_seconds: float = 1.0,
        recorder: Recorder | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not isinstance(version, str) or not version.strip():
            raise ConfigurationError(f"version must be a non-empty string such as 'support-3', got {version!r}")
        if max_entries_per_tenant < 1:
            raise ConfigurationError(f"max_entries_per_tenant must be 1 or more, got {max_entries_per_tenant!r}")
        if not 0 <= wait_seconds <= MOST_WAIT_SECONDS:
            raise ConfigurationError(
                f"wait_seconds must be 0 (never wait) to {MOST_WAIT_SECONDS:.0f}, got {wait_seconds!r}"
            )
        if not 0 <= audit_share <= 1:
            raise ConfigurationError(f"audit_share must be a share of the hits from 0 to 1, got {audit_share!r}")
        if audit_share and judge is None:
            raise ConfigurationError(f"audit_share={audit_share!r} needs judge=, which compares two answers")
        if sum(given is not None for given in (index, url, path)) > 1:
            raise ConfigurationError("give one of index=, url= and path=, not several")
        if shared_by not in get_args(SharedBy):
            raise ConfigurationError(f"shared_by must be one of {get_args(SharedBy)}, got {shared_by!r}")
        if on_locked not in get_args(OnLocked):
            raise ConfigurationError(f"on_locked must be one of {get_args(OnLocked)}, got {on_locked!r}")
        if not 0 < store_timeout_seconds < math.inf:
            raise ConfigurationError(f"store_timeout_seconds must be above 0, got {store_timeout_seconds!r}")
        if certificate is not None and threshold is not None:
            raise ConfigurationError(f"threshold={threshold!r} would void the certificate, which has its own: give one")
        self.version = version
        self.wait_seconds = wait_seconds
        self.require_tenant = require_tenant
        lifetime = Lifetime(ttl_seconds=ttl_seconds, volatile=volatile)
        score = equivalence or (FittedScore() if threshold is None else CosineScore(threshold=threshold))
        self._shadow = shadow
        self._same_answer = same_answer
        self._decision_name = decision_name(score, answers=same_answer is not None)
        self._embedder = embedder if embedder is not None else default_embedder()
        self._index = (
            index if index is not None else open_index(self._embedder, url=url, path=path, on_locked=on_locked)
        )
        locked = self._index.reason if isinstance(self._index, LockedIndex) else None
        self._outage = Outage(clock=clock, always=locked)
        self._store_timeout_seconds = store_timeout_seconds
        self._notices = Notices()
        self._recorder = recorder if recorder is not None else default_recorder()
        self._flights = Flights.of(self._index)
        self._documents = Documents(self._index, clock=clock)
        self._judgements = Judgements(
            self._index, monitor=monitor, name=f"{version}\n{self._decision_name}\n{certificate}"
        )
        self._upkeep = Upkeep(
            self._index, self._judgements, self._documents, most_per_tenant=max_entries_per_tenant, clock=clock
        )
        self._filing = Filing(
            version=version,
            embedder=self._embedder.name,
            shared_by=shared_by,
            require_tenant=require_tenant,
            lifetime=lifetime,
            notices=self._notices,
        )
        self._auditing = Auditing(
            self._judgements,
            judge=judge,
            share=audit_share,
            recorder=self._recorder,
            notices=self._notices,
            clock=clock,
        )
        self._deciding = Deciding(
            self._index,
            equivalence=score,
            decision_name=self._decision_name,
            threshold=_threshold(score, threshold, certificate),
            certificate=certificate,
            judgements=self._judgements,
            auditing=self._auditing,
            lifetime=lifetime,
            embedder=self._embedder.name,
            answers_vote=same_answer is not None,
            shadow=shadow,
            notices=self._notices,
            clock=clock,
        )
        self._keeping = Keeping(
            self._index,
            embedder=self._embedder,
            judgements=self._judgements,
            upkeep=self._upkeep,
            lifetime=lifetime,
            same_answer=same_answer,
            keep_words=same_answer is not None or judge is not None,
            clock=clock,
        )
        self._re_asks = ReAsks(clock=clock)
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="costkit-cache")
        self._clock = clock
        self._closed = False

    @property
    def threshold(self) -> float:
        """Least score of a semantic hit, set when the cache is made."""
        return self._deciding.threshold

    def lookup(
        self,
        question: str,
        *,
        inputs: Mapping[str, object] | None = None,
        scope: Scope | None = None,
        run_id: str | None = None,
        exact_only: bool = False,
        conversation: Conversation | None = None,
        check: Check | None = None,
    ) -> Lookup:
        """Decide whether an earlier answer serves ``question``.

        Args:
            question: The user's question alone, without prompt or context.
            inputs: All other input of the call, as plain JSON values; part of the identity.
            scope: Who asks. Default: the scope in force.
            run_id: Groups this decision with the other events of the question.
            exact_only: True serves and keeps the question word for word only, without an embedding.
            conversation: What was said before the question. A question that needs it ("and for the other one?") is
                bypassed without one, else served within an equal conversation or by its rewrite.
            check: Called with the evidence of an answer that would be served; says why it must not be, or None. See
                ``costkit.cache.evidence.still_holds``.

        Returns:
            The decision. It never raises for a broken store.
        """
        began, scope = time.perf_counter(), scope or current() or Scope()
        found = self._looked_up(
            question,
            inputs=inputs,
            scope=scope,
            run_id=run_id,
            exact_only=exact_only,
            conversation=conversation,
            check=check,
        )
        self._book(found, scope, time.perf_counter() - began, run_id)
        return found

    async def alookup(self, question: str, **asking: Unpack[Asking]) -> Lookup:
        """Do what ``lookup`` does, in a thread."""
        return await asyncio.to_thread(self.lookup, question, **asking)

    def join(self, question: str, **asking: Unpack[Asking]) -> Lookup:
        """Do what ``lookup`` does, but wait where an equal or near question is being answered, to share its answer.

        After a miss others may wait for yours. Use the decision as a context manager around the call and ``store``;
        at its end the next one who waits gets the turn, unless the answer was stored. The arguments are those of
        ``lookup``.
        """
        return finish(self.joining(question, **asking))

    async def ajoin(self, question: str, **asking: Unpack[Asking]) -> Lookup:
        """Do what ``join`` does, without blocking: ``with await cache.ajoin(question) as found``."""
        return await afinish(self.joining(question, **asking))

    def joining(self, question: str, **asking: Unpack[Asking]) -> Steps[Lookup]:
        """Return the steps of ``join``, for code with steps of its own; ``costkit.cache.flight`` runs them."""
        began = time.perf_counter()
        scope = asking["scope"] = asking.get("scope") or current() or Scope()
        since = self._flights.landings
        found = self._looked_up(question, **asking)
        if self.wait_seconds and not self._shadow:
            found = yield from shared(
                found,
                self._flights,
                since=since,
                entry_id=entry_id,
                look_again=self._look_again,
                choose=self._choose_in_flight,
                wait_seconds=self.wait_seconds,
            )
        self._book(found, scope, time.perf_counter() - began, asking.get("run_id"))
        return found

    def bypass(self, reason: str, *, scope: Scope | None = None, run_id: str | None = None) -> Lookup:
        """Book that the caller stands aside from the cache for one question, and log the reason once.

        Args:
            reason: Why, in one sentence.
            scope: Who asks. Default: the scope in force.
            run_id: Groups this decision with the other events of the question.
        """
        self._notices.tell(f"the cache stands aside: {reason}")
        found = Lookup(kind="bypass", reason=reason)
        self._book(found, scope or current() or Scope(), 0.0, run_id)
        return found

    def ticket(self, question: str, **asking: Unpack[Asking]) -> Ticket | None:
        """Return what ``store`` needs for a question that was answered without a look-up here.

        Frameworks whose look-up and store are separate calls come through this door. The arguments are those of
        ``lookup``; None means that the cache stands aside for them.
        """
        if self._outage.reason() is not None:
            return None
        try:
            made = self._filing.ticket(question, **asking)
            if isinstance(made, Lookup):
                return None
            with allow(self._store_timeout_seconds):
                return self._deciding.opened(made)[0]
        except StoreError as error:
            self._outage.failed(error)
        except ConfigurationError as error:
            self._notices.tell(f"the cache stands aside: {error}")
        return None

    def store(
        self,
        ticket: Ticket | None,
        answer: str,
        *,
        words: str | None = None,
        evidence: Sequence[Evidence] = (),
        usage: Usage | None = None,
        cost_nano_usd: int | None = None,
    ) -> str | None:
        """Keep an answer for the question of ``ticket``.

        Args:
            ticket: From the look-up that missed; None (after a bypass) stores nothing.
            answer: The complete answer, as text; adapters encode their types into it.
            words: The answer in words, for ``same_answer``. Default: ``answer``.
            evidence: The documents it rests on. An answer that rests on a document invalidated since the look-up is
                refused.
            usage: Tokens the answer took, booked as saved at every later hit.
            cost_nano_usd: What it cost; None is unpriced.

        Returns:
            The entry's id, or None if nothing was stored.
        """
        if ticket is None or not answer.strip() or self._outage.reason() is not None:
            return None
        if (why := unfit(answer)) is not None:
            self._notices.tell(why)
            return None
        given = Answer(
            text=answer,
            words=words or answer,
            evidence=evidence,
            usage=usage or Usage(),
            cost_nano_usd=cost_nano_usd,
        )
        try:
            with allow(self._store_timeout_seconds):
                kept = self._keep(ticket, given)
        except StoreError as error:
            self._outage.failed(error)
            return None
        except Exception as error:  # noqa: BLE001  a store that fails must not lose the user's fresh answer
            self._notices.tell(f"an answer was not cached: {error!r}")
            return None
        self._outage.worked()
        if kept is None:
            return None
        if ticket.place is not None:
            ticket.place.land()
        return kept.entry_id

    async def astore(
        self,
        ticket: Ticket | None,
        answer: str,
        *,
        words: str | None = None,
        evidence: Sequence[Evidence] = (),
        usage: Usage | None = None,
        cost_nano_usd: int | None = None,
    ) -> str | None:
        """Do what ``store`` does, in a thread."""
        return await asyncio.to_thread(
            self.store, ticket, answer, words=words, evidence=evidence, usage=usage, cost_nano_usd=cost_nano_usd
        )

    def invalidate(self, document_id: str, *, tenant: str | None = None) -> int:
        """Drop every answer that rests on a document; after it returns no look-up that starts serves one.

        Call it once the document's new text is what retrieval finds: an answer that is being made from the old text is
        then refused when it is stored.

        Args:
            document_id: The document's id in the user's corpus.
            tenant: Whose document. Default: the tenant in force; without one, everybody's, and the answers of all
                tenants are dropped.

        Returns:
            How many entries were dropped.

        Raises:
            StoreError: The store could not be written, so old answers may still be served.
        """
        return self._documents.invalidate(document_id, tenant=self._filing.owner(tenant))

    async def ainvalidate(self, document_id: str, *, tenant: str | None = None) -> int:
        """Do what ``invalidate`` does, in a thread."""
        return await asyncio.to_thread(self.invalidate, document_id, tenant=tenant)

    def ingested(self, document_id: str, content_hash: str, *, tenant: str | None = None) -> bool:
        """Say that a document was ingested: what rests on it is dropped, unless its content is as it was last time.

        Call it, as ``invalidate``, once retrieval finds the new text.

        Args:
            document_id: The document's id in the user's corpus.
            content_hash: A hash of all that a model gets to see of it.
            tenant: Whose document. Default: as for ``invalidate``.

        Returns:
            Whether it has changed; a document that is not known yet has.

        Raises:
            StoreError: The store could not be written, so old answers may still be served.
        """
        return self._documents.ingested(document_id, content_hash, tenant=self._filing.owner(tenant))

    def drop(self, entry_id: str) -> bool:
        """Drop one answer, such as a wrong one; its question is answered anew when it is asked again.

        Args:
            entry_id: From ``Lookup.entry_id`` or the mark of a served answer.

        Returns:
            True if there was such an entry.

        Raises:
            ConfigurationError: ``entry_id`` is no id of an entry.
            StoreError: The store could not be read or written.
        """
        try:
            uuid.UUID(entry_id)
        except ValueError:
            raise ConfigurationError(f"entry_id must be the id of an entry, a UUID, got {entry_id!r}") from None
        there = self._index.retrieve([entry_id]).get(entry_id, {}).get("kind") == "entry"
        if there:
            self._upkeep.forget([entry_id])
        return there

    async def adrop(self, entry_id: str) -> bool:
        """Do what ``drop`` does, in a thread."""
        return await asyncio.to_thread(self.drop, entry_id)

    def optimize(self) -> Swept:
        """Delete all that has ended, and bring the store into its best shape.

        It goes through the whole store, and an embedded one stops every thread of the process meanwhile: call it where
        nobody waits. What ends while the cache is used is deleted anyway, a little at every answer that is kept.

        Raises:
            StoreError: The store could not be read or written.
        """
        swept = self._upkeep.sweep()
        self._index.optimize()
        return swept

    def export_to(self, path: Path | str) -> Counter[str]:
        """Write all that the store holds, of every tenant and version, to a new file of JSON lines.

        Args:
            path: The file; one that ends in .gz is packed.

        Returns:
            How many points of each kind were written; entries are of kind ``entry``.

        Raises:
            ConfigurationError: The file exists or cannot be written.
            StoreError: The store could not be read.
        """
        from costkit.cache.transfer import export_points

        return export_points(self._index, Path(path), embedder=self._embedder)

    def import_from(self, path: Path | str) -> Counter[str]:
        """Read what ``export_to`` wrote into this store; newer answers and invalidations that it has stand.

        Answers that rest on documents and are older than 30 days are left out: the store may have forgotten since that
        such a document changed.

        Returns:
            How many points of each kind were written.

        Raises:
            DataError: The file cannot be read, or a line of it is wrong; the lines before it are in.
            StoreError: The store could not be written.
        """
        from costkit.cache.transfer import import_points

        return import_points(self._index, Path(path), embedder=self._embedder, clock=self._clock)

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
        score, kind = (hit.score, hit.kind) if isinstance(hit, Lookup) else (hit.get("score"), hit.get("kind"))
        audited = score if source == "audit" and kind == "semantic" and isinstance(score, int | float) else None
        self._auditing.learn(served_by(hit), right=right, source=source, score=audited)

    def audit(self, hit: Lookup, served: str, fresh: Callable[[], Fresh]) -> None:
        """Judge a hit that was drawn for an audit against a fresh answer, off the path; other hits are left alone.

        Args:
            hit: The look-up.
            served: The answer that was served, in words.
            fresh: Makes the fresh answer. It runs in a thread of the cache's own, under the caller's context.
        """
        if not hit.audit or self._closed:
            return
        assert hit.ticket is not None  # noqa: S101  every hit has it
        would_be = WouldBe(served=served_by(hit), score=hit.score or 0.0, words=served)
        reason = "audit: a served answer was compared with a fresh one"
        self._aside.submit(copy_context().run, self._auditing.compare, would_be, hit.ticket, fresh, reason)

    def close(self) -> None:
        """Flush and release the store; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._aside.shutdown()
            self._index.close()

    def _looked_up(self, question: str, **asking: Unpack[Asking]) -> Lookup:
        def look() -> Lookup:
            ticket = self._filing.ticket(question, **asking)
            return ticket if isinstance(ticket, Lookup) else self._decide_in_time(ticket)

        return self._guarded(look)

    def _look_again(self, ticket: Ticket) -> Lookup:
        """Look a question up once more, after a wait."""
        return self._guarded(partial(self._decide_in_time, replace(ticket, would_be=None)))

    def _guarded(self, look: Callable[[], Lookup]) -> Lookup:
        """Decide, or say why not: whatever breaks here, the user's chain goes on."""
        down = self._outage.reason()
        if down is not None:
            return Lookup(kind="bypass", reason=down)
        try:
            return look()
        except StoreError as error:
            self._outage.failed(error)
            return Lookup(kind="bypass", reason=str(error))
        except ConfigurationError as error:
            self._notices.tell(f"the cache stands aside: {error}")
            return Lookup(kind="bypass", reason=str(error))
        except Exception as error:  # noqa: BLE001
            self._notices.tell(f"the cache stands aside: {error!r}")
            return Lookup(kind="bypass", reason=f"look-up failed: {error!r}")

    def _decide_in_time(self, ticket: Ticket) -> Lookup:
        with allow(self._store_timeout_seconds):
            found = self._decide(ticket)
        self._outage.worked()
        return found

    def _decide(self, ticket: Ticket) -> Lookup:
        ticket, own = self._deciding.opened(ticket)
        exact = self._deciding.exact(ticket, own)
        if exact is not None:
            return self._settled(exact)
        if not ticket.near:
            return Lookup(kind="miss", reason="the same question was not answered before", ticket=ticket)
        if ticket.vector is None:  # else this is a second look
            ticket = replace(ticket, vector=self._embedder.embed([ticket.question])[0].tolist())
            self._notice_re_asks(ticket)
        return self._settled(self._deciding.nearest(ticket))

    def _settled(self, found: Lookup) -> Lookup:
        """Serve a hit, if its evidence passes the check, or in shadow mode only say that it would be."""
        if found.served is None or found.ticket is None:
            return found
        failed = found.ticket.check(found.evidence) if found.ticket.check is not None else None
        if failed is not None:
            return Lookup(
                kind="miss",
                reason=f"{found.reason}, but {failed}",
                score=found.score,
                cosine=found.cosine,
                probability=found.probability,
                unsupported=True,
                ticket=found.ticket,
            )
        if self._shadow:
            return replace(found, kind="shadow", answer=None, reason=f"not served, in shadow mode: {found.reason}")
        self._quietly(self._upkeep.served, found)
        ticket = found.ticket
        self._re_asks.served(found.served, user=ticket.scope.user, identity=ticket.identity.key, vector=ticket.vector)
        return found

    def _notice_re_asks(self, ticket: Ticket) -> None:
        def embed(question: str) -> list[float]:
            return list(map(float, self._embedder.embed([question])[0]))

        assert ticket.vector is not None  # noqa: S101  set by _decide
        user, identity = ticket.scope.user, ticket.identity.key
        for hit in self._re_asks.asked(user=user, identity=identity, vector=ticket.vector, embed=embed):
            self._judgements.judged(hit, right=False, source="re-ask")

    def _choose_in_flight(self, ticket: Ticket, in_flight: Sequence[Found]) -> str | None:
        """Return the id of the question in flight to wait for, or None."""
        try:
            with allow(self._store_timeout_seconds):
                return self._deciding.in_flight(ticket, in_flight)
        except Exception as error:  # noqa: BLE001  then the question makes its own call
            self._notices.tell(f"questions in flight cannot be compared: {error!r}")
            return None

    def _keep(self, ticket: Ticket, answer: Answer) -> Kept | None:
        """Write an answer; what can be learnt from it is learnt off the path."""
        kept = self._keeping.keep(ticket, answer)
        if kept is None:
            return None
        self._quietly(self._upkeep.written, kept.entry_id, kept.entry.tenant, new=kept.new)
        if self._closed:
            return kept
        if self._same_answer is not None:
            self._aside.submit(self._name_answer, kept, answer.words)
        if ticket.would_be is not None:
            reason = "audit: an answer that was not served was compared with the fresh one"
            fresh = Fresh(text=answer.words)
            self._aside.submit(self._auditing.compare, ticket.would_be, ticket, lambda: fresh, reason)
        return kept

    def _name_answer(self, kept: Kept, words: str) -> None:
        try:
            self._keeping.name_answer(kept, words)
        except Exception as error:  # noqa: BLE001  an answer without a name has no vote
            self._notices.tell(f"an answer was not compared with its neighbours: {error!r}")

    def _book(self, found: Lookup, scope: Scope, seconds: float, run_id: str | None) -> None:
        self._recorder.record(
            Event(
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
                    "equivalence": self._decision_name,
                    "question": None if found.ticket is None else found.ticket.question,
                    "matched_question": found.matched_question,
                    "audit": found.audit,
                    "entry_id": found.entry_id,
                    "age_seconds": found.age_seconds,
                },
            )
        )

    def _quietly(self, step: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Take a step that the answer does not depend on: if the store refuses, the answer stands."""
        try:
            step(*args, **kwargs)
        except StoreError as error:
            self._notices.tell(f"the cache could not keep its own count: {error}", about="count")


def _threshold(equivalence: Equivalence, given: float | None, certificate: Certificate | None) -> float:
    if certificate is not None:
        return certificate.threshold
    return equivalence.threshold if given is None else given
