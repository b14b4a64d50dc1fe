"""The question inside a filled prompt, so that a router judges what was asked and not how much was retrieved."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Prompted", "question_in"]

_LABEL = re.compile(r"^[ \t]*(?:\w+ )?(?:question|query)[ \t]*:[ \t]*(?P<question>\S.*)$", re.IGNORECASE | re.MULTILINE)
_GAP = re.compile(r"\n\s*\n")


@dataclass(frozen=True, kw_only=True)
class Prompted:
    """A prompt taken apart.

    Attributes:
        question: The question.
        passages: The paragraphs around it, retrieved text among them.
    """

    question: str
    passages: tuple[str, ...] = ()


def question_in(prompt: str) -> Prompted:
    """Find the question in the text that a model is asked with.

    It is the last line labelled ``Question:`` or ``Query:``; else, of several paragraphs, the last one if it ends in a
    question mark; else the whole text, so that a prompt of unknown form counts as long and goes to a stronger tier.
    """
    labelled = list(_LABEL.finditer(prompt))
    if labelled:
        spot = labelled[-1]
        around = f"{prompt[: spot.start()]}\n\n{prompt[spot.end() :]}"
        return Prompted(question=spot["question"].strip(), passages=_paragraphs(around))
    paragraphs = _paragraphs(prompt)
    if len(paragraphs) > 1 and paragraphs[-1].endswith("?"):
        return Prompted(question=paragraphs[-1], passages=paragraphs[:-1])
    return Prompted(question=prompt.strip())


def _paragraphs(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in _GAP.split(text) if part.strip())
