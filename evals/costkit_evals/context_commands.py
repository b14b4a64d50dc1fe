"""``costkit context``: train a reranker on golden sets or judged passages."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from costkit._progress import progress, show
from costkit.errors import ConfigurationError

if TYPE_CHECKING:
    from costkit.context.train import TrainedReranker

__all__ = ["context"]

_FILE = click.Path(path_type=Path)

_HELP = """Fit context reduction to your own documents and questions.

\b
Examples:
  costkit context train --golden evals/golden/handbook --out our-reranker
"""

_TRAIN = """Train a small reranker: minilm, fine-tuned to tell passages that answer a question from those that do not.

The passages come from golden sets (those that hold the supporting passages, beside the nearest others; questions of the
split "test" are left out), or from files of {"question": "...", "text": "...", "relevant": true} a line. One question in
ten is held out, and its figures are printed. The folder that is written has FlashRank's layout, with the model in int8:
`costkit.context.from_flashrank("our-reranker", cache_dir=".")`. Needs costkit[train] and the model of `costkit models`.

\b
Examples:
  costkit context train --golden evals/golden/handbook --out our-reranker
  costkit context train --passages judged.jsonl.gz --out our-reranker --epochs 2 --json

\b
Exit codes: 0 written, 2 wrong option, 3 bad data, 4 an optional dependency is missing, 5 any other error of costkit.
"""


@click.group(help=_HELP)
def context() -> None:
    """Group the commands; the help text is ``_HELP``."""


@context.command(help=_TRAIN, short_help="Train a small reranker in FlashRank's layout.")
@click.option("--golden", type=_FILE, multiple=True, metavar="DIR", help="A golden set; may be given several times.")
@click.option("--passages", type=_FILE, multiple=True, metavar="FILE", help="Judged passages, as JSON lines.")
@click.option(
    "--out", type=_FILE, required=True, metavar="DIR", help="The new folder to write; its name is the model's."
)
@click.option("--seed", default=7, show_default=True, help="Of every draw and of the first weights.")
@click.option("--epochs", default=1, show_default=True, help="How often each passage is learned from.")
@click.option("--limit", type=int, help="Use at most so many questions, drawn at random. Default: all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def train(
    *,
    golden: tuple[Path, ...],
    passages: tuple[Path, ...],
    out: Path,
    seed: int,
    epochs: int,
    limit: int | None,
    as_json: bool,
) -> None:
    """Run the command; the help text is ``_TRAIN``."""
    from costkit.context.train import train as fine_tune
    from costkit.embed import default_embedder
    from costkit_evals.context_training import judged_pairs, judged_passages

    if not golden and not passages:
        raise ConfigurationError("nothing to learn from: name golden sets with --golden, or files with --passages")
    judged = judged_pairs(passages)
    if golden:
        judged += judged_passages(golden, default_embedder(), seed=seed)
    with progress() as step:
        done = fine_tune(
            judged,
            out,
            seed=seed,
            epochs=epochs,
            limit=limit,
            on_step=lambda at, of, loss: step(f"loss {loss:.3f}", at, of),
        )
    show({**asdict(done), "folder": str(done.folder)}, _summary(done), as_json=as_json)


def _summary(done: TrainedReranker) -> str:
    held = done.held_out
    return (
        f"{done.folder} learned from {done.passages:,} passages in {done.minutes:.1f} minutes.\n"
        f"{held.questions:,} held-out questions: AUC {held.auc:.3f} (cosine {held.cosine_auc:.3f}); the best passage is "
        f"one that answers for {held.first:.1%} (cosine {held.cosine_first:.1%})."
    )
