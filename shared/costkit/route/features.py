"""What the rules look at in a question: plain facts that can be read and checked, no model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from costkit.text import words

__all__ = ["Features", "features_of"]

_COMPARISON = re.compile(
    r"\b(compare[ds]?|compared|comparison|versus|vs|differ\w*|difference|contrast|than|rather than|both|"
    r"(more|less|fewer|longer|shorter|higher|lower|cheaper|faster|better|worse|larger|smaller))\b"
)
_REASONING = re.compile(
    r"\b(why|explain|how come|derive|prove|justify|what if|suppose|assuming|trade-?offs?|pros and cons|"
    r"step by step|analy[sz]e|evaluate|recommend|should (?:i|we)|implications?|consequences?)\b"
)
_ARITHMETIC = re.compile(
    r"\b(total|sum|altogether|combined|in all|on average|percent of|how much more|how many more)\b"
)
_CONDITION = re.compile(r"\b(if|unless|except|when|while|after|before|although|but|provided|without|not)\b|n't\b")
_CODE = re.compile(r"```|[{};]\s*$|\b(def|class|function|select .+ from|traceback)\b", re.MULTILINE)
_REFERENCE = re.compile(r"\b(it|its|they|them|their|those|these|that one|the other|he|she|his|her|same)\b")


@dataclass(frozen=True, kw_only=True)
class Features:
    """Facts about one question.

    Attributes:
        words: Number of words.
        questions: Number of question marks, at least 1 for a question without one.
        conditions: Words that bind the answer to a condition or negate it.
        comparison: It asks to compare.
        reasoning: It asks why, or for a judgement.
        arithmetic: It asks for a sum or an average.
        code: It holds code.
        reference: It refers to something outside itself.
        support: How well the best passage covers the question's words, 0 to 1; None without context.
    """

    words: int
    questions: int
    conditions: int
    comparison: bool
    reasoning: bool
    arithmetic: bool
    code: bool
    reference: bool
    support: float | None = None


def features_of(question: str, *, passages: Sequence[str] = ()) -> Features:
    """Read the features of ``question``, and of the ``passages`` retrieved for it if they are at hand."""
    lowered = question.lower()
    asked = words(question)
    return Features(
        words=len(asked),
        questions=max(question.count("?"), 1),
        conditions=len(_CONDITION.findall(lowered)),
        comparison=bool(_COMPARISON.search(lowered)),
        reasoning=bool(_REASONING.search(lowered)),
        arithmetic=bool(_ARITHMETIC.search(lowered)),
        code=bool(_CODE.search(lowered)),
        reference=bool(_REFERENCE.search(lowered)),
        support=_support(asked, passages),
    )


def _support(asked: Sequence[str], passages: Sequence[str]) -> float | None:
    """Return the largest share of the question's longer words that one passage holds."""
    content = {word for word in asked if len(word) > 3}  # short words are mostly grammar
    if not passages or not content:
        return None
    return max(len(content & set(words(passage))) / len(content) for passage in passages)
