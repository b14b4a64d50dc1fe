"""Units of text, lexical tokens and exact-match keys."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from costkit.errors import ConfigurationError
from costkit.text import Span, normalise_question, split_sentences, words

LABELLED = Path(__file__).parent / "data" / "sentences.txt"
BITS = [
    "Dr. ",
    "No. 5 ",
    "word ",
    "Word ",
    "...",
    ". ",
    "? ",
    "(",
    ") ",
    "- ",
    "1. ",
    "# ",
    "```",
    "~~~",
    "> ",
    "。",
    "v2.1.0",
    "é",
    "😀",
    "---",
    "\t",
    "*",
    "\xa0",
]
LINES = ["\n", "\n\n", "\r\n", "\u2028", "  \n", "| a | b |\n", "|---|---|\n", "```\n", '"', "\u201c", "\u201d"]
MARKUP = st.lists(st.sampled_from(BITS + LINES)).map("".join)


def labelled() -> list[str]:
    lines = LABELLED.read_text(encoding="utf-8").splitlines()
    return [line.replace("⏎", "\n") for line in lines if line and not line.startswith("#")]


def pieces(text: str) -> list[str]:
    return [text[span.start : span.end] for span in split_sentences(text)]


@pytest.mark.parametrize("case", labelled())
def test_prose_is_split_as_labelled(case: str) -> None:
    assert pieces(case.replace("‖", "")) == [sentence.strip() for sentence in case.split("‖")]


@given(st.one_of(st.text(), MARKUP))
@example("\ud800 lone surrogate. Next")
@example("\x1c\x85.\x1f Next")
def test_spans_are_ordered_disjoint_trimmed_and_complete(text: str) -> None:
    spans = split_sentences(text)

    assert all(left.end <= right.start for left, right in pairwise(spans))
    assert all(text[span.start : span.end] == text[span.start : span.end].strip() != "" for span in spans)
    assert "".join("".join(pieces(text)).split()) == "".join(text.split())


@given(MARKUP)
def test_a_unit_is_never_punctuation_alone_beside_words(text: str) -> None:
    """A stray bracket or bullet stays with the words of its paragraph."""
    paragraph = " ".join(text.replace("`", "").replace("~", "").replace("|", "").split()).lstrip("#-*>=0123456789. ")
    parts = pieces(paragraph)

    assert len(parts) <= 1 or all(re.search(r"[^\W_]", part) for part in parts)


def test_markdown_structure_is_kept_in_units() -> None:
    text = (
        "# Price list\nValid from May.\n\n| Plan | Price |\n|---|---:|\n| Team | 5.50. Net |\n| Plant | 9 |\n\n"
        "1. Open the app. Wait.\n2. Press *Start*\n   and hold it.\n- done\n\nLimits\n======\n"
        "```python\nx = 1\n\nprint(x)  # No. 5. Really.\n```\nThe end."
    )

    assert [(span.kind, text[span.start : span.end]) for span in split_sentences(text)] == [
        ("heading", "# Price list"),
        ("sentence", "Valid from May."),
        ("header", "| Plan | Price |\n|---|---:|"),
        ("row", "| Team | 5.50. Net |"),
        ("row", "| Plant | 9 |"),
        ("item", "1. Open the app."),
        ("item", "Wait."),
        ("item", "2. Press *Start*\n   and hold it."),
        ("item", "- done"),
        ("heading", "Limits\n======"),
        ("code", "```python\nx = 1\n\nprint(x)  # No. 5. Really.\n```"),
        ("sentence", "The end."),
    ]


def test_tables_without_outer_pipes_and_tab_separated_lines_are_rows() -> None:
    text = "Plan | Price\n--- | ---\nTeam | 5\n\nTeam\t5\t6\nPlant\t9\t7"

    assert pieces(text) == ["Plan | Price\n--- | ---", "Team | 5", "Team\t5\t6", "Plant\t9\t7"]


def test_a_code_block_that_is_never_closed_runs_to_the_end() -> None:
    assert pieces("Before.\n```\na. B\n\nc. D") == ["Before.", "```\na. B\n\nc. D"]


def test_a_closing_fence_is_at_least_as_long_as_its_opening_and_carries_no_text() -> None:
    assert pieces("````\n```\n```` x\n````\nAfter.") == ["````\n```\n```` x\n````", "After."]


def test_lines_broken_on_purpose_end_a_unit_and_wrapped_lines_do_not() -> None:
    """A short line, a hard break and a field end a unit; a long line only wraps."""
    assert pieces("Opening hours\nThe office in the harbour is open from nine to\nfive on every working day.") == [
        "Opening hours",
        "The office in the harbour is open from nine to\nfive on every working day.",
    ]
    assert pieces("One line  \nand another\\\nand a third") == ["One line", "and another\\", "and a third"]
    assert pieces("Weight: 3.5 kg\nPrice: 20 EUR") == ["Weight: 3.5 kg", "Price: 20 EUR"]


def test_a_number_that_begins_a_wrapped_line_starts_no_list() -> None:
    assert pieces("The contract between both of the parties ended on the\n24. Dezember of that year.") == [
        "The contract between both of the parties ended on the\n24. Dezember of that year."
    ]


@pytest.mark.parametrize("text", ["", " \n\t", "\n\n\n"])
def test_blank_text_has_no_units(text: str) -> None:
    assert split_sentences(text) == []


def test_long_runs_of_punctuation_take_linear_time() -> None:
    """These ran for minutes with a backtracking pattern."""
    assert pieces("." * 50_000) == ["." * 50_000]
    assert len(pieces("```\n" * 5_000)) == 2_500


def test_a_span_refuses_offsets_that_cannot_be() -> None:
    with pytest.raises(ConfigurationError, match=r"Span\.start"):
        Span(3, 2)
    with pytest.raises(ConfigurationError, match=r"Span\.kind"):
        Span(0, 2, kind="poem")  # type: ignore[arg-type]


def test_words_keep_numbers_versions_codes_and_percentages_whole() -> None:
    text = "Upgrade to v2.4.1 at E-104: it's 4.5% (or -3.5°) of $1,350.75; Ann’s cold-chain L3X, UTF-8, 10:35, 3.5kg."

    expected = "upgrade to v2.4.1 at e-104 it 4.5% or -3.5 of 1350.75 ann cold chain l3x utf-8 10:35 3.5 kg"
    assert " ".join(words(text)) == expected


def test_words_of_other_scripts() -> None:
    assert words("Über 这台 पंप １２") == ["über", "这", "台", "पंप", "12"]


@given(st.text())
def test_words_are_lower_case_and_without_white_space(text: str) -> None:
    found = words(text)

    assert all(word and word == word.lower() and not re.search(r"\s", word) for word in found)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What’s  the limit, please?", "what's the limit please"),
        ("How do I reset it?!", "How do I reset it"),
        ("“Open” the valve.", "open the valve"),
        ("Ｗｈａｔ is it？", "what is it"),
        ("is it −5 or 5–10?", "is it -5 or 5-10"),
        ("Πόσο κοστίζει; ", "πόσο κοστίζει"),
        ("Πόσο κοστίζει\u037e", "πόσο κοστίζει;"),
        ("is it 5? .", "is it 5"),
    ],
)
def test_ways_of_typing_one_question_share_a_key(one: str, other: str) -> None:
    assert normalise_question(one) == normalise_question(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("is it 5?", "is it -5?"),
        ("is it 1.5?", "is it 15?"),
        ("limit of 10²", "limit of 102"),
        ("what is 5!", "what is 5"),
        ("sum of 1, 25", "sum of 1 25"),
        ("is it covered", "is it not covered"),
        ("isn't it covered", "is it covered"),
        ("can I use C++", "can I use C"),
        ("a 5 mW laser", "a 5 MW laser"),
        ("does IT support it", "does it support it"),
        ('the 5" screen', "the 5 screen"),
        ('set to "5"', 'set to 5"'),
        ("a < b", "a > b"),
        ("50% off", "50 off"),
        ("?", "!"),
    ],
)
def test_questions_with_other_answers_keep_other_keys(one: str, other: str) -> None:
    assert normalise_question(one) != normalise_question(other)


@pytest.mark.parametrize("piece", [".", ",;", "ab.", " ,", "!"])
def test_a_key_of_the_longest_question_takes_no_minutes(piece: str) -> None:
    """Time that grows with the square of the length would let one question stop the process for minutes."""
    assert normalise_question(f"{piece * 50_000}5x").endswith("5x")


@given(st.text())
@example("İ İT 5 Mw")
@example("ab!;")
@example("5? ;")
def test_a_key_is_stable_and_keeps_every_digit_and_sign(text: str) -> None:
    key = normalise_question(text)

    assert normalise_question(key) == key
    assert [c for c in text if c.isdecimal() and c.isascii()] == [
        c for c in key if c.isdecimal() and c.isascii()
    ] or not text.isascii()
    assert all(key.count(sign) == text.count(sign) for sign in "+<>=%/*#&@") or not text.isascii()
