"""``costkit context``: train and calibrate a reranker, tune what is retrieved, each on the user's own documents."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from costkit._progress import progress, show
from costkit.errors import ConfigurationError

if TYPE_CHECKING:
    from costkit.context.calibration import Calibration
    from costkit.context.profile import Profile
    from costkit.context.train import TrainedReranker
    from costkit_evals.context_tuning import Tested, Tuning

__all__ = ["EXIT_NOTHING_SAFE", "context"]

EXIT_NOTHING_SAFE = 10

_FILE = click.Path(path_type=Path)

_HELP = """Fit context reduction to your own documents and questions.

\b
Examples:
  costkit context train --golden evals/golden/handbook --out our-reranker
  costkit context calibrate --golden evals/golden/handbook --reranker flashrank:our-reranker
  costkit context tune --golden evals/golden/handbook
"""

_CALIBRATE = """Fit what a reranker's scores mean: how probably a sentence is needed, and whether a question is answered at all.

The curves are fitted on one half of the golden sets' questions (the split "dev", where there is one) and measured on the
other. `costkit.context.calibrated(reranker, "calibration.json")` gives them to the reranker: reductions then tell
probabilities, abstain where nothing bears on the question (if the golden sets have unanswerable questions), and weigh
sentences by the reranker's own log odds. The default reranker with minilm comes with curves; fit them anew for documents
unlike Wikipedia, and for any other embedder or reranker. A model of your own should not have been trained on these questions.

\b
Rerankers: embedding (the default embedder), flashrank:NAME, flashrank:FOLDER, fastembed:NAME.

\b
Examples:
  costkit context calibrate --golden evals/golden/handbook
  costkit context calibrate --golden ours --reranker flashrank:our-reranker --json

\b
Exit codes: 0 written, 2 wrong option, 3 bad data, 4 an optional dependency is missing, 5 any other error of costkit.
"""

_TUNE = """Find the cheapest chunking, retrieval and budget that still keep what the answers need.

Chunk size and overlap, how many chunks are retrieved, the token budget and where the selection stops are tried on one
half of the golden set's questions (the split "dev", where it has one). Those that no other setting beats, and roomier ones,
are then tested on the other half, from the most tokens to the fewest; the profile is the last whose recall is shown, at 95%, to be at
most the margin below that of the widest retrieval, uncut. `ContextReducer.from_profile` loads it; cut and retrieve as
it says. The curve, tokens against recall with intervals, is drawn beside it.

\b
Examples:
  costkit context tune --golden evals/golden/handbook --margin 0.03
  costkit context tune --golden ours --out ours.json --json

\b
Exit codes: 0 written, 10 no setting is shown to be safe (only the curve is written), 2 wrong option, 3 bad data, 5 any
other error of costkit.
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
    told = (
        f"{done.folder} learned from {done.passages:,} passages in {done.minutes:.1f} minutes.\n"
        f"{held.questions:,} held-out questions: AUC {held.auc:.3f} (cosine {held.cosine_auc:.3f}); the best passage is "
        f"one that answers for {held.first:.1%} (cosine {held.cosine_first:.1%})."
    )
    if held.first < held.cosine_first:
        told += (
            "\nThat is worse than the model it began as: stay with the default reranker until you have more questions."
        )
    return told


@context.command(help=_CALIBRATE, short_help="Fit what a reranker's scores mean.")
@click.option(
    "--golden", type=_FILE, multiple=True, required=True, metavar="DIR", help="A golden set; may be repeated."
)
@click.option("--reranker", default="embedding", show_default=True, help="What scores; see above.")
@click.option(
    "--out",
    type=_FILE,
    metavar="FILE",
    help="The calibration. Default: calibration.json, in the model's FOLDER if any.",
)
@click.option("--limit", type=int, help="Use at most so many questions of each half of each set. Default: all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def calibrate(*, golden: tuple[Path, ...], reranker: str, out: Path | None, limit: int | None, as_json: bool) -> None:
    """Run the command; the help text is ``_CALIBRATE``."""
    from costkit.context.calibration import CALIBRATION_FILE
    from costkit.embed import default_embedder
    from costkit_evals.context_calibrating import calibrate as fitted
    from costkit_evals.context_calibrating import flashrank_folder, open_reranker
    from costkit_evals.golden import load

    file = out or (flashrank_folder(reranker) or Path()) / CALIBRATION_FILE
    if not file.parent.is_dir():
        raise ConfigurationError(f"out={str(file)!r} cannot be written: there is no folder {str(file.parent)!r}")
    embedder = default_embedder()
    opened = open_reranker(reranker, embedder)
    with progress() as step:
        found = fitted([load(folder) for folder in golden], opened, embedder, limit=limit, on_step=step)
    found.save(file)
    show({"file": str(file), **asdict(found)}, _meaning(found, file), as_json=as_json)


def _meaning(found: Calibration, file: Path) -> str:
    told = (
        f"{file}: {found.reranker}, fitted on {found.questions:,} questions.\n"
        f"{found.held_out:,} held-out questions: the probability that a sentence is needed is {found.error:.3f} off on "
        f"average, and saves {found.skill:.1%} of the log loss of saying the same of all. "
    )
    if found.accuracy is None:
        return f"{told}There are too few unanswerable questions to learn abstention from: it never abstains."
    return f"{told}Whether a question is answered is told right for {found.accuracy:.1%} (balanced)."


@context.command(help=_TUNE, short_help="Find the cheapest settings that keep what answers need.")
@click.option("--golden", type=_FILE, required=True, metavar="DIR", help="The golden set.")
@click.option(
    "--out", type=_FILE, metavar="FILE", default=Path("context-profile.json"), show_default=True, help="The profile."
)
@click.option("--margin", default=0.03, show_default=True, help="Loss of recall that is allowed.")
@click.option("--seed", default=7, show_default=True, help="Of the halves and the intervals.")
@click.option("--limit", type=int, help="Use at most so many questions of each half. Default: all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def tune(
    run: click.Context, *, golden: Path, out: Path, margin: float, seed: int, limit: int | None, as_json: bool
) -> None:
    """Run the command; the help text is ``_TUNE``."""
    from costkit.embed import default_embedder, remember
    from costkit_evals.context_tuning import tune as tuned
    from costkit_evals.golden import load

    if not 0 < margin < 1:
        raise ConfigurationError(f"margin must be a share above 0 and below 1, got {margin!r}")
    with progress() as step:
        found = tuned(load(golden), remember(default_embedder()), margin=margin, seed=seed, limit=limit, on_step=step)
    _draw(found, margin, out.with_suffix(".svg"))
    if found.profile is not None:
        found.profile.save(out)
    show(_as_json(found, out), _told(found, margin, out), as_json=as_json)
    if found.profile is None:
        run.exit(EXIT_NOTHING_SAFE)


def _draw(found: Tuning, margin: float, file: Path) -> None:
    from costkit_evals.charts import tokens_and_recall

    points = [(one.tried.context_tokens, one.recall) for one in found.curve]
    chosen = next((at for at, one in enumerate(found.curve) if _is_chosen(one, found.profile)), None)
    drawn = tokens_and_recall(points, reference=found.reference.recall, margin=margin, chosen=chosen)
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    try:
        file.write_text(drawn.replace("<svg ", f"<svg {spaces} ", 1), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"out={str(file)!r} cannot be written: {error.strerror}") from error


def _is_chosen(one: Tested, profile: Profile | None) -> bool:
    return profile is not None and all(
        getattr(profile, name) == value for name, value in vars(one.tried.setting).items()
    )


def _as_json(found: Tuning, out: Path) -> dict[str, object]:
    curve = [
        {
            **vars(one.tried.setting),
            "context_tokens": one.tried.context_tokens,
            "recall": one.recall.value,
            "recall_ci": [one.recall.low, one.recall.high],
            "loss_bound": -one.loss.lower_bound,
        }
        for one in found.curve
    ]
    return {
        "outcome": "nothing safe" if found.profile is None else "tuned",
        "file": None if found.profile is None else str(out),
        "profile": None if found.profile is None else asdict(found.profile),
        "reference": {"recall": found.reference.recall, "context_tokens": found.reference.context_tokens},
        "tried": found.tried,
        "curve": curve,
    }


def _told(found: Tuning, margin: float, out: Path) -> str:
    profile, wide = found.profile, found.reference
    told = f"{found.tried} settings tried; {len(found.curve)} tested on {len(wide.recalls)} other questions.\n"
    if profile is None:
        return (
            f"{told}None is shown to lose at most {margin:.1%} of the recall, the first may lose "
            f"{-found.curve[0].loss.lower_bound:.1%}: add questions, or allow a wider margin."
        )
    return (
        f"{told}{out}: chunks of {profile.chunk_characters} characters ({profile.overlap_characters} repeated), the best "
        f"{profile.retrieve}, a budget of {profile.budget_tokens} tokens, enough={profile.enough:g}.\n"
        f"{profile.context_tokens:.0f} tokens per question instead of {profile.tokens_before:.0f}; recall "
        f"{profile.recall:.3f} instead of {profile.reference_recall:.3f}, a loss of at most {profile.loss_bound:.3f} (95%)."
    )
