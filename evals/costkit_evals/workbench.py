"""Runs units inside one worker process: one embedder, one index, a fresh bench for every unit."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import get_args

from costkit.context import Document
from costkit.context.late import Reader as TokenReader
from costkit.context.sentences import units_of
from costkit.embed import default_embedder, token_embedder
from costkit.prices import default_book
from costkit.scope import Scope, use
from costkit.tokens import default_counter
from costkit_evals.chunks import ChunkIndex, cut
from costkit_evals.pipelines import PIPELINES, Asked, Bench, Chain, Pipeline
from costkit_evals.provider import SimulatedProvider
from costkit_evals.readers import Passage, Prompted, Reader, strong_reader, weak_reader
from costkit_evals.result import Framework, Phase, ReaderName
from costkit_evals.runner import TOKENS, Plan, Unit, askings
from costkit_evals.scoring import Scored, Scorer
from costkit_evals.traffic import Asking
from costkit_evals.vectors import StoredEmbedder, naming_file

__all__ = ["Workbench"]

# How often progress is told, in questions.
TELL_EVERY = 20
# Token vectors of more would fill the memory: each process has them all, 0.3 MB a chunk.
SHARED_CHUNKS = 2000

_log = logging.getLogger("costkit.evals")


class Workbench:
    """Everything the units of one process share.

    Args:
        plan: The run's plan.
        folder: The run folder, with the vectors that all processes of the run read.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan = plan
        self._chunks = cut(plan.golden.corpus)
        tokens = folder / TOKENS if len(self._chunks) <= SHARED_CHUNKS else None
        with naming_file(folder / "vectors.npz"):
            self._embedder = StoredEmbedder(default_embedder(), folder / "vectors.npz", tokens=tokens)
        self._scorer = Scorer(
            texts={document.id: document.text for document in plan.golden.corpus},
            embedder=self._embedder,
            settings=plan.settings,
            book=default_book(),
        )

    def warm(self) -> None:
        """Embed everything that the units will ask for and write it to the files that all processes read."""
        phases: tuple[Phase, ...] = get_args(Phase)
        questions = [one.question.question for phase in phases for one in askings(self._plan, phase)]
        self._read(questions)
        passages = tuple(Passage(doc_id=chunk.doc_id, title=chunk.title, text=chunk.text) for chunk in self._chunks)
        strong_reader(self._embedder).read(Prompted(question="", passages=passages))
        # After the reading, which has the vectors of questions and chunks already.
        self._index.embedder.embed(questions)
        self._embedder.save()

    def _read(self, questions: Sequence[str]) -> None:
        """Read chunks and questions token by token, as the context reducer will."""
        telling = token_embedder(self._embedder)
        if telling is None or len(self._chunks) > SHARED_CHUNKS:
            return
        documents = [Document(id=chunk.id, text=chunk.text, title=chunk.title) for chunk in self._chunks]
        units = [units_of([document], default_counter()) for document in documents]
        TokenReader(telling, remembered=len(documents)).read(documents, units)
        telling.embed_tokens(questions)

    @cached_property
    def _index(self) -> ChunkIndex:
        return ChunkIndex(self._chunks, self._embedder)

    def run(self, unit: Unit, askings: Sequence[Asking], on_done: Callable[[int], None]) -> list[Scored]:
        """Put every question of a unit to its pipeline and score the answers."""
        pipeline = PIPELINES[unit.pipeline]
        if unit.phase == "first":
            pipeline = pipeline.without_cache()
        with tempfile.TemporaryDirectory(prefix="costkit-eval-") as folder:
            chain = _build(unit.framework, pipeline, self._bench(unit.reader, Path(folder)))
            try:
                with use(Scope(tenant=self._plan.golden.name, purpose="eval")):
                    return self._ask_all(chain, askings, on_done, similarity=_is_headline(unit))
            finally:
                chain.close()

    def _bench(self, reader: ReaderName, folder: Path) -> Bench:
        return Bench(
            index=self._index,
            settings=self._plan.settings,
            readers=self._readers(reader),
            provider=SimulatedProvider(),
            cache_folder=folder / "cache",
        )

    def _readers(self, reader: ReaderName) -> Mapping[str, Reader]:
        strong, weak = strong_reader(self._embedder), weak_reader()
        settings = self._plan.settings
        return {
            settings.cheap_model: strong if reader == "strong" else weak,
            settings.strong_model: weak if reader == "weak" else strong,
        }

    def _ask_all(
        self, chain: Chain, askings: Sequence[Asking], on_done: Callable[[int], None], *, similarity: bool
    ) -> list[Scored]:
        answered: list[tuple[Asking, Asked]] = []
        history: list[tuple[str, str]] = []
        conversation: str | None = None
        for number, asking in enumerate(askings, 1):
            if asking.conversation != conversation:
                conversation, history = asking.conversation, []
            asked = _attempt(chain, asking, history)
            if asked is not None:
                answered.append((asking, asked))
                if conversation is not None:
                    history.append((asking.question.question, asked.answer))
            if number % TELL_EVERY == 0 or number == len(askings):
                on_done(number % TELL_EVERY or TELL_EVERY)
        return self._scored(answered, similarity=similarity)

    def _scored(self, answered: Sequence[tuple[Asking, Asked]], *, similarity: bool) -> list[Scored]:
        if similarity:
            self._embedder.embed([asked.answer for _, asked in answered])  # in batches, which takes half the time
        earlier: dict[str, Asking] = {}
        scored = []
        for asking, asked in answered:
            scored.append(self._scorer.score(asking, asked, earlier=earlier, similarity=similarity))
            earlier[asking.question.question] = asking
        return scored


def _is_headline(unit: Unit) -> bool:
    """True for the two rows that stand side by side: naive and all, first pass, one reader per tier."""
    return (unit.phase, unit.reader) == ("first", "tiered") and unit.pipeline in ("naive", "all")


def _attempt(chain: Chain, asking: Asking, history: Sequence[tuple[str, str]]) -> Asked | None:
    """Ask one question; one that fails is left unscored, which the coverage gate sees, and the run goes on."""
    try:
        return chain.ask(asking.question.question, tuple(history))
    except Exception as error:  # noqa: BLE001  a provider or framework may raise anything
        _log.warning("question %s is not scored: %r", asking.question.id, error)
        return None


def _build(framework: Framework, pipeline: Pipeline, bench: Bench) -> Chain:
    if framework == "langchain":
        from costkit_evals.langchain_bench import LangChainChain

        os.environ.setdefault("LANGSMITH_TRACING", "false")
        return LangChainChain(pipeline, bench)
    from costkit_evals.llamaindex_bench import LlamaIndexChain

    return LlamaIndexChain(pipeline, bench)
