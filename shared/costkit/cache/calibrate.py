"""Calibration: finds the loosest threshold whose share of wrong hits labelled traffic proves to be small enough.

The traffic is replayed once per threshold, whole: played part by part, each cache would hold a fraction of the
lookalikes that a question meets, and err less than the cache that the certificate is for. Each hit belongs to the part
of the group that asked. Groups are dealt to the parts at random:

- **fit** (a tenth) decides where the sequence starts: no bound rests on it;
- **certify** (45%) bears the bound;
- **test** (45%) chose nothing; its rate is reported beside the bound.

**The group is that of the question asked**, not of the answer served: groups of askers are what arrives anew in later
traffic, and a stored question that is served wrongly to three groups harms three, where by the group served it would
count once. Repeats word for word are served at every threshold and prove nothing of any. A random part of a finite
stream is drawn without replacement, which only makes a bound safer.

**Many thresholds, one confidence.** A grid fixed beforehand is tested from strict to loose, and the first failure ends
it. Each test has the whole level of 5%: for the certificate to be wrong, the first threshold of the sequence that errs
too often must have passed (fixed-sequence testing: Bauer, "Multiple testing in clinical trials", Statistics in Medicine
1991; for risk control Angelopoulos, Bates, Candes, Jordan and Lei, "Learn then test", 2021). The strictest thresholds
have too few hits to pass and would end every sequence at once. The order of tests may depend on anything but the
certify part, so the sequence starts where the fit part promises twice the least number of trials.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from costkit import __version__
from costkit.cache.certificate import CONFIDENCE, Certificate, Data, Tally, fewest_trials
from costkit.cache.equivalence import Equivalence
from costkit.cache.replay import NEIGHBOURS, Hit, Outcome, Replay
from costkit.errors import ConfigurationError

__all__ = ["COSINE_GRID", "LOG_ODDS_GRID", "Abstention", "certify"]

LOG_ODDS_GRID = tuple(round(8 - step / 10, 1) for step in range(121))
COSINE_GRID = tuple(round(0.995 - step / 200, 3) for step in range(60))

FIT, CERTIFY = 0.1, 0.45  # shares of the groups; the rest is the test part
# The least number of trials allows none that fails; twice that number survives a wrong label or two.
START = 2.0

OnReplay = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Abstention:
    """No threshold could be certified; the cache does best to serve exact hits only.

    Attributes:
        target: Share of wrong hits that was asked for.
        confidence: Probability that a bound was to hold.
        reason: Why, in one sentence.
        threshold: The first threshold tested, or None if none was.
        certified: What it did to the certify part.
        missing_hits: Groups with a hit, none of it wrong, that are missing at least.
        missing_labels: Labelled questions that bring so many hits, at the rate of this stream.
    """

    target: float
    confidence: float
    reason: str
    threshold: float | None
    certified: Tally
    missing_hits: int
    missing_labels: int

    @property
    def advice(self) -> str:
        """What to do, for people."""
        advice = (
            f"At least {self.missing_hits:,} independent right hits are missing (hits of one group count once), about "
            f"{self.missing_labels:,} labelled questions like these. `costkit cache sample --n 300 --questions LOG` writes the pairs most worth judging."
        )
        tally = self.certified
        if max(tally.wrong_clusters / max(tally.clusters, 1), tally.wrong_per_hit) > self.target:
            advice += (
                f" But {tally.wrong} of {tally.hits} hits were wrong: labels alone will not do, so raise the target or "
                "train a score."
            )
        return advice


def certify(
    replay: Replay,
    *,
    target: float,
    confidence: float = CONFIDENCE,
    grid: Sequence[float] | None = None,
    seed: int = 7,
    embedder: str = "",
    data: Data | None = None,
    on_replay: OnReplay | None = None,
) -> Certificate | Abstention:
    """Find the loosest threshold whose share of wrong hits is proved to be at most ``target``.

    Args:
        replay: The labelled traffic under the score to be certified. It remembers its outcomes, so that several splits or
            targets of one stream cost little more than one.
        target: Share of wrong hits, between 0 and 1.
        confidence: Probability that the bound holds, between 0 and 1.
        grid: Thresholds from strict to loose, fixed without a look at the data. Default: ``COSINE_GRID`` for the
            cosine, ``LOG_ODDS_GRID`` for every other score.
        seed: Of the split by group.
        embedder: ``Embedder.name`` of the vectors; a certificate without it covers no cache.
        data: Where the questions come from. Default: memory.
        on_replay: Called after each replay with its number and the most there can be.

    Returns:
        The certificate, or an abstention where no threshold passes.

    Raises:
        ConfigurationError: ``target``, ``confidence`` or ``grid`` cannot work.
    """
    _check_share("target", target)
    _check_share("confidence", confidence)
    points = _grid(replay.equivalence, grid)
    groups = replay.groups
    data = data or Data.of_rows(replay.texts, groups)
    fit, certifying, testing = _split(groups, seed)
    least = fewest_trials(0, target=target, confidence=confidence)
    if len(certifying) < least:
        reason = f"the certify part has {len(certifying):,} groups of questions, and {least:,} must have a hit"
        return _abstention(
            reason, None, _tally((), groups, certifying), least - len(certifying), target, confidence, data
        )
    replays = _Replays(replay.at, points, on_replay)
    start = _start((_tally(one.hits, groups, fit) for one in replays), enough=START * least * FIT / CERTIFY)
    passed, tally = _last_passed(replays, start, lambda hits: _tally(hits, groups, certifying), target, confidence)
    if passed is None:
        reason = (
            f"{tally.wrong:,} of {tally.hits:,} hits, in {tally.wrong_clusters:,} of {tally.clusters:,} groups, were "
            f"wrong where the sequence starts, so the bound is {tally.bound(confidence):.1%}"
        )
        needed = fewest_trials(tally.wrong_clusters, target=target, confidence=confidence)
        return _abstention(reason, points[start], tally, needed - tally.clusters, target, confidence, data)
    return Certificate(
        score=replay.decision_name,
        threshold=passed.threshold,
        target=target,
        confidence=confidence,
        bound=tally.bound(confidence),
        certified=tally,
        test=_tally(passed.hits, groups, testing),
        entries=passed.stored,
        embedder=embedder,
        neighbours=NEIGHBOURS,
        data=data,
        made=datetime.now(UTC).date().isoformat(),
        costkit=__version__,
        seed=seed,
    )


class _Replays:
    """Outcomes of the grid, strict first, each made when it is asked for."""

    def __init__(self, at: Callable[[float], Outcome], points: Sequence[float], on_replay: OnReplay | None) -> None:
        self._at = at
        self._points = points
        self._on_replay = on_replay
        self._made: list[Outcome] = []

    def __iter__(self) -> Iterator[Outcome]:
        return self.after(0)

    def after(self, place: int) -> Iterator[Outcome]:
        """Yield the outcomes from a place of the grid on."""
        for index in range(place, len(self._points)):
            if index == len(self._made):
                self._made.append(self._at(self._points[index]))
                if self._on_replay is not None:
                    self._on_replay(len(self._made), len(self._points))
            yield self._made[index]


def _start(fitted: Iterable[Tally], *, enough: float) -> int:
    """Return the strictest place with enough trials, or else the strictest with the most that do not fail."""
    best, most = 0, -1
    for place, tally in enumerate(fitted):
        if tally.clusters >= enough:
            return place
        if tally.clusters - tally.wrong_clusters > most:
            best, most = place, tally.clusters - tally.wrong_clusters
    return best


def _last_passed(
    replays: _Replays, start: int, tally_of: Callable[[Sequence[Hit]], Tally], target: float, confidence: float
) -> tuple[Outcome | None, Tally]:
    """Return the last outcome before the first failure with its tally, or None with the tally that failed."""
    passed: tuple[Outcome | None, Tally] | None = None
    for outcome in replays.after(start):
        tally = tally_of(outcome.hits)
        if tally.bound(confidence) > target:
            return passed or (None, tally)
        passed = outcome, tally
    assert passed is not None  # noqa: S101  a grid has a point
    return passed


def _abstention(
    reason: str,
    threshold: float | None,
    tally: Tally,
    missing: int,
    target: float,
    confidence: float,
    data: Data,
) -> Abstention:
    missing = max(missing, 1)
    # A hit takes two questions, and only the certify part's count.
    per_hit = data.rows / tally.clusters if tally.clusters else 2 / CERTIFY
    return Abstention(
        target=target,
        confidence=confidence,
        reason=reason,
        threshold=threshold,
        certified=tally,
        missing_hits=missing,
        missing_labels=math.ceil(missing * per_hit),
    )


def _split(groups: Sequence[str], seed: int) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Deal the groups to the parts fit, certify and test; the test part is no smaller than the certify part."""
    names = sorted(set(groups))
    random.Random(seed).shuffle(names)  # noqa: S311  a draw, no secret
    certify_from = round(len(names) * FIT)
    test_from = certify_from + math.floor(len(names) * CERTIFY)
    test_from -= len(names) - test_from < test_from - certify_from
    return frozenset(names[:certify_from]), frozenset(names[certify_from:test_from]), frozenset(names[test_from:])


def _tally(hits: Sequence[Hit], groups: Sequence[str], part: frozenset[str]) -> Tally:
    """Count the hits that questions of a part got, repeats word for word aside."""
    scored = [hit for hit in hits if not hit.exact]
    own = [hit for hit in scored if groups[hit.asked] in part]
    wrong = [hit for hit in own if hit.wrong]
    sizes = Counter(groups[hit.asked] for hit in scored)
    return Tally(
        questions=sum(group in part for group in groups),
        hits=len(own),
        wrong=len(wrong),
        clusters=len({groups[hit.asked] for hit in own}),
        wrong_clusters=len({groups[hit.asked] for hit in wrong}),
        design_effect=sum(size**2 for size in sizes.values()) / len(scored) if scored else 1.0,
    )


def _grid(equivalence: Equivalence, given: Sequence[float] | None) -> Sequence[float]:
    points = given if given is not None else COSINE_GRID if equivalence.name == "cosine" else LOG_ODDS_GRID
    if not points or not all(math.isfinite(point) for point in points) or list(points) != sorted(points, reverse=True):
        raise ConfigurationError(f"grid must hold finite thresholds from strict to loose, got {points!r}")
    return points


def _check_share(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise ConfigurationError(f"{name} must be a share between 0 and 1, such as 0.05, got {value!r}")
