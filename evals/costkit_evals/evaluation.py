"""One whole evaluation: run the plan, score, compare, judge, and write result, report and history."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from costkit import __version__
from costkit.embed import Embedder, default_embedder
from costkit.errors import ConfigurationError, DataError
from costkit.prices import default_book
from costkit.tokens import default_counter
from costkit_evals.aggregate import compare, latencies, summarise
from costkit_evals.gates import Limits, judge
from costkit_evals.report import render
from costkit_evals.result import EarlierRun, GoldenSummary, Inflation, Result, Timing
from costkit_evals.runner import Plan, Unit, askings, finish, plan_units, run
from costkit_evals.scoring import Scored
from costkit_evals.terminal import Progress

__all__ = ["Baseline", "evaluate", "read_baseline", "write"]

# The row whose context tokens are followed from run to run.
FOLLOWED = {"phase": "first", "pipeline": "all", "reader": "tiered"}

SIMULATED = (
    "No language model answered. Two extractive readers stand for the strong tier ({strong}) and the cheap tier "
    "({cheap}); quality figures say what a pipeline leaves for a model to work with, not how well a model would write."
)
PROJECTED = (
    "Dollars are projected: the prompts that were really built, counted with {counter}, at list prices ({prices}), with "
    "provider prompt caching simulated by the documented rules at one question every {pace:g} seconds. Embedding and "
    "reranking ran on this machine and are booked at no cost."
)
REAL = (
    "{cheap} (cheap tier) and {strong} (strong tier) answered, through the frameworks' own classes. Dollars are the usage "
    "that the provider reported at list prices ({prices}). A model's answers differ from run to run."
)
CONDENSED = (
    "In conversations every question is asked in its standalone wording, as after a condensing step. The LangChain chain "
    "puts the earlier turns into the prompt too; a LlamaIndex query engine takes the question alone."
)
HELD_OUT = (
    "Readers and selection were fitted on the dev split. On the test split alone, {pipeline} minus naive ({framework}, "
    "tiered reader): {figures}."
)
REMEMBERED = (
    "Latencies are those of this machine, with the vectors of documents and questions at hand: embedding a new question "
    "comes on top."
)


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Context tokens per question that runs are held against, and where they come from."""

    tokens: float
    source: str


def read_baseline(path: Path) -> Baseline:
    """Read a stored baseline: a JSON object with ``context_tokens_per_question``.

    Raises:
        DataError: The file is not one.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return Baseline(
            tokens=float(stored["context_tokens_per_question"]), source=str(stored.get("source", path.name))
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"not a baseline with context_tokens_per_question: {error}", path=path) from None


def evaluate(
    plan: Plan,
    folder: Path,
    *,
    metrics: Sequence[str],
    limits: Limits,
    baseline: Baseline | None,
    progress: Progress,
) -> Result:
    """Run a plan and judge it.

    Args:
        plan: What to run.
        folder: The run folder; rows of an earlier, interrupted run of the same plan in it are used.
        metrics: Names of the ragas metrics to compute beside our own.
        limits: What the result is held against.
        baseline: Context tokens to compare with, if any are stored.
        progress: Told of every answered question.
    """
    began = time.perf_counter()
    rows = run(plan, folder, on_done=lambda unit, count: progress.advance(unit.name, count))
    embedder = default_embedder()
    extras = {unit: _ragas(plan, unit, scored, metrics, embedder) for unit, scored in rows.items()}
    result = Result(
        costkit_version=__version__,
        golden=GoldenSummary(
            name=plan.golden.name,
            fingerprint=plan.golden.fingerprint,
            documents=len(plan.golden.corpus),
            questions=len(plan.golden.questions),
        ),
        seed=plan.seed,
        settings=_settings(plan, embedder),
        rows=tuple(
            summarise(unit, scored, asked=len(askings(plan, unit.phase)), extra=extras[unit], seed=plan.seed)
            for unit, scored in rows.items()
        ),
        comparisons=tuple(
            compare(unit, scored, rows[naive], seed=plan.seed)
            for unit, scored in rows.items()
            if unit.pipeline != "naive" and (naive := replace(unit, pipeline="naive")) in rows
        ),
        inflation=Inflation(tokens=0.0),
        notes=(*_notes(plan), *_held_out(plan, rows)),
    )
    result = replace(result, inflation=_inflation(result, baseline, folder))
    return replace(
        result,
        gates=judge(result, limits),
        timing=Timing(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=time.perf_counter() - began,
            peak_memory_mib=_peak_memory_mib(),
            stages=tuple(stage for unit, scored in rows.items() for stage in latencies(unit, scored)),
        ),
    )


def write(result: Result, folder: Path) -> tuple[Path, Path]:
    """Write ``result.json`` and ``report.html``, add the run to the history and close it; return the two paths.

    Raises:
        ConfigurationError: The folder cannot be written.
    """
    json_path, html_path = folder / "result.json", folder / "report.html"
    try:
        json_path.write_text(result.to_json(), encoding="utf-8")
        html_path.write_text(render(result), encoding="utf-8")
        if result.inflation.tokens:
            _remember(result, folder)
        finish(folder)
    except OSError as error:
        raise ConfigurationError(
            f"the output folder {str(folder)!r} cannot be written ({error.strerror}); name another with --out"
        ) from None
    return json_path, html_path


def total_questions(plan: Plan) -> int:
    """Return how many answers a run takes."""
    return sum(len(askings(plan, unit.phase)) for unit in plan_units(plan))


def _settings(plan: Plan, embedder: Embedder) -> dict[str, object]:
    sources = [asking.source for asking in askings(plan, "replay")]
    return {
        **asdict(plan.settings),
        "embedder": embedder.name,
        "token_counter": default_counter().name,
        "price_snapshot": default_book().snapshot,
        "frameworks": list(plan.frameworks),
        "pipelines": list(plan.pipelines),
        "replay_mix": {source: sources.count(source) for source in sorted(set(sources))},
    }


def _notes(plan: Plan) -> tuple[str, ...]:
    settings = plan.settings
    if settings.real_models:
        models = {"cheap": settings.cheap_model, "strong": settings.strong_model}
        return (REAL.format(**models, prices=default_book().snapshot), REMEMBERED, CONDENSED)
    return (
        SIMULATED.format(strong=settings.strong_model, cheap=settings.cheap_model),
        PROJECTED.format(
            counter=default_counter().name,
            prices=default_book().snapshot,
            pace=settings.seconds_between_questions,
        ),
        REMEMBERED,
        CONDENSED,
    )


def _held_out(plan: Plan, rows: Mapping[Unit, Sequence[Scored]]) -> tuple[str, ...]:
    """Say what the test split alone shows, where the set has one and it is not all there is."""
    test = {question.id for question in plan.golden.questions if question.split == "test"}
    place = {"framework": plan.frameworks[0], "phase": "first", "reader": "tiered"}
    ours, naive = (
        next((unit for unit in rows if vars(unit) == place | {"pipeline": name}), None) for name in ("all", "naive")
    )
    if ours is None or naive is None or not 0 < len(test) < len(plan.golden.questions):
        return ()
    held_out = [[row for row in rows[unit] if row.id in test] for unit in (ours, naive)]
    found = compare(ours, *held_out, seed=plan.seed)
    gaps = [
        f"{name} {gap.value:+.3f} (one-sided 95% lower bound {gap.lower_bound:+.3f})"
        for name in ("span_recall", "token_f1")
        if (gap := found.differences.get(name)) is not None
    ]
    saved = [f"{name} saved {share.value:.1%}" for name in ("context", "usd") if (share := found.reductions.get(name))]
    return (HELD_OUT.format(pipeline="all", framework=ours.framework, figures=", ".join((*gaps, *saved))),)


def _ragas(
    plan: Plan, unit: Unit, rows: Sequence[Scored], metrics: Sequence[str], embedder: Embedder
) -> Mapping[str, Sequence[float | None]]:
    """Score the naive and the full pipeline of the first framework with ragas too; the others differ in degree only."""
    place = (unit.framework, unit.phase, unit.reader)
    if not metrics or place != (plan.frameworks[0], "first", "tiered") or unit.pipeline not in ("naive", "all"):
        return {}
    from costkit_evals.ragas_metrics import RagasRow, score

    texts = {document.id: document.text for document in plan.golden.corpus}
    supporting = {question.id: question.supporting for question in plan.golden.questions}
    ragas_rows = [
        RagasRow(
            id=row.id,
            answer=row.answer,
            references=row.answers,
            contexts=tuple(texts[doc_id][start:end] for doc_id, start, end in row.context),
            context_ids=tuple(doc_id for doc_id, _, _ in row.context),
            gold_ids=row.gold_ids,
            gold_texts=tuple(texts[span.doc_id][span.start : span.end] for span in supporting[row.id]),
        )
        for row in rows
    ]
    return {f"ragas_{name}": values for name, values in score(ragas_rows, embedder, metrics=metrics).items()}


def _inflation(result: Result, baseline: Baseline | None, folder: Path) -> Inflation:
    row = next((result.row(framework=name, **FOLLOWED) for name in ("langchain", "llamaindex")), None)
    context = row.tokens.get("context") if row else None
    return Inflation(
        tokens=context.value if context else 0.0,
        baseline_tokens=baseline.tokens if baseline and context else None,
        source=baseline.source if baseline else "",
        history=tuple(_history(result, folder)),
    )


def _remember(result: Result, folder: Path) -> None:
    """Add a run to the history of runs over the same questions."""
    entry = EarlierRun(run=result.fingerprint[:8], created=result.timing.created, tokens=result.inflation.tokens)
    with _history_file(result, folder).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(entry)) + "\n")


def _history_file(result: Result, folder: Path) -> Path:
    return folder / f"history-{result.golden.fingerprint}.jsonl"


def _history(result: Result, folder: Path) -> list[EarlierRun]:
    path = _history_file(result, folder)
    if not path.exists():
        return []
    try:
        return [EarlierRun(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines() if line]
    except (ValueError, TypeError) as error:
        raise DataError(f"not a history of runs ({error}); delete it to start anew", path=path) from None


def _peak_memory_mib() -> float:
    """Return the largest resident memory of this process or one of its workers; Linux counts in KiB."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(own, workers) / 1024
