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


def _print(rows: Sequence[Mapping[str, object]], notes: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"results": rows, "notes": notes}, indent=1))
        return
    from costkit_evals.cache_tables import show

    show(rows, notes)
