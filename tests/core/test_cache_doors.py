"""What every framework's door to the cache decides alike: which cache, where the question stands, on what it rests."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costkit.cache import ResponseCache
from costkit.cache.doors import MAX_QUESTION_TOKENS, cache_for, pieces, question_span
from costkit.errors import ConfigurationError
from costkit.testing import HashEmbedder, ListRecorder
from costkit.tokens import default_counter

QUESTION = "When are refunds paid?"
PROMPT = f"Answer from the context.\n\nRefunds are paid within 14 days.\n\nQuestion: {QUESTION}"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_short_message_is_the_question() -> None:
    assert question_span(QUESTION) == (0, len(QUESTION))


def test_a_message_of_several_paragraphs_is_a_filled_prompt() -> None:
    assert question_span(PROMPT) is None
    assert question_span(f"{QUESTION}\n\n") == (0, len(QUESTION) + 2)


def test_a_message_above_the_most_tokens_of_a_question_is_a_filled_prompt() -> None:
    words = "refund "
    longest = max(n for n in range(1, 300) if default_counter().count(words * n) <= MAX_QUESTION_TOKENS)

    assert question_span(words * longest) is not None
    assert question_span(words * (longest + 1)) is None


def test_a_known_question_is_found_at_its_last_place() -> None:
    text = f"{QUESTION}\n\n{PROMPT}"

    assert question_span(text, QUESTION) == (len(text) - len(QUESTION), len(text))


@pytest.mark.parametrize("question", ["", "  ", "Where is the cafeteria?"])
def test_a_known_question_that_is_blank_or_stands_elsewhere_has_no_place(question: str) -> None:
    assert question_span(PROMPT, question) is None


@given(st.text(min_size=1))
def test_the_pieces_of_an_answer_are_the_answer(text: str) -> None:
    assert "".join(pieces(text)) == text


def test_an_answer_of_several_words_comes_in_several_pieces() -> None:
    assert pieces("within 14 days") == ["within ", "14 ", "days"]


def test_a_given_cache_is_used_and_must_agree_on_the_tenant(tmp_path: Path) -> None:
    cache = ResponseCache(version="1", embedder=HashEmbedder(), path=tmp_path, recorder=ListRecorder())

    assert cache_for(cache, version="2", require_tenant=False) is cache
    with pytest.raises(ConfigurationError, match="require_tenant"):
        cache_for(cache, version="2", require_tenant=True)
    cache.close()
