"""Tunes context reduction: the cheapest settings whose loss of recall stays within a margin, on questions set apart.

Settings are tried on one half of the questions; those that no other beats in both tokens and recall are put in order,
from the most tokens to the fewest, behind roomier ones with the chunks of the first, since one half may flatter. On the
other half the loss against the reference (all that the widest retrieval found, uncut) is bounded for one after the other,
at 95%; the first whose bound exceeds the margin ends the sequence, and the one before it is the profile. A fixed sequence of tests keeps its level without a correction (Maurer, Hothorn and
Lehmacher, "Multiple comparisons in drug clinical trials and preclinical assays: a-priori ordered hypotheses", 1995).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product

from costkit.context import ContextReducer, Document, from_embedder
from costkit.context.profile import Profile
from costkit.context.rerank import Reranker
from costkit.embed import Embedder
from costkit.errors import DataError
from costkit.tokens import TokenCounter, default_counter, remember
from costkit_evals.chunks import Chunk, ChunkIndex, Retrieved, cut
from costkit_evals.golden import GoldenSet, Question
from costkit_evals.metrics import answer_stands, span_recall
from costkit_evals.statistics import Difference, Estimate, estimate, paired_difference

__all__ = ["FEWEST_QUESTIONS", "Setting", "Tried", "Tuning", "tune"]

CHUNKS = ((1500, 200), (1000, 200), (1000, 0), (500, 0))
RETRIEVE = (20, 12, 8)
BUDGETS = (4800, 2400, 1600, 1200, 900, 600, 400, 250)
ENOUGH = (0.999, 0.9)
# Fewer in a half cannot bound a loss by anything that a margin would allow.
FEWEST_QUESTIONS = 20


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One way to cut, retrieve and reduce; the names are those of ``Profile``."""

    chunk_characters: int
    overlap_characters: int
    retrieve: int
    budget_tokens: int
    enough: float


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What a setting did to some questions.

    Attributes:
        setting: The setting; None for the reference.
        recalls: Share of the needed passages that were left, by question.
        tokens: Tokens of context that were left, by question.
    """

    setting: Setting | None
    recalls: Sequence[float]
    tokens: Sequence[int]

    @property
    def recall(self) -> float:
        """The mean recall."""
        return sum(self.recalls) / len(self.recalls)

    @property
    def context_tokens(self) -> float:
        """The mean number of tokens."""
        return sum(self.tokens) / len(self.tokens)


@dataclass(frozen=True, kw_only=True)
class Tested:
    """A setting on the questions that chose nothing."""

    tried: Tried
    recall: Estimate
    loss: Difference

    def within(self, margin: float) -> bool:
        """True if the loss is at most ``margin``, at 95%."""
        return -self.loss.lower_bound <= margin


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """The outcome.

    Attributes:
        profile: The chosen settings, or None where even the most generous ones lose more than the margin.
        curve: The sequence as it was tested; those after its end too, for the plot.
        reference: All that the widest retrieval found, on the same questions.
        tried: How many settings were tried.
    """

    profile: Profile | None
    curve: Sequence[Tested]
    reference: Tried
    tried: int


@dataclass(kw_only=True)
class _Trial:
    """Tries settings on questions; scores of texts are remembered by the embedder."""

    golden: GoldenSet
    embedder: Embedder
    counter: TokenCounter
    reranker: Reranker
    _indexes: dict[tuple[int, int], ChunkIndex] = field(default_factory=dict)

    def run(self, setting: Setting, questions: Sequence[Question]) -> Tried:
        reducer = ContextReducer(
            budget_tokens=setting.budget_tokens,
            enough=setting.enough,
            reranker=self.reranker,
            counter=self.counter,
            recorder=_Unbooked(),
        )
        recalls, tokens = [], []
        for question in questions:
            found = [one.chunk for one in self._found(setting, question)]
            documents = [Document(id=one.id, text=one.text, title=one.title) for one in found]
            reduction = reducer.reduce(question.question, documents)
            # Text that stands in two chunks is kept once and speaks for both.
            spans = [(at.document_id, at.start, at.end) for one in reduction.kept for at in one.places]
            recalls.append(self._recall(question, {one.id: one for one in found}, spans))
            tokens.append(reduction.tokens_after)
        return Tried(setting=setting, recalls=recalls, tokens=tokens)

    def reference(self, questions: Sequence[Question]) -> Tried:
        """Return what the widest retrieval finds, uncut."""
        (characters, overlap), retrieve = CHUNKS[0], max(RETRIEVE)
        recalls, tokens = [], []
        for question in questions:
            index = self._index(characters, overlap)
            found = [one.chunk for one in index.search(question.question, k=retrieve)]
            spans = [(one.id, 0, len(one.text)) for one in found]
            recalls.append(self._recall(question, {one.id: one for one in found}, spans))
            tokens.append(sum(self.counter.count(f"{one.title}\n{one.text}") for one in found))
        return Tried(setting=None, recalls=recalls, tokens=tokens)

    def _found(self, setting: Setting, question: Question) -> list[Retrieved]:
        index = self._index(setting.chunk_characters, setting.overlap_characters)
        return index.search(question.question, k=setting.retrieve)

    def _index(self, characters: int, overlap: int) -> ChunkIndex:
        if (characters, overlap) not in self._indexes:
            chunks = cut(self.golden.corpus, characters=characters, overlap=overlap)
            self._indexes[characters, overlap] = ChunkIndex(chunks, self.embedder)
        return self._indexes[characters, overlap]

    def _recall(self, question: Question, found: Mapping[str, Chunk], spans: Sequence[tuple[str, int, int]]) -> float:
        """Return the share of the supporting passages that is left, or without labels whether an answer is."""
        if question.supporting:
            texts = {document.id: document.text for document in self.golden.corpus}
            left = [
                (found[name].doc_id, found[name].start + start, found[name].start + end) for name, start, end in spans
            ]
            return span_recall(question.supporting, left, texts) or 0.0
        return answer_stands([found[name].text[start:end] for name, start, end in spans], question.answers) or 0.0


class _Unbooked:
    """Trials are no use of the application: its ledger does not count them."""

    def record(self, event: object) -> None:
        """Keep nothing."""


def tune(
    golden: GoldenSet,
    embedder: Embedder,
    *,
    margin: float,
    seed: int,
    limit: int | None = None,
    on_step: Callable[[str, int, int], None] = lambda *_: None,
) -> Tuning:
    """Find the cheapest settings whose recall is at most ``margin`` below that of the widest retrieval, at 95%.

    Args:
        golden: The golden set; questions of the split ``dev`` try settings and those of ``test`` test them, where it
            has one, else a half each.
        embedder: Retrieves and scores; it should remember vectors.
        margin: Loss of recall that is allowed, 0 to 1.
        seed: Of the halves and of the resampling.
        limit: Use at most so many questions of each half.
        on_step: Called with what is done, how many steps, and how many there are.

    Raises:
        DataError: There are fewer than 20 questions in a half.
    """
    choosing, testing = _halves(golden, seed=seed, limit=limit)
    trial = _Trial(
        golden=golden,
        embedder=embedder,
        counter=remember(default_counter()),
        reranker=from_embedder(embedder),
    )
    settings = list(_settings())
    tried = []
    for done, setting in enumerate(settings, 1):
        tried.append(trial.run(setting, choosing))
        on_step(f"{setting.chunk_characters} characters, best {setting.retrieve}", done, len(settings))
    sequence = _sequence(tried)
    reference = trial.reference(testing)
    clusters = [question.gold_ids[0] if question.gold_ids else question.id for question in testing]
    curve = []
    for done, one in enumerate(sequence, 1):
        curve.append(_tested(trial.run(_setting(one), testing), reference, clusters, seed))
        on_step("testing", done, len(sequence))
    chosen = _chosen(curve, margin)
    profile = None if chosen is None else _profile(chosen, reference, golden, embedder, margin)
    return Tuning(profile=profile, curve=curve, reference=reference, tried=len(settings))


def _settings() -> Iterator[Setting]:
    for (characters, overlap), retrieve, budget, enough in product(CHUNKS, RETRIEVE, BUDGETS, ENOUGH):
        yield Setting(
            chunk_characters=characters,
            overlap_characters=overlap,
            retrieve=retrieve,
            budget_tokens=budget,
            enough=enough,
        )


def _halves(golden: GoldenSet, *, seed: int, limit: int | None) -> tuple[list[Question], list[Question]]:
    """Return the questions to choose by and those to test on; questions about one document stand on one side."""
    useful = [one for one in golden.questions if one.answerable and (one.supporting or one.answers)]
    if {one.split for one in useful} >= {"dev", "test"}:
        halves = [[one for one in useful if one.split == split] for split in ("dev", "test")]
    else:
        halves = [[], []]
        for one in useful:
            key = f"{seed}\n{min(one.gold_ids, default=one.id)}"
            halves[hashlib.sha256(key.encode()).digest()[0] % 2].append(one)
    choosing, testing = (half[:limit] for half in halves)
    if min(len(choosing), len(testing)) < FEWEST_QUESTIONS:
        raise DataError(
            f"{golden.name} has {len(choosing)} answerable questions to choose by and {len(testing)} to test on: "
            f"{FEWEST_QUESTIONS} each are needed"
        )
    return choosing, testing


def _sequence(tried: Sequence[Tried]) -> list[Tried]:
    """Return those to test, from the most tokens to the fewest: the best, behind what has the first one's chunks and more."""
    best = _best(tried)
    roomier = [one for one in tried if _chunks(one) == _chunks(best[0]) and one.context_tokens > best[0].context_tokens]
    return sorted(roomier, key=lambda one: -one.context_tokens) + best


def _chunks(tried: Tried) -> tuple[int, int, int]:
    setting = _setting(tried)
    return setting.chunk_characters, setting.overlap_characters, setting.retrieve


def _best(tried: Sequence[Tried]) -> list[Tried]:
    """Return those that no other beats in tokens and recall, from the most tokens to the fewest."""
    best: list[Tried] = []
    for one in sorted(tried, key=lambda one: (one.context_tokens, -one.recall)):
        if not best or one.recall > best[-1].recall:
            best.append(one)
    return best[::-1]


def _setting(tried: Tried) -> Setting:
    assert tried.setting is not None  # noqa: S101  only the reference has none
    return tried.setting


def _tested(tried: Tried, reference: Tried, clusters: Sequence[str], seed: int) -> Tested:
    recall = estimate(tried.recalls, clusters, seed=seed)
    loss = paired_difference(tried.recalls, reference.recalls, clusters, seed=seed)
    assert recall is not None and loss is not None  # noqa: S101, PT018  there are questions
    return Tested(tried=tried, recall=recall, loss=loss)


def _chosen(curve: Sequence[Tested], margin: float) -> Tested | None:
    """Return the last of the sequence before the first that fails."""
    chosen = None
    for one in curve:
        if not one.within(margin):
            break
        chosen = one
    return chosen


def _profile(chosen: Tested, reference: Tried, golden: GoldenSet, embedder: Embedder, margin: float) -> Profile:
    return Profile(
        **vars(_setting(chosen.tried)),
        context_tokens=round(chosen.tried.context_tokens, 1),
        tokens_before=round(reference.context_tokens, 1),
        recall=round(chosen.recall.value, 4),
        reference_recall=round(reference.recall, 4),
        loss_bound=round(-chosen.loss.lower_bound, 4),
        margin=margin,
        questions=len(reference.recalls),
        embedder=embedder.name,
        data=golden.name,
        made=datetime.now(UTC).date().isoformat(),
    )
