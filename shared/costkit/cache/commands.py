"""``costkit cache``: look into the response cache, calibrate it, and choose what to label."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from costkit.cache.train_command import train_command
from costkit.errors import StoreError

if TYPE_CHECKING:
    from costkit.cache.certificate import Certificate
    from costkit.cache.edge import EdgeIndex
    from costkit.cache.equivalence import FittedScore

__all__ = ["EXIT_ABSTAINED", "cache"]

EXIT_ABSTAINED = 10

_FOLDER = click.option(
    "--path", type=click.Path(path_type=Path), help="Folder of the cache. Default: the default embedder's in .costkit."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_FIT = click.option(
    "--fit", type=click.Path(path_type=Path), help="Coefficients of the score. Default: the shipped ones."
)
_MODEL = click.option("--model", type=click.Path(path_type=Path), help="A pair model of `costkit cache train`.")
_SEED = click.option("--seed", default=7, show_default=True, help="Of every draw.")


@click.group()
def cache() -> None:
    """Look into the response cache, calibrate it on labelled traffic, train a pair model.

    Example: costkit cache calibrate --stream labelled.jsonl --target 0.02
    """


cache.add_command(train_command)


@cache.command()
@click.option(
    "--stream",
    type=click.Path(path_type=Path),
    required=True,
    help="Labelled traffic, {text, group} a line, .gz or not.",
)
@click.option("--target", default=0.02, show_default=True, help="Share of the hits that may be wrong.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("certificate.json"), show_default=True)
@_FIT
@_MODEL
@_SEED
@_JSON
def calibrate(
    *, stream: Path, target: float, out: Path, fit: Path | None, model: Path | None, seed: int, as_json: bool
) -> None:
    """Find the loosest threshold at which the share of wrong hits is proved to be at most the target.

    The traffic is replayed at a fixed grid of thresholds, from strict to loose. Exit code 10: none could be proved, and
    the answer says how many labels are missing.

    Example: costkit cache calibrate --stream labelled.jsonl --target 0.02 --out certificate.json
    """
    from costkit.cache.certificate import Certificate, Data, certify
    from costkit.cache.labelled import questions
    from costkit.embed import default_embedder

    asked = questions(stream)
    embedder = default_embedder()
    texts, groups = [one.text for one in asked], [one.group for one in asked]
    found = certify(
        texts,
        groups,
        embedder.embed(texts),
        _score(fit, model),
        target=target,
        seed=seed,
        embedder=embedder.name,
        data=Data.of_file(stream, rows=len(asked)),
        on_replay=None if as_json else _said,
    )
    if isinstance(found, Certificate):
        found.save(out)
        _show(asdict(found) | {"file": str(out)}, as_json=as_json, text=_certified(found, out))
        return
    _show(asdict(found) | {"advice": found.advice}, as_json=as_json, text=f"abstained: {found.reason}. {found.advice}")
    raise click.exceptions.Exit(EXIT_ABSTAINED)


@cache.command()
@_FOLDER
@_JSON
def stats(*, path: Path | None, as_json: bool) -> None:
    """Count what the cache holds and what the ledger says of its decisions.

    Example: costkit cache stats --path .costkit/cache/minilm
    """
    folder = _folder(path)
    index = _opened(folder)
    try:
        points = index.count()
    finally:
        index.close()
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    decisions = _decisions()
    found: dict[str, object] = {"path": str(folder), "points": points, "bytes": size, "decisions": decisions}
    told = ", ".join(f"{count:,} {decision}" for decision, count in sorted(decisions.items())) or "none booked"
    _show(
        found,
        as_json=as_json,
        text=f"{folder}\npoints     {points:,}\non disk    {size / 1e6:,.1f} MB\ndecisions  {told}",
    )


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

    folder = _folder(path)
    opened = ResponseCache(version="command line", index=_opened(folder))
    try:
        dropped = opened.invalidate(document_id, tenant=tenant)
    finally:
        opened.close()
    found: dict[str, object] = {"document_id": document_id, "tenant": tenant, "dropped": dropped}
    _show(found, as_json=as_json, text=f"{dropped:,} answers dropped")


def _score(fit: Path | None, model: Path | None) -> FittedScore:
    from costkit.cache.equivalence import Coefficients, FittedScore
    from costkit.cache.pair_model import PairModel

    return FittedScore(Coefficients.load(fit), model=None if model is None else PairModel.load(model))


def _folder(path: Path | None) -> Path:
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


def _decisions() -> dict[str, int]:
    """Count the cache's decisions in the ledger, if there is one."""
    from costkit.home import home
    from costkit.ledger.store import Ledger

    if not (home() / "ledger.db").exists():
        return {}
    ledger = Ledger(f"sqlite:///{home() / 'ledger.db'}")
    try:
        events = [event for event in ledger.events() if event.part == "cache"]
    finally:
        ledger.close()
    return dict(Counter(f"{event.details.get('hit_kind', event.decision)}" for event in events))


def _certified(found: Certificate, out: Path) -> str:
    test = found.test
    return (
        f"threshold {found.threshold}: at most {found.bound:.2%} of the hits are wrong, at {found.confidence:.0%} confidence\n"
        f"rests on {found.certified.hits:,} hits of {found.certified.clusters:,} groups; in the test part "
        f"{test.wrong} of {test.hits} hits were wrong ({test.wrong_per_hit:.2%}), {test.hit_rate:.1%} of questions hit\n"
        f"holds for a cache of at most {found.entries:,} entries: {out}"
    )


def _said(number: int, most: int) -> None:
    click.echo(f"replay {number} of at most {most}", err=True)


def _show(found: dict[str, object], *, as_json: bool, text: str) -> None:
    click.echo(json.dumps(found, indent=2) if as_json else text)
