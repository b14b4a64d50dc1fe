"""Checks what happens to kept answers when documents change: are stale ones served, and how many sound ones are lost?

`python -m costkit_evals.evidence_check evals/golden/handbook` answers every question of a golden set through the cache,
makes the set's dated changes by ingesting the corpus again, and asks once more, in both frameworks.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

import click

from costkit.cache import Candidate, ResponseCache, Verdict
from costkit.embed import Embedder, default_embedder, remember
from costkit.scope import Scope, use
from costkit.testing import ListRecorder
from costkit_evals.golden import Change, Document, GoldenSet, Question, load
from costkit_evals.terminal import Progress

if TYPE_CHECKING:
    from costkit_evals.reingest import Application, Reader

__all__ = ["Figures", "Setting", "check", "main", "settings"]

# Looser than anyone should set it, so that paraphrases meet the answers that were kept for other words.
THRESHOLD = 0.7
UNKNOWN = "The documents do not say."

Event = Literal["changed", "removed"]
Framework = Literal["langchain", "llamaindex"]
Reuse = Literal["before_retrieval", "after_retrieval"]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One way to run the check.

    Attributes:
        framework: ``langchain`` or ``llamaindex``.
        reuse: Whether an earlier answer is served before or after retrieval.
        watched: True ingests through costkit's record manager or document store.
        event: What happens to the documents.
    """

    framework: Framework
    reuse: Reuse
    watched: bool
    event: Event


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one setting gave.

    Attributes:
        setting: The setting.
        outdated: Kept answers of which the application now says something else.
        asked: Questions asked that one of them answers, paraphrases included.
        served_before: How many of those the cache served before the event.
        stale: How many it served with the outdated answer after it.
        sound: Kept answers to questions that the event does not touch.
        lost: How many of these are no longer served.
    """

    setting: Setting
    outdated: int
    asked: int
    served_before: int
    stale: int
    sound: int
    lost: int


def settings(events: Sequence[Event] = ("changed", "removed")) -> list[Setting]:
    """Return every setting but the one that must fail: unwatched and before retrieval nothing is ever noticed."""
    ways: list[tuple[Reuse, bool]] = [("before_retrieval", True), ("after_retrieval", True), ("after_retrieval", False)]
    frameworks: list[Framework] = ["langchain", "llamaindex"]
    return [
        Setting(framework=framework, reuse=reuse, watched=watched, event=event)
        for event in events
        for framework in frameworks
        for reuse, watched in ways
    ]


def check(
    golden: GoldenSet, embedder: Embedder, setting: Setting, *, on_question: Callable[[str], None] = lambda _: None
) -> Figures:
    """Ask, change the documents, and ask again.

    Args:
        golden: A golden set with changes.
        embedder: Embeds chunks and questions; it should remember.
        setting: How.
        on_question: Called after each question of the first round.
    """
    questions = [one for one in golden.questions if one.answerable]
    words = {one.question_id: one.paraphrases for one in golden.paraphrases}
    touched = _touched(golden, setting.event)
    with _opened(golden, embedder, setting) as session:
        session.application.ingest(golden.corpus)
        first: dict[str, str] = {}
        for one in questions:
            first[one.id], _ = session.ask(one.question, exactly=True)
            on_question(f"{setting.framework} {setting.reuse}")
        asked = [
            (text, one.id) for one in questions if one.id in touched for text in (*words.get(one.id, ()), one.question)
        ]
        before = {text: session.ask(text) == (first[name], True) for text, name in asked}
        others = [one for one in questions if one.id not in touched]
        sound = [one for one in others if session.ask(one.question, exactly=True)[1]]
        session.application.ingest(_after(golden, setting.event))
        now = {one.id: session.application.ask_anew(one.question) for one in questions if one.id in touched}
        outdated = {name for name, answer in now.items() if answer != first[name] != UNKNOWN}
        again = {text: session.ask(text) == (first[name], True) for text, name in asked if name in outdated}
        lost = sum(not session.ask(one.question, exactly=True)[1] for one in sound)
    return Figures(
        setting=setting,
        outdated=len(outdated),
        asked=len(again),
        served_before=sum(before[text] for text in again),
        stale=sum(again.values()),
        sound=len(sound),
        lost=lost,
    )


def _touched(golden: GoldenSet, event: Event) -> set[str]:
    """Return the ids of the questions whose answer the event may change."""
    if event == "changed":
        return {name for change in golden.changes for name in change.question_ids}
    removed = {change.doc_id for change in golden.changes}
    return {one.id for one in golden.questions if removed & set(one.gold_ids)}


def _after(golden: GoldenSet, event: Event) -> list[Document]:
    """Return the corpus after the event."""
    changes: dict[str, list[Change]] = {}
    for change in golden.changes:
        changes.setdefault(change.doc_id, []).append(change)
    if event == "removed":
        return [one for one in golden.corpus if one.id not in changes]
    corpus = []
    for document in golden.corpus:
        text = document.text
        for change in changes.get(document.id, ()):
            text = text.replace(change.old, change.new)
        corpus.append(replace(document, text=text))
    return corpus


def _reader(golden: GoldenSet) -> Reader:
    """Return what stands in for a model: it tells the set's answer if the passages that hold it are in the context."""
    texts = {one.id: one.text for one in golden.corpus}
    changes = {name: change for change in golden.changes for name in change.question_ids}
    known: dict[str, Question] = {one.question: one for one in golden.questions}
    by_id = {one.id: one for one in golden.questions}
    known |= {text: by_id[one.question_id] for one in golden.paraphrases for text in one.paraphrases}

    def read(question: str, context: str) -> str:
        one = known[question]
        change = changes.get(one.id)
        if change is not None:
            told = {change.new: change.new_answer, change.old: one.answers[0]}
            return next((answer for passage, answer in told.items() if passage in context), UNKNOWN)
        passages = [texts[span.doc_id][span.start : span.end] for span in one.supporting]
        return one.answers[0] if all(passage in context for passage in passages) else UNKNOWN

    return read


@contextmanager
def _opened(golden: GoldenSet, embedder: Embedder, setting: Setting) -> Iterator[_Session]:
    """Open an application on a cache of its own."""
    from costkit_evals.reingest import LangChainApplication, LlamaIndexApplication

    made = LangChainApplication if setting.framework == "langchain" else LlamaIndexApplication
    recorder = ListRecorder()
    loop = asyncio.new_event_loop()  # LlamaIndex's sync methods take the thread's, or make one that nobody closes
    asyncio.set_event_loop(loop)
    with TemporaryDirectory(prefix="costkit-evidence-") as folder, use(Scope(tenant="check")):
        score = _Looseness()
        cache = ResponseCache(version="check", embedder=embedder, path=folder, equivalence=score, recorder=recorder)
        application = made(cache, embedder, _reader(golden), reuse=setting.reuse, watched=setting.watched)
        try:
            yield _Session(application=application, score=score, recorder=recorder)
        finally:
            cache.close()
            asyncio.set_event_loop(None)
            loop.close()


class _Looseness:
    """The cosine, or while ``exactly`` is set nothing: then only the same words are served."""

    name = "looseness"
    threshold = THRESHOLD
    per_log_odds = 1.0

    def __init__(self) -> None:
        self.exactly = False

    def score(
        self,
        question: str,  # noqa: ARG002
        candidates: Sequence[Candidate],
        *,
        threshold: float | None = None,  # noqa: ARG002
    ) -> list[Verdict]:
        return [Verdict(score=0.0 if self.exactly else one.cosine, probability=0.5) for one in candidates]


@dataclass(frozen=True, kw_only=True)
class _Session:
    application: Application
    score: _Looseness
    recorder: ListRecorder

    def ask(self, question: str, *, exactly: bool = False) -> tuple[str, bool]:
        """Return the answer, and whether it was kept for this question, exactly: for the same words."""
        self.score.exactly = exactly
        answer = self.application.ask(question)
        return answer, self.recorder.events[-1].decision == "hit"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(folder: Path, *, as_json: bool) -> None:
    """Change, and remove, the documents of a golden set's dated changes, and count stale and lost answers.

    Example: python -m costkit_evals.evidence_check evals/golden/handbook
    """
    golden = load(folder)
    embedder = remember(default_embedder())
    progress = Progress()
    progress.start(len(settings()) * sum(one.answerable for one in golden.questions))
    try:
        done = [check(golden, embedder, one, on_question=progress.advance) for one in settings()]
    finally:
        progress.stop()
    if as_json:
        click.echo(json.dumps({"results": [asdict(one) for one in done]}, indent=2))
        return
    for one in done:
        how = "through costkit" if one.setting.watched else "unwatched"
        click.echo(
            f"{one.setting.framework} {one.setting.reuse}, documents {one.setting.event} {how}: "
            f"{one.stale} stale of {one.asked} asked ({one.served_before} were served before) "
            f"for {one.outdated} outdated answers; {one.lost} of {one.sound} sound answers lost"
        )


if __name__ == "__main__":
    main()
