"""The result of one evaluation run: plain frozen values, and their exact JSON.

Everything but ``timing`` and the history of earlier runs follows from the golden set, the settings and the seed, so
two runs of one seed share ``Result.fingerprint``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from costkit.errors import DataError
from costkit_evals.statistics import Difference, Estimate

__all__ = [
    "SCHEMA",
    "SEGMENTS",
    "Comparison",
    "EarlierRun",
    "Framework",
    "GateName",
    "GateOutcome",
    "GoldenSummary",
    "Hits",
    "Inflation",
    "Phase",
    "ReaderName",
    "Result",
    "Row",
    "Stage",
    "StageLatency",
    "Timing",
]

SCHEMA = 1

Framework = Literal["langchain", "llamaindex"]
Phase = Literal["first", "replay", "conversation"]
ReaderName = Literal["tiered", "strong", "weak"]
GateName = Literal["quality", "cost", "coverage", "inflation"]

SEGMENTS = (
    "system_cached",
    "system_uncached",
    "tools",
    "context",
    "history",
    "question",
    "output",
    "embedding",
    "rerank",
)
"""What a question's tokens and dollars are split into, in the order of the prompt."""


@dataclass(frozen=True, kw_only=True)
class GoldenSummary:
    """Which golden set was used; the fingerprint is a hash of its content."""

    name: str
    fingerprint: str
    documents: int
    questions: int


@dataclass(frozen=True, kw_only=True)
class Hits:
    """Answers that came from the response cache.

    Attributes:
        exact: Questions answered by an identical earlier question.
        semantic: Questions answered by a similar earlier question.
        wrong: Hits whose stored answer belongs to another question.
        stale: Hits whose stored answer rests on a document that has changed since; None where nothing changed.
        n: Questions asked.
    """

    exact: int = 0
    semantic: int = 0
    wrong: int = 0
    stale: int | None = None
    n: int = 0

    @property
    def rate(self) -> float:
        """Share of the questions that were hits of either kind."""
        return (self.exact + self.semantic) / self.n if self.n else 0.0

    @property
    def wrong_rate(self) -> float:
        """Share of the hits that were wrong."""
        hits = self.exact + self.semantic
        return self.wrong / hits if hits else 0.0


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Mean context tokens per question that are left after a stage of the context part."""

    name: str
    tokens: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """One pipeline in one framework, phase and reader.

    Attributes:
        framework: Which framework it was built in.
        phase: ``first`` asks each question once with the response cache off, ``replay`` asks again with paraphrases
            and near misses, ``conversation`` asks follow-up questions.
        pipeline: Name of the pipeline.
        reader: What answers: ``tiered`` is one reader per tier, ``strong`` and ``weak`` are one reader for both tiers.
        asked: Questions put to the pipeline.
        n: Questions that were answered and scored.
        metrics: Quality by metric name, 0 to 1; None where no question of the set says anything about it.
        tokens: Tokens per question: ``context``, ``prompt``, ``output``, ``cache_read``, ``cache_write``.
        tokens_by_segment: Mean tokens per question by ``SEGMENTS``.
        usd_per_question: US dollars; None where a model is unpriced.
        usd_by_segment: Mean US dollars per question by ``SEGMENTS``; they sum to ``usd_per_question``.
        usd_per_success: US dollars per successful answer: ``all``, ``cached``, ``cheap``, ``strong``.
        tier_share: Share of the questions answered by ``cached``, ``cheap``, ``strong``.
        hits: What the response cache answered.
        context_stages: The context part's stages in order; the first is what retrieval gave.
        context_growth: Mean prompt tokens by turn of a conversation; empty in the other phases.
    """

    framework: Framework
    phase: Phase
    pipeline: str
    reader: ReaderName
    asked: int
    n: int
    metrics: Mapping[str, Estimate | None]
    tokens: Mapping[str, Estimate]
    tokens_by_segment: Mapping[str, float] = field(default_factory=dict)
    usd_per_question: Estimate | None
    usd_by_segment: Mapping[str, float] = field(default_factory=dict)
    usd_per_success: Mapping[str, Estimate | None] = field(default_factory=dict)
    tier_share: Mapping[str, float] = field(default_factory=dict)
    hits: Hits = field(default_factory=Hits)
    context_stages: tuple[Stage, ...] = ()
    context_growth: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A pipeline against the naive pipeline of the same framework, phase and reader, over the same questions.

    Attributes:
        differences: Paired differences of the metrics, positive where the pipeline is better.
        reductions: Share saved of each kind of token and of ``usd``, with its interval; negative where more was used.
        detectable: By metric, the drop that this set would show with 80% probability.
    """

    framework: Framework
    phase: Phase
    pipeline: str
    reader: ReaderName
    differences: Mapping[str, Difference] = field(default_factory=dict)
    reductions: Mapping[str, Estimate] = field(default_factory=dict)
    detectable: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EarlierRun:
    """Context tokens per question of an earlier run."""

    run: str
    created: str
    tokens: float


@dataclass(frozen=True, kw_only=True)
class Inflation:
    """Context tokens per question against the stored baseline.

    Attributes:
        tokens: Context tokens per question of this run.
        baseline_tokens: The stored baseline; None where none is stored.
        source: Where the baseline comes from, in words.
        history: Earlier runs, oldest first.
    """

    tokens: float
    baseline_tokens: float | None = None
    source: str = ""
    history: tuple[EarlierRun, ...] = ()

    @property
    def ratio(self) -> float | None:
        """This run's tokens over the baseline's, or None without a baseline."""
        return self.tokens / self.baseline_tokens if self.baseline_tokens else None


@dataclass(frozen=True, kw_only=True)
class GateOutcome:
    """One judged limit.

    Attributes:
        name: The gate.
        measure: What was measured.
        passed: Whether the limit holds; True where nothing could be judged.
        value: The worst value found; None where the run holds nothing to judge.
        limit: The limit that it is held against.
        text: The finding in one sentence.
        exit_code: What the program exits with if this is the first gate that fails.
    """

    name: GateName
    measure: str
    passed: bool
    value: float | None
    limit: float
    text: str
    exit_code: int


@dataclass(frozen=True, kw_only=True)
class StageLatency:
    """Seconds that one stage of a pipeline took per question."""

    framework: Framework
    phase: Phase
    pipeline: str
    reader: ReaderName
    stage: str
    n: int
    p50_seconds: float
    p95_seconds: float


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What differs between two runs of one seed.

    Attributes:
        created: When the run ended, ISO 8601 in UTC.
        seconds: How long it took.
        peak_memory_mib: Peak resident memory, where the system tells.
        stages: Latency by stage.
    """

    created: str = ""
    seconds: float = 0.0
    peak_memory_mib: float | None = None
    stages: tuple[StageLatency, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Result:
    """One evaluation run.

    Attributes:
        costkit_version: Version that ran.
        golden: The golden set.
        seed: Seed of every random draw.
        settings: What the run was made with: models, price snapshot, sizes, traffic. JSON values only.
        rows: One per pipeline, framework, phase and reader.
        comparisons: Each row against its naive row.
        inflation: Context tokens against the stored baseline.
        gates: The judged limits; empty until judged.
        notes: Plain sentences that the report shows at its top.
        timing: What differs between two runs of one seed.
        schema: Version of this format.
    """

    costkit_version: str
    golden: GoldenSummary
    seed: int
    settings: Mapping[str, object]
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...] = ()
    inflation: Inflation
    gates: tuple[GateOutcome, ...] = ()
    notes: tuple[str, ...] = ()
    timing: Timing = field(default_factory=Timing)
    schema: int = SCHEMA

    def row(self, *, framework: str, phase: str, pipeline: str, reader: str) -> Row | None:
        """Return the row of that place, or None."""
        place = (framework, phase, pipeline, reader)
        return next((row for row in self.rows if _place(row) == place), None)

    def comparison(self, row: Row) -> Comparison | None:
        """Return the comparison of ``row`` with its naive row, or None."""
        return next((one for one in self.comparisons if _place(one) == _place(row)), None)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that follows from golden set, settings and seed."""
        content = asdict(self)
        del content["timing"], content["inflation"]["history"]
        return hashlib.sha256(_dump(content).encode()).hexdigest()

    def to_json(self) -> str:
        """Return the result as JSON with sorted keys; ``from_json`` gives an equal result back."""
        return _dump(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Result:
        """Read what ``to_json`` wrote.

        Raises:
            DataError: It is no JSON, has another schema number, or lacks a field.
        """
        from pydantic import TypeAdapter, ValidationError  # needed where a stored result is read, and nowhere else

        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(f"not a result: {error}", line=error.lineno) from error
        schema = content.get("schema") if isinstance(content, dict) else None
        if schema != SCHEMA:
            raise DataError(f"schema must be {SCHEMA}, got {schema!r}; run `costkit eval` again with this version")
        try:
            return TypeAdapter(cls).validate_python(content)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(step) for step in first["loc"])
            raise DataError(f"not a result: {place}: {first['msg']}") from error


def _place(one: Row | Comparison) -> tuple[str, str, str, str]:
    return one.framework, one.phase, one.pipeline, one.reader


def _dump(content: object) -> str:
    return json.dumps(_canonical(content), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _canonical(value: object) -> object:
    """Write 2.0 as 2, so that a result with an int where a float may stand and its read-back copy give the same text."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {key: _canonical(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(one) for one in value]
    return value
