"""Drift: audited hits tell that the cache errs more often than its target, and then it serves less.

The test is a bet against the claim "at most ``target`` of the hits are wrong". For an alternative rate q each audit
multiplies the stake by the likelihood ratio of Bernoulli(q) against Bernoulli(target); under the claim no bet gains on
average. A new stake of ``1 / HORIZON`` is laid at every audit, since drift may begin at any of them (a Shiryaev-Roberts
sum), and the stakes are averaged over several q. By Ville's inequality the sum reaches ``1 / FALSE_ALARM`` within k
horizons with probability at most ``k * FALSE_ALARM``, whatever the order of the hits: at most one false alarm in
2,000 audits on average. The bets are those of Waudby-Smith and Ramdas, "Estimating means of bounded random variables by
betting" (JRSS B, 2024); the sum is the e-detector of Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric framework
for sequential change detection" (2022).

A stricter threshold is accepted by the same bet turned round: against "more than ``target`` are wrong at this
threshold", from the likeliest beginning of the drift on. At a target of 5% it takes 43 right audits in a row, or 76
right ones around a wrong one. The level, ``CONFIDENCE``, is lower than a certificate's and holds for each threshold by
itself: what is served then is uncertified, and a wrong choice is watched like any other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from typing import Any

from costkit.errors import ConfigurationError, StoreError

__all__ = ["DriftMonitor", "Voided"]

FALSE_ALARM = 0.05
HORIZON = 100  # audits; 2,000 hits where 5% are audited
CONFIDENCE = 0.75
WINDOW = 300  # audits

# Alternatives: the odds of a wrong hit, as multiples of the odds at the target.
WORSE = (2.0, 4.0)
BETTER = (0.25, 0.5)

Audit = tuple[float, bool]  # the hit's score, and whether it was right


@dataclass(frozen=True, kw_only=True, slots=True)
class Voided:
    """Why and when (seconds since 1970) a certificate stopped to hold."""

    reason: str
    at: float


@dataclass(frozen=True, kw_only=True)
class DriftMonitor:
    """What the audits have said so far, and what may be served: an immutable state that has a JSON form.

    The threshold only ever rises. Where no value of the grid is good enough, only exact hits are served; would-be hits
    from ``threshold`` on are then audited one and all (the fresh answer is there, it only has to be judged), and once
    they bound the rate at a threshold, semantic hits return from there on. A new calibration starts a new monitor.

    Attributes:
        target: The share of wrong hits that the cache is held to, between 0 and 1.
        grid: Thresholds to choose from, ascending, on the scale of the scores.
        threshold: Least score of a semantic hit; while ``exact_only``, least score that may be served again.
        exact_only: True if no semantic hit may be served.
        stakes: The bets that drift has begun, one sum for each alternative.
        recent: Score and outcome of the last audits, oldest first, at most ``WINDOW``.
        voided: Set at the first alarm; from then on no certificate holds.
    """

    target: float
    grid: tuple[float, ...]
    threshold: float
    exact_only: bool = False
    stakes: tuple[float, ...] = (0.0,) * len(WORSE)
    recent: tuple[Audit, ...] = ()
    voided: Voided | None = None

    def __post_init__(self) -> None:
        if not 0 < self.target < 1:
            raise ConfigurationError(f"target must be a share between 0 and 1, such as 0.05, got {self.target!r}")
        if not self.grid or list(self.grid) != sorted(self.grid):
            raise ConfigurationError(f"grid must hold at least one threshold, in ascending order, got {self.grid!r}")
        if len(self.stakes) != len(WORSE):
            raise ConfigurationError(f"stakes must hold {len(WORSE)} numbers, got {self.stakes!r}")
        if not math.isfinite(self.threshold):
            raise ConfigurationError(f"threshold must be a finite score, got {self.threshold!r}")

    def serves(self, score: float) -> bool:
        """True if a semantic hit with this score may be served."""
        return not self.exact_only and score >= self.threshold

    def wants_shadow_audit(self, score: float) -> bool:
        """True if a hit with this score is not served now, and its audit would help to serve such hits again."""
        return self.exact_only and score >= self.threshold

    def audited(self, score: float, *, right: bool, at: float) -> DriftMonitor:
        """Take in the outcome of one audited hit, served or in shadow.

        Args:
            score: What the hit was decided by.
            right: Whether the stored answer served.
            at: Now, in seconds since 1970.
        """
        seen = replace(self, recent=(*self.recent, (score, right))[-WINDOW:])
        if self.exact_only:
            return seen._settled()
        if score < self.threshold:
            return seen  # judged late, after the threshold rose: it says nothing of what is served now
        stakes = tuple(
            (stake + 1 / HORIZON) * _ratio(right=right, odds=odds, target=self.target)
            for stake, odds in zip(self.stakes, WORSE, strict=True)
        )
        if sum(stakes) / len(stakes) < 1 / FALSE_ALARM:
            return replace(seen, stakes=stakes)
        return seen._alarmed(at)

    def to_json(self) -> dict[str, object]:
        """Return the state as plain JSON values."""
        return {
            **asdict(self),
            "grid": list(self.grid),
            "stakes": list(self.stakes),
            "recent": [[score, right] for score, right in self.recent],
        }

    @classmethod
    def from_json(cls, payload: Mapping[str, object]) -> DriftMonitor:
        """Return the state that ``to_json`` wrote.

        Raises:
            StoreError: The payload is not such a state. Serve exact hits only.
        """
        try:
            fields = dict(payload)
            fields["grid"] = tuple(map(float, _items(fields["grid"])))
            fields["stakes"] = tuple(map(float, _items(fields["stakes"])))
            fields["recent"] = tuple((float(score), bool(right)) for score, right in _items(fields["recent"]))
            fields["voided"] = Voided(**fields["voided"]) if fields["voided"] else None  # type: ignore[arg-type]
            return cls(**fields)  # type: ignore[arg-type]
        except (ConfigurationError, KeyError, TypeError, ValueError) as error:
            raise StoreError(f"the stored drift monitor cannot be read ({error!r}); calibrate anew") from error

    def _alarmed(self, at: float) -> DriftMonitor:
        since = _since_drift(self.recent, self.target)
        wrong = sum(not right for _, right in since)
        reason = f"{wrong} of the last {len(since)} audited hits were wrong; the target is {self.target:.1%}"
        stricter = next((value for value in self.grid if value > self.threshold), self.threshold)
        stopped = replace(
            self, threshold=stricter, exact_only=True, recent=since, voided=self.voided or Voided(reason=reason, at=at)
        )
        return stopped._settled()

    def _settled(self) -> DriftMonitor:
        """Serve semantic hits from the loosest threshold on that recent audits speak for, if there is one."""
        for value in (self.threshold, *(value for value in self.grid if value > self.threshold)):
            kept = [right for score, right in self.recent if score >= value]
            bets = [_stake(kept, odds=odds, target=self.target) for odds in BETTER]
            if sum(bets) / len(bets) >= 1 / (1 - CONFIDENCE):
                return replace(self, threshold=value, exact_only=False, stakes=(0.0,) * len(WORSE))
        return self


def _ratio(*, right: bool, odds: float, target: float) -> float:
    """Return the likelihood ratio of one audit, the rate with ``odds`` times the odds at the target against it."""
    rate = odds * target / (1 - target + odds * target)
    return (1 - rate) / (1 - target) if right else rate / target


def _stake(outcomes: Iterable[bool], *, odds: float, target: float) -> float:
    return math.prod(_ratio(right=right, odds=odds, target=target) for right in outcomes)


def _since_drift(recent: Sequence[Audit], target: float) -> tuple[Audit, ...]:
    """Return the audits since the likeliest beginning of the drift: the run that speaks most for a worse rate."""
    best, length = -math.inf, len(recent)
    for odds in WORSE:
        logs = [math.log(_ratio(right=right, odds=odds, target=target)) for _, right in reversed(recent)]
        for count, total in enumerate(accumulate(logs), 1):
            if total > best:
                best, length = total, count
    return tuple(recent[-length:])


def _items(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"a list belongs where {value!r} stands")
    return value
