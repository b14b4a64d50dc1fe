"""``costkit bench context``: how much of what an answer needs is left when retrieved passages are cut to a budget.

Passages are retrieved once, by cosine over the corpora of all golden sets together; every method then cuts the same
ones. The budget is a share of their tokens, titles and separators included. One counter counts for all methods and its
counts are taken as they are: at a stated upper error the product would be held to less than its rivals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from costkit.context import Document
from costkit.embed import Embedder
from costkit.errors import ConfigurationError
from costkit.tokens import ApproximateCounter, TokenCounter
from costkit_evals import golden
from costkit_evals.chunks import Chunk, ChunkIndex, cut
from costkit_evals.context_methods import DEFAULT_METHODS, Budget, Choice, Selection, joined, open_method
from costkit_evals.context_rows import Measured, Row, Runs, rows_of
from costkit_evals.context_speed import timed
from costkit_evals.golden import GoldenSet
from costkit_evals.metrics import answer_stands, span_recall
from costkit_evals.terminal import Progress
from costkit_evals.vectors import StoredEmbedder, open_stored

__all__ = ["Bench", "open_bench"]

# Documents up to this length are passages as they stand; longer ones are cut as the evaluation cuts them.
PASSAGE_CHARACTERS = 4000
_EMBED_AT_ONCE = 512

_Find = Callable[[golden.Question], list[Chunk]]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One question, and its candidates, best first.

    Attributes:
        source: The question's golden set.
        answers: Its answers that some selection could keep.
        passages: Where in their documents the candidates stand.
        documents: The candidates.
        given: Their tokens.
    """

    question: golden.Question
    source: str
    answers: tuple[str, ...]
    passages: tuple[Chunk, ...]
    documents: tuple[Document, ...]
    given: int


@dataclass(frozen=True)
class WordCounter:
    """Counts words: what stands between white space."""

    name: str = "words"
    upper_error: float = 0.0

    def count(self, text: str) -> int:
        """Return the number of words."""
        return len(text.split())


@dataclass(kw_only=True)
class Bench:
    """One benchmark: the methods, the budgets and what remembers vectors.

    Attributes:
        embedder: Remembers vectors on disk.
        timed_embedder: The same without that memory, for the timings.
        choices: The methods to run.
        ratios: Budgets, as shares of the candidates.
        retrieve: Candidates per question.
        inside_gold: True makes a question's gold documents its candidates, and counts words, titles apart.
        timed: Questions that speed is measured with, spread over all; none for 0.
        seed: Of the resampling.
        progress: Shows how far it is.
        notes: What the reader of the rows must know.
    """

    embedder: StoredEmbedder
    timed_embedder: Embedder
    choices: tuple[Choice, ...]
    ratios: tuple[float, ...]
    retrieve: int
    inside_gold: bool
    timed: int
    seed: int
    progress: Progress = field(default_factory=Progress)
    notes: list[str] = field(default_factory=list)

    def run(self, sets: Sequence[GoldenSet], *, limit: int | None = None) -> list[Row]:
        """Measure every method at every budget; return one row for each.

        Args:
            sets: Golden sets; their corpora become one.
            limit: Take the first so many questions of each set. Default: all.

        Raises:
            ConfigurationError: Two sets have one name, or there is no answerable question.
        """
        library = _Library.of(sets)
        questions = {name: given[:limit] for name, given in library.questions.items()}
        try:
            asked = self._asked(library, questions)
            if not any(one.question.answerable for one in asked):
                raise ConfigurationError("--golden: no answerable question has a passage, so there is nothing to keep")
            self.progress.start(len(asked) * len(self.choices) * len(self.ratios))
            runs = self._runs(asked, library)
        finally:
            self.progress.stop()
        return rows_of(runs, self._times(asked), seed=self.seed)

    @property
    def _counter(self) -> TokenCounter:
        return WordCounter() if self.inside_gold else ApproximateCounter(upper_error=0.0)

    def _asked(self, library: _Library, questions: Mapping[str, Sequence[golden.Question]]) -> list[Asked]:
        find = self._gold(library) if self.inside_gold else self._search(library, questions)
        return [
            self._with_candidates(question, source, passages, library)
            for source, given in questions.items()
            for question in given
            if (passages := find(question))
        ]

    def _gold(self, library: _Library) -> _Find:
        return lambda question: [library.whole(name) for name in question.gold_ids]

    def _search(self, library: _Library, questions: Mapping[str, Sequence[golden.Question]]) -> _Find:
        passages = library.passages()
        texts = [f"{one.title}\n{one.text}" for one in passages]
        texts += [one.question for given in questions.values() for one in given]
        self.progress.start(len(texts))
        for start in range(0, len(texts), _EMBED_AT_ONCE):
            part = texts[start : start + _EMBED_AT_ONCE]
            self.embedder.embed(part)
            self.progress.advance("embedding passages and questions", len(part))
        self.progress.stop()
        self.embedder.save()
        index = ChunkIndex(passages, self.embedder)
        return lambda question: [one.chunk for one in index.search(question.question, k=self.retrieve)]

    def _with_candidates(
        self, question: golden.Question, source: str, passages: Sequence[Chunk], library: _Library
    ) -> Asked:
        documents = tuple(Document(id=one.id, text=one.text, title=one.title) for one in passages)
        return Asked(
            question=question,
            source=source,
            answers=library.answers_in_gold(question),
            passages=tuple(passages),
            documents=documents,
            given=self._counter.count(joined(documents, {one.id: one.text for one in documents})),
        )

    def _budget(self, asked: Asked, ratio: float) -> Budget:
        titles = sum(self._counter.count(one.title) for one in asked.documents) if self.inside_gold else 0
        return Budget(tokens=int((asked.given - titles) * ratio) + titles, ratio=ratio)

    def _runs(self, asked: Sequence[Asked], library: _Library) -> Mapping[float, Runs]:
        """Cut every question's candidates by every method; to all budgets in turn, while they are remembered."""
        runs: dict[float, dict[Choice, list[Measured]]] = {ratio: {} for ratio in self.ratios}
        for choice in self.choices:
            if choice.timed_only:
                continue
            method = open_method(choice, self.embedder, self._counter)
            for one in asked:
                if not (choice.ours or one.question.answerable):
                    continue  # a rival has no way to say that nothing bears on it
                for ratio in self.ratios:
                    budget = self._budget(one, ratio)
                    selection = method.keep(one.question.question, one.documents, budget)
                    runs[ratio].setdefault(choice, []).append(self._measured(one, selection, budget, library))
                    self.progress.advance(str(choice))
            self.embedder.save()
        return runs

    def _measured(self, asked: Asked, selection: Selection, budget: Budget, library: _Library) -> Measured:
        question = asked.question
        starts = {passage.id: (passage.doc_id, passage.start) for passage in asked.passages}
        spans = [
            (starts[name][0], starts[name][1] + start, starts[name][1] + end) for name, start, end in selection.spans
        ]
        recall = span_recall(question.supporting, spans, library.texts)
        kept = self._counter.count(selection.context)
        return Measured(
            source=asked.source,
            cluster=question.gold_ids[0] if question.gold_ids else question.id,
            shares={
                "answer_kept": answer_stands(selection.texts.values(), asked.answers),
                "supporting_sentence_recall": recall,
                "all_supporting_kept": None if recall is None else float(recall == 1.0),
            },
            kept=kept,
            given=asked.given,
            over_budget=kept > budget.tokens,
            answerable=question.answerable,
            nothing=selection.nothing,
        )

    def _times(self, asked: Sequence[Asked]) -> Mapping[Choice, Row]:
        if not self.timed:
            return {}
        places = sorted({int(place) for place in np.linspace(0, len(asked) - 1, self.timed)})
        ratio = self.ratios[0]
        sample = [
            (one.question.question, one.documents, self._budget(one, ratio)) for one in map(asked.__getitem__, places)
        ]
        self.notes.append(f"times: {len(sample)} questions at {ratio:g} of the candidates, nothing remembered (cold)")
        return timed(self.choices, sample, self.timed_embedder, self._counter)


def open_bench(
    *,
    embedder: Embedder,
    methods: Sequence[str],
    ratios: str,
    retrieve: int,
    inside_gold: bool,
    timed: int,
    seed: int,
    vectors: Path | None,
) -> Bench:
    """Check the options and open the file that vectors are remembered in.

    Raises:
        ConfigurationError: An option is wrong.
        DataError: The file of remembered vectors is damaged.
    """
    return Bench(
        embedder=open_stored(embedder, vectors),
        timed_embedder=embedder,
        choices=tuple(dict.fromkeys(map(Choice.parse, _words(methods) or DEFAULT_METHODS))),
        ratios=tuple(dict.fromkeys(map(_ratio, _words([ratios])))),
        retrieve=retrieve,
        inside_gold=inside_gold,
        timed=timed,
        seed=seed,
    )


def _words(given: Sequence[str]) -> list[str]:
    return [word for one in given for word in one.split(",") if word]


def _ratio(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise ConfigurationError(f"--budget-ratio takes shares above 0 and up to 1, separated by commas; got {text!r}")
    return value


@dataclass(kw_only=True)
class _Library:
    """The documents of all sets, and their questions by set; several sets' ids begin with the set's name."""

    documents: Mapping[str, golden.Document]
    questions: Mapping[str, tuple[golden.Question, ...]]

    @classmethod
    def of(cls, sets: Sequence[GoldenSet]) -> _Library:
        names = [one.name for one in sets]
        if len(set(names)) < len(names):
            raise ConfigurationError(f"--golden: two sets have one name, got {names!r}: rename a folder")
        given = sets if len(sets) == 1 else [_renamed(one) for one in sets]
        return cls(
            documents={document.id: document for one in given for document in one.corpus},
            questions={one.name: one.questions for one in given},
        )

    @cached_property
    def texts(self) -> dict[str, str]:
        return {name: document.text for name, document in self.documents.items()}

    def whole(self, name: str) -> Chunk:
        document = self.documents[name]
        return Chunk(id=name, doc_id=name, title=document.title, start=0, text=document.text)

    def passages(self) -> list[Chunk]:
        found: list[Chunk] = []
        for document in self.documents.values():
            found += [self.whole(document.id)] if len(document.text) <= PASSAGE_CHARACTERS else cut([document])
        return found

    def answers_in_gold(self, question: golden.Question) -> tuple[str, ...]:
        """Return the answers that stand in a gold document word for word: any other could be kept by nobody."""
        gold = [self.documents[name].text for name in question.gold_ids]
        return tuple(one for one in question.answers if answer_stands(gold, [one]))


def _renamed(one: GoldenSet) -> GoldenSet:
    """Return a set whose ids begin with its name."""

    def named(question: golden.Question) -> golden.Question:
        return replace(
            question,
            id=f"{one.name}/{question.id}",
            gold_ids=tuple(f"{one.name}/{name}" for name in question.gold_ids),
            supporting=tuple(replace(span, doc_id=f"{one.name}/{span.doc_id}") for span in question.supporting),
        )

    return GoldenSet(
        name=one.name,
        corpus=tuple(replace(document, id=f"{one.name}/{document.id}") for document in one.corpus),
        questions=tuple(map(named, one.questions)),
    )
