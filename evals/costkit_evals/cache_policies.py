"""Rival policies of the semantic cache: what the equivalence score is measured against.

Three are scores with a threshold: the cosine alone, the cosine with every finding of a guard as a veto, and a pair model
alone. The fourth, vCache (Schroeder et al., "vCache: Verified Semantic Prompt Caching", arXiv 2502.03771), has no
threshold: it learns from what its own explorations show, entry by entry.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm

from costkit.cache.equivalence import (
    UNHURRIED_SECONDS,
    Candidate,
    Coefficients,
    CosineScore,
    Equivalence,
    FittedScore,
    Verdict,
    features,
)
from costkit.cache.pair_model import PairModel
from costkit.cache.replay import Hit, Outcome
from costkit.errors import ConfigurationError

__all__ = [
    "POLICIES",
    "Choice",
    "GuardsOnly",
    "PairModelOnly",
    "PolicyName",
    "VCache",
    "VCacheEntry",
    "score_of",
]

PolicyName = Literal["costkit", "costkit+answers", "fixed", "guards", "pair", "vcache"]
POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)

Vectors = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A policy, and the operating point that the user named: a threshold, vCache's delta, or None."""

    name: PolicyName
    value: float | None = None

    @classmethod
    def parse(cls, text: str) -> Choice:
        """Read ``NAME`` or ``NAME:NUMBER``.

        Raises:
            ConfigurationError: There is no such policy, or the number is none or out of its range.
        """
        name, colon, number = text.partition(":")
        if name not in POLICIES:
            raise ConfigurationError(f"--policy {text!r} names no policy; known: {', '.join(POLICIES)}")
        if not colon:
            return cls(name=name)
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        low, high = {"fixed": (0.0, 2.0), "guards": (0.0, 2.0), "vcache": (0.0, 1.0)}.get(name, (-math.inf, math.inf))
        if not (math.isfinite(value) and low <= value <= high) or (name == "vcache" and value in {0.0, 1.0}):
            raise ConfigurationError(f"--policy {text!r}: {number!r} is no {_MEANING[name]}")
        return cls(name=name, value=value)

    @property
    def ours(self) -> bool:
        """True for the product's own policies."""
        return self.name.startswith("costkit")

    @property
    def answers(self) -> bool:
        """True where it is known which stored answers are the same, see ``costkit.cache.agreement``."""
        return self.name == "costkit+answers"

    def __str__(self) -> str:
        """Return what ``parse`` read."""
        return self.name if self.value is None else f"{self.name}:{self.value:g}"


_MEANING = {
    "costkit": "threshold of the equivalence score (log odds)",
    "costkit+answers": "threshold of the equivalence score (log odds)",
    "fixed": "cosine from 0 to 2",
    "guards": "cosine from 0 to 2",
    "pair": "threshold of the pair model (log odds)",
    "vcache": "share of wrong answers between 0 and 1",
}


@dataclass(frozen=True, kw_only=True)
class GuardsOnly:
    """The cosine, where no guard finds a difference; a finding rules the candidate out."""

    threshold: float = 0.80
    name: str = "guards"
    per_log_odds: float = 0.05

    def score(
        self,
        question: str,
        candidates: Sequence[Candidate],
        *,
        threshold: float | None = None,  # noqa: ARG002
    ) -> list[Verdict]:
        """Return the cosines, minus infinity where a guard objects."""
        found = []
        for candidate in candidates:
            findings = features(question, candidate)[1]
            score = -math.inf if findings else candidate.cosine
            found.append(Verdict(score=score, probability=max(min(score, 1.0), 0.0), findings=findings))
        return found


class PairModelOnly:
    """A pair model's log odds, whatever cosine and guards say."""

    def __init__(self, model: PairModel, *, threshold: float = 0.0) -> None:
        self._model = model
        self.threshold = threshold
        self.name = model.name
        self.per_log_odds = 1.0
        #: Seconds that the pair model has taken so far.
        self.model_seconds = 0.0

    def score(
        self,
        question: str,
        candidates: Sequence[Candidate],
        *,
        threshold: float | None = None,  # noqa: ARG002
    ) -> list[Verdict]:
        """Return the model's log odds and probabilities."""
        began = time.perf_counter()
        found = self._model.score(question, [candidate.question for candidate in candidates])
        self.model_seconds += time.perf_counter() - began
        return [Verdict(score=_log_odds(one), probability=one) for one in found]


def _log_odds(probability: float) -> float:
    bounded = min(max(probability, 1e-6), 1 - 1e-6)
    return math.log(bounded / (1 - bounded))


def score_of(name: PolicyName, *, coefficients: Coefficients | None, model: PairModel | None) -> Equivalence | None:
    """Return the score behind a policy; None for vCache, which has none, and for the pair model where there is none.

    Args:
        name: The policy.
        coefficients: Of the equivalence score. Default: the shipped ones.
        model: A pair model, if there is one.
    """
    if name in ("costkit", "costkit+answers"):
        return FittedScore(coefficients, model=model, budget_seconds=UNHURRIED_SECONDS)
    if name == "fixed":
        return CosineScore()
    if name == "guards":
        return GuardsOnly()
    return PairModelOnly(model) if name == "pair" and model is not None else None


# The estimates of the correctness are lowered by these confidences; the paper minimises over all of (0, 1).
_EPSILONS = np.geomspace(1e-4, 0.5, 50)
_UPPER_QUANTILES = norm.isf(_EPSILONS)
# Two of them are the seeds that every entry starts with.
LEAST_OBSERVATIONS = 6
# Takes the share of right answers from 5% to 95% within a tenth of cosine.
_STEP_SLOPE = 60.0
_STEPS = 50
_MOST_STEP = 5.0
_CONVERGED = 1e-6


@dataclass(kw_only=True, slots=True)
class VCacheEntry:
    """What vCache knows of one stored question: how similar others were, and whether its answer served them.

    It starts with two seeds: similarity 0 was wrong, similarity 1 was right.
    """

    similarities: list[float] = field(default_factory=lambda: [0.0, 1.0])
    correct: list[bool] = field(default_factory=lambda: [False, True])
    _fit: tuple[float, float, float] | None = None

    def observe(self, similarity: float, *, correct: bool) -> None:
        """Add what an exploration showed."""
        self.similarities.append(round(similarity, 3))
        self.correct.append(correct)
        self._fit = None

    def serve_probability(self, similarity: float, delta: float) -> float:
        """Return the probability with which the entry's answer is served at a similarity: 1 - tau of the paper.

        With t and g the threshold and slope of a logistic model over the observations, t' the upper quantile of t at
        level epsilon and a = (1 - epsilon) sigmoid(g (similarity - t')), tau = min over epsilon of 1 - delta / (1 - a):
        serving with that probability keeps the share of wrong answers among all requests at delta or below.
        """
        if len(self.correct) < LEAST_OBSERVATIONS:
            return 0.0
        if self._fit is None:
            self._fit = _threshold(np.array(self.similarities), np.array(self.correct, dtype=float))
        threshold, slope, deviation = self._fit
        upper = threshold + _UPPER_QUANTILES * deviation
        correctness = (1 - _EPSILONS) * expit(slope * (similarity - upper))
        return float(np.minimum(delta / np.maximum(1 - correctness, 1e-12), 1.0).max())


def _threshold(similarities: NDArray[np.float64], correct: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the threshold, the slope and the threshold's standard deviation of a logistic model by maximum likelihood.

    The deviation comes by the delta method. Where all right similarities lie above all wrong ones, which is the rule
    with few observations, the likelihood has no maximum: then the threshold is taken to be uniform in the gap between
    them, and the slope to be ``_STEP_SLOPE``. The paper's own remedy is a table that is not in its text.
    """
    low, high = similarities[correct == 0].max(), similarities[correct == 1].min()
    if low <= high:
        return float(low + high) / 2, _STEP_SLOPE, float(high - low) / math.sqrt(12)
    design = np.stack([np.ones_like(similarities), similarities], axis=1)
    betas = np.zeros(2)
    covariance = np.eye(2)
    for _ in range(_STEPS):
        odds = expit(design @ betas)
        covariance = np.linalg.pinv(design.T @ (design * (odds * (1 - odds))[:, None]))
        step = covariance @ (design.T @ (correct - odds))
        step *= min(1.0, _MOST_STEP / max(float(np.abs(step).max()), 1e-12))
        betas += step
        if np.abs(step).max() < _CONVERGED:
            break
    intercept, slope = float(betas[0]), float(betas[1])
    if slope <= 0:  # the more similar, the more often wrong: no threshold is high enough
        return math.inf, 1.0, 0.0
    gradient = np.array([-1 / slope, intercept / slope**2])
    return -intercept / slope, slope, math.sqrt(max(float(gradient @ covariance @ gradient), 0.0))


class VCache:
    """vCache's policy over a stream whose labels are the judge.

    A question without a neighbour is stored. Otherwise its nearest neighbour's answer is served with a probability that
    the neighbour's observations earn; else the model is asked, the judge's word is added to the neighbour's
    observations, and the question is stored only if the neighbour's answer was wrong.

    Args:
        groups: Two questions may share an answer if and only if their groups are equal.
        vectors: Their embeddings, of unit length, of shape (questions, dimensions).
    """

    def __init__(self, groups: Sequence[str], vectors: Vectors) -> None:
        self._groups = groups
        self._vectors = vectors
        self._listed = _nearest_earlier(vectors)

    def replay(self, delta: float, *, seed: int) -> tuple[Outcome, dict[int, VCacheEntry]]:
        """Play the stream once.

        Args:
            delta: Share of all requests that may be answered wrongly, above 0 and below 1.
            seed: Of the draws between serving and exploring.

        Returns:
            What happened (a hit's score is the probability it was served with), and the entries by question index.
        """
        draws = np.random.default_rng(seed)
        entries: dict[int, VCacheEntry] = {}
        stored = np.zeros(len(self._groups), dtype=bool)
        hits = []
        for index, group in enumerate(self._groups):
            nearest = self._nearest(index, stored)
            wrong = nearest is None or self._groups[nearest] != group
            if nearest is not None:
                similarity = float(self._vectors[nearest] @ self._vectors[index])
                probability = entries[nearest].serve_probability(similarity, delta)
                if draws.random() < probability:
                    hits.append(Hit(asked=index, served=nearest, score=probability, wrong=wrong))
                    continue
                entries[nearest].observe(similarity, correct=not wrong)
            if wrong:
                stored[index] = True
                entries[index] = VCacheEntry()
        return Outcome(threshold=delta, questions=len(self._groups), hits=tuple(hits), stored=len(entries)), entries

    def _nearest(self, index: int, stored: NDArray[np.bool_]) -> int | None:
        """Return the nearest stored question; where none of those listed is stored, all are searched."""
        listed = self._listed[index]
        usable = listed[(listed >= 0) & stored[listed]]
        if len(usable):
            return int(usable[0])
        kept = np.flatnonzero(stored)
        return int(kept[(self._vectors[kept] @ self._vectors[index]).argmax()]) if len(kept) else None


def _nearest_earlier(vectors: Vectors, *, width: int = 128, block: int = 512) -> NDArray[np.int64]:
    """Return the nearest earlier questions of each, best first; -1 where there are fewer than ``width``."""
    listed = np.full((len(vectors), width), -1)
    for start in range(0, len(vectors), block):
        cosines = vectors[start : start + block] @ vectors[: start + block].T
        for row, own in enumerate(cosines, start):
            count = min(width, row)
            if count:
                top = np.argpartition(-own[:row], count - 1)[:count]
                listed[row, :count] = top[np.argsort(-own[top], kind="stable")]
    return listed
