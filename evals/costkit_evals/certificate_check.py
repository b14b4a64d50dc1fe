"""Checks what certificates promise: how often does the realised share of wrong hits exceed the target?

`python -m costkit_evals.certificate_check --stream FILE` splits a labelled stream anew by group, certifies a threshold
on one part and counts wrong hits on another of at least that size, 200 times. A bound at 95% may fail in 5% of the
splits; the realised share also scatters around the true one, so it may exceed the target in a few more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import click

from costkit.cache.calibrate import Abstention, certify
from costkit.cache.certificate import Certificate
from costkit.cache.equivalence import Coefficients, CosineScore, Equivalence, FittedScore
from costkit.cache.labelled import Question, questions
from costkit.cache.replay import Replay
from costkit.embed import Embedder, default_embedder
from costkit_evals.terminal import Progress
from costkit_evals.vectors import StoredEmbedder

__all__ = ["Check", "check", "main"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """What the splits of one stream gave at one target.

    Attributes:
        stream: File name of the stream.
        score: Name of the score.
        target: Share of wrong hits that was asked for.
        splits: How many there were.
        abstained: Splits without a certificate.
        exceeded: Splits whose test part had a larger share of wrong hits than the target.
        reason: Why the first split that abstained did so; empty if none did.
        threshold: Mean certified threshold; as all below, over the splits with a certificate, None without one.
        bound: Mean bound.
        hit_rate: Mean share of the test part's questions that were served.
        wrong_per_hit: Mean share of the test part's hits that were wrong.
        worst: Largest share of the test part's hits that were wrong.
    """

    stream: str
    score: str
    target: float
    splits: int
    abstained: int
    exceeded: int
    reason: str
    threshold: float | None
    bound: float | None
    hit_rate: float | None
    wrong_per_hit: float | None
    worst: float | None


def check(
    name: str,
    stream: Sequence[Question],
    embedder: Embedder,
    equivalence: Equivalence,
    *,
    targets: Sequence[float],
    splits: int,
    on_split: Callable[[str], None] = lambda _: None,
) -> list[Check]:
    """Certify and test ``splits`` splits of a stream, seeds 0, 1, ..., for each target.

    Args:
        name: Names the stream.
        stream: The questions.
        embedder: Turns them into vectors.
        equivalence: The score.
        targets: Shares of wrong hits.
        splits: Splits per target.
        on_split: Called after each split with what was done.
    """
    texts, groups = [one.text for one in stream], [one.group for one in stream]
    vectors = embedder.embed(texts)
    replay = Replay(texts, groups, vectors, equivalence)
    done = []
    for target in targets:
        made: list[Certificate | Abstention] = []
        for seed in range(splits):
            made.append(certify(replay, target=target, seed=seed))
            on_split(f"{name} at {target:g}")
        done.append(_check(name, equivalence.name, target, made))
    return done


def _check(name: str, score: str, target: float, made: Sequence[Certificate | Abstention]) -> Check:
    kept = [one for one in made if isinstance(one, Certificate)]
    abstained = [one for one in made if isinstance(one, Abstention)]
    wrong = [one.test.wrong_per_hit for one in kept]

    def mean(values: Sequence[float]) -> float | None:
        return round(fmean(values), 4) if values else None

    return Check(
        stream=name,
        score=score,
        target=target,
        splits=len(made),
        abstained=len(abstained),
        exceeded=sum(rate > target for rate in wrong),
        reason=abstained[0].reason if abstained else "",
        threshold=mean([one.threshold for one in kept]),
        bound=mean([one.bound for one in kept]),
        hit_rate=mean([one.test.hit_rate for one in kept]),
        wrong_per_hit=mean(wrong),
        worst=round(max(wrong), 4) if wrong else None,
    )


@click.command()
@click.option("--stream", "files", type=click.Path(path_type=Path), multiple=True, required=True, metavar="FILE")
@click.option("--splits", type=click.IntRange(min=1), default=200, show_default=True)
@click.option("--target", "targets", type=float, multiple=True, default=(0.05,), show_default=True)
@click.option("--score", type=click.Choice(["fitted", "cosine"]), default="fitted", show_default=True)
@click.option("--fit", type=click.Path(path_type=Path), metavar="FILE", help="Coefficients of the fitted score.")
@click.option("--vectors", type=click.Path(path_type=Path), metavar="FILE", help="Keep vectors in this .npz file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(
    files: Sequence[Path],
    splits: int,
    targets: Sequence[float],
    score: str,
    fit: Path | None,
    vectors: Path | None,
    *,
    as_json: bool,
) -> None:
    """Split labelled streams anew by group and count how often a certificate's target is exceeded.

    Example: python -m costkit_evals.certificate_check --stream stream.jsonl.gz --splits 200 --target 0.05 --json
    """
    embedder = default_embedder() if vectors is None else StoredEmbedder(default_embedder(), vectors)
    progress = Progress()
    progress.start(len(files) * len(targets) * splits)
    done = []
    try:
        for file in files:
            equivalence = CosineScore() if score == "cosine" else FittedScore(Coefficients.load(fit))
            stream = questions(file)
            done += check(
                file.name, stream, embedder, equivalence, targets=targets, splits=splits, on_split=progress.advance
            )
    finally:
        progress.stop()
    if isinstance(embedder, StoredEmbedder):
        embedder.save()
    if as_json:
        click.echo(json.dumps({"results": [asdict(one) for one in done]}, indent=2))
        return
    for one in done:
        click.echo(
            f"{one.stream} at {one.target:g}: exceeded in {one.exceeded} of {one.splits} splits, "
            f"{one.abstained} abstained" + (f" ({one.reason})" if one.reason else "")
        )
        if one.threshold is not None:
            click.echo(f"  hits {one.hit_rate:.1%}, wrong per hit {one.wrong_per_hit:.2%}, at worst {one.worst:.2%}")


if __name__ == "__main__":
    main()
