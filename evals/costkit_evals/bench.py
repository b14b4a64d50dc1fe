"""``costkit bench``: quality and speed of one part on a data file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

__all__ = ["bench_command"]

# The target where none is named.
TARGET = 0.02

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")

HELP = """Measure one part on a data file.

\b
Example:
  costkit bench cache --stream questions.jsonl.gz
"""

CACHE_HELP = """Measure the semantic cache on labelled questions, beside fixed thresholds and other baselines.

A stream holds {"text": ..., "group": ...} in the order asked; two questions may share an answer if and only if their
groups are equal. It is replayed as the cache would live it. A pairs file holds {"a": ..., "b": ..., "same": true}.
Any file may be packed as .gz.

\b
Policies: costkit (ours; on streams also costkit+answers, which takes stored questions of one group to have answers
known to be the same), fixed (the cosine alone), guards (the cosine, any finding a veto), pair (the pair model
alone, needs --model), vcache (arXiv 2502.03771). Without a number the curve is read off at the target: the most
hits with no more than that share of them wrong. With one, as in fixed:0.92 or vcache:0.01, that point is measured.

\b
Examples:
  costkit bench cache --stream questions.jsonl.gz
  costkit bench cache --stream questions.jsonl --fit pairs.jsonl.gz --target-wrong-per-hit 0.05 --json
  costkit bench cache --pairs near-misses.jsonl --policy costkit

\b
Exit codes: 0 done, 2 wrong option, 3 bad data, 4 an optional dependency is missing, 5 any other error of costkit.
"""

CONTEXT_HELP = """Measure how much of what an answer needs is left when retrieved passages are cut to a budget.

A golden set is a folder with corpus.jsonl and questions.jsonl; several are pooled into one corpus. Passages are
retrieved once by the embedder's cosine, and every method cuts the same ones to the same budget: a share of their
tokens, titles and separators included. Rows say how often the answer's text is still there, and how many of the
supporting sentences, with 95% intervals; ours also by how much it differs from the best rival that keeps the budget
and from truncation, paired by question.

\b
Methods: costkit (ours), truncation (passages in order, cut off at the budget), cosine (sentences by their own cosine
plus their passage's), bm25 (sentences), sentence-optimizer (LlamaIndex), embeddings-filter (LangChain). A folder of a
cross-encoder in FlashRank's layout makes costkit:FOLDER (ours, ranking with it) and flashrank:FOLDER (its order, cut
off at the budget).

\b
Examples:
  costkit bench context
  costkit bench context --golden my/set other/set --budget-ratio 0.25,0.0625 --json
  costkit bench context --golden my/set --method costkit --method flashrank:my-model
  costkit bench context --golden my/set --inside-gold --budget-ratio 0.5

\b
Exit codes: 0 done, 2 wrong option, 3 bad data, 4 an optional dependency is missing, 5 any other error of costkit.
"""


@click.group(name="bench", help=HELP)
def bench_command() -> None:
    """Group the benchmarks; the help text is ``HELP``."""


@bench_command.command(name="cache", help=CACHE_HELP, short_help="Measure the semantic cache.")
@click.option("--stream", type=click.Path(path_type=Path), metavar="FILE", help="Labelled questions to replay.")
@click.option("--pairs", type=click.Path(path_type=Path), metavar="FILE", help="Labelled pairs to score.")
@click.option(
    "--fit",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="PAIRS",
    help="Pairs to fit the score on, without those that hold a measured question. Default: the shipped score.",
)
@click.option("--model", type=click.Path(path_type=Path), metavar="DIR", help="A pair model of `costkit cache train`.")
@click.option("--policy", "policies", multiple=True, metavar="NAME[:NUMBER]", help="May be repeated. Default: all.")
@click.option(
    "--target-wrong-per-hit",
    "targets",
    type=float,
    multiple=True,
    help=f"Share of the hits that may be wrong; may be repeated.  [default: {TARGET}]",
)
@click.option("--limit", type=click.IntRange(min=1), help="Use the first N questions or pairs.")
@click.option("--seed", type=click.IntRange(min=0), default=7, show_default=True, help="Of all draws and resampling.")
@click.option("--curve", is_flag=True, help="Add every measured point to the JSON.")
@click.option(
    "--vectors",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where vectors are remembered. Default: bench/ in the home of costkit.",
)
@_JSON
def cache_command(
    *,
    stream: Path | None,
    pairs: Path | None,
    fit: tuple[Path, ...],
    model: Path | None,
    policies: tuple[str, ...],
    targets: tuple[float, ...],
    limit: int | None,
    seed: int,
    curve: bool,
    vectors: Path | None,
    as_json: bool,
) -> None:
    """Replay a stream or score pairs; the help text is ``CACHE_HELP``."""
    from costkit.cache import labelled
    from costkit.embed import default_embedder
    from costkit_evals.cache_bench import open_bench

    if (stream is None) == (pairs is None):
        raise click.UsageError("give one of --stream FILE and --pairs FILE")
    asked = [] if stream is None else labelled.questions(stream)[:limit]
    given = [] if pairs is None else labelled.pairs([pairs])[:limit]
    bench = open_bench(
        embedder=default_embedder(),
        choices=policies,
        targets=targets or (TARGET,),
        seed=seed,
        model=model,
        vectors=vectors,
        curve=curve,
    )
    _print(bench.run(asked, given, fit=fit), bench.notes, as_json=as_json)


@bench_command.command(name="cache-speed", short_help="Measure the cache's speed, memory and disk.")
@click.option("--entries", type=click.IntRange(min=100), default=100_000, show_default=True)
@click.option("--tenants", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=7, show_default=True, help="Of the made vectors.")
@_JSON
def cache_speed_command(*, entries: int, tenants: int, seed: int, as_json: bool) -> None:
    """Measure look-ups, writes, pauses, memory and disk of the cache's store, on made vectors.

    Example: costkit bench cache-speed --entries 100000 --tenants 50 --json
    """
    from costkit_evals.cache_speed import measure

    rows, notes = measure(entries=entries, tenants=tenants, seed=seed)
    _print(rows, notes, as_json=as_json)


@bench_command.command(name="context", help=CONTEXT_HELP, short_help="Measure the context reducer.")
@click.option(
    "--golden",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="DIR",
    help="Golden set; more may follow. Default: the handbook.",
)
@click.argument("more", nargs=-1, type=click.Path(path_type=Path), metavar="[DIR]...")
@click.option("--retrieve", type=click.IntRange(min=1), default=20, show_default=True, help="Passages per question.")
@click.option(
    "--budget-ratio",
    "ratios",
    default="0.25,0.125,0.0625",
    show_default=True,
    help="Shares of the passages' tokens to keep, separated by commas.",
)
@click.option("--method", "methods", multiple=True, metavar="NAME[:FOLDER]", help="May be repeated. Default: all.")
@click.option("--limit", type=click.IntRange(min=1), help="Use the first N questions of each set.")
@click.option(
    "--inside-gold", is_flag=True, help="Cut a question's gold documents instead; counts words, titles apart."
)
@click.option(
    "--timed", type=click.IntRange(min=0), default=40, show_default=True, help="Questions to take times with."
)
@click.option("--seed", type=click.IntRange(min=0), default=7, show_default=True, help="Of all resampling.")
@click.option(
    "--vectors",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where vectors are remembered. Default: bench/ in the home of costkit.",
)
@_JSON
def context_command(
    *,
    golden: tuple[Path, ...],
    more: tuple[Path, ...],
    retrieve: int,
    ratios: str,
    methods: tuple[str, ...],
    limit: int | None,
    inside_gold: bool,
    timed: int,
    seed: int,
    vectors: Path | None,
    as_json: bool,
) -> None:
    """Cut the passages of golden sets; the help text is ``CONTEXT_HELP``."""
    from costkit.embed import default_embedder
    from costkit_evals.context_bench import open_bench
    from costkit_evals.golden import load
    from costkit_evals.options import handbook

    bench = open_bench(
        embedder=default_embedder(),
        methods=methods,
        ratios=ratios,
        retrieve=retrieve,
        inside_gold=inside_gold,
        timed=timed,
        seed=seed,
        vectors=vectors,
    )
    rows = bench.run([load(folder) for folder in (*golden, *more) or (handbook(),)], limit=limit)
    _print(rows, bench.notes, as_json=as_json)


def _print(rows: Sequence[Mapping[str, object]], notes: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"results": rows, "notes": notes}, indent=1))
        return
    from costkit_evals.bench_tables import show

    show(rows, notes)
