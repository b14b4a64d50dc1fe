"""The prompt-cache rules, on traces worked by hand from the provider's documentation and on invariants."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costkit.errors import ConfigurationError
from costkit.ledger.usage import Usage
from costkit.prompt.minimums import base_model, minimum_tokens
from costkit.prompt.simulate import PromptCache
from costkit.testing import WordCounter

TRACES = json.loads((Path(__file__).parent / "data" / "prompt_cache_traces.json").read_text(encoding="utf-8"))["traces"]
SHORTHAND = re.compile(r"^(?P<word>\w+?)(?:\{(?P<first>\d+)\.\.(?P<last>\d+)\})?\*(?P<count>\d+)(?: @(?P<ttl>5m|1h))?$")


def cache(**options: object) -> PromptCache:
    return PromptCache(counter=WordCounter(), **options)


def mark(ttl: str) -> dict[str, str]:
    return {"type": "ephemeral"} if ttl == "5m" else {"type": "ephemeral", "ttl": ttl}


def filled(value: object) -> object:
    """Expand 'a*3' to 'a a a' wherever it stands."""
    if isinstance(value, dict):
        return {key: filled(part) for key, part in value.items()}
    if isinstance(value, list):
        return [filled(part) for part in value]
    found = SHORTHAND.match(value) if isinstance(value, str) else None
    return " ".join([found["word"]] * int(found["count"])) if found else value


def call(number: int) -> dict[str, object]:
    return {"type": "tool_use", "id": f"t{number}", "name": "search", "input": {"q": f"x{number}"}}


def result(number: int) -> dict[str, object]:
    return {"type": "tool_result", "tool_use_id": f"t{number}", "content": " ".join(["r"] * 10)}


def blocks(specs: object) -> object:
    """Write out a list of blocks in the traces' notation."""
    if isinstance(specs, str):
        return filled(specs)
    written: list[dict[str, object]] = []
    for spec in specs:
        if isinstance(spec, str):
            found = SHORTHAND.match(spec)
            numbers = range(int(found["first"]), int(found["last"]) + 1) if found["first"] else [""]
            for number in numbers:
                text = " ".join([f"{found['word']}{number}"] * int(found["count"]))
                written.append(
                    {"type": "text", "text": text} | ({"cache_control": mark(found["ttl"])} if found["ttl"] else {})
                )
        elif "parallel_calls" in spec:
            written += [call(number) for number in range(spec["parallel_calls"])]
        elif "parallel_results" in spec:
            written += [result(number) for number in range(spec["parallel_results"])]
            written[-1]["cache_control"] = mark(spec["mark"])
        else:
            written.append(filled(spec))
    return written


def messages(specs: list[object]) -> list[dict[str, object]]:
    written = []
    for spec in specs:
        if isinstance(spec, dict):
            for number in range(spec["rounds"]):
                written += [
                    {"role": "assistant", "content": [call(number)]},
                    {"role": "user", "content": [result(number)]},
                ]
            written[-1]["content"][-1]["cache_control"] = mark(spec["mark"])
        else:
            written.append({"role": spec[0], "content": blocks(spec[1])})
    return written


def tool(spec: dict[str, object]) -> dict[str, object]:
    if "raw" in spec:
        return spec["raw"]
    described = {
        "name": spec["name"],
        "description": " ".join(["w"] * spec["words"]),
        "input_schema": {"type": "object"},
    }
    return described | ({"cache_control": mark(spec["mark"])} if "mark" in spec else {})


def body(trace: dict[str, object], request: dict[str, object]) -> dict[str, object]:
    written = {"model": request.get("model") or trace.get("model", "claude-opus-5-5"), "max_tokens": 100}
    written |= {"messages": messages(request["messages"])}
    if "system" in request:
        written["system"] = blocks(request["system"])
    if "tools" in request:
        written["tools"] = [tool(spec) for spec in request["tools"]]
    if "automatic" in request:
        written["cache_control"] = mark(request["automatic"])
    return written | request.get("set", {})


@pytest.mark.parametrize("trace", TRACES, ids=[trace["id"] for trace in TRACES])
def test_trace_worked_by_hand(trace: dict[str, object]) -> None:
    simulated = cache()
    for request in trace["requests"]:
        sent = {
            "at": request["at"],
            "begins_after_seconds": request.get("begins_after", 0.0),
            "workspace": request.get("workspace", "default"),
        }
        if "error" in request:
            with pytest.raises(ConfigurationError, match=re.escape(request["error"])):
                simulated.send(body(trace, request), **sent)
            continue
        charge = simulated.send(body(trace, request), **sent)
        uncached, read, written_5m, written_1h = request["expect"]
        assert charge.usage == Usage(
            uncached_input_tokens=uncached,
            cache_read_tokens=read,
            cache_write_5m_tokens=written_5m,
            cache_write_1h_tokens=written_1h,
        ), request["because"]
        if "outcomes" in request:
            assert [report.outcome for report in charge.marks] == request["outcomes"]


def test_there_are_at_least_thirty_traces_and_each_cites_its_rule() -> None:
    assert len(TRACES) >= 30
    assert len({trace["id"] for trace in TRACES}) == len(TRACES)
    assert all(trace["rule"] for trace in TRACES)


SYSTEM = {"type": "text", "text": " ".join(["s"] * 1000), "cache_control": {"type": "ephemeral"}}


def asked(*content: object, **settings: object) -> dict[str, object]:
    request = {"model": "claude-opus-5-5", "max_tokens": 10, "messages": [{"role": "user", "content": list(content)}]}
    return request | {"system": [SYSTEM]} | settings


def text(words: str) -> dict[str, object]:
    return {"type": "text", "text": words}


class TestReasons:
    """Every mark says what became of it and why."""

    def only(self, simulated: PromptCache, at: float, **settings: object) -> str:
        (report,) = simulated.send(asked(text("q"), **settings), at=at).marks
        return f"{report.outcome}: {report.reason}"

    def test_first_write_read_and_expiry(self) -> None:
        simulated = cache()
        assert self.only(simulated, 0) == "written: no earlier request wrote this prefix, or one that it begins with"
        assert self.only(simulated, 10) == "read: the entry at system.0 was found and covers this prefix"
        assert self.only(simulated, 400) == "written: the entry at system.0 expired 90 seconds before"

    def test_too_short_names_the_minimum(self) -> None:
        simulated = cache(minimums={"claude-opus-5-5": 2000})
        assert "no prefix below 2000 tokens and this one has 1000" in self.only(simulated, 0)

    def test_parallel_request_names_the_unfinished_write(self) -> None:
        simulated = cache()
        simulated.open(asked(text("q")), at=0)
        assert "has not begun to respond" in self.only(simulated, 1)

    def test_out_of_reach_names_the_position(self) -> None:
        simulated = cache()
        simulated.send(asked(text("q")), at=0)
        plain = {"type": "text", "text": SYSTEM["text"]}
        far = [text(f"b{number}") for number in range(24)] + [text("last") | {"cache_control": {"type": "ephemeral"}}]
        (report,) = simulated.send(asked(*far, system=[plain]), at=1).marks
        assert report.reason == "the entry at system.0 is position 26 and the look-back ends at 20"

    def test_partial_read_names_where_it_ended(self) -> None:
        simulated = cache()
        simulated.send(asked(text("q")), at=0)
        first, second = simulated.send(asked(text("q") | {"cache_control": {"type": "ephemeral"}}), at=1).marks
        assert (first.outcome, second.outcome) == ("read", "written")
        assert "ends at system.0" in second.reason


def test_a_request_that_never_responds_leaves_nothing_to_read() -> None:
    simulated = cache()
    simulated.open(asked(text("q")), at=0)
    assert simulated.send(asked(text("q")), at=10).usage.cache_read_tokens == 0


def test_an_opened_request_can_be_read_once_it_begins() -> None:
    simulated = cache()
    charge = simulated.open(asked(text("q")), at=0)
    simulated.begin(charge, at=5)
    assert simulated.send(asked(text("q")), at=5).usage.cache_read_tokens == 1000


def test_marks_inside_a_tool_result_do_not_change_the_prefix() -> None:
    inner = {"type": "text", "text": "found it"}
    outer = {"type": "tool_result", "tool_use_id": "t", "content": [inner | {"cache_control": {"type": "ephemeral"}}]}
    simulated = cache()
    simulated.send(asked(outer, cache_control={"type": "ephemeral"}), at=0)
    again = simulated.send(asked(outer | {"content": [inner]}, cache_control={"type": "ephemeral"}), at=1)
    assert again.usage.cache_read_tokens == 1002


def test_images_and_documents_in_tool_results_are_counted() -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    document = {"type": "document", "title": "two words", "source": {"type": "text", "data": "three more words"}}
    outer = {"type": "tool_result", "tool_use_id": "t", "content": [picture, document]}
    assert cache().count(asked(outer)) == 1000 + 1600 + 5


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"messages": []}, "model: Field required"),
        ({"model": "m"}, "messages: Field required"),
        ({"model": "m", "messages": "hello"}, "messages: Input should be a valid list"),
        ({"model": "m", "messages": [{"role": "user"}]}, r"messages.0.content: Field required"),
        ({"model": "m", "messages": [{"role": "user", "content": ["text"]}]}, r"messages.0.content: Input should be"),
    ],
)
def test_malformed_requests_are_refused_as_the_provider_does(request_: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        cache().send(request_, at=0)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"minimums\['m'\]"):
        cache(minimums={"m": -1})
    with pytest.raises(ConfigurationError, match="begins_after_seconds"):
        cache().send(asked(text("q")), at=0, begins_after_seconds=-1)


def test_the_default_counter_is_used_where_none_is_given() -> None:
    assert PromptCache().count(asked(text("how many days"))) > 1


def test_output_tokens_are_passed_through() -> None:
    assert cache().send(asked(text("q")), at=0, output_tokens=7).usage.output_tokens == 7


def test_a_day_of_requests_does_not_grow_without_bound() -> None:
    """Expired entries are forgotten: the same prompt once an hour keeps one entry, other prompts go after a day."""
    simulated = cache()
    for hour in range(2048):
        simulated.send(asked(text("q"), system=[SYSTEM | {"text": SYSTEM["text"] + f" {hour}"}]), at=hour * 3600.0)
    assert len(simulated._entries) < 1100


class TestMinimums:
    @pytest.mark.parametrize(
        "model",
        [
            "claude-haiku-4-5",
            "claude-haiku-4-5-20251001",
            "claude-haiku-4-5@20251001",
            "anthropic.claude-haiku-4-5-20251001-v1:0",
            "us.anthropic.claude-haiku-4-5-20251001-v1:0",
            "anthropic/claude-haiku-4-5",
        ],
    )
    def test_every_spelling_of_a_model_has_its_minimum(self, model: str) -> None:
        assert base_model(model) == "claude-haiku-4-5"
        assert minimum_tokens(model) == 4096

    def test_a_minimum_is_that_of_its_day(self) -> None:
        assert minimum_tokens("claude-opus-4-7", as_of=date(2026, 6, 1)) == 4096
        assert minimum_tokens("claude-opus-4-7", as_of=date(2026, 8, 1)) == 2048
        assert minimum_tokens("claude-opus-4-7") == 2048
        assert minimum_tokens("claude-opus-4-7", as_of=date(2020, 1, 1)) == 4096

    def test_overrides_win_and_unknown_models_have_none(self) -> None:
        assert minimum_tokens("claude-opus-4-7-20260101", overrides={"claude-opus-4-7": 99}) == 99
        assert minimum_tokens("claude-opus-9", overrides={"claude-opus-8": 99}) is None


# Invariants, on random traffic over a few random prompts.

_ttls = st.sampled_from([None, "5m"])
_prompt = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 900), _ttls), min_size=1, max_size=26)
_traffic = st.lists(st.tuples(_prompt, st.floats(0, 500), st.floats(0, 20)), min_size=1, max_size=6)


def request_of(prompt: list[tuple[str, int, str | None]], *, keep: int = 4) -> dict[str, object]:
    """Build a request from (word, tokens, mark); only the last ``keep`` marks stay, the provider's limit."""
    marked = [index for index, (_, _, ttl) in enumerate(prompt) if ttl][-keep:]
    content = [
        text(" ".join([word] * count)) | ({"cache_control": mark("5m")} if index in marked else {})
        for index, (word, count, _) in enumerate(prompt)
    ]
    return {"model": "claude-opus-5-5", "max_tokens": 10, "messages": [{"role": "user", "content": content}]}


def bill(traffic: list[tuple[list[tuple[str, int, str | None]], float, float]], *, keep: int = 4) -> list[Usage]:
    simulated, now, bills = cache(), 0.0, []
    for prompt, gap, delay in traffic:
        now += gap
        bills.append(simulated.send(request_of(prompt, keep=keep), at=now, begins_after_seconds=delay).usage)
    return bills


@settings(max_examples=60, deadline=None)
@given(_traffic)
def test_read_written_and_uncached_make_up_the_whole_prompt(traffic: list) -> None:
    for (prompt, _, _), usage in zip(traffic, bill(traffic), strict=True):
        assert usage.input_tokens == sum(count for _, count, _ in prompt)


@settings(max_examples=60, deadline=None)
@given(_traffic)
def test_the_first_request_never_reads(traffic: list) -> None:
    assert bill(traffic)[0].cache_read_tokens == 0


@settings(max_examples=60, deadline=None)
@given(_traffic)
def test_marks_before_the_last_never_cost_more_with_one_lifetime(traffic: list) -> None:
    """Write premium 1.25, read .1: four marks cost at most what the last one alone costs, request by request."""

    def cost(usage: Usage) -> int:
        return 100 * usage.uncached_input_tokens + 10 * usage.cache_read_tokens + 125 * usage.cache_write_tokens

    with_all = [cost(usage) for usage in bill(traffic)]
    with_last = [cost(usage) for usage in bill(traffic, keep=1)]
    assert all(many <= one for many, one in zip(with_all, with_last, strict=True))


@settings(max_examples=40, deadline=None)
@given(_traffic, st.floats(1, 1e6))
def test_only_differences_in_time_matter(traffic: list, shift: float) -> None:
    shift = float(round(shift))
    whole = [(prompt, float(round(gap)), float(round(delay))) for prompt, gap, delay in traffic]
    first_prompt, first_gap, first_delay = whole[0]
    assert bill(whole) == bill([(first_prompt, first_gap + shift, first_delay), *whole[1:]])


@settings(max_examples=40, deadline=None)
@given(_traffic)
def test_what_is_paid_for_is_decided_by_the_marks(traffic: list) -> None:
    """Every mark is reported once, in order; what is written starts after what was read."""
    simulated, now = cache(), 0.0
    for prompt, gap, delay in traffic:
        now += gap
        charge = simulated.send(request_of(prompt), at=now, begins_after_seconds=delay)
        prefixes = [report.prefix_tokens for report in charge.marks]
        assert prefixes == sorted(prefixes)
        outcomes = [report.outcome for report in charge.marks]
        assert outcomes == sorted(outcomes, key=["too short", "read", "written"].index)
        if "written" in outcomes:
            assert charge.usage.cache_read_tokens + charge.usage.cache_write_tokens == prefixes[-1]
        else:
            assert charge.usage.cache_write_tokens == 0
