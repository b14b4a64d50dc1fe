"""``costkit cache``: calibrate the response cache, choose what to judge, train a pair model, look into a store."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from costkit.cache._progress import progress
from costkit.cache.train_command import train_command
from costkit.errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from costkit.cache.certificate import Abstention, Certificate
    from costkit.cache.edge import EdgeIndex
    from costkit.cache.equivalence import FittedScore
    from costkit.embed import Embedder

__all__ = ["EXIT_ABSTAINED", "cache"]

EXIT_ABSTAINED = 10
# Texts embedded between two steps of the progress bar.
_EMBED_AT_ONCE = 256

_FILE = click.Path(path_type=Path)
_FOLDER = click.option(
    "--path", type=_FILE, metavar="DIR", help="Folder of the cache. Default: the default embedder's in .costkit."
)
_FIT = click.option("--fit", type=_FILE, metavar="FILE", help="Coefficients of the score. Default: the shipped ones.")
_MODEL = click.option("--model", type=_FILE, metavar="DIR", help="A pair model of `costkit cache train`.")
_JUDGED = click.option(
    "--judged",
    type=_FILE,
    multiple=True,
    metavar="FILE",
    help="Pairs that people judged, {a, b, same} a line; may be given several times.",
)
_SEED = click.option("--seed", default=7, show_default=True, help="Of every draw.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")

_HELP = """Calibrate the response cache, choose what to judge, train a pair model, look into a store.

\b
Examples:
  costkit cache calibrate --stream labelled.jsonl --target 0.02
  costkit cache sample --n 300 --questions log.jsonl
  costkit cache stats
"""

_CALIBRATE = """Find the loosest threshold at which the share of wrong hits is proved to be at most the target.

The stream is labelled traffic in the order asked, {"text": ..., "group": ...} a line, .gz or not; two questions may
share an answer if and only if their groups are equal. With --judged the groups come from judged pairs instead, and the
stream needs only "text"; a hit on a pair that nobody judged counts as wrong. `ResponseCache(certificate=...)` takes
what Certificate.load reads from the file written here.

\b
Examples:
  costkit cache calibrate --stream labelled.jsonl.gz --target 0.02
  costkit cache calibrate --stream log.jsonl --judged to-judge.jsonl --target 0.05 --json

\b
Exit codes: 0 certified, 10 abstained (nothing is written; the answer says how many labels are missing), 2 wrong option,
3 bad data, 4 an optional dependency is missing, 5 any other error of costkit.
"""

_SAMPLE = """Write the pairs of a log that are most worth judging, for review.

The log holds the questions in the order asked, {"text": ...} a line, .gz or not. Each is paired with the earlier one
that scores best; pairs are drawn evenly over the scores around the threshold. In the file that is written set "same" to
true where the answer to b serves a, else to false; lines left at null do not count. The file is then what
`costkit cache calibrate --stream log.jsonl --judged FILE` and `costkit cache train --pairs FILE` read.

\b
Examples:
  costkit cache sample --n 300 --questions log.jsonl
  costkit cache sample --n 300 --questions log.jsonl --judged to-judge.jsonl --out next.jsonl

\b
Exit codes: 0 written, 2 wrong option, 3 bad data, 4 an optional dependency is missing, 5 any other error of costkit.
"""


@click.group(help=_HELP)
def cache() -> None:
    """Group the commands; the help text is ``_HELP``."""


cache.add_command(train_command)


@cache.command(help=_CALIBRATE, short_help="Prove a bound on wrong hits on labelled traffic.")
@click.option("--stream", type=_FILE, required=True, metavar="FILE", help="The traffic.")
@_JUDGED
@click.option("--target", default=0.02, show_default=True, help="Share of the hits that may be wrong.")
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
    stream: Path,
    judged: tuple[Path, ...],
    target: float,
    out: Path,
    fit: Path | None,
    model: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Run the command; the help text is ``_CALIBRATE``."""
    from costkit.cache.certificate import Certificate, Data, certify
    from costkit.embed import default_embedder

    texts, groups = _labelled(stream, judged)
    embedder, score = default_embedder(), _score(fit, model)
    with progress() as step:
        found = certify(
            texts,
            groups,
            _embedded(texts, embedder, step),
            score,
            target=target,
            seed=seed,
            embedder=embedder.name,
            data=Data.of_files((stream, *judged), rows=len(texts)),
            on_replay=lambda done, most: step("replaying", done, most),
        )
    if isinstance(found, Certificate):
        found.save(out)
        _show({"outcome": "certified", "file": str(out), **asdict(found)}, _certified(found, out), as_json=as_json)
        return
    answer = {"outcome": "abstained", **asdict(found), "advice": found.advice}
    _show(answer, _abstained(found), as_json=as_json)
    context.exit(EXIT_ABSTAINED)


@cache.command(help=_SAMPLE, short_help="Write the pairs of a log that are most worth judging.")
@click.option("--questions", "log", type=_FILE, required=True, metavar="FILE", help="The log.")
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
    log: Path,
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
    texts = labelled.log(log)
    known = labelled.pairs(judged)
    with progress() as step:
        vectors = _embedded(texts, default_embedder(), step)
    drawn = draw(texts, vectors, _score(fit, model), count=count, judged=known, seed=seed)
    try:
        out.write_text("".join(f"{json.dumps(asdict(one), ensure_ascii=False)}\n" for one in drawn), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"out={str(out)!r} cannot be written: {error.strerror}") from error
    told = f"{len(drawn):,} pairs of {len(texts):,} questions are in {out}: set same to true or false in each line."
    _show({"file": str(out), "pairs": len(drawn), "questions": len(texts)}, told, as_json=as_json)


@cache.command()
@_FOLDER
@click.option("--db", "url", help="SQLAlchemy URL of the ledger. Default: ledger.db in $COSTKIT_HOME or ./.costkit.")
@_JSON
def stats(*, path: Path | None, url: str | None, as_json: bool) -> None:
    """Count what a cache holds, and what the ledger says of its decisions.

    Example: costkit cache stats --path .costkit/cache/minilm
    """
    folder = _folder(path)
    index = _opened(folder)
    try:
        points, entries, documents = index.count(), index.count(kind="entry"), index.count(kind="document")
    finally:
        index.close()
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    decisions, audits = _booked(url)
    found = {
        "folder": str(folder),
        "entries": entries,
        "invalidated_documents": documents,
        "other_points": points - entries - documents,
        "bytes": size,
        "decisions": decisions,
        "audits": audits,
    }
    told = (
        f"{folder}: {entries:,} entries, {documents:,} invalidated documents, {size / 1e6:,.1f} MB\n"
        f"decisions: {_counted(decisions)}\naudits: {_counted(audits)}"
    )
    _show(found, told, as_json=as_json)


@cache.command()
@click.argument("document_id")
@click.option("--tenant", help="Whose document. Default: the private tenant.")
@_FOLDER
@_JSON
def invalidate(*, document_id: str, tenant: str | None, path: Path | None, as_json: bool) -> None:
    """Drop every answer that rests on a document.

    Example: costkit cache invalidate refunds.md --tenant acme
    """
    from costkit.cache.response import ResponseCache

    opened = ResponseCache(version="command line", index=_opened(_folder(path)))
    try:
        dropped = opened.invalidate(document_id, tenant=tenant)
    finally:
        opened.close()
    found = {"document_id": document_id, "tenant": tenant, "dropped": dropped}
    _show(found, f"{dropped:,} answers that rest on {document_id!r} were dropped.", as_json=as_json)


def _labelled(stream: Path, judged: Sequence[Path]) -> tuple[list[str], list[str]]:
    """Return the questions of a stream and their groups."""
    from costkit.cache import labelled

    if judged:
        texts = labelled.log(stream)
        return texts, labelled.groups(texts, labelled.pairs(judged))
    asked = labelled.questions(stream)
    return [one.text for one in asked], [one.group for one in asked]


def _embedded(texts: Sequence[str], embedder: Embedder, step: Callable[[str, int, int], None]) -> NDArray[np.float32]:
    import numpy as np

    rows = []
    for start in range(0, len(texts), _EMBED_AT_ONCE):
        rows.append(embedder.embed(texts[start : start + _EMBED_AT_ONCE]))
        step("embedding", len(rows), -(-len(texts) // _EMBED_AT_ONCE))
    return np.concatenate(rows)


def _score(fit: Path | None, model: Path | None) -> FittedScore:
    from costkit.cache.equivalence import Coefficients, FittedScore
    from costkit.cache.pair_model import PairModel

    return FittedScore(Coefficients.load(fit), model=None if model is None else PairModel.load(model))


def _folder(path: Path | None) -> Path:
    """Return the folder of a cache; one that is not there is a wrong path, not an empty cache."""
    from costkit.cache.response import default_folder
    from costkit.embed import default_embedder

    folder = path or default_folder(default_embedder())
    if not (folder / "edge_config.json").exists():
        raise StoreError(
            f"there is no cache in {str(folder)!r}: nothing was kept there; give --path or set COSTKIT_HOME"
        )
    return folder


def _opened(folder: Path) -> EdgeIndex:
    from costkit.cache.edge import EdgeIndex
    from costkit.embed import default_embedder

    return EdgeIndex.open(folder, dimensions=default_embedder().dimensions)


def _booked(url: str | None) -> tuple[dict[str, int], dict[str, int]]:
    """Count the cache's decisions and audits in the ledger, by kind; none where no ledger was begun."""
    from costkit.home import home
    from costkit.ledger.usage import recorded

    decisions: Counter[str] = Counter()
    audits: Counter[str] = Counter()
    if url is not None or (home() / "ledger.db").exists():
        for event in recorded(url):
            if event.part == "cache" and event.kind == "cache":
                decisions[str(event.details.get("hit_kind", event.decision))] += 1
            elif event.part == "cache" and event.kind == "judge":
                audits[event.decision] += 1
    return dict(decisions), dict(audits)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items())) or "none booked"


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


def _show(found: Mapping[str, object], told: str, *, as_json: bool) -> None:
    click.echo(json.dumps(found, indent=2) if as_json else told)
