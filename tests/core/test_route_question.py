"""The question inside a filled prompt."""

from __future__ import annotations

import pytest

from costkit.route import question_in


@pytest.mark.parametrize(
    ("prompt", "question"),
    [
        ("How long do refunds take?", "How long do refunds take?"),
        ("Refunds take 14 days.\n\nQuestion: How long?\nAnswer:", "How long?"),
        ("Question: How long?\nContext: Refunds take 14 days.\nAnswer:", "How long?"),
        ("Context:\nA\n\nB\n\nQuery: which one\nAnswer: ", "which one"),
        ("Refunds take 14 days.\n\nParcels leave on Monday.\n\nHow long?", "How long?"),
        ("Question: old?\n\nQuestion: new?", "new?"),
    ],
)
def test_the_question_is_found_in_usual_prompts(prompt: str, question: str) -> None:
    assert question_in(prompt).question == question


def test_the_rest_is_passages() -> None:
    found = question_in("Refunds take 14 days.\n\nParcels leave on Monday.\n\nQuestion: How long?\nAnswer:")

    assert found.passages == ("Refunds take 14 days.", "Parcels leave on Monday.", "Answer:")


def test_a_prompt_of_unknown_form_is_the_question_as_a_whole() -> None:
    prompt = "Refunds take 14 days.\n\nSummarise the text above."

    assert question_in(prompt).question == prompt
    assert question_in(prompt).passages == ()
