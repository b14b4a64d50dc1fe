"""The context reducer: retrieved documents in, the sentences that a question needs out, never above the budget."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from costkit.context.document import (
    Decision,
    Document,
    Dropped,
    DropReason,
    Kept,
    Passage,
    Reduction,
    as_context,
    passage_of,
)
from costkit.context.rerank import Reranker, from_embedder
from costkit.context.select import (
    Budget,
    first_units,
    in_context,
    least_relevance,
    select,
    without_copies,
    without_least,
)
from costkit.context.sentences import Unit, copies, units_of
from costkit.embed import Embedder
from costkit.errors import ConfigurationError
from costkit.ledger.usage import Event, Recorder, Usage, default_recorder
from costkit.scope import Scope, current
from costkit.tokens import TokenCounter, default_counter, remember, upper_bound

__all__ = ["ContextReducer", "Order", "reducer_for"]

Order = Literal["stable", "relevance"]

DEFAULT_BUDGET_TOKENS = 900

_log = logging.getLogger("costkit.context")


class ContextReducer:
    """Keeps the sentences a question needs, under a hard token budget, with exact source offsets.

    Documents that fit the budget are kept whole. If the embedder, the reranker or the counter fails, the originals are
    cut to the budget at sentence ends instead: nothing is raised, and the failure is logged once.

    Args:
        budget_tokens: The most tokens of context, titles and separators included, counted at the counter's stated
            upper error.
        reranker: Scores texts against the question. Default: ``from_embedder(embedder)``.
        embedder: For the default reranker. Default: ``costkit.embed.default_embedder()``.
        counter: Counts tokens. Default: ``costkit.tokens.default_counter()``.
        recorder: Where decisions are booked. Default: the process-wide ledger.
        order: ``stable`` keeps documents in the order given, so that equal selections give equal prompts;
            ``relevance`` puts the best first. Sentences stay in source order in both.
        clock: Returns seconds that never go back.

    Raises:
        ConfigurationError: An option has a value that cannot work.
    """

    def __init__(
        self,
        *,
        budget_tokens: int = DEFAULT_BUDGET_TOKENS,
        reranker: Reranker | None = None,
        embedder: Embedder | None = None,
        counter: TokenCounter | None = None,
        recorder: Recorder | None = None,
        order: Order = "stable",
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if isinstance(budget_tokens, bool) or not isinstance(budget_tokens, int) or budget_tokens < 1:
            raise ConfigurationError(f"budget_tokens must be an integer of 1 or more, got {budget_tokens!r}")
        if order not in get_args(Order):
            raise ConfigurationError(f"order must be one of {get_args(Order)}, got {order!r}")
        if reranker is not None and embedder is not None:
            raise ConfigurationError(f"embedder={embedder!r} serves the default reranker only: give one of the two")
        self.budget_tokens = budget_tokens
        self._reranker = from_embedder(embedder) if reranker is None else reranker
        self._counter = remember(default_counter() if counter is None else counter)
        self._recorder = recorder
        self._order = order
        self._clock = clock
        self._warned: set[str] = set()

    def reduce(
        self,
        question: str,
        documents: Sequence[Document],
        *,
        k: int | None = None,
        scope: Scope | None = None,
        run_id: str | None = None,
    ) -> Reduction:
        """Reduce ``documents`` to what ``question`` needs.

        Args:
            question: The user's question, standing alone.
            documents: What was retrieved, best first. They are not changed.
            k: The most documents to return: the best ones, or the first where nothing was scored. Default: as many as
                have something to say.
            scope: Who it is for. Default: the scope in force.
            run_id: Groups the ledger's events of one question.

        Raises:
            ConfigurationError: ``question`` is no string, two different documents have one id, or ``k`` is below 1.
        """
        started = self._clock()
        given = _distinct(question, documents)
        check_k(k)
        try:
            reduction = self._reduced(question, given, k, self._counter)
        except Exception as error:  # noqa: BLE001 whatever a counter raises, the user's chain goes on
            self._warn_once(f"reducing failed, documents are cut to the budget by costkit's own counter: {error!r}")
            failure = f"reducing failed with {type(error).__name__}, so the documents are cut by costkit's own counter"
            reduction = self._reduced(question, given, k, default_counter(), failure=failure)
        reduction = replace(reduction, seconds=self._clock() - started)
        self._record(reduction, len(given), scope or current() or Scope(), run_id)
        return reduction

    async def areduce(
        self,
        question: str,
        documents: Sequence[Document],
        *,
        k: int | None = None,
        scope: Scope | None = None,
        run_id: str | None = None,
    ) -> Reduction:
        """Do what ``reduce`` does in a thread, so that the event loop goes on."""
        return await asyncio.to_thread(self.reduce, question, documents, k=k, scope=scope, run_id=run_id)

    def _reduced(
        self, question: str, documents: Sequence[Document], k: int | None, counter: TokenCounter, *, failure: str = ""
    ) -> Reduction:
        whole = tuple(_whole(document, rank) for rank, document in enumerate(documents))
        # Passage by passage, since those counts are remembered: the joined candidates differ at every question.
        tokens_before = sum(counter.count(as_context([passage])) for passage in whole)
        roughly_fits = tokens_before <= self.budget_tokens + len(whole)  # each count is rounded up
        if roughly_fits and upper_bound(counter, as_context(whole)) <= self.budget_tokens:
            tokens_before = counter.count(as_context(whole))
            reason = failure or f"all documents fit {self.budget_tokens} tokens"
            cut = _Cut(passages=whole, decision="fallback" if failure else "kept", reason=reason)
        else:
            cut = self._cut(question, documents, counter, failure=failure)
        cut = _best(cut, k, documents, counter)
        return Reduction(
            passages=cut.passages,
            dropped=cut.dropped,
            tokens_before=tokens_before,
            tokens_after=counter.count(as_context(cut.passages)),
            seconds=0.0,
            decision=cut.decision,
            reason=cut.reason,
        )

    def _cut(self, question: str, documents: Sequence[Document], counter: TokenCounter, *, failure: str) -> _Cut:
        units = units_of(documents, counter)
        budget = Budget(
            tokens=int(self.budget_tokens / (1 + counter.upper_error)),
            document_tokens=tuple(counter.count(f"\n\n{document.title}\n") for document in documents),
        )
        relevance: list[float] = []
        if not failure:
            try:
                relevance = self._relevance(question, documents, units)
            except Exception as error:  # noqa: BLE001 whatever a reranker raises, the user's chain goes on
                self._warn_once(f"{self._reranker.name} failed, documents are cut to the budget instead: {error!r}")
                failure = f"scoring failed with {type(error).__name__}, so the documents are cut to the budget"
        if failure:
            in_order = [float(-index) for index in range(len(units))]
            chosen = first_units(units, budget)
            return self._fitting(documents, units, in_order, chosen, {}, counter, "fallback", failure)
        copied = without_copies(relevance, copies(documents, units))
        chosen = select(units, relevance, budget, left_out=copied)
        least = least_relevance(relevance)
        reasons: dict[int, DropReason] = {index: "irrelevant" for index, value in enumerate(relevance) if value < least}
        reasons |= dict.fromkeys(copied, "duplicate")
        reason = f"the most relevant sentences within {self.budget_tokens} tokens"
        return self._fitting(documents, units, relevance, chosen, reasons, counter, "reduced", reason)

    def _relevance(self, question: str, documents: Sequence[Document], units: Sequence[Unit]) -> list[float]:
        scores = self._reranker.score(question, [unit.view for unit in units])
        document_scores = self._reranker.score(question, [_titled(document) for document in documents])
        if len(scores) != len(units) or len(document_scores) != len(documents):
            raise ValueError(f"{self._reranker.name} gave {len(scores)} scores for {len(units)} texts")
        if not all(map(math.isfinite, (*scores, *document_scores))):
            raise ValueError(f"{self._reranker.name} gave a score that is no finite number")
        return in_context(units, scores, document_scores)

    def _fitting(
        self,
        documents: Sequence[Document],
        units: Sequence[Unit],
        relevance: Sequence[float],
        chosen: Collection[int],
        reasons: Mapping[int, DropReason],
        counter: TokenCounter,
        decision: Decision,
        reason: str,
    ) -> _Cut:
        """Join what is chosen, and take the least relevant back until the joined text itself is within the budget."""
        scores = relevance if decision == "reduced" else None
        passages = _joined(documents, units, scores, chosen, self._order)
        while chosen and upper_bound(counter, as_context(passages)) > self.budget_tokens:
            chosen = without_least(units, relevance, chosen)
            passages = _joined(documents, units, scores, chosen, self._order)
        dropped = tuple(
            Dropped(
                document_id=documents[unit.rank].id,
                start=unit.start,
                end=unit.end,
                tokens=unit.tokens,
                reason=reasons.get(index, "budget"),
            )
            for index, unit in enumerate(units)
            if index not in chosen
        )
        return _Cut(passages=passages, dropped=dropped, decision=decision, reason=reason)

    def _record(self, reduction: Reduction, documents: int, scope: Scope, run_id: str | None) -> None:
        try:
            event = Event(
                kind="rerank",
                part="context",
                decision=reduction.decision,
                reason=reduction.reason,
                scope=scope,
                saved=Usage(uncached_input_tokens=reduction.saved_tokens),
                saved_nano_usd=None,  # only the caller's model has a price
                seconds=reduction.seconds,
                status="failed" if reduction.decision == "fallback" else "ok",
                run_id=run_id,
                details={
                    "reranker": self._reranker.name,
                    "budget_tokens": self.budget_tokens,
                    "tokens_before": reduction.tokens_before,
                    "tokens_after": reduction.tokens_after,
                    "documents": documents,
                    "documents_kept": len(reduction.passages),
                    "spans_kept": len(reduction.kept),
                },
            )
            (self._recorder or default_recorder()).record(event)
        except Exception as error:  # noqa: BLE001 a broken ledger never breaks the user's chain
            self._warn_once(f"the decision is not booked: {error!r}")

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            _log.warning(message)


@dataclass(frozen=True, kw_only=True)
class _Cut:
    passages: tuple[Passage, ...]
    decision: Decision
    reason: str
    dropped: tuple[Dropped, ...] = ()


def check_k(k: int | None) -> int | None:
    """Return ``k``, the most documents to return, or None for no limit.

    Raises:
        ConfigurationError: It is no integer of 1 or more.
    """
    if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
        raise ConfigurationError(f"k must be an integer of 1 or more, got {k!r}")
    return k


def _best(cut: _Cut, k: int | None, documents: Sequence[Document], counter: TokenCounter) -> _Cut:
    """Return what is left of the best ``k`` documents, in the same order."""
    if k is None or len(cut.passages) <= k:
        return cut
    # Where nothing was scored the order of retrieval decides, which sorting keeps.
    best = {one.document_id for one in sorted(cut.passages, key=lambda passage: -(passage.score or 0.0))[:k]}
    surplus = [
        Dropped(
            document_id=span.document_id,
            start=span.start,
            end=span.end,
            tokens=counter.count(span.text),
            reason="surplus",
        )
        for passage in cut.passages
        if passage.document_id not in best
        for span in passage.kept
    ]
    rank = {document.id: at for at, document in enumerate(documents)}
    return _Cut(
        passages=tuple(passage for passage in cut.passages if passage.document_id in best),
        dropped=tuple(sorted([*cut.dropped, *surplus], key=lambda one: (rank[one.document_id], one.start))),
        decision="reduced" if cut.decision == "kept" else cut.decision,
        reason=f"{cut.reason}; the best {k} of {len(cut.passages)} documents",
    )


def _titled(document: Document) -> str:
    """Return a document as indexes commonly embed it, so that its vector may be at hand already."""
    return f"{document.title}\n{document.text}" if document.title else document.text


def _distinct(question: str, documents: Sequence[Document]) -> list[Document]:
    """Check the arguments; a document given twice counts once."""
    if not isinstance(question, str):
        raise ConfigurationError(f"question must be a string, got {question!r}")
    found: dict[str, Document] = {}
    for document in documents:
        if found.setdefault(document.id, document) != document:
            raise ConfigurationError(f"documents has two different documents of the id {document.id!r}: number them")
    return list(found.values())


def _whole(document: Document, rank: int) -> Passage:
    size = len(document.text)
    span = Kept(document_id=document.id, start=0, end=size, text=document.text, rank=rank, score=None)
    return passage_of(document, [span])


def _joined(
    documents: Sequence[Document],
    units: Sequence[Unit],
    scores: Sequence[float] | None,
    chosen: Collection[int],
    order: Order,
) -> tuple[Passage, ...]:
    kept: dict[int, list[Kept]] = {}
    for index in sorted(chosen):
        unit = units[index]
        span = Kept(
            document_id=documents[unit.rank].id,
            start=unit.start,
            end=unit.end,
            text=unit.text,
            rank=unit.rank,
            score=None if scores is None else scores[index],
        )
        kept.setdefault(unit.rank, []).append(span)
    passages = [passage_of(documents[rank], spans) for rank, spans in kept.items()]
    if order == "relevance":
        passages.sort(key=lambda passage: -(passage.score or 0.0))
    return tuple(passages)


def reducer_for(reducer: ContextReducer | None, *, budget_tokens: int | None) -> ContextReducer:
    """Return the reducer that an adapter works with: the given one, or one with the given budget.

    Args:
        reducer: The user's own reducer, if any.
        budget_tokens: The user's budget, if any. Default: ``ContextReducer``'s own.

    Raises:
        ConfigurationError: Both are given.
    """
    if reducer is None:
        return ContextReducer() if budget_tokens is None else ContextReducer(budget_tokens=budget_tokens)
    if budget_tokens is not None:
        raise ConfigurationError(f"budget_tokens={budget_tokens!r} has no effect on a given reducer; set it there")
    return reducer
