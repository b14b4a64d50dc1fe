"""How surely one answer serves two questions: a fitted score over the cosine and what the typed guards find.

The score is a logistic model with signs fixed beforehand: a higher cosine never lowers it, up to where the embedder
sees no difference any more, and a finding never raises it. That costs a little on the data it is fitted on and keeps it
sound on other data, where overlap in wording means something else. docs/cache.md says what the shipped coefficients
were fitted on and how they carry over.
"""

from __future__ import annotations

import json
import logging
import math
import time
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from costkit.cache.guards import GUARDS, Finding, Reading, compare, read
from costkit.errors import ConfigurationError, DataError
from costkit.text import normalise_question

if TYPE_CHECKING:
    from costkit.cache.pair_model import PairModel

__all__ = [
    "FEATURES",
    "Candidate",
    "Coefficients",
    "CosineScore",
    "Equivalence",
    "FittedScore",
    "Verdict",
    "features",
]

# What the fitted score sees of a pair. All but the first two can only lower it.
FEATURES = ("cosine", "closeness", "substitution", *(f"guard_{guard}" for guard in GUARDS), "findings")
RAISING = ("cosine", "closeness")

# Changes whenever the guards or the features read a question otherwise: thresholds of before then hold no more.
READING = 3

_SHIPPED = "equivalence.json"
# An answer in another language is no answer, however close the question.
VETOES = frozenset({"language"})
# Above this cosine, a difference of two questions is one that the embedder does not see: to minilm, a word in Thai, an
# emoji and most Chinese characters are all the same unknown token.
SEEN_ALIKE = 0.9999
PAIR_WEIGHT = 0.1
PAIR_BUDGET_SECONDS = 0.05
# A replay must not depend on how busy the machine is.
UNHURRIED_SECONDS = 3600.0

_log = logging.getLogger("costkit.cache")


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """An earlier question that an answer is stored for, and its cosine with the question asked."""

    question: str
    cosine: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a score says of one candidate.

    Attributes:
        score: What the threshold is compared with, higher is surer.
        probability: The model's estimate (0 to 1) that the stored answer serves; no bound, see ``Certificate``.
        findings: What the guards found between the two questions.
        vote: What the answers of other near questions added to the score, see ``costkit.cache.agreement``.
    """

    score: float
    probability: float
    findings: tuple[Finding, ...] = ()
    vote: float = 0.0

    @property
    def reason(self) -> str:
        """One clause for people."""
        found = "; ".join(f"{finding.guard}: {finding.reason}" for finding in self.findings)
        voted = f"; near questions' answers add {self.vote:+.2f}" if self.vote else ""
        return (found or "the guards find no difference") + voted

    def shifted(self, log_odds: float, unit: float) -> Verdict:
        """Return the verdict with a vote of near questions' answers, on a scale where one log odds is worth ``unit``."""
        score, probability = self.score + unit * log_odds, _probability(_log_odds(self.probability) + log_odds)
        return replace(self, score=score, probability=probability, vote=unit * log_odds)


class Equivalence(Protocol):
    """Scores stored questions against the one asked."""

    @property
    def name(self) -> str:
        """Tells scores apart: thresholds and certificates of one hold for no other."""
        ...

    @property
    def threshold(self) -> float:
        """The default operating point: the least score that is served."""
        ...

    @property
    def per_log_odds(self) -> float:
        """What one unit of log odds is worth on the scale of the score, for what judged hits add to it."""
        ...

    def score(self, question: str, candidates: Sequence[Candidate], *, threshold: float | None = None) -> list[Verdict]:
        """Return one verdict per candidate, in the order given.

        Args:
            question: The question asked.
            candidates: Earlier questions.
            threshold: What the scores are held against: a score that would meet it or miss it anyway may be left rough.
                None leaves none rough, as replays at several thresholds need.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class CosineScore:
    """The cosine and nothing else: the fixed threshold that every semantic cache offers.

    Attributes:
        threshold: Least cosine that is served, 0 to 1; above 1 nothing is.
    """

    threshold: float = 0.92

    def __post_init__(self) -> None:
        if (
            isinstance(self.threshold, bool)
            or not isinstance(self.threshold, int | float)
            or not 0 <= self.threshold <= 2
        ):
            raise ConfigurationError(f"threshold must be a cosine similarity from 0 to 1, got {self.threshold!r}")

    @property
    def name(self) -> str:
        """``cosine``."""
        return "cosine"

    @property
    def per_log_odds(self) -> float:
        """About the slope that a logistic fit over the cosine alone has near the thresholds in use."""
        return 0.05

    def score(
        self,
        question: str,  # noqa: ARG002
        candidates: Sequence[Candidate],
        *,
        threshold: float | None = None,  # noqa: ARG002
    ) -> list[Verdict]:
        """Return the cosines."""
        return [Verdict(score=one.cosine, probability=min(max(one.cosine, 0.0), 1.0)) for one in candidates]


@dataclass(frozen=True, kw_only=True)
class Coefficients:
    """A logistic model over ``FEATURES``, and where it comes from.

    Attributes:
        name: Names the fit.
        intercept: Log odds where every feature is 0.
        weights: Log odds per unit of each feature.
        threshold: Least score that is served by default.
        data: What it was fitted on, one line per source, with its licence.
    """

    name: str
    intercept: float
    weights: Mapping[str, float]
    threshold: float
    data: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        unknown = [name for name in self.weights if name not in FEATURES]
        if unknown:
            raise ConfigurationError(
                f"coefficients name the unknown feature {unknown[0]!r}; known: {', '.join(FEATURES)}"
            )
        for name, weight in self.weights.items():
            if not math.isfinite(weight) or (weight < 0 if name in RAISING else weight > 0):
                wanted = "0 or more" if name in RAISING else "0 or less"
                raise ConfigurationError(f"the coefficient of {name!r} must be {wanted}, got {weight!r}")

    def score(self, values: Sequence[float]) -> float:
        """Return the log odds for the values of ``FEATURES``."""
        return self.intercept + sum(
            self.weights.get(name, 0.0) * value for name, value in zip(FEATURES, values, strict=True)
        )

    @classmethod
    def load(cls, path: Path | str | None = None) -> Coefficients:
        """Read coefficients from a JSON file; by default the shipped ones.

        Raises:
            DataError: The file is absent or holds something else.
        """
        if path is None:
            return _shipped()
        try:
            return _coefficients(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"{str(path)!r} holds no coefficients of the equivalence score: {error!r}") from error

    def to_json(self) -> str:
        """Return what ``load`` reads."""
        return json.dumps({**vars(self), "weights": dict(self.weights), "data": list(self.data)}, indent=2) + "\n"


@lru_cache(maxsize=1)
def _shipped() -> Coefficients:
    return _coefficients(files("costkit.cache").joinpath(_SHIPPED).read_text(encoding="utf-8"))


def _coefficients(text: str) -> Coefficients:
    row = json.loads(text)
    return Coefficients(**{**row, "data": tuple(row["data"])})


# A question is read once for all its comparisons, and a stored one for all questions near it. A reading takes some kB.
read_once = lru_cache(maxsize=4_096)(read)


def features(question: str, candidate: Candidate) -> tuple[tuple[float, ...], tuple[Finding, ...]]:
    """Return the values of ``FEATURES`` for a pair, and the findings behind them."""
    asked, earlier = read_once(question), read_once(candidate.question)
    findings = compare(asked, earlier)
    fired = {finding.guard for finding in findings}
    # The cosine alone saturates: .98 against .96 halves the distance, .70 against .68 does not.
    closeness = -math.log(max(1.0001 - candidate.cosine, 1e-4))
    values = (
        candidate.cosine,
        closeness,
        float(_one_for_one(asked, earlier)),
        *(float(guard in fired) for guard in GUARDS),
        float(len(findings)),
    )
    return values, findings


def _one_for_one(asked: Reading, earlier: Reading) -> bool:
    """Say whether each question has exactly one word of meaning that the other lacks: "knee brace", "ankle brace"."""
    return len(asked.topic - earlier.topic) == 1 == len(earlier.topic - asked.topic)


def _unseen(question: str, candidate: Candidate) -> bool:
    """Say whether two questions differ by more than their typing and have one vector nevertheless.

    The order of words is no such difference: some embedders count words alone, and the guards read directions.
    """
    if candidate.cosine <= SEEN_ALIKE:
        return False
    words = [normalise_question(text.strip()).split() for text in (question, candidate.question)]
    if sorted(words[0]) == sorted(words[1]):
        return False
    asked, earlier = map("".join, words)
    return asked != earlier and asked != _unaccented(earlier) and earlier != _unaccented(asked)


def _unaccented(text: str) -> str:
    """Return the text as it is typed without accents: "creer un compte"."""
    return "".join(
        character for character in unicodedata.normalize("NFD", text) if not unicodedata.combining(character)
    )


class FittedScore:
    """The equivalence score; two questions that the embedder cannot tell apart score minus infinity.

    Args:
        coefficients: The fitted model. Default: the shipped one.
        model: A pair model that ``costkit cache train`` made. Where a threshold is given, it is read in the grey zone
            alone: where the score lies so near that the model can change the decision.
        threshold: Least score that is served. Default: that of the coefficients.
        pair_weight: Log odds that one unit of the pair model's log odds adds.
        budget_seconds: Time that the pair model may take for one question; a candidate that it does not reach is taken
            for a different question.
    """

    def __init__(
        self,
        coefficients: Coefficients | None = None,
        *,
        model: PairModel | None = None,
        threshold: float | None = None,
        pair_weight: float = PAIR_WEIGHT,
        budget_seconds: float = PAIR_BUDGET_SECONDS,
    ) -> None:
        if pair_weight < 0:
            raise ConfigurationError(f"pair_weight must be 0 or more, got {pair_weight!r}")
        if budget_seconds <= 0:
            raise ConfigurationError(f"budget_seconds must be above 0, got {budget_seconds!r}")
        self._coefficients = coefficients or Coefficients.load()
        self._model = model
        self._pair_weight = pair_weight
        self._budget_seconds = budget_seconds
        self._told = False
        self._name = _name_of(self._coefficients, model, pair_weight)
        self.threshold = self._coefficients.threshold if threshold is None else threshold
        #: Seconds that the pair model has taken so far.
        self.model_seconds = 0.0

    @property
    def per_log_odds(self) -> float:
        """1: the score is in log odds."""
        return 1.0

    @property
    def name(self) -> str:
        """The fit and the pair model, if there is one, with a digest of all that a score depends on."""
        return self._name

    def score(self, question: str, candidates: Sequence[Candidate], *, threshold: float | None = None) -> list[Verdict]:
        """Return one verdict per candidate.

        Where the pair model fails, open candidates are taken for different questions, and the failure is logged once.
        """
        found = []
        for candidate in candidates:
            values, findings = features(question, candidate)
            if _unseen(question, candidate):
                findings = (*findings, Finding("language", "the embedder does not see how they differ"))
            vetoed = any(finding.guard in VETOES for finding in findings)
            found.append((-math.inf if vetoed else self._coefficients.score(values), findings))
        shifts = self._pair_shifts(question, candidates, [score for score, _ in found], threshold)
        return [
            Verdict(score=score + shift, probability=_probability(score + shift), findings=findings)
            for (score, findings), shift in zip(found, shifts, strict=True)
        ]

    def _pair_shifts(
        self, question: str, candidates: Sequence[Candidate], scores: Sequence[float], threshold: float | None
    ) -> list[float]:
        shifts = [0.0] * len(scores)
        if self._model is None:
            return shifts
        # Further below the threshold than this, nothing that the pair model says changes the decision. Nor does it
        # further above, unless there is another candidate to lose to.
        reach = self._pair_weight * _log_odds(1.0)
        low = -math.inf if threshold is None else threshold - reach
        high = math.inf if threshold is None or len(scores) > 1 else threshold + reach
        order = sorted(range(len(scores)), key=lambda index: -scores[index])
        open_ = [index for index in order if low <= scores[index] <= high and scores[index] > -math.inf]
        began = time.perf_counter()
        try:
            pairs = self._model.score(
                question, [candidates[index].question for index in open_], budget_seconds=self._budget_seconds
            )
        except Exception as error:  # noqa: BLE001  whatever it raises, the user's chain goes on
            if not self._told:
                self._told = True
                _log.warning("the pair model fails, so no open question is served: %r", error)
            pairs = [0.0] * len(open_)
        self.model_seconds += time.perf_counter() - began
        for index, probability in zip(open_, pairs, strict=True):
            shifts[index] = self._pair_weight * _log_odds(probability)
        return shifts


def _name_of(coefficients: Coefficients, model: PairModel | None, pair_weight: float) -> str:
    parts = [coefficients.intercept, sorted(coefficients.weights.items()), READING, model and (model.name, pair_weight)]
    digest = blake2b(json.dumps(parts).encode(), digest_size=3).hexdigest()
    return f"{coefficients.name}{'' if model is None else f'+{model.name}'}-{digest}"


def _probability(score: float) -> float:
    return 1.0 / (1.0 + math.exp(-min(max(score, -40.0), 40.0)))


def _log_odds(probability: float) -> float:
    bounded = min(max(probability, 1e-6), 1 - 1e-6)
    return math.log(bounded / (1 - bounded))
