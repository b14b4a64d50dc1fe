"""Certificates: a threshold of the cache, and the bound on wrong hits that labelled traffic proved for it.

``costkit.cache.calibrate`` makes them. A bound is the larger of two upper limits at the confidence asked for, both by
Clopper and Pearson ("The use of confidence or fiducial limits", Biometrika 1934):

- **By group**: the share of groups of which any hit was wrong. Groups are independent trials, so this one is exact.
- **By hit**: the share of wrong hits. Hits of one group stand or fall together (one odd wording, one wrong label), so hits
  and wrong hits are divided by Kish's design effect, the mean group size as a hit sees it, before they enter the limit
  (Korn and Graubard, "Confidence intervals for proportions with small expected number of positive counts estimated from
  survey data", Survey Methodology 1998). It is an approximation: where a few groups bring most of the hits, what they
  do may not show in the part that certifies.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path

from costkit import __version__
from costkit.cache.replay import NEIGHBOURS
from costkit.errors import ConfigurationError, DataError

__all__ = ["CONFIDENCE", "Certificate", "Data", "Tally", "fewest_trials", "upper_bound"]

CONFIDENCE = 0.95

_COMMAND = "costkit cache calibrate --stream FILE"


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
    """What a threshold did to one part of the stream. Repeats word for word are served at any, and are not counted.

    Attributes:
        questions: Questions asked.
        hits: Those that were served an answer to other words.
        wrong: Hits that got the answer of another group.
        clusters: Groups with a hit: independent trials.
        wrong_clusters: Groups with a wrong hit.
        design_effect: Hits that count as one, by the sizes of the groups in the whole stream; 1 or more.
    """

    questions: int
    hits: int
    wrong: int
    clusters: int
    wrong_clusters: int
    design_effect: float = 1.0

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
        wrong, hits = math.ceil(self.wrong / self.design_effect), math.floor(self.hits / self.design_effect)
        return max(by_group, upper_bound(wrong, hits, confidence=confidence))


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
            score_name: ``decision_name`` of the cache.
            embedder_name: ``Embedder.name`` of the cache.
            entries: Entries of the identity that is searched.
        """
        if self.voided:
            return f"the certificate is void: {self.voided}"
        if self.neighbours != NEIGHBOURS:
            return f"the certificate weighs {self.neighbours} stored questions, the cache {NEIGHBOURS}: calibrate anew"
        if score_name != self.score:
            return f"the certificate is for the score {self.score!r}, the cache uses {score_name!r}: calibrate anew"
        if embedder_name != self.embedder:
            return f"the certificate is for the embedder {self.embedder!r}, the cache has {embedder_name!r}: calibrate anew"
        if entries > self.entries:
            return f"the certificate is for at most {self.entries:,} entries, the cache holds more: calibrate on more traffic"
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
