"""What stored answers say of one another: near questions with the same answer speak for it, others against it.

One near question may be a near miss. Three near questions that all got the same answer are better evidence than the
nearest alone, and a second answer within reach is a reason to doubt the first: nearest neighbours vote (Cover and Hart,
"Nearest neighbor pattern classification", 1967), each with a weight that falls with its distance in score. For an
answer whose surest question has the log odds t, the shift in log odds is

    SUPPORT * ln(sum over its own questions of exp((s - t) / REACH)) - RIVALS * sum over others of exp((s - t) / REACH).

SUPPORT and RIVALS were fitted on the question families in ``evals/golden/questions``
(``python -m costkit_evals.agreement_fit``). Likelihood prefers ever smaller values of REACH, which near misses gain
from; this one still serves the loose messages there. All of it needs to know which stored answers say the same, so it
is off unless ``ResponseCache(same_answer=...)`` tells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from costkit.cache.equivalence import Equivalence

__all__ = ["REACH", "RIVALS", "SUPPORT", "SameAnswer", "agreement", "decision_name", "same_text", "votes"]

SameAnswer = Callable[[str, str], bool]

SUPPORT = 0.73
RIVALS = 0.50
REACH = 0.25
# A rival this far ahead has won already; beyond it the exponential would overflow.
_MOST = 8.0


def same_text(a: str, b: str) -> bool:
    """Say whether two answers are the same words, whatever their case and spacing: for canned answers and labels."""
    return a.casefold().split() == b.casefold().split()


def decision_name(equivalence: Equivalence, *, answers: bool) -> str:
    """Return what tells thresholds apart: the score's name, and whether stored answers vote."""
    return f"{equivalence.name}+answers" if answers else equivalence.name


def votes(log_odds: Sequence[float], answers: Sequence[str | None], *, place: int) -> tuple[float, float]:
    """Return what the candidates say of the answer of the one at ``place``: its support and its rivals.

    Args:
        log_odds: The score of each candidate in log odds; minus infinity has no vote.
        answers: Names their answers: equal names, equal answers. None is not known, and has no vote.
        place: Which candidate.

    Returns:
        The logarithm of the support, 0 or more, and the weight of the rivals, 0 or more.
    """
    own = answers[place]
    top = max(score for score, answer in zip(log_odds, answers, strict=True) if answer == own)
    if own is None or top == -math.inf:
        return 0.0, 0.0
    weights = [math.exp(min((score - top) / REACH, _MOST)) for score in log_odds]
    named = [(weight, answer) for weight, answer in zip(weights, answers, strict=True) if answer is not None]
    support = math.log(sum(weight for weight, answer in named if answer == own))
    return support, sum(weight for weight, answer in named if answer != own)


def agreement(log_odds: Sequence[float], answers: Sequence[str | None]) -> list[float]:
    """Return, per candidate, what the other candidates' answers add to its log odds; 0 where its answer is not known.

    Args:
        log_odds: The score of each candidate in log odds.
        answers: Names their answers: equal names, equal answers. None is not known.
    """
    shifts = []
    for place in range(len(answers)):
        support, rivals = votes(log_odds, answers, place=place)
        shifts.append(SUPPORT * support - RIVALS * rivals)
    return shifts
