"""``costkit eval``: run pipelines over a golden set, compare, report and gate."""

from __future__ import annotations

import signal
from pathlib import Path

import click

__all__ = ["eval_command"]

EXIT_INTERRUPTED = 130

HELP = """Run naive RAG against costkit RAG on a golden set, in LangChain and in LlamaIndex.

\b
Examples:
  costkit eval
  costkit eval --golden my/golden/set --pipelines naive,context,all --limit 100
  costkit eval --golden testset.jsonl --corpus docs.jsonl --map question=user_input

\b
Exit codes: 0 all gates passed, 2 wrong option, 3 bad data, 10 quality gate failed, 11 cost gate, 12 coverage gate,
13 inflation gate, 130 interrupted (the same command goes on where it stopped).
"""


@click.command(name="eval", help=HELP)
@click.option(
    "--golden", type=click.Path(path_type=Path), help="Golden set: a folder or a file. Default: the handbook."
)
@click.option("--corpus", type=click.Path(path_type=Path), help="Documents of a golden file that carries none.")
@click.option("--map", "mapping", multiple=True, metavar="FIELD=KEY", help="Which key of the file holds a field.")
@click.option("--limit", type=click.IntRange(min=1), help="Use the first N questions.")
@click.option("--split", help="Use the questions of one split only.")
@click.option("--pipelines", help="Names, separated by commas. Default: all of them.")
@click.option("--frameworks", default="langchain,llamaindex", show_default=True, help="Names, separated by commas.")
@click.option("--metrics", default="all", show_default=True, help="ragas metrics by name, 'all' or 'none'.")
@click.option("--model", "models", multiple=True, help="Claude model ids, cheap tier first; needs ANTHROPIC_API_KEY.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder. Default: eval-runs/NAME.")
@click.option("--baseline", type=click.Path(path_type=Path), help="Stored context tokens. Default: the set's own.")
@click.option("--seed", type=int, default=7, show_default=True, help="Of the traffic's order and all resampling.")
@click.option("--gate/--no-gate", default=True, show_default=True, help="Exit with an error if a gate fails.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def eval_command(
    golden: Path | None,
    corpus: Path | None,
    mapping: tuple[str, ...],
    limit: int | None,
    split: str | None,
    pipelines: str | None,
    frameworks: str,
    metrics: str,
    models: tuple[str, ...],
    out: Path | None,
    baseline: Path | None,
    seed: int,
    gate: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Parse the options and hand over; the docstring shown to users is ``HELP``."""
    from costkit_evals import options
    from costkit_evals.evaluation import evaluate, total_questions, write
    from costkit_evals.gates import Limits, exit_code
    from costkit_evals.terminal import Progress, show

    set_path = golden or options.handbook()
    plan, mapped = options.plan(
        set_path,
        corpus=corpus,
        mapping=mapping,
        limit=limit,
        split=split,
        pipelines=pipelines,
        frameworks=frameworks,
        models=models,
        seed=seed,
    )
    folder = out or Path("eval-runs") / plan.golden.name
    whole = limit is None and split is None and not models
    stored = options.baseline(baseline, set_path) if whole or baseline else None
    chosen = options.ragas_metrics(metrics)
    click.echo(f"{mapped}; {len(plan.golden.corpus)} documents, {len(plan.golden.questions)} questions", err=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cancelled job stops its workers like Ctrl-C
    progress = Progress()
    progress.start(total_questions(plan))
    try:
        result = evaluate(plan, folder, metrics=chosen, limits=Limits(), baseline=stored, progress=progress)
    except KeyboardInterrupt:
        click.echo("interrupted; the same command goes on where it stopped", err=True)
        click.get_current_context().exit(EXIT_INTERRUPTED)
    finally:
        progress.stop()
    json_path, html_path = write(result, folder)
    if as_json:
        click.echo(result.to_json(), nl=False)
    else:
        show(result)
    click.echo(f"result: {json_path}\nreport: {html_path}", err=True)
    if gate:
        click.get_current_context().exit(exit_code(result.gates))
