"""Named pipelines: which of costkit's parts are switched on, and everything that both frameworks' builds share."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, get_args

from costkit.cache import ResponseCache
from costkit.context import ContextReducer
from costkit.embed import Embedder
from costkit.errors import ConfigurationError
from costkit.ledger.usage import Event, Usage
from costkit_evals.chunks import ChunkIndex, Retrieved
from costkit_evals.prompts import SYSTEM
from costkit_evals.provider import Reply, SegmentTokens, SimulatedProvider
from costkit_evals.readers import Reader

__all__ = [
    "MAX_OUTPUT_TOKENS",
    "PIPELINES",
    "Asked",
    "Bench",
    "Part",
    "Piece",
    "Pipeline",
    "Settings",
    "Trace",
    "cache_hit",
    "named",
]

Part = Literal["route", "cache", "context", "prompt"]

MAX_OUTPUT_TOKENS = 1024


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A named set of parts."""

    name: str
    parts: frozenset[Part] = frozenset()

    def without_cache(self) -> Pipeline:
        """Return the pipeline with the response cache off, under the same name."""
        return Pipeline(name=self.name, parts=self.parts - {"cache"})


def _in_order() -> Iterable[Pipeline]:
    """Yield naive, each part alone, and the parts added one by one in the order of a question's life."""
    yield Pipeline(name="naive")
    parts: tuple[Part, ...] = get_args(Part)
    for part in parts:
        yield Pipeline(name=part, parts=frozenset({part}))
    for count in range(2, len(parts)):
        yield Pipeline(name="+".join(parts[:count]), parts=frozenset(parts[:count]))
    yield Pipeline(name="all", parts=frozenset(parts))


PIPELINES: dict[str, Pipeline] = {pipeline.name: pipeline for pipeline in _in_order()}


def named(names: Sequence[str]) -> list[Pipeline]:
    """Return the pipelines of those names.

    Raises:
        ConfigurationError: A name is unknown.
    """
    unknown = next((name for name in names if name not in PIPELINES), None)
    if unknown is not None:
        raise ConfigurationError(f"unknown pipeline {unknown!r}; choose from {', '.join(PIPELINES)}")
    return [PIPELINES[name] for name in names]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every pipeline of a run is built with.

    Attributes:
        cheap_model: Model id of the cheap tier.
        strong_model: Model id of the strong tier; the naive pipeline uses it for everything.
        naive_k: Chunks that the naive pipeline puts into the prompt.
        candidates_k: Chunks retrieved where the context part chooses from them.
        budget_tokens: Token budget of the context part.
        enough: Where the context part stops; chosen on the handbook's development questions, as the budget is.
        seconds_between_questions: Simulated pace of the traffic, which decides what a prompt cache still holds.
        real_models: True calls the provider through the frameworks' own classes; False lets readers answer.
    """

    cheap_model: str = "claude-haiku-5-5"
    strong_model: str = "claude-opus-5-5"
    naive_k: int = 8
    candidates_k: int = 30
    budget_tokens: int = 900
    enough: float = 0.7
    seconds_between_questions: float = 20.0
    real_models: bool = False


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A piece of the final context: characters ``start`` to ``end`` of a document."""

    doc_id: str
    start: int
    end: int


@dataclass(kw_only=True)
class Trace:
    """What happened during one question; the benches' own parts write into it."""

    context: list[Piece] = field(default_factory=list)
    context_text: str = ""
    replies: list[Reply] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def record(self, event: Event) -> None:
        """Keep an event of one of costkit's parts, and its time under the part's name."""
        self.events.append(event)
        self.add_seconds(event.part, event.seconds)

    def add_seconds(self, stage: str, seconds: float) -> None:
        """Add to the time of a stage."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One question, answered by one pipeline."""

    answer: str
    hit: Literal["exact", "semantic"] | None
    matched_question: str | None
    trace: Trace
    seconds: float

    @property
    def usage(self) -> Usage:
        """Tokens billed for this question."""
        return sum((reply.usage for reply in self.trace.replies), Usage())


def cache_hit(mark: object) -> tuple[Literal["exact", "semantic"] | None, str | None]:
    """Read from costkit's mark on an answer whether the response cache served it, and to which earlier question."""
    if not isinstance(mark, Mapping) or mark.get("part") != "cache" or mark.get("decision") != "hit":
        return None, None
    return ("exact" if mark["kind"] == "exact" else "semantic"), str(mark["matched_question"])


class Bench:
    """One pipeline's surroundings: index, readers behind model ids, simulated provider, and the trace of one question.

    Args:
        index: The corpus.
        settings: What to build with.
        readers: Reader by model id.
        provider: Bills the prompts.
        cache_folder: An empty folder for the response cache.
    """

    def __init__(
        self,
        *,
        index: ChunkIndex,
        settings: Settings,
        readers: Mapping[str, Reader],
        provider: SimulatedProvider,
        cache_folder: Path,
    ) -> None:
        self.index = index
        self.settings = settings
        self.provider = provider
        self.cache_folder = cache_folder
        self._readers = readers
        self.trace = Trace()

    @property
    def embedder(self) -> Embedder:
        """The embedder of the corpus index."""
        return self.index.embedder

    def reducer(self) -> ContextReducer:
        """Return a context reducer with this run's budget, booked here."""
        settings = self.settings
        return ContextReducer(
            budget_tokens=settings.budget_tokens,
            enough=settings.enough,
            reranker=self.index.reranker,
            recorder=self,
        )

    def response_cache(self) -> ResponseCache:
        """Return an empty response cache, booked here."""
        return ResponseCache(version="handbook", embedder=self.embedder, path=self.cache_folder, recorder=self)

    def begin(self) -> Trace:
        """Start a new question: a fresh trace, and the clock of the simulated traffic moves on."""
        self.trace = Trace()
        self.provider.advance(self.settings.seconds_between_questions)
        return self.trace

    def record(self, event: Event) -> None:
        """Be the recorder of costkit's parts."""
        self.trace.record(event)

    def retrieve(self, question: str, *, k: int) -> list[Retrieved]:
        """Search the corpus, timed."""
        began = time.perf_counter()
        found = self.index.search(question, k=k)
        self.trace.add_seconds("retrieve", time.perf_counter() - began)
        return found

    def book_calls(self, *, question: str, history: Sequence[tuple[str, str]] = ()) -> None:
        """Turn the model calls that the frameworks' handlers booked during this question into billed replies.

        Only real models need it: readers bill themselves. The provider says how many tokens a prompt had, not what they
        were for, so its total is shared out by an offline count of the parts.
        """
        count = self.provider.counter.count
        parts = SegmentTokens(
            system=count(SYSTEM),
            history=sum(count(asked) + count(told) for asked, told in history),
            context=count(self.trace.context_text),
            question=count(question),
        )
        for event in self.trace.events:
            if event.kind == "model" and event.status == "ok" and event.model is not None:
                segments = parts.scaled_to(event.usage.input_tokens)
                self.trace.replies.append(Reply(text="", model=event.model, usage=event.usage, segments=segments))

    def respond(self, request: dict[str, object]) -> Reply:
        """Answer a Messages-API request with the reader behind its model, and bill it."""
        began = time.perf_counter()
        reply = self.provider.respond(request, self._readers[str(request["model"])])
        self.trace.add_seconds("generate", time.perf_counter() - began)
        self.trace.replies.append(reply)
        return reply


class Chain(Protocol):
    """A built pipeline."""

    def ask(self, question: str, history: Sequence[tuple[str, str]] = ()) -> Asked:
        """Answer one question, given the earlier questions and answers of its conversation."""
        ...

    def close(self) -> None:
        """Release what the pipeline holds."""
        ...
