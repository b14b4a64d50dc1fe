"""The extractive readers: they answer from their prompt alone, cite it, and know when they do not know."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costkit.embed import Embedder
from costkit_evals.prompts import USER, passage
from costkit_evals.readers import (
    DONT_KNOW,
    LexicalScorer,
    Passage,
    Prompted,
    Reader,
    SemanticScorer,
    parse_prompt,
    strong_reader,
    weak_reader,
)

LEAVE_2025 = Passage(
    doc_id="leave-2025",
    title="Leave rules 2025",
    text="# Carry-over\n\nUp to five days of unused annual leave can be carried over. Sick days are another matter.",
)
LEAVE_2026 = Passage(
    doc_id="leave-2026",
    title="Leave rules 2026",
    text="# Carry-over\n\nUp to eight days of unused annual leave can be carried over. Sick days are another matter.",
)
CANTEEN = Passage(doc_id="canteen", title="Canteen", text="Lunch is served from noon to two. Soup costs three euros.")
PASSAGES = (CANTEEN, LEAVE_2025, LEAVE_2026)

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=60).filter(
    lambda text: text.strip() == text and text
)


def bare(*texts: str) -> list[Passage]:
    return [Passage(doc_id="canteen", title="", text=text) for text in texts]


@pytest.fixture(params=["weak", "strong"])
def reader(request: pytest.FixtureRequest) -> Reader:
    if request.param == "weak":
        return weak_reader()
    embedder: Embedder = request.getfixturevalue("minilm")
    return strong_reader(embedder)


def test_the_best_supported_sentence_is_given_with_its_source(reader: Reader) -> None:
    reading = reader.read(Prompted(question="From when is lunch served?", passages=PASSAGES))
    assert "Lunch is served from noon to two. [canteen]" in reading.answer
    assert reading.citations == ("canteen",)


def test_the_title_tells_alike_passages_apart(reader: Reader) -> None:
    asked = "How many days of unused annual leave can be carried over under the leave rules 2026?"
    reading = reader.read(Prompted(question=asked, passages=PASSAGES))
    assert "eight days" in reading.answer
    assert "leave-2026" in reading.citations


def test_what_the_passages_do_not_hold_is_not_answered(reader: Reader) -> None:
    reading = reader.read(Prompted(question="Which torque do the wheel bolts of a tractor need?", passages=PASSAGES))
    assert reading.answer == DONT_KNOW
    assert reading.citations == ()


def test_an_empty_context_is_not_answered(reader: Reader) -> None:
    assert reader.read(Prompted(question="From when is lunch served?", passages=())).answer == DONT_KNOW


def test_the_same_prompt_gives_the_same_reading(reader: Reader) -> None:
    prompted = Prompted(question="What does soup cost?", passages=PASSAGES)
    assert reader.read(prompted) == reader.read(prompted)


def test_headings_are_never_an_answer() -> None:
    reading = weak_reader().read(Prompted(question="Carry-over?", passages=(LEAVE_2026,)))
    assert "#" not in reading.answer


def test_the_strong_readers_scores_understand_other_words(minilm: Embedder) -> None:
    sentences = bare("Lunch is served from noon to two.", "Soup costs three euros.")
    lunch, soup = SemanticScorer(minilm).score("Any price for broth?", sentences)
    assert soup > lunch
    assert LexicalScorer().score("Any price for broth?", sentences) == [0.0, 0.0]


def test_a_word_of_the_question_that_few_sentences_hold_weighs_more() -> None:
    sentences = bare("hot soup", "fresh bread", "fresh salt", "fresh fish")
    rare, common = LexicalScorer().score("fresh soup", sentences)[:2]
    assert rare > common


def test_scores_of_no_sentences_are_none() -> None:
    assert LexicalScorer().score("anything", []) == []


@given(question=TEXTS, doc_id=TEXTS, title=TEXTS, text=TEXTS)
def test_a_prompt_is_read_as_it_was_written(question: str, doc_id: str, title: str, text: str) -> None:
    prompt = USER.format(context=passage(doc_id=doc_id, title=title, text=text), question=question)
    read = parse_prompt(prompt)
    assert read.passages == (Passage(doc_id=doc_id, title=title, text=text),)


def test_the_question_is_what_follows_the_context() -> None:
    prompt = USER.format(
        context=passage(doc_id="faq", title="FAQ", text="Question: why?\nBecause."), question="And how?"
    )
    assert parse_prompt(prompt).question == "And how?"


def test_a_text_without_a_frame_is_the_question() -> None:
    assert parse_prompt("How many days?") == Prompted(question="How many days?", passages=())
