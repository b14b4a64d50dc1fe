"""``costkit cache train``: fine-tune a pair model on labelled pairs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from costkit._progress import progress

if TYPE_CHECKING:
    from costkit.cache.train import TrainedModel

__all__ = ["train_command"]

_HELP = """Train a pair model on labelled pairs of questions.

A pair model reads two questions together and gives the probability that one answer serves both. Each row of a pairs
file is {"a": "...", "b": "...", "same": true}; a file that ends in .gz is unpacked. One pair in twenty is held out, and
its figures stand in card.json of the folder that is written. Needs costkit[train] and the model of `costkit models`.

\b
Examples:
  costkit cache train --pairs pairs.jsonl --out support-pairs
  costkit cache train --pairs public.jsonl.gz --pairs ours.jsonl --out support-pairs --epochs 2
"""


@click.command("train", help=_HELP, short_help="Train a pair model on labelled pairs of questions.")
@click.option(
    "--pairs",
    "files",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    metavar="FILE",
    help="A JSON-lines file with a, b and same in each row; may be given several times.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="The new folder to write.")
@click.option("--seed", default=7, show_default=True, help="Of the split, the order and the first weights.")
@click.option("--epochs", default=1, show_default=True, help="How often each pair is learned from.")
@click.option("--limit", type=int, help="Use at most so many pairs, drawn at random. Default: all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def train_command(
    *, files: tuple[Path, ...], out: Path, seed: int, epochs: int, limit: int | None, as_json: bool
) -> None:
    """Run the command; the help text is ``_HELP``."""
    from costkit.cache.train import train

    with progress() as step:
        done = train(
            files,
            out,
            seed=seed,
            epochs=epochs,
            limit=limit,
            on_step=lambda at, of, loss: step(f"loss {loss:.3f}", at, of),
        )
    click.echo(json.dumps({**asdict(done), "folder": str(done.folder)}) if as_json else _summary(done))


def _summary(done: TrainedModel) -> str:
    held = done.held_out
    return (
        f"{done.name} is in {done.folder}: learned from {done.pairs:,} pairs in {done.minutes:.1f} minutes.\n"
        f"{held.pairs:,} held-out pairs: AUC {held.auc:.3f} (cosine {held.cosine_auc:.3f}), "
        f"accuracy {held.accuracy:.3f}, Brier {held.brier:.3f}."
    )
