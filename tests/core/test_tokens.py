"""The offline token estimate and its stated upper error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costkit.errors import ConfigurationError
from costkit.tokens import ApproximateCounter, default_counter, pieces, remember, upper_bound

# Counts of o200k_base, from npm js-tiktoken 1.0.21 (scripts/count_tokens.mjs).
O200K = [
    ("The gateway keeps two weeks of readings in its own memory and uploads them when the link returns.", 19),
    ("Invoice 2026-11-0042 is due on 14 December 2026: 1,350.75 EUR plus 19% VAT, payable within 30 days.", 38),
    ('def add(self, left: int, right: int) -> int:\n    """Return the sum."""\n    return left + right\n', 27),
    ("| Plan | Price |\n|---|---:|\n| Team | 64.50 |\n| Plant | 389.00 |\n", 27),
    ("Wer außerhalb dieser Zeit ein dringendes Problem meldet, landet bei der Bereitschaft.", 17),
    ("Les autres demandes sont traitées le jour ouvrable suivant, dans l'ordre de leur arrivée.", 19),
    ("请事先准备好设备序列号和最近一次校准的日期，否则我们无法查到您的档案。", 25),
    ("https://docs.example.com/v3/devices/readings?from=2026-01-01T00:00:00Z&limit=500#paging", 33),
    ("GET /healthz 200 3ms trace=9f1c2b7a user=null retry=0 cache=HIT", 28),
]
PROSE = st.lists(st.sampled_from("the Gateway keeps 2,048 readings. é 中 E-104 don't -- \n".split(" ")), min_size=1)


@pytest.mark.parametrize(("text", "true"), O200K)
def test_estimate_is_near_the_published_tokenizer_and_its_bound_is_above(text: str, true: int) -> None:
    counter = default_counter()

    assert counter.count(text) == pytest.approx(true, rel=0.2)
    assert upper_bound(counter, text) >= true


def test_the_empty_text_has_no_tokens() -> None:
    counter = default_counter()

    assert counter.count("") == 0
    assert upper_bound(counter, "") == 0


@given(st.text())
def test_every_text_is_cut_into_pieces_that_join_to_it_and_cost_at_least_one_token_each(text: str) -> None:
    counter = default_counter()

    assert "".join(pieces(text)) == text
    assert len(pieces(text)) <= counter.count(text) <= upper_bound(counter, text)


@given(PROSE.map(" ".join), PROSE.map(" ".join))
def test_more_text_never_counts_less_and_parts_never_count_less_than_the_whole(one: str, other: str) -> None:
    counter = default_counter()
    whole = counter.count(f"{one.rstrip()} {other}")

    assert whole >= counter.count(one.rstrip())
    assert whole <= counter.count(one.rstrip()) + counter.count(f" {other}")


def test_the_bound_widens_by_the_stated_error_and_rounds_up() -> None:
    class Words:
        name = "words"
        upper_error = 0.25

        def count(self, text: str) -> int:
            return len(text.split())

    assert upper_bound(Words(), "a b c d") == 5
    assert upper_bound(Words(), "a b c d e") == 7


def test_an_exact_counter_is_not_widened() -> None:
    counter = ApproximateCounter(upper_error=0.0)

    assert upper_bound(counter, "one two three") == counter.count("one two three")


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "0.1"])
def test_a_wrong_upper_error_is_refused_at_construction(value: float) -> None:
    with pytest.raises(ConfigurationError, match=r"upper_error must be a number"):
        ApproximateCounter(upper_error=value)


def test_letters_of_an_unknown_script_count_by_their_bytes() -> None:
    assert default_counter().count("ᚠᚢᚦ") >= 4


def test_more_different_words_than_are_remembered_do_not_change_a_count() -> None:
    counter = default_counter()
    before = counter.count("the gateway keeps readings")

    syllables = ["ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "ri", "so", "tu"]
    many = " ".join(f"{a}{b}{c}{d}" for a in syllables for b in syllables for c in syllables for d in syllables)

    assert counter.count(many) >= len(syllables) ** 4
    assert counter.count("the gateway keeps readings") == before


def test_the_default_counter_is_one_object() -> None:
    assert default_counter() is default_counter()


def test_a_remembering_counter_counts_the_same_and_asks_once() -> None:
    asked: list[str] = []

    class Counting:
        name = "counting"
        upper_error = 0.25

        def count(self, text: str) -> int:
            asked.append(text)
            return len(text)

    counter = remember(Counting())

    assert [counter.count("four"), counter.count("four"), counter.count("")] == [4, 4, 0]
    assert asked == ["four", ""]
    assert (counter.name, upper_bound(counter, "four")) == ("counting", 5)


def test_a_counter_that_remembers_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="max_texts"):
        remember(default_counter(), max_texts=0)
