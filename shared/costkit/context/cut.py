"""The ways to cut documents to a budget: whole, from the beginning on, by what a question needs, or to nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from costkit.context.assemble import Order, arranged, best, joined, merged_places, whole, with_citations
from costkit.context.document import Decision, Document, Dropped, DropReason, Passage, as_context
from costkit.context.relevance import Scores
from costkit.context.select import Budget, Selector, first_units, least_relevance, shares, without_copies, without_least
from costkit.context.sentences import Unit, copies, units_of, without_dear_antecedents
from costkit.tokens import TokenCounter, upper_bound

__all__ = ["Cut", "Task", "cut_first", "cut_nothing", "cut_selected", "keep_whole"]

Reasons = Mapping[int, DropReason]

# How far the sum of the units' counts is above that of the joined text: tokens per unit, part of a larger budget.
_ESTIMATE_ERROR = 2
_ESTIMATE_SHARE = 16
# Under a tight budget the sentence that another refers to takes the room of what is asked for.
_ANTECEDENT_SHARE = 0.2


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be cut, and to what size; the rest of the arguments that every way has in common."""

    documents: Sequence[Document]
    counter: TokenCounter
    budget_tokens: int
    order: Order
    k: int | None
    enough: float

    @cached_property
    def units(self) -> Sequence[Unit]:
        """The documents in units, in order."""
        most = int(_ANTECEDENT_SHARE * self.budget_tokens)
        return without_dear_antecedents(units_of(self.documents, self.counter), self.documents, most)

    @cached_property
    def copies(self) -> set[tuple[int, int]]:
        """Pairs (a, b) of units where all that a says stands in b."""
        return copies(self.documents, self.units)

    @cached_property
    def whole(self) -> tuple[Passage, ...]:
        """The documents uncut."""
        return tuple(whole(document, rank) for rank, document in enumerate(self.documents))

    @cached_property
    def budget(self) -> Budget:
        """The budget at the counter's upper error, and what opening each document takes of it."""
        return Budget(
            tokens=int(self.budget_tokens / (1 + self.counter.upper_error)),
            document_tokens=tuple(self.counter.count(f"\n\n{document.title}\n") for document in self.documents),
        )

    def fits(self, passages: Sequence[Passage]) -> bool:
        """True if the joined text of ``passages`` is within the budget."""
        return self.spare(passages) >= 0

    def spare(self, passages: Sequence[Passage]) -> int:
        """Return what the joined text of ``passages`` leaves of the budget, below 0 if it does not fit."""
        return self.budget_tokens - upper_bound(self.counter, as_context(passages))


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What is left, what is not, and why."""

    passages: tuple[Passage, ...]
    dropped: tuple[Dropped, ...] = ()
    decision: Decision
    reason: str


def keep_whole(task: Task, scores: Scores | None = None, *, failure: str = "") -> Cut:
    """Keep the documents whole, or the best ``k`` of them."""
    passages = task.whole if scores is None else [_scored(task, passage, scores) for passage in task.whole]
    reason = failure or f"all documents fit {task.budget_tokens} tokens"
    decision: Decision = "fallback" if failure else "kept"
    names = best(passages, len(passages) if task.k is None else task.k)
    left = [passage for passage in passages if passage.document_id in names]
    if len(left) < len(passages):
        decision = "fallback" if failure else "reduced"
        reason = f"{reason}; the best {task.k} of {len(passages)} documents"
    surplus = tuple(
        Dropped(
            document_id=span.document_id,
            start=span.start,
            end=span.end,
            tokens=task.counter.count(span.text),
            reason="surplus",
        )
        for passage in passages
        if passage.document_id not in names
        for span in passage.kept
    )
    cited = with_citations(arranged(left, task.order), task.documents, {})
    if not task.fits(cited):  # a counter may find more in a part than in the whole
        return cut_first(task, "fallback" if failure else "static", reason, scores=scores)
    return Cut(passages=cited, dropped=surplus, decision=decision, reason=reason)


def _scored(task: Task, passage: Passage, scores: Scores) -> Passage:
    """Give a whole document the best score and probability among its units."""
    (span,) = passage.kept
    own = [index for index, unit in enumerate(task.units) if unit.rank == span.rank]
    score = max((scores.relevance[index] for index in own), default=None)
    chances = scores.probabilities
    probability = None if chances is None else max((chances[index] for index in own), default=None)
    return replace(passage, kept=(replace(span, score=score, probability=probability),))


def cut_first(task: Task, decision: Decision, reason: str, *, scores: Scores | None = None) -> Cut:
    """Cut the documents to the budget from the beginning on, at sentence ends, copies left out.

    What is left is the same for every question.
    """
    in_order = [float(-index) for index in range(len(task.units))]
    copied = without_copies(in_order, task.copies)
    chosen = first_units(task.units, task.budget, left_out=copied)
    return _fitting(task, chosen, in_order, scores, {}, copied, decision, reason)


def cut_selected(task: Task, scores: Scores, decision: Decision = "reduced", reason: str = "") -> Cut:
    """Cut the documents to the sentences that the question needs most."""
    relevance, worth = scores.relevance, shares(scores.relevance, in_log_odds=scores.in_log_odds)
    copied = without_copies(relevance, task.copies)
    least = least_relevance(relevance, worth, enough=task.enough)
    chosen = _packed(task, scores, worth, least, copied)
    reasons: Reasons = {index: "irrelevant" for index, value in enumerate(relevance) if value < least}
    reason = reason or f"the most relevant sentences within {task.budget_tokens} tokens"
    return _fitting(task, chosen, relevance, scores, reasons, copied, decision, reason)


def _packed(task: Task, scores: Scores, worth: Sequence[float], least: float, copied: Collection[int]) -> set[int]:
    """Pack by estimated costs, then again with what the joined text leaves of the budget, as long as that fits."""
    tokens = task.budget.tokens
    most_spare = max(tokens // _ESTIMATE_SHARE, _ESTIMATE_SHARE)
    most = replace(task.budget, tokens=tokens + 2 * most_spare)  # all steps below add less than twice the first
    selector = Selector(task.units, scores.relevance, worth, most, least=least, left_out=copied)
    chosen = selector.within(tokens)
    # Each unit's count is rounded up and its separator is an estimate: the sum is above the count of the joined text.
    # That is little: what was left because nothing more is worth its tokens stays left.
    spare = min(task.spare(_joined(task, chosen, scores)), _ESTIMATE_ERROR * len(chosen), most_spare)
    while spare > 0:
        more = selector.within(tokens + spare)
        if task.fits(_joined(task, more, scores)):
            chosen, tokens = more, tokens + spare
        spare //= 2
    return chosen


def cut_nothing(task: Task, reason: str) -> Cut:
    """Leave all out."""
    reasons: Reasons = dict.fromkeys(range(len(task.units)), "irrelevant")
    return Cut(passages=(), dropped=_dropped(task, (), reasons), decision="nothing", reason=reason)


def _fitting(
    task: Task,
    chosen: set[int],
    ranking: Sequence[float],
    scores: Scores | None,
    reasons: Reasons,
    copied: Collection[int],
    decision: Decision,
    reason: str,
) -> Cut:
    """Join what is chosen of the best ``k`` documents, and take the least back until the joined text fits itself."""
    reasons = {**reasons, **dict.fromkeys(copied, "duplicate")}
    passages = _joined(task, chosen, scores)
    if task.k is not None and len(passages) > task.k:
        names = best(passages, task.k)
        surplus = {index for index in chosen if task.documents[task.units[index].rank].id not in names}
        chosen = chosen - surplus
        reasons |= dict.fromkeys(surplus, "surplus")
        reason = f"{reason}; the best {task.k} of {len(passages)} documents"
        passages = _joined(task, chosen, scores)
    while chosen and not task.fits(passages):
        chosen = without_least(task.units, ranking, chosen)
        passages = _joined(task, chosen, scores)
    merged = merged_places(task.documents, task.units, chosen, copied, task.copies)
    cited = with_citations(passages, task.documents, merged)
    return Cut(passages=cited, dropped=_dropped(task, chosen, reasons), decision=decision, reason=reason)


def _joined(task: Task, chosen: Collection[int], scores: Scores | None) -> tuple[Passage, ...]:
    relevance, probabilities = (None, None) if scores is None else (scores.relevance, scores.probabilities)
    passages = joined(task.documents, task.units, chosen, relevance=relevance, probabilities=probabilities)
    return arranged(passages, task.order)


def _dropped(task: Task, chosen: Collection[int], reasons: Reasons) -> tuple[Dropped, ...]:
    return tuple(
        Dropped(
            document_id=task.documents[unit.rank].id,
            start=unit.start,
            end=unit.end,
            tokens=unit.tokens,
            reason=reasons.get(index, "budget"),
        )
        for index, unit in enumerate(task.units)
        if index not in chosen
    )
