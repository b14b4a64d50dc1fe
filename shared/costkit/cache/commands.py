"""``costkit cache``: calibrate the response cache, choose what to judge, train a pair model, look into a store."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from costkit._progress import progress, show
from costkit.cache.store_commands import STORE_COMMANDS
from costkit.cache.train_command import train_command
from costkit.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from costkit.cache.calibrate import Abstention
    from costkit.cache.certificate import Certificate
    from costkit.cache.equivalence import FittedScore
    from costkit.embed import Embedder

__all__ = ["EXIT_ABSTAINED", "cache"]

EXIT_ABSTAINED = 10
# Texts embedded between two steps of the progress bar.
_EMBED_AT_ONCE = 256

_FILE = click.Path(path_type=Path)
_FIT = click.option("--fit", type=_FILE, metavar="FILE", help="Coefficients of the score. Default: the shipped ones.")
_MODEL = click.option("--model", type=_FILE, metavar="DIR", help="A pair model of `costkit cache train`.")
_JUDGED = click.option(
    "--judged",
    type=_FILE,
    multiple=True,
    metavar="FILE",
    help="Pairs that people judged, {a, b, same} a line; may be given several times.",
)
_TENANT = click.option("--tenant", metavar="NAME", help="Whose questions of the ledger; needed where it has several.")
_LEDGER = click.option("--db", help="SQLAlchemy URL of the ledger. Default: ledger.db in $COSTKIT_HOME or ./.costkit.")
_SEED = click.option("--seed", default=7, show_default=True, help="Of every draw.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")

_HELP = """Calibrate the response cache, choose what to judge, train a pair model, look into a store.

\b
Examples:
  costkit cache calibrate --stream labelled.jsonl --target 0.02
  costkit cache sample --n 300
  costkit cache stats
  costkit cache export cache.jsonl.gz
"""

_CALIBRATE = """Find the loosest threshold at which the share of wrong hits is proved to be at most the target.

The stream is labelled traffic in the order asked, {"text": ..., "group": ...} a line, .gz or not; two questions may
share an answer if and only if their groups are equal. With --judged the groups come from judged pairs instead, and the
stream needs only "text", or is left out: then it is what the ledger says was asked. A hit on a pair that nobody judged
counts as wrong. `ResponseCache(certificate=...)` takes
what Certificate.load reads from the file written here.

\b
Examples:
  costkit cache calibrate --stream labelled.jsonl.gz --target 0.02
  costkit cache calibrate --judged to-judge.jsonl --target 0.05 --json

\b
Exit codes: 0 certified, 10 abstained (nothing is written; the answer says how many labels are missing), 2 wrong option,
3 bad data, 4 an optional dependency is missing, 5 any other error of costkit.
"""

_SAMPLE = """Write the pairs of a log that are most worth judging, for review.

The log is what the ledger says was asked, of one tenant, or a file of the questions in the order asked, {"text": ...}
a line, .gz or not. Each is paired with the earlier one that scores best; pairs are drawn evenly over the scores around the threshold. In the file that is written set "same" to
true where the answer to b serves a, else to false; lines left at null do not count. The file is then what
`costkit cache calibrate --judged FILE` and `costkit cache train --pairs FILE` read.

\b
Examples:
  costkit cache sample --n 300
  costkit cache sample --n 300 --questions log.jsonl --judged to-judge.jsonl --out next.jsonl

\b
Exit codes: 0 written, 2 wrong option, 3 bad data, 4 an optional dependency is missing, 5 any other error of costkit.
"""


@click.group(help=_HELP)
def cache() -> None:
    """Group the commands; the help text is ``_HELP``."""


for command in (train_command, *STORE_COMMANDS):
    cache.add_command(command)


@cache.command(help=_CALIBRATE, short_help="Prove a bound on wrong hits on labelled traffic.")
@click.option("--stream", type=_FILE, metavar="FILE", help="The traffic. Default, with --judged: that of the ledger.")
@_JUDGED
@_TENANT
@_LEDGER
@click.option("--target", default=0.02, show_default=True, help="Share of the hits that may be wrong.")
@click.option("--answers", is_flag=True, help="For a cache with same_answer=, which tells a group's answers to be one.")
@click.option(
    "--out", type=_FILE, metavar="FILE", default=Path("certificate.json"), show_default=True, help="File to write."
)
@_FIT
@_MODEL
@_SEED
@_JSON
@click.pass_context
def calibrate(
    context: click.Context,
    *,
    stream: Path | None,
    judged: tuple[Path, ...],
    tenant: str | None,
    db: str | None,
    target: float,
    answers: bool,
    out: Path,
    fit: Path | None,
    model: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Run the command; the help text is ``_CALIBRATE``."""
    from costkit.cache.calibrate import certify
    from costkit.cache.certificate import Certificate, Data
    from costkit.cache.replay import Replay
    from costkit.embed import default_embedder

    texts, groups = _labelled(stream, judged, lambda: _log(stream, db, tenant))
    embedder, score = default_embedder(), _score(fit, model)
    data = Data.of_rows(texts, groups) if stream is None else Data.of_files((stream, *judged), rows=len(texts))
    with progress() as step:
        replay = Replay(texts, groups, _embedded(texts, embedder, step), score, answers=answers)
        found = certify(
            replay,
            target=target,
            seed=seed,
            embedder=embedder.name,
            data=data,
            on_replay=lambda done, most: step("replaying", done, most),
        )
    if isinstance(found, Certificate):
        found.save(out)
        show({"outcome": "certified", "file": str(out), **asdict(found)}, _certified(found, out), as_json=as_json)
        return
    answer = {"outcome": "abstained", **asdict(found), "advice": found.advice}
    show(answer, _abstained(found), as_json=as_json)
    context.exit(EXIT_ABSTAINED)


@cache.command(help=_SAMPLE, short_help="Write the pairs of a log that are most worth judging.")
@click.option("--questions", "log", type=_FILE, metavar="FILE", help="The log. Default: the ledger.")
@_TENANT
@_LEDGER
@click.option("--n", "count", default=300, show_default=True, help="How many pairs.")
@_JUDGED
@click.option(
    "--out", type=_FILE, metavar="FILE", default=Path("to-judge.jsonl"), show_default=True, help="New file to write."
)
@_FIT
@_MODEL
@_SEED
@_JSON
def sample(
    *,
    log: Path | None,
    tenant: str | None,
    db: str | None,
    count: int,
    judged: tuple[Path, ...],
    out: Path,
    fit: Path | None,
    model: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Run the command; the help text is ``_SAMPLE``."""
    from costkit.cache import labelled
    from costkit.cache.sample import sample as draw
    from costkit.embed import default_embedder

    if out.exists():
        raise ConfigurationError(f"out={str(out)!r} exists and may hold judgements: name a new file")
    texts = _log(log, db, tenant)
    known = labelled.pairs(judged)
    with progress() as step:
        vectors = _embedded(texts, default_embedder(), step)
    drawn = draw(texts, vectors, _score(fit, model), count=count, judged=known, seed=seed)
    try:
        out.write_text("".join(f"{json.dumps(asdict(one), ensure_ascii=False)}\n" for one in drawn), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"out={str(out)!r} cannot be written: {error.strerror}") from error
    told = f"{len(drawn):,} pairs of {len(texts):,} questions are in {out}: set same to true or false in each line."
    show({"file": str(out), "pairs": len(drawn), "questions": len(texts)}, told, as_json=as_json)


def _log(file: Path | None, ledger: str | None, tenant: str | None) -> list[str]:
    """Return the questions of a log: of the file, or else of the ledger."""
    from costkit.cache import labelled

    if file is None:
        return labelled.asked(ledger, tenant=tenant)
    if ledger is not None or tenant is not None:
        raise ConfigurationError(f"give the file {str(file)!r}, or --db and --tenant for the ledger, not both")
    return labelled.log(file)


def _labelled(stream: Path | None, judged: Sequence[Path], log: Callable[[], list[str]]) -> tuple[list[str], list[str]]:
    """Return the questions of a stream and their groups, but for those that the cache never looks up."""
    from costkit.cache import labelled
    from costkit.cache.standalone import needs_conversation

    if judged:
        texts = log()
        groups = labelled.groups(texts, labelled.pairs(judged))
    elif stream is None:
        raise ConfigurationError(
            "stream is not given: name labelled traffic with --stream, or judged pairs with --judged"
        )
    else:
        asked = labelled.questions(stream)
        texts, groups = [one.text for one in asked], [one.group for one in asked]
    kept = [at for at, text in enumerate(texts) if needs_conversation(text) is None]
    if not kept:
        raise DataError(f"the stream holds no question that can be asked alone, such as {texts[0]!r}: give more rows")
    return [texts[at] for at in kept], [groups[at] for at in kept]


def _embedded(texts: Sequence[str], embedder: Embedder, step: Callable[[str, int, int], None]) -> NDArray[np.float32]:
    import numpy as np

    rows = []
    for start in range(0, len(texts), _EMBED_AT_ONCE):
        rows.append(embedder.embed(texts[start : start + _EMBED_AT_ONCE]))
        step("embedding", len(rows), -(-len(texts) // _EMBED_AT_ONCE))
    return np.concatenate(rows)


def _score(fit: Path | None, model: Path | None) -> FittedScore:
    from costkit.cache.equivalence import UNHURRIED_SECONDS, Coefficients, FittedScore
    from costkit.cache.pair_model import PairModel

    pairs = None if model is None else PairModel.load(model)
    return FittedScore(Coefficients.load(fit), model=pairs, budget_seconds=UNHURRIED_SECONDS)


def _certified(found: Certificate, out: Path) -> str:
    certified, test = found.certified, found.test
    return (
        f"Threshold {found.threshold:g}: at most {found.bound:.2%} of the hits are wrong, with {found.confidence:.0%} "
        f"confidence.\n"
        f"It rests on {certified.hits:,} hits of {certified.clusters:,} groups, {certified.wrong:,} of them wrong. In "
        f"the test part {test.wrong:,} of {test.hits:,} hits were wrong ({test.wrong_per_hit:.2%}), and "
        f"{test.hit_rate:.1%} of the questions hit.\n"
        f"It holds for traffic like this and a cache of at most {found.entries:,} entries. It is in {out}."
    )


def _abstained(found: Abstention) -> str:
    return f"No threshold is certified for {found.target:.2%} wrong hits: {found.reason}.\n{found.advice}"
