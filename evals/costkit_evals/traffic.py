"""What is asked in which order: a first pass, a replay with paraphrases and near misses, and conversations."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from costkit_evals.golden import GoldenSet, Question
from costkit_evals.metrics import token_f1

__all__ = ["Asking", "conversations", "first_pass", "replay", "same_answer"]

Source = Literal["question", "paraphrase", "near_miss", "turn"]

# Two references that agree this far in their words say the same thing.
SAME_ANSWER_F1 = 0.8


@dataclass(frozen=True, kw_only=True)
class Asking:
    """One question to put to a pipeline.

    Attributes:
        question: Wording and reference; of a paraphrase, the reference of what it paraphrases.
        group: Equal for questions that may share an answer.
        source: Where the wording comes from.
        conversation: Its conversation's id, or None outside of one.
    """

    question: Question
    group: str
    source: Source
    conversation: str | None = None

    @property
    def cluster(self) -> str:
        """What is resampled as a whole: the first document that holds the answer."""
        return self.question.gold_ids[0] if self.question.gold_ids else self.question.id


def first_pass(golden: GoldenSet) -> list[Asking]:
    """Return every question once, in the set's order."""
    return [Asking(question=question, group=question.id, source="question") for question in golden.questions]


def replay(golden: GoldenSet, *, seed: int) -> list[Asking]:
    """Return every question, paraphrase and near miss once, shuffled."""
    by_id = {question.id: question for question in golden.questions}
    asked = first_pass(golden)
    for group in golden.paraphrases:
        original = by_id[group.question_id]
        for number, wording in enumerate(group.paraphrases, 1):
            question = replace(original, id=f"{original.id}-p{number}", question=wording)
            asked.append(Asking(question=question, group=original.id, source="paraphrase"))
    for number, pair in enumerate(golden.near_misses, 1):
        for side, wording, answer, docs in (
            ("a", pair.a, pair.answer_a, pair.docs_a),
            ("b", pair.b, pair.answer_b, pair.docs_b),
        ):
            name = f"near-miss-{number}{side}"
            question = Question(id=name, question=wording, answers=(answer,), gold_ids=docs, kind="near_miss")
            asked.append(Asking(question=question, group=name, source="near_miss"))
    random.Random(seed).shuffle(asked)  # noqa: S311  an order, not a secret
    return asked


def conversations(golden: GoldenSet) -> list[Asking]:
    """Return the turns of every conversation in order, each in its standalone wording."""
    return [
        Asking(
            question=Question(
                id=f"{conversation.id}-t{number}",
                question=turn.standalone,
                answers=turn.answers,
                gold_ids=turn.gold_ids,
                supporting=turn.supporting,
                answerable=bool(turn.answers),
                kind="turn",
            ),
            group=f"{conversation.id}-t{number}",
            source="turn",
            conversation=conversation.id,
        )
        for conversation in golden.conversations
        for number, turn in enumerate(conversation.turns, 1)
    ]


def same_answer(one: Asking, other: Asking) -> bool:
    """True if the answer to one question serves the other: one group, or the same reference from the same document."""
    if one.group == other.group:
        return True
    if not set(one.question.gold_ids) & set(other.question.gold_ids):
        return False
    return _agree(one.question.answers, other.question.answers)


def _agree(one: Sequence[str], other: Sequence[str]) -> bool:
    return any((token_f1(answer, other) or 0.0) >= SAME_ANSWER_F1 for answer in one)
