"""Checks on generated documents that a reduction keeps its budget, its offsets and its citations.

`python -m costkit_evals.context_budget_check --cases 10000 --seed 0` (extra `costkit-evals[check]`) draws texts of any
Unicode, titles, tables, lists, code, duplicates and overlapping chunks, budgets from one token up and counters that
count badly, and stops at the first case that breaks a promise, made as small as it can be.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import click

from costkit.context import ContextReducer, Document, Economics, Kept, Reduction, Reranker, condense
from costkit.context.reduce import OnNothing, Order
from costkit.errors import MissingExtraError
from costkit.testing import ListRecorder
from costkit.text import words
from costkit.tokens import ApproximateCounter, TokenCounter, upper_bound

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

__all__ = ["Case", "broken_promise", "cases", "main", "run"]

# A kept text of this many characters is no chance agreement of two documents.
_CITED = 24
_PIECES = (
    "Leave is 27 days. ",
    "It lapses on 31 March, unless the head of the department agrees in writing. ",
    "# Rules\n\n",
    "\n\n",
    "\r\n",
    "\u2028",
    "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n",
    "- one item of the list\n",
    "```\ncode = 1\n```\n",
    "Überstunden verfallen nie, solange sie eingetragen sind. ",
    "有給休暇は二十日です。",
    "👩‍👧 family days? ",
    "e\u0301\u0301 ",
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One reduction: what is given, and how."""

    question: str
    documents: tuple[Document, ...]
    budget_tokens: int
    counter: TokenCounter
    order: Order
    on_nothing: OnNothing
    economics: Economics | None
    k: int | None
    reranker: Reranker

    def reduce(self) -> Reduction:
        """Return the reduction by a new reducer."""
        reducer = ContextReducer(
            budget_tokens=self.budget_tokens,
            reranker=self.reranker,
            counter=self.counter,
            recorder=ListRecorder(),
            order=self.order,
            on_nothing=self.on_nothing,
            economics=self.economics,
        )
        return reducer.reduce(self.question, self.documents, k=self.k)


@dataclass(frozen=True)
class _SharedWords:
    """Scores by the words that a text shares with the question, or cannot score at all."""

    fails: bool
    name: str = "shared words"

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        if self.fails:
            raise RuntimeError("no model today")
        asked = set(words(question))
        return [
            len(asked & set(words(text))) + zlib.crc32(text.encode("utf-8", "replace")) % 100 / 100 for text in texts
        ]


@dataclass(frozen=True)
class _Characters:
    """One token per four characters, rounded up."""

    upper_error: float
    name: str = "characters"

    def count(self, text: str) -> int:
        return -(-len(text) // 4)


@dataclass(frozen=True)
class _Squares:
    """Counts far more for a text than for its pieces."""

    name: str = "squares"
    upper_error: float = 0.0

    def count(self, text: str) -> int:
        return len(text) ** 2 // 900


@dataclass(frozen=True)
class _Erratic:
    """Counts without any order: a part may cost more than the whole."""

    name: str = "erratic"
    upper_error: float = 0.3

    def count(self, text: str) -> int:
        return zlib.crc32(text.encode("utf-8", "replace")) % (len(text) + 1)


def cases() -> SearchStrategy[Case]:
    """Return the cases to draw from.

    Raises:
        MissingExtraError: hypothesis is not installed.
    """
    try:
        from hypothesis import strategies as st
    except ImportError as error:
        raise MissingExtraError(feature="the check", package="hypothesis", install="costkit-evals[check]") from error

    texts = st.one_of(st.lists(st.sampled_from(_PIECES), max_size=12).map("".join), st.text(max_size=120))

    @st.composite
    def chunks(draw: DrawFn) -> list[str]:
        """Cut a text into overlapping chunks, with copies among them."""
        text = draw(texts)
        size, step = draw(st.integers(10, 120)), draw(st.integers(5, 100))
        cut = [text[start : start + size] for start in range(0, len(text), step)][:5]
        return cut + draw(st.lists(st.sampled_from(cut or [""]), max_size=2))

    @st.composite
    def documents(draw: DrawFn) -> tuple[Document, ...]:
        given = draw(chunks()) + draw(st.lists(texts, max_size=4))
        titles = st.sampled_from(["", "Leave rules", "Regeln für den Urlaub, gültig ab 2027"])
        order = draw(st.permutations(given))
        return tuple(Document(id=f"d{at}", text=text, title=draw(titles)) for at, text in enumerate(order))

    counters: list[TokenCounter] = [_Characters(0.0), _Characters(0.16), _Squares(), _Erratic(), ApproximateCounter()]
    prompts = [None, Economics(model="claude-haiku-4-5"), Economics(model="claude-haiku-4-5", cache_hit_chance=0.9)]
    return st.builds(
        Case,
        question=st.one_of(st.text(max_size=40), st.sampled_from(["How many days of leave?", "Wann verfallen sie?"])),
        documents=documents(),
        budget_tokens=st.one_of(st.integers(1, 120), st.integers(1, 5000)),
        counter=st.sampled_from(counters),
        order=st.sampled_from(get_args(Order)),
        on_nothing=st.sampled_from(get_args(OnNothing)),
        economics=st.sampled_from(prompts),
        k=st.none() | st.integers(1, 4),
        reranker=st.builds(_SharedWords, fails=st.booleans()),
    )


def broken_promise(case: Case) -> str | None:
    """Return what a reduction of ``case`` breaks, in words, or None."""
    reduction = case.reduce()
    texts = {document.id: document.text for document in case.documents}
    if upper_bound(case.counter, reduction.context) > case.budget_tokens:
        return f"{reduction.context!r} is above the budget of {case.budget_tokens} tokens"
    if reduction.decision == "fallback" and not getattr(case.reranker, "fails", False):
        return f"nothing failed, but {reduction.reason}"
    if reduction.tokens_after != case.counter.count(reduction.context):
        return f"tokens_after={reduction.tokens_after} is not the count of the context"
    if case.k is not None and len(reduction.passages) > case.k:
        return f"{len(reduction.passages)} documents are left where {case.k} were asked for"
    if reduction.passages != case.reduce().passages:
        return "the same call gives something else"
    for span in reduction.kept:
        if texts[span.document_id][span.start : span.end] != span.text:
            return f"{span} is not what its offsets say"
        if lost := _lost_citation(span, reduction, texts):
            return lost
    return _broken_condensing(case, texts)


def _lost_citation(span: Kept, reduction: Reduction, texts: dict[str, str]) -> str | None:
    """Say which document that has the span's text is reached neither by a place of it nor by a span of its own."""
    for place in span.also_in:
        if not 0 <= place.start < place.end <= len(texts[place.document_id]):
            return f"{place} lies outside of its document"
    if len(span.text) < _CITED:
        return None
    reached = {span.document_id, *(place.document_id for place in span.also_in)}
    reached |= {one.document_id for one in reduction.kept if span.text in one.text}
    lost = [name for name, text in texts.items() if span.text in text and name not in reached]
    return f"{span.text!r} of {span.document_id} stands in {lost} too, and nothing says so" if lost else None


def _broken_condensing(case: Case, texts: dict[str, str]) -> str | None:
    condensed = condense(case.documents)
    for span in condensed.kept:
        if texts[span.document_id][span.start : span.end] != span.text:
            return f"{span} of condense is not what its offsets say"
        for place in span.also_in:
            if texts[place.document_id][place.start : place.end].split() != span.text.split():
                return f"{place} of condense does not say what {span} says"
    left = {word for passage in condensed.passages for word in passage.text.split()}
    gone = {word for text in texts.values() for word in text.split()} - left
    return f"condense lost {sorted(gone)}" if gone else None


def run(count: int, seed: int) -> None:
    """Draw ``count`` cases from ``seed`` on.

    Raises:
        AssertionError: A promise is broken; the message shows the smallest case found.
        MissingExtraError: hypothesis is not installed.
    """
    strategy = cases()
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded

    @seeded(seed)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def check(case: Case) -> None:
        if broken := broken_promise(case):
            raise AssertionError(f"{broken}\nin {case}")

    check()


@click.command()
@click.option("--cases", "count", type=click.IntRange(min=1), default=10_000, show_default=True, help="How many.")
@click.option("--seed", type=int, default=0, show_default=True, help="Where to begin drawing.")
def main(count: int, seed: int) -> None:
    """Draw documents, budgets and counters, and see whether budget, offsets and citations hold."""
    try:
        run(count, seed)
    except AssertionError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{count} cases: no budget exceeded, no offset broken, no citation lost")


if __name__ == "__main__":
    logging.getLogger("costkit.context").setLevel(logging.ERROR)  # rerankers that fail are part of the check
    main()
