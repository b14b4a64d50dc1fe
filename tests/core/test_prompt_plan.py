"""Sections, breakpoints, emitters and output bounds: what is planned is what the provider's rules then bill."""

from __future__ import annotations

import importlib
import subprocess
import sys

import anthropic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import costkit.prompt
import costkit.testing
from costkit.errors import ConfigurationError
from costkit.prompt import (
    DEFAULT_BOUNDS,
    OutputBounds,
    PromptBlock,
    PromptCache,
    Section,
    bounds_for,
    emit_anthropic,
    emit_blocks,
    length_section,
    place,
    plan,
    ttl_for_gap,
)
from costkit.testing import MessagesServer, WordCounter

MODEL = "claude-opus-5-5"
WORDS = WordCounter()


def section(name: str, stability: str, words: int, role: str = "user", word: str = "") -> Section:
    return Section(name=name, text=" ".join([word or name] * words), stability=stability, role=role)


def names(plan_: costkit.prompt.Plan) -> list[str]:
    return [part.section.name for part in plan_.parts]


def marked(plan_: costkit.prompt.Plan) -> dict[str, str]:
    return {part.section.name: part.placement.ttl for part in plan_.breakpoints}


def reasons(plan_: costkit.prompt.Plan) -> dict[str, str]:
    return {part.section.name: part.placement.reason for part in plan_.parts}


RAG = (
    section("question", "turn", 20),
    section("prices", "daily", 700, "system"),
    section("context", "turn", 400),
    section("rules", "static", 600, "system"),
    section("profile", "session", 300),
)


class TestPlan:
    def test_sections_are_ordered_by_role_and_stability_and_keep_their_order_within(self) -> None:
        planned = plan(RAG, model=MODEL, counter=WORDS)
        assert names(planned) == ["rules", "prices", "profile", "question", "context"]
        assert planned.total_tokens == 2020

    def test_a_mark_ends_each_stable_run_and_none_stands_on_a_turn(self) -> None:
        planned = plan(RAG, model=MODEL, counter=WORDS)
        assert marked(planned) == {"rules": "5m", "prices": "5m", "profile": "5m"}
        assert [part.placement.prefix_tokens for part in planned.breakpoints] == [600, 1300, 1600]
        assert "would never be read" in reasons(planned)["question"]
        assert reasons(planned)["prices"] == "the 1300 tokens up to here stay the same for hours"

    def test_one_mark_covers_neighbours_of_one_stability(self) -> None:
        planned = plan(
            [section("a", "static", 600), section("b", "static", 600), section("q", "turn", 9)], counter=WORDS
        )
        assert marked(planned) == {"b": "5m"}
        assert "covers both" in reasons(planned)["a"]

    def test_a_prefix_below_the_models_minimum_is_skipped_with_the_figures(self) -> None:
        planned = plan(RAG, model="claude-haiku-4-5", counter=WORDS)
        assert marked(planned) == {}
        assert (
            reasons(planned)["prices"]
            == "the prefix has at most 1300 tokens and claude-haiku-4-5 caches no less than 4096"
        )

    def test_short_prefixes_count_towards_longer_ones(self) -> None:
        planned = plan(
            [section("a", "static", 300, "system"), section("b", "session", 300)], model=MODEL, counter=WORDS
        )
        assert marked(planned) == {"b": "5m"}

    def test_tool_definitions_count_towards_the_minimum(self) -> None:
        planned = plan([section("a", "static", 300)], model=MODEL, counter=WORDS, tokens_before=212)
        assert marked(planned) == {"a": "5m"}
        assert planned.parts[0].placement.prefix_tokens == 512

    def test_an_uncertain_count_is_skipped_only_if_its_upper_error_is_too_short(self) -> None:
        class Rough(WordCounter):
            upper_error = 0.25

        assert marked(plan([section("a", "static", 410)], model=MODEL, counter=Rough())) == {"a": "5m"}
        assert marked(plan([section("a", "static", 408)], model=MODEL, counter=Rough())) == {}

    def test_a_model_without_a_published_minimum_gets_the_smallest(self) -> None:
        for model in (None, "claude-unheard-of"):
            assert marked(plan([section("a", "static", 512)], model=model, counter=WORDS)) == {"a": "5m"}
            short = plan([section("a", "static", 511)], model=model, counter=WORDS)
            assert reasons(short)["a"] == "the prefix has at most 511 tokens and no model caches less than 512"

    def test_minimums_can_be_overridden(self) -> None:
        assert marked(plan(RAG, model=MODEL, counter=WORDS, minimums={MODEL: 1500})) == {"profile": "5m"}

    def test_the_most_stable_sections_get_the_breakpoints_there_are(self) -> None:
        assert marked(plan(RAG, model=MODEL, counter=WORDS, max_breakpoints=1)) == {"rules": "5m"}
        none = plan(RAG, model=MODEL, counter=WORDS, max_breakpoints=0)
        assert marked(none) == {}
        assert "0 breakpoints" in reasons(none)["rules"]

    def test_lifetimes_by_stability(self) -> None:
        assert marked(plan(RAG, model=MODEL, counter=WORDS, ttl={"static": "1h"}))["rules"] == "1h"
        unmarked = plan(RAG, model=MODEL, counter=WORDS, ttl={"daily": None})
        assert marked(unmarked) == {"rules": "5m", "profile": "5m"}
        assert "ttl['daily'] is None" in reasons(unmarked)["prices"]

    def test_a_changing_system_section_spoils_the_users_stable_ones_and_says_so(self) -> None:
        planned = plan(
            [section("now", "turn", 9, "system"), section("manual", "static", 900)], model=MODEL, counter=WORDS
        )
        assert marked(planned) == {}
        assert reasons(planned)["manual"] == "a section that changes every turn stands before it"

    def test_blank_sections_are_left_out(self) -> None:
        planned = plan([section("a", "static", 600), Section(name="none", text=" \n", stability="turn")], counter=WORDS)
        assert (names(planned), planned.left_out) == (["a"], ("none",))

    def test_the_default_counter_is_used_where_none_is_given(self) -> None:
        assert plan([section("a", "static", 600)], model=MODEL).total_tokens > 0

    def test_the_callers_sections_are_left_as_they_were(self) -> None:
        sections = list(RAG)
        plan(sections, model=MODEL, counter=WORDS)
        assert sections == list(RAG)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"max_breakpoints": 5}, "max_breakpoints must be between 0 and 4, got 5"),
            ({"ttl": {"session": "1h"}}, "one-hour mark must not follow a five-minute one"),
            ({"ttl": {"turn": "5m"}}, r"got ttl\['turn'\] = '5m'"),
            ({"ttl": {"static": "2h"}}, r"got ttl\['static'\] = '2h'"),
            ({"minimums": {"m": -1}}, r"minimums\['m'\]"),
        ],
    )
    def test_wrong_options_are_refused(self, options: dict, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            plan(RAG, model=MODEL, counter=WORDS, **options)

    def test_two_sections_of_one_name_are_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="'a' more than once"):
            plan([section("a", "static", 1), section("a", "turn", 1)], counter=WORDS)

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"name": " "}, "Section.name"),
            ({"text": None}, "Section.text of 'a'"),
            ({"stability": "weekly"}, "Section.stability must be one of .* got 'weekly'"),
            ({"role": "tool"}, "Section.role must be one of .* got 'tool'"),
        ],
    )
    def test_wrong_sections_are_refused(self, wrong: dict, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            Section(**({"name": "a", "text": "b", "stability": "static"} | wrong))


def test_place_marks_blocks_in_a_given_order() -> None:
    """A conversation: system prompt, history, question."""
    placements = place([("static", 600), ("session", 100), ("session", 100), ("turn", 20)], model=MODEL)
    assert [one.ttl for one in placements] == ["5m", None, "5m", None]


@pytest.mark.parametrize(("seconds", "ttl"), [(0, "5m"), (299, "5m"), (300, "1h"), (3599, "1h"), (3600, None)])
def test_lifetime_for_a_gap(seconds: float, ttl: str | None) -> None:
    assert ttl_for_gap(seconds) == ttl


def test_negative_gap_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="seconds must be 0 or more, got -1"):
        ttl_for_gap(-1)


class TestEmit:
    def test_anthropic_blocks_carry_the_marks(self) -> None:
        prompt = emit_anthropic(plan(RAG, model=MODEL, counter=WORDS, ttl={"static": "1h"}))
        assert [block.get("cache_control") for block in prompt["system"]] == [
            {"type": "ephemeral", "ttl": "1h"},
            {"type": "ephemeral"},
        ]
        (message,) = prompt["messages"]
        assert message["role"] == "user"
        assert ["cache_control" in block for block in message["content"]] == [True, False, False]
        assert message["content"][1] == {"type": "text", "text": RAG[0].text}

    def test_system_is_left_out_where_nothing_is_for_it(self) -> None:
        assert set(emit_anthropic(plan([section("a", "turn", 5)], counter=WORDS))) == {"messages"}

    def test_blocks_for_any_framework(self) -> None:
        planned = plan([section("a", "static", 600, "system"), section("q", "turn", 2)], model=MODEL, counter=WORDS)
        assert emit_blocks(planned) == [
            ("system", [PromptBlock(text=planned.parts[0].section.text, ttl="5m")]),
            ("user", [PromptBlock(text="q q")]),
        ]

    def test_the_provider_accepts_the_prompt_and_bills_what_was_planned(self) -> None:
        def ask(server: MessagesServer, question: str) -> anthropic.types.Usage:
            sections = [*RAG[1:], section("question", "turn", 20, word=question)]
            prompt = emit_anthropic(plan(sections, model=MODEL, counter=WORDS))
            with anthropic.Anthropic(base_url=server.url, api_key="key", max_retries=0) as sdk:
                return sdk.messages.create(model=MODEL, **prompt, **bounds_for("cheap").anthropic()).usage

        with MessagesServer(counter=WORDS) as server:
            first, second = ask(server, "one"), ask(server, "two")
        assert (first.cache_creation_input_tokens, first.input_tokens) == (1600, 420)
        assert (second.cache_read_input_tokens, second.input_tokens) == (1600, 420)


_sections = st.lists(
    st.tuples(
        st.sampled_from(["static", "daily", "session", "turn"]),
        st.sampled_from(["system", "user"]),
        st.integers(1, 1500),
    ),
    min_size=1,
    max_size=8,
)
_ttl = st.sampled_from([{}, {"static": "1h"}, {"static": "1h", "daily": "1h"}, {"static": None}])


@settings(max_examples=60, deadline=None)
@given(_sections, _ttl, st.integers(0, 4))
def test_every_plan_is_accepted_and_every_mark_is_written_then_read(drawn: list, ttl: dict, limit: int) -> None:
    """With an exact counter a planned mark is never too short, and a repeated prompt reads all that was marked."""
    sections = [section(f"s{number}", how, words, role) for number, (how, role, words) in enumerate(drawn)]
    planned = plan([*sections, section("q", "turn", 1)], model=MODEL, counter=WORDS, ttl=ttl, max_breakpoints=limit)
    assert len(planned.breakpoints) <= limit
    request = {"model": MODEL, "max_tokens": 10, **emit_anthropic(planned)}
    cache = PromptCache(counter=WORDS)
    first, second = cache.send(request, at=0), cache.send(request, at=1)
    assert [mark.outcome for mark in first.marks] == ["written"] * len(planned.breakpoints)
    assert [mark.prefix_tokens for mark in first.marks] == [
        part.placement.prefix_tokens for part in planned.breakpoints
    ]
    assert second.usage.cache_read_tokens == first.usage.cache_write_tokens


class TestBounds:
    def test_each_tier_has_bounds_and_an_unknown_one_gets_the_widest(self) -> None:
        assert bounds_for("cheap") == DEFAULT_BOUNDS["cheap"]
        assert bounds_for("giant") == DEFAULT_BOUNDS["strong"]
        mine = {"tiny": OutputBounds(max_words=10, max_tokens=20)}
        assert bounds_for("tiny", bounds=mine).max_tokens == 20

    def test_bounds_become_request_arguments(self) -> None:
        assert OutputBounds(max_words=10, max_tokens=40).anthropic() == {"max_tokens": 40}
        stops = OutputBounds(max_words=10, max_tokens=40, stop_sequences=("END",))
        assert stops.anthropic() == {"max_tokens": 40, "stop_sequences": ["END"]}

    def test_the_directive_is_a_static_section_and_can_be_replaced(self) -> None:
        bounds = OutputBounds(max_words=80, max_tokens=200)
        directive = length_section(bounds)
        assert "at most 80 words" in directive.text
        assert (directive.stability, directive.role) == ("static", "system")
        assert length_section(bounds, template="Max. {max_words} {words}!").text == "Max. 80 {words}!"

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"max_words": 0}, "max_words must be 1 or more, got 0"),
            ({"max_tokens": 150}, "at least twice max_words .* got 150"),
            ({"stop_sequences": (" ",)}, "stop_sequences"),
            ({"stop_sequences": "END"}, "stop_sequences"),
        ],
    )
    def test_wrong_bounds_are_refused(self, wrong: dict, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            OutputBounds(**({"max_words": 80, "max_tokens": 200} | wrong))

    def test_a_template_without_its_figure_and_empty_bounds_are_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="template must contain"):
            length_section(DEFAULT_BOUNDS["cheap"], template="Be brief.")
        with pytest.raises(ConfigurationError, match="at least one tier"):
            bounds_for("cheap", bounds={})


@pytest.mark.parametrize("package", [costkit.prompt, costkit.testing])
def test_every_public_name_can_be_imported_and_no_other(package: object) -> None:
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert getattr(importlib.import_module(package.__name__), "plan", plan) is plan
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing


def test_importing_the_packages_loads_nothing_heavy() -> None:
    code = (
        "import sys, costkit.prompt, costkit.testing; costkit.prompt.plan; costkit.prompt.PromptCache;"
        "costkit.testing.MessagesServer; costkit.testing.WordCounter;"
        "print([m for m in ('numpy', 'pydantic', 'sqlalchemy', 'anthropic', 'httpx') if m in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
