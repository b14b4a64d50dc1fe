"""The context reducer: retrieved documents in, the sentences that a question needs out, never above the budget."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from costkit.context.assemble import Order
from costkit.context.cut import Cut, Task, cut_first, cut_nothing, cut_selected, keep_whole
from costkit.context.document import Document, Reduction, as_context, distinct
from costkit.context.economics import Economics, Worth, worth_compressing
from costkit.context.embedding import from_embedder
from costkit.context.patience import Patience, in_thread
from costkit.context.profile import Profile
from costkit.context.relevance import Scores, scores_of
from costkit.context.rerank import Reranker
from costkit.context.select import DEFAULT_ENOUGH
from costkit.embed import Embedder
from costkit.errors import ConfigurationError
from costkit.ledger.usage import Event, Recorder, Usage, default_recorder
from costkit.scope import Scope, current
from costkit.tokens import TokenCounter, default_counter, remember

__all__ = ["ContextReducer", "OnNothing", "Order", "reducer_for"]

OnNothing = Literal["keep", "empty"]

DEFAULT_BUDGET_TOKENS = 900

_log = logging.getLogger("costkit.context")


class ContextReducer:
    """Keeps the sentences a question needs, under a hard token budget, with exact source offsets.

    Documents that fit the budget are kept whole. If the embedder, the reranker or the counter fails, or scoring takes
    too long, the originals are cut to the budget at sentence ends instead: nothing is raised, and the failure is logged
    once.

    Args:
        budget_tokens: The most tokens of context, titles and separators included, counted at the counter's stated
            upper error.
        enough: Share of what the question needs, 0 to 1, beyond which further sentences are not worth their tokens, though
            the budget allows them; half of the budget is used in any case.
        reranker: Scores texts against the question. Default: ``from_embedder(embedder)``.
        embedder: For the default reranker. Default: ``costkit.embed.default_embedder()``.
        counter: Counts tokens. Default: ``costkit.tokens.default_counter()``.
        recorder: Where decisions are booked. Default: the process-wide ledger.
        order: ``stable`` keeps documents in the order given, so that equal selections give equal prompts;
            ``relevance`` puts the best first; ``edges`` puts the best at the beginning and at the end, where models
            read best. Sentences stay in source order in all three.
        on_nothing: What to return where nothing given bears on the question: ``keep`` the originals cut to the budget,
            or ``empty``, no passages. ``empty`` scores documents that fit the budget too.
        economics: What is known of the prompt. Ahead of a cache breakpoint, or where it does not pay, documents are cut
            to the budget without regard to the question. Default: cutting pays.
        timeout_seconds: The most seconds that scoring may take. Default: as long as it takes.
        clock: Returns seconds that never go back.

    Raises:
        ConfigurationError: An option has a value that cannot work.
    """

    def __init__(
        self,
        *,
        budget_tokens: int = DEFAULT_BUDGET_TOKENS,
        enough: float = DEFAULT_ENOUGH,
        reranker: Reranker | None = None,
        embedder: Embedder | None = None,
        counter: TokenCounter | None = None,
        recorder: Recorder | None = None,
        order: Order = "stable",
        on_nothing: OnNothing = "keep",
        economics: Economics | None = None,
        timeout_seconds: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if isinstance(budget_tokens, bool) or not isinstance(budget_tokens, int) or budget_tokens < 1:
            raise ConfigurationError(f"budget_tokens must be an integer of 1 or more, got {budget_tokens!r}")
        if isinstance(enough, bool) or not isinstance(enough, int | float) or not 0 < enough <= 1:
            raise ConfigurationError(f"enough must be a share above 0 and up to 1, got {enough!r}")
        for name, word, words in (("order", order, get_args(Order)), ("on_nothing", on_nothing, get_args(OnNothing))):
            if word not in words:
                raise ConfigurationError(f"{name} must be one of {words}, got {word!r}")
        if reranker is not None and embedder is not None:
            raise ConfigurationError(f"embedder={embedder!r} serves the default reranker only: give one of the two")
        if economics is not None and not isinstance(economics, Economics):
            raise ConfigurationError(f"economics must be an Economics, got {economics!r}")
        if timeout_seconds is not None and not 0 < timeout_seconds < math.inf:
            raise ConfigurationError(f"timeout_seconds must be above 0, or None, got {timeout_seconds!r}")
        self.budget_tokens = budget_tokens
        self._enough = enough
        self._reranker = from_embedder(embedder) if reranker is None else reranker
        self._counter = remember(default_counter() if counter is None else counter)
        self._recorder = recorder
        self._order = order
        self._on_nothing = on_nothing
        self._economics = economics
        self._patience = None if timeout_seconds is None else Patience(timeout_seconds)
        self._clock = clock
        self._warned: set[str] = set()

    @classmethod
    def from_profile(cls, profile: Profile | Path | str, **options: Any) -> ContextReducer:
        """Make a reducer with the budget that ``costkit context tune`` found.

        Args:
            profile: The profile or its file. Its chunk sizes and how much to retrieve are for your splitter and retriever.
            options: All further options of ``ContextReducer``.

        Raises:
            ConfigurationError: An option is one that the profile decides.
            DataError: The file is no profile.
        """
        for name in ("budget_tokens", "enough"):
            if name in options:
                raise ConfigurationError(f"{name}={options[name]!r} is what the profile decides: leave one of them out")
        found = profile if isinstance(profile, Profile) else Profile.load(profile)
        return cls(budget_tokens=found.budget_tokens, enough=found.enough, **options)

    def warm(self) -> None:
        """Load the models, so that the first question need not wait for them.

        Raises:
            Exception: Whatever loading them raises: at start-up a failure should be seen.
        """
        self._counter.count("warm")
        self._reranker.score("warm", ["warm"])

    async def awarm(self) -> None:
        """Do what ``warm`` does in a thread."""
        await in_thread(self.warm)

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
        if not isinstance(question, str):
            raise ConfigurationError(f"question must be a string, got {question!r}")
        given = distinct(documents)
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
        """Do what ``reduce`` does in one of a few threads, so that the event loop goes on."""
        return await in_thread(lambda: self.reduce(question, documents, k=k, scope=scope, run_id=run_id))

    def _reduced(
        self, question: str, documents: Sequence[Document], k: int | None, counter: TokenCounter, *, failure: str = ""
    ) -> Reduction:
        task = Task(
            documents=documents,
            counter=counter,
            budget_tokens=self.budget_tokens,
            order=self._order,
            k=k,
            enough=self._enough,
        )
        # Passage by passage, since those counts are remembered: the joined candidates differ at every question.
        tokens_before = sum(counter.count(as_context([passage])) for passage in task.whole)
        roughly_fits = tokens_before <= self.budget_tokens + len(documents)  # each count is rounded up
        fits = roughly_fits and task.fits(task.whole)
        if fits:
            tokens_before = counter.count(as_context(task.whole))
        worth = None if failure else self._worth(tokens_before, tokens_before if fits else self.budget_tokens)
        cut = self._cut(question, task, worth, fits=fits, failure=failure)
        tokens_after = counter.count(as_context(cut.passages))
        return Reduction(
            passages=cut.passages,
            dropped=cut.dropped,
            tokens_before=tokens_before,
            tokens_after=tokens_after,
            seconds=0.0,
            decision=cut.decision,
            reason=cut.reason,
            economics=self._worth(tokens_before, tokens_after) if cut.decision == "reduced" else worth,
        )

    def _worth(self, tokens_before: int, tokens_after: int) -> Worth | None:
        if self._economics is None:
            return None
        after = min(tokens_before, tokens_after)
        return worth_compressing(self._economics, tokens_before=tokens_before, tokens_after=after)

    def _cut(self, question: str, task: Task, worth: Worth | None, *, fits: bool, failure: str) -> Cut:
        """Decide how the documents are cut, if at all."""
        blind = self._blind(worth, fits=fits)
        if fits and (failure or blind or self._on_nothing == "keep"):
            return keep_whole(task, failure=failure)
        if failure:
            return cut_first(task, "fallback", failure)
        if blind:
            return cut_first(task, "static", blind)
        try:
            scores = self._scores(question, task)
        except Exception as error:  # noqa: BLE001 whatever a reranker raises, the user's chain goes on
            self._warn_once(f"{self._reranker.name} failed, documents are cut to the budget instead: {error!r}")
            failure = f"scoring failed with {type(error).__name__}, so the documents are cut to the budget"
            return self._cut(question, task, None, fits=fits, failure=failure)
        if scores.nothing:
            return self._nothing(task, scores)
        return keep_whole(task, scores) if fits else cut_selected(task, scores)

    def _blind(self, worth: Worth | None, *, fits: bool) -> str:
        """Say why the question must not decide what is kept; empty where it may."""
        if self._economics is None or worth is None:
            return ""
        if self._economics.ahead_of_breakpoint:
            return f"ahead of a cache breakpoint the text must be the same for every question: {worth.reason}"
        return "" if fits or worth.pays else f"choosing sentences does not pay: {worth.reason}"

    def _nothing(self, task: Task, scores: Scores) -> Cut:
        reason = "nothing given bears on the question"
        if self._on_nothing == "empty":
            return cut_nothing(task, reason)
        return cut_selected(task, scores, "nothing", f"{reason}: what comes closest within {task.budget_tokens} tokens")

    def _scores(self, question: str, task: Task) -> Scores:
        if self._patience is None:
            return self._scored(question, task)
        return self._patience.call(lambda: self._scored(question, task))

    def _scored(self, question: str, task: Task) -> Scores:
        return scores_of(self._reranker, question, task.documents, task.units)

    def _record(self, reduction: Reduction, documents: int, scope: Scope, run_id: str | None) -> None:
        worth = reduction.economics
        try:
            event = Event(
                kind="rerank",
                part="context",
                decision=reduction.decision,
                reason=reduction.reason,
                scope=scope,
                saved=Usage(uncached_input_tokens=reduction.saved_tokens),
                saved_nano_usd=None if worth is None or reduction.decision != "reduced" else worth.saved_nano_usd,
                price_snapshot="" if worth is None else worth.price_snapshot,
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
                    **({} if worth is None else worth.figures()),
                },
            )
            (self._recorder or default_recorder()).record(event)
        except Exception as error:  # noqa: BLE001 a broken ledger never breaks the user's chain
            self._warn_once(f"the decision is not booked: {error!r}")

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            _log.warning(message)


def check_k(k: int | None) -> int | None:
    """Return ``k``, the most documents to return, or None for no limit.

    Raises:
        ConfigurationError: It is no integer of 1 or more.
    """
    if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
        raise ConfigurationError(f"k must be an integer of 1 or more, got {k!r}")
    return k


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
