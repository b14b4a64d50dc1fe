"""A filled template of any framework: its stretches by stability, and where marks stand in them."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costkit.errors import ConfigurationError
from costkit.prompt import Stability
from costkit.prompt.sections import STABILITIES
from costkit.prompt.template import check_stability, cut, least_stable, place_texts, takes_breakpoints

PARTS = st.lists(st.tuples(st.text(alphabet="ab \n", max_size=4), st.sampled_from(get_args(Stability))))


def joined(parts: list[tuple[str, Stability]]) -> str:
    return "".join(text for text, _ in parts)


def test_a_text_is_cut_where_it_becomes_less_stable() -> None:
    parts: list[tuple[str, Stability]] = [
        ("Rules for ", "static"),
        ("acme", "session"),
        (": be brief. ", "static"),
        ("When?", "turn"),
        (" Answer:", "static"),
    ]

    assert cut(parts, joined(parts)) == [
        ("Rules for ", "static"),
        ("acme: be brief. ", "session"),
        ("When? Answer:", "turn"),
    ]


def test_white_space_goes_with_what_comes_after_it() -> None:
    parts: list[tuple[str, Stability]] = [("\n", "static"), ("Rules.", "daily"), ("  ", "session"), ("When?", "turn")]

    assert cut(parts, joined(parts)) == [("\nRules.", "daily"), ("  When?", "turn")]


def test_white_space_at_the_end_makes_what_stands_before_it_as_unstable_as_itself() -> None:
    assert cut([("Rules.", "static"), ("\n", "turn")], "Rules.\n") == [("Rules.\n", "turn")]
    assert cut([("\n", "static")], "\n") == [("\n", "static")]


def test_a_text_that_was_rewritten_after_it_was_filled_is_new_every_turn() -> None:
    assert cut([("Rules.", "static")], "RULES.") == [("RULES.", "turn")]


@given(PARTS)
def test_stretches_add_up_to_the_text_are_never_blank_and_grow_less_stable(parts: list[tuple[str, Stability]]) -> None:
    text = joined(parts)

    stretches = cut(parts, text)

    assert joined(stretches) == text
    levels = [STABILITIES.index(stability) for _, stability in stretches]
    assert levels == sorted(set(levels))
    assert all(stretch.strip() for stretch, _ in stretches) or len(stretches) == 1


@given(PARTS)
def test_no_character_counts_as_more_stable_than_the_part_it_is_from(parts: list[tuple[str, Stability]]) -> None:
    given_levels = [STABILITIES.index(stability) for text, stability in parts for _ in text]
    cut_levels = [STABILITIES.index(stability) for text, stability in cut(parts, joined(parts)) for _ in text]

    assert all(cut_level >= level for cut_level, level in zip(cut_levels, given_levels, strict=True))


def test_a_text_is_as_stable_as_its_least_stable_variable() -> None:
    known: dict[str, Stability] = {"rules": "static", "user": "session"}

    assert least_stable([], known) == "static"
    assert least_stable(["rules", "user"], known) == "session"
    assert least_stable(["rules", "question"], known) == "turn"


@pytest.mark.parametrize("stability", [{"rule": "static"}, {"rules": "always"}])
def test_a_wrong_name_or_stability_is_named(stability: dict[str, Stability]) -> None:
    (name,) = stability

    with pytest.raises(ConfigurationError, match=rf"stability\['{name}'\].*\['question', 'rules'\]"):
        check_stability(stability, ["rules", "question"])


def test_a_mark_stands_at_the_end_of_a_stable_beginning_and_never_behind_a_turn() -> None:
    rules = "Answer from the handbook and cite it. " * 1000

    placements = place_texts([(rules, "static"), ("When?", "turn"), (rules, "static")], model="claude-opus-5-5")

    assert [placement.ttl for placement in placements] == ["5m", None, None]
    assert [one.ttl for one in place_texts([(rules, "static")], ttl={"static": "1h"})] == ["1h"]


def test_claude_models_take_breakpoints_under_any_name() -> None:
    assert takes_breakpoints("us.anthropic.Claude-haiku-4-5")
    assert not takes_breakpoints("gpt-5")
