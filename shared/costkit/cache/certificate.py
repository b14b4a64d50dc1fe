"""Certificates: a threshold of the cache, and the bound on wrong hits that labelled traffic proves for it.

The traffic is replayed once per threshold, whole: played part by part, each cache would hold a fraction of the
lookalikes that a question meets, and err less than the cache that the certificate is for. Each hit belongs to the part
of the group that asked. Groups are dealt to the parts at random:

- **fit** (a tenth) decides where the sequence starts: no bound rests on it;
- **certify** (45%) bears the bound;
- **test** (45%) chose nothing; its rate is reported beside the bound.

**One group is one trial.** Hits of one group stand or fall together (one odd wording, one wrong label), so all hits that
the questions of a group got are one trial, and it fails if one of them was wrong. The group is that of the question
asked, not of the answer served: groups of askers are what arrives anew in later traffic, and a stored question that is
served wrongly to three groups harms three, where by the group served it would count once. One group may hold many wrong
hits, so the bound is the larger of two, with groups and with hits as trials.

**The bound of one threshold** is the exact one-sided upper limit of Clopper and Pearson ("The use of confidence or
fiducial limits", Biometrika 1934). A random part of a finite stream is drawn without replacement, which only makes it
safer.

**Many thresholds, one confidence.** A grid fixed beforehand is tested from strict to loose, and the first failure ends
it. Each test has the whole level of 5%: for the certificate to be wrong, the first threshold of the sequence that errs
too often must have passed (fixed-sequence testing: Bauer, "Multiple testing in clinical trials", Statistics in Medicine
1991; for risk control Angelopoulos, Bates, Candes, Jordan and Lei, "Learn then test", 2021). The strictest thresholds
have too few hits to pass and would end every sequence at once. The order of tests may depend on anything but the
certify part, so the sequence starts where the fit part promises twice the least number of trials.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from costkit import __version__
from costkit.cache.equivalence import Equivalence
from costkit.cache.replay import NEIGHBOURS, Hit, Outcome, Replay
from costkit.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from costkit.cache.replay import Vectors

__all__ = [
    "COSINE_GRID",
    "LOG_ODDS_GRID",
    "Abstention",
    "Certificate",
    "Data",
    "Tally",
    "certify",
    "fewest_trials",
    "upper_bound",
]

CONFIDENCE = 0.95
LOG_ODDS_GRID = tuple(round(8 - step / 10, 1) for step in range(121))
COSINE_GRID = tuple(round(0.995 - step / 200, 3) for step in range(60))

_COMMAND = "costkit cache calibrate --stream FILE"

FIT, CERTIFY = 0.1, 0.45  # shares of the groups; the rest is the test part
# The least number of trials allows none that fails; twice that number survives a wrong label or two.
START = 2.0

OnReplay = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Data:
    """The labelled traffic behind a certificate.

    Attributes:
        file: Name of its file, or of several; empty where it came from memory.
        sha256: Of the file or files one after the other, or of the questions and groups in memory.
        rows: Number of questions.
    """

    file: str
    sha256: str
    rows: int

    @classmethod
    def of_files(cls, paths: Sequence[Path], *, rows: int) -> Data:
        """Describe ``rows`` questions, the stream's file first and the judged pairs, if any, after it."""
        digest = sha256()
        for path in paths:
            digest.update(path.read_bytes())
        return cls(file=" ".join(path.name for path in paths), sha256=digest.hexdigest(), rows=rows)

    @classmethod
    def of_rows(cls, texts: Sequence[str], groups: Sequence[str]) -> Data:
        """Describe questions in memory."""
        lines = json.dumps([list(texts), list(groups)])
        return cls(file="", sha256=sha256(lines.encode()).hexdigest(), rows=len(texts))


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What a threshold did to one part of the stream.

    Attributes:
        questions: Questions asked.
        hits: Those that were served.
        wrong: Hits that got the answer of another group.
        clusters: Groups with a hit: independent trials.
        wrong_clusters: Groups with a wrong hit.
    """

    questions: int
    hits: int
    wrong: int
    clusters: int
    wrong_clusters: int

    @property
    def wrong_per_hit(self) -> float:
        """Share of hits that were wrong, 0 without a hit."""
        return self.wrong / self.hits if self.hits else 0.0

    @property
    def hit_rate(self) -> float:
        """Share of the questions that were served."""
        return self.hits / self.questions if self.questions else 0.0

    def bound(self, confidence: float) -> float:
        """Return the upper bound on the share of wrong hits."""
        by_group = upper_bound(self.wrong_clusters, self.clusters, confidence=confidence)
        return max(by_group, upper_bound(self.wrong, self.hits, confidence=confidence))


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A threshold, and the bound on wrong hits that was proved for it.

    It holds for traffic exchangeable with the replayed one: new groups of questions from the same source, met by a
    cache no larger than the replayed one. In time order traffic drifts, so audit a share of the hits (``DriftMonitor``).

    Attributes:
        score: Name of the score that the threshold belongs to.
        threshold: Least score that is served.
        target: Share of wrong hits that was asked for.
        confidence: Probability that the bound holds.
        bound: Upper bound on the share of wrong hits, at most ``target``.
        certified: The part of the traffic that the bound rests on.
        test: Another part, which chose nothing, at the same threshold.
        entries: Questions stored at the end of the replay. Wrong hits grow with the cache, so a larger one is not
            covered.
        embedder: Name of the vector space.
        neighbours: Stored questions weighed for each one asked.
        data: What was replayed.
        made: The day, ISO 8601, UTC.
        costkit: The version that made it.
        seed: Of the split.
        voided: Why it holds no more; empty while it does.
    """

    score: str
    threshold: float
    target: float
    confidence: float
    bound: float
    certified: Tally
    test: Tally
    entries: int
    embedder: str
    neighbours: int
    data: Data
    made: str
    costkit: str
    seed: int
    voided: str = ""

    def covers(self, score_name: str, embedder_name: str, entries: int) -> str | None:
        """Return why hits of a cache are not covered, or None if they are.

        Args:
            score_name: ``Equivalence.name`` of the cache.
            embedder_name: ``Embedder.name`` of the cache.
            entries: Entries of the identity that is searched.
        """
        if self.voided:
            return f"the certificate is void: {self.voided}"
        if score_name != self.score:
            return f"the certificate is for the score {self.score!r}, the cache uses {score_name!r}: calibrate anew"
        if embedder_name != self.embedder:
            return f"the certificate is for the embedder {self.embedder!r}, the cache has {embedder_name!r}: calibrate anew"
        if entries > self.entries:
            return (
                f"the certificate is for at most {self.entries:,} entries, the cache holds {entries:,}: "
                "calibrate on more traffic"
            )
        return None

    @classmethod
    def load(cls, path: Path | str) -> Certificate:
        """Read the file that ``save`` or ``costkit cache calibrate`` wrote.

        Raises:
            DataError: The file is absent or holds something else.
        """
        try:
            row = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"no certificate can be read ({error}); write one with `{_COMMAND}`", path=path) from error
        found = _checked(cls, row, path)
        parts = {name: Tally(**_checked(Tally, found[name], path)) for name in ("certified", "test")}  # type: ignore[arg-type]
        data = Data(**_checked(Data, found["data"], path))  # type: ignore[arg-type]
        return cls(**{**found, **parts, "data": data})  # type: ignore[arg-type]

    def save(self, path: Path | str) -> None:
        """Write the certificate as JSON.

        Raises:
            ConfigurationError: The file cannot be written.
        """
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"the certificate cannot be written to {str(path)!r}: {error.strerror}") from error


@dataclass(frozen=True, kw_only=True)
class Abstention:
    """No threshold could be certified; the cache does best to serve exact hits only.

    Attributes:
        target: Share of wrong hits that was asked for.
        confidence: Probability that a bound was to hold.
        reason: Why, in one sentence.
        threshold: The first threshold tested, or None if none was.
        certified: What it did to the certify part.
        missing_hits: Independent hits, none of them wrong, that are missing at least.
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
        wrong, trials = self.certified.wrong_clusters, self.certified.clusters
        if wrong > self.target * trials:
            advice += (
                f" But {wrong} of {trials} were wrong: labels alone will not do, so raise the target or train a score."
            )
        return advice


def upper_bound(failures: int, trials: int, *, confidence: float = CONFIDENCE) -> float:
    """Return the one-sided upper limit of Clopper and Pearson on the rate of failures; 1 without trials.

    It is the rate at which so few failures have the probability ``1 - confidence``, found by bisection.

    Args:
        failures: Failed trials.
        trials: All trials.
        confidence: Probability that the limit holds.
    """
    if failures >= trials:
        return 1.0
    low, high = failures / trials, 1.0
    while high - low > 1e-12:
        rate = (low + high) / 2
        low, high = (rate, high) if _tail(failures, trials, rate) > 1 - confidence else (low, rate)
    return high


def fewest_trials(failures: int, *, target: float, confidence: float = CONFIDENCE) -> int:
    """Return the least number of trials whose upper bound, with so many failures, is at most ``target``."""
    low, high = failures, failures + 1
    while _tail(failures, high, target) > 1 - confidence:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _tail(failures, middle, target) > 1 - confidence else (low, middle)
    return high


def certify(
    texts: Sequence[str],
    groups: Sequence[str],
    vectors: Vectors,
    equivalence: Equivalence,
    *,
    target: float,
    confidence: float = CONFIDENCE,
    grid: Sequence[float] | None = None,
    seed: int = 7,
    embedder: str = "",
    data: Data | None = None,
    at: Callable[[float], Outcome] | None = None,
    on_replay: OnReplay | None = None,
) -> Certificate | Abstention:
    """Find the loosest threshold whose share of wrong hits is proved to be at most ``target``.

    Args:
        texts: Questions in the order asked.
        groups: Two questions may share an answer if and only if their groups are equal.
        vectors: Their embeddings, of unit length, of shape (questions, dimensions).
        equivalence: The score.
        target: Share of wrong hits, between 0 and 1.
        confidence: Probability that the bound holds, between 0 and 1.
        grid: Thresholds from strict to loose, fixed without a look at the data. Default: ``COSINE_GRID`` for the
            cosine, ``LOG_ODDS_GRID`` for every other score.
        seed: Of the split by group.
        embedder: ``Embedder.name`` of the vectors; a certificate without it covers no cache.
        data: Where the questions come from. Default: memory.
        at: Replays the stream at a threshold. Default: a ``Replay`` of the above; give one that remembers its outcomes
            to certify several splits or targets of one stream.
        on_replay: Called after each replay with its number and the most there can be.

    Returns:
        The certificate, or an abstention where no threshold passes.

    Raises:
        ConfigurationError: ``target``, ``confidence`` or ``grid`` cannot work.
    """
    _check_share("target", target)
    _check_share("confidence", confidence)
    points = _grid(equivalence, grid)
    data = data or Data.of_rows(texts, groups)
    fit, certifying, testing = _split(groups, seed)
    least = fewest_trials(0, target=target, confidence=confidence)
    if len(certifying) < least:
        reason = f"the certify part has {len(certifying):,} groups of questions, and {least:,} must have a hit"
        return _abstention(reason, None, _tally((), groups, certifying), target, confidence, data)
    replays = _Replays(at or Replay(texts, groups, vectors, equivalence).at, points, on_replay)
    start = _start((_tally(one.hits, groups, fit) for one in replays), enough=START * least * FIT / CERTIFY)
    passed, tally = _last_passed(replays, start, lambda hits: _tally(hits, groups, certifying), target, confidence)
    if passed is None:
        wrong = f"{tally.wrong_clusters:,} of {tally.clusters:,} independent hits wrong"
        reason = f"with {wrong}, the bound is {tally.bound(confidence):.1%} where the sequence starts"
        return _abstention(reason, points[start], tally, target, confidence, data)
    return Certificate(
        score=equivalence.name,
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
    reason: str, threshold: float | None, tally: Tally, target: float, confidence: float, data: Data
) -> Abstention:
    needed = fewest_trials(tally.wrong_clusters, target=target, confidence=confidence)
    missing = max(needed - tally.clusters, 1)
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


def _tally(hits: Iterable[Hit], groups: Sequence[str], part: frozenset[str]) -> Tally:
    """Count the hits that questions of a part got."""
    own = [hit for hit in hits if groups[hit.asked] in part]
    wrong = [hit for hit in own if hit.wrong]
    return Tally(
        questions=sum(group in part for group in groups),
        hits=len(own),
        wrong=len(wrong),
        clusters=len({groups[hit.asked] for hit in own}),
        wrong_clusters=len({groups[hit.asked] for hit in wrong}),
    )


def _grid(equivalence: Equivalence, given: Sequence[float] | None) -> Sequence[float]:
    points = given if given is not None else COSINE_GRID if equivalence.name == "cosine" else LOG_ODDS_GRID
    if not points or not all(math.isfinite(point) for point in points) or list(points) != sorted(points, reverse=True):
        raise ConfigurationError(f"grid must hold finite thresholds from strict to loose, got {points!r}")
    return points


def _check_share(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise ConfigurationError(f"{name} must be a share between 0 and 1, such as 0.05, got {value!r}")


@lru_cache(maxsize=65_536)
def _tail(failures: int, trials: int, rate: float) -> float:
    """Return the probability of at most ``failures`` failures in ``trials`` at this rate, 0 < rate < 1."""
    if failures >= trials:
        return 1.0
    log_rate, log_rest, log_all = math.log(rate), math.log1p(-rate), math.lgamma(trials + 1)
    return math.fsum(
        math.exp(log_all - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * log_rate + (trials - k) * log_rest)
        for k in range(failures + 1)
    )


_KINDS: Mapping[str, type | tuple[type, ...]] = {"str": str, "int": int, "float": (int, float)}


def _checked(kind: type, row: object, path: Path | str) -> dict[str, object]:
    """Return the fields of a dataclass that a JSON object holds, after a look at names and types."""
    advice = f"write the certificate anew with `{_COMMAND}`"
    if not isinstance(row, dict):
        raise DataError(f"an object belongs where {row!r} stands; {advice}", path=path)
    known = {field.name: field for field in fields(kind)}
    unknown = [name for name in row if name not in known]
    if unknown:
        raise DataError(f"{unknown[0]!r} is no field of a certificate of costkit {__version__}; {advice}", path=path)
    for name, field in known.items():
        if name not in row and field.default is MISSING:
            raise DataError(f"the field {name!r} is missing; {advice}", path=path)
        wanted = _KINDS.get(str(field.type))
        if name in row and wanted is not None and (isinstance(row[name], bool) or not isinstance(row[name], wanted)):
            raise DataError(f"{name} must be of type {field.type}, got {row[name]!r}; {advice}", path=path)
    return row
