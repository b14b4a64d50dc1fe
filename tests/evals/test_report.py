"""Results, gates, the HTML report and the terminal tables, on a small made-up run."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from costkit.errors import ConfigurationError, DataError
from costkit_evals.gates import EXIT_CODES, Limits, exit_code, judge
from costkit_evals.report import render
from costkit_evals.result import (
    Comparison,
    EarlierRun,
    Framework,
    GateName,
    GoldenSummary,
    Hits,
    Inflation,
    Phase,
    ReaderName,
    Result,
    Row,
    Stage,
    StageLatency,
    Timing,
)
from costkit_evals.statistics import Difference, Estimate
from costkit_evals.terminal import Progress, show

# Per pipeline: context tokens, other prompt tokens, share read from the prompt cache, dollars, span recall, token F1.
FIGURES = {
    "naive": (1480, 1010, 0.0, 0.0139, 0.871, 0.492),
    "route": (1480, 1010, 0.0, 0.0061, 0.871, 0.478),
    "cache": (1480, 1010, 0.0, 0.0139, 0.871, 0.492),
    "context": (552, 1010, 0.0, 0.0092, 0.878, 0.497),
    "prompt": (1480, 1010, 0.93, 0.0098, 0.871, 0.492),
    "route+cache": (1480, 1010, 0.0, 0.0061, 0.871, 0.478),
    "route+cache+context": (552, 1010, 0.0, 0.0040, 0.878, 0.481),
    "all": (552, 1010, 0.93, 0.0031, 0.878, 0.482),
}


def around(value: float, spread: float = 0.04, n: int = 192) -> Estimate:
    return Estimate(value=value, low=value * (1 - spread), high=value * (1 + spread), n=n)


def make_row(framework: Framework, phase: Phase, pipeline: str, reader: ReaderName = "tiered") -> Row:
    context, other, cached, usd, recall, f1 = FIGURES.get(pipeline, FIGURES["all"])
    parts = pipeline.split("+") if pipeline not in {"naive", "all"} else []
    caches = phase == "replay" and ("cache" in parts or pipeline == "all")
    routes = "route" in parts or pipeline == "all"
    served = 0.42 if caches else 0.0
    f1 += {"tiered": 0.0, "strong": 0.02, "weak": -0.07}[reader]
    usd *= (1 - served) * (1.15 if phase == "conversation" else 1.0)
    shares = {"cached": served, "cheap": (1 - served) * 0.6 * routes, "strong": (1 - served) * (1 - 0.6 * routes)}
    split = {"system_cached": 0.1 * cached, "system_uncached": 0.34 * (1 - cached), "context": context / 3800}
    split |= {"question": 0.01, "output": 0.15, "rerank": 0.004}
    segments = {
        "system_cached": 950 * cached,
        "system_uncached": 950 * (1 - cached),
        "context": context,
        "question": 22,
    }
    return Row(
        framework=framework,
        phase=phase,
        pipeline=pipeline,
        reader=reader,
        asked=192,
        n=192,
        metrics={
            "span_recall": around(recall),
            "span_precision": around(55 / context * 1.4),
            "id_recall": around(recall + 0.05),
            "token_f1": around(f1, 0.07),
            "exact_match": around(0.12, 0.3),
            "containment": around(f1 + 0.17),
            "abstention_accuracy": around(0.81),
            "semantic_similarity": around(0.744),
            "success": around(f1 + 0.12, 0.08),
            "ragas_non_llm_string_similarity": around(0.38),
            "ragas_rouge_score": None,
        },
        tokens={
            "context": around(context),
            "prompt": around((context + other) * (1 - served)),
            "output": around(41 * (1 - served)),
            "cache_read": around(950 * cached),
            "cache_write": around(12 * cached),
        },
        tokens_by_segment={**segments, "history": 240.0} if phase == "conversation" else segments,
        usd_per_question=around(usd),
        usd_by_segment={name: usd * share / sum(split.values()) for name, share in split.items()},
        usd_per_success={
            "all": around(usd / (f1 + 0.12), 0.1),
            "cached": around(0.00002, 0.2) if caches else None,
            "cheap": around(usd / 2.1, 0.12) if routes else None,
            "strong": around(usd * 1.9, 0.12),
        },
        tier_share=shares,
        hits=Hits(exact=31, semantic=50, wrong=3, stale=0, n=192) if caches else Hits(n=192),
        context_stages=(
            Stage(name="retrieved", tokens=3650),
            Stage(name="duplicates out", tokens=3120),
            Stage(name="reranked", tokens=1490),
            Stage(name="sentences chosen", tokens=552),
        )
        if context == 552
        else (),
        context_growth=tuple(context + other + turn * (300 if pipeline == "naive" else 190) for turn in range(5))
        if phase == "conversation"
        else (),
    )


def make_comparison(row: Row, naive: Row) -> Comparison:
    def gap(key: str) -> Difference:
        one, other = row.metrics[key], naive.metrics[key]
        assert one is not None
        assert other is not None
        value = one.value - other.value
        return Difference(value=value, low=value - 0.015, high=value + 0.015, lower_bound=value - 0.0126, n=192)

    assert row.usd_per_question is not None
    assert naive.usd_per_question is not None
    saved = {key: 1 - row.tokens[key].value / naive.tokens[key].value for key in ("context", "prompt", "output")}
    saved["usd"] = 1 - row.usd_per_question.value / naive.usd_per_question.value
    return Comparison(
        framework=row.framework,
        phase=row.phase,
        pipeline=row.pipeline,
        reader=row.reader,
        differences={
            key: gap(key) for key in ("span_recall", "token_f1", "containment", "abstention_accuracy", "success")
        },
        reductions={key: Estimate(value=one, low=one - 0.02, high=one + 0.02, n=192) for key, one in saved.items()},
        detectable={"span_recall": 0.021, "token_f1": 0.019, "success": 0.034},
    )


def make_result(
    pipelines: tuple[str, ...] = ("naive", "all"), frameworks: tuple[Framework, ...] = ("langchain",)
) -> Result:
    rows: list[Row] = []
    places: list[tuple[Phase, ReaderName]] = [(phase, "tiered") for phase in get_args(Phase)]
    for framework in frameworks:
        for phase, reader in [*places, ("first", "strong"), ("first", "weak")]:
            rows += [make_row(framework, phase, pipeline, reader) for pipeline in pipelines]
    naive = {(row.framework, row.phase, row.reader): row for row in rows if row.pipeline == "naive"}
    result = Result(
        costkit_version="0.1.0",
        golden=GoldenSummary(name="handbook", fingerprint="9f2c" * 16, documents=84, questions=264),
        seed=7,
        settings={
            "models": {"cheap": "claude-haiku-5-5", "strong": "claude-opus-5-5"},
            "price_snapshot": "2026-10-20",
            "naive_k": 8,
            "replay_mix": {"verbatim": 0.3, "paraphrase": 0.5, "near miss": 0.2},
            "readers": ["tiered", "strong", "weak"],
        },
        rows=tuple(rows),
        comparisons=tuple(make_comparison(row, naive[row.framework, row.phase, row.reader]) for row in rows),
        inflation=Inflation(
            tokens=552.0,
            baseline_tokens=548.0,
            source="handbook, costkit 0.1.0",
            history=(EarlierRun(run="1", created="2026-11-01T09:00:00Z", tokens=548.0),),
        ),
        notes=("No language model answered: an extractive reader stands for each tier, so read quality as relative.",),
        timing=Timing(
            created="2026-11-21T03:40:00Z",
            seconds=141.2,
            peak_memory_mib=1210.0,
            stages=tuple(
                StageLatency(
                    framework=row.framework,
                    phase=row.phase,
                    pipeline=row.pipeline,
                    reader=row.reader,
                    stage=stage,
                    n=192,
                    p50_seconds=p50,
                    p95_seconds=p50 * 2.4,
                )
                for row in rows
                for stage, p50 in (("retrieve", 0.0041), ("context", 0.0384), ("generate", 0.0021))
                if stage != "context" or row.context_stages
            ),
        ),
    )
    return replace(result, gates=judge(result))


@pytest.fixture(scope="module")
def result() -> Result:
    return make_result()


@pytest.fixture(scope="module")
def html(result: Result) -> str:
    return render(result)


class TestJson:
    def test_comes_back_equal(self, result: Result) -> None:
        again = Result.from_json(result.to_json())
        assert again == result
        assert again.to_json() == result.to_json()

    @given(st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20))
    def test_keeps_every_float_and_every_text(self, tokens: float, note: str) -> None:
        given_result = replace(make_result(), inflation=Inflation(tokens=tokens), notes=(note,))
        assert Result.from_json(given_result.to_json()) == given_result

    def test_fingerprint_leaves_out_times_and_earlier_runs_only(self, result: Result) -> None:
        later = replace(result, timing=Timing(seconds=9.0), inflation=replace(result.inflation, history=()))
        assert later.fingerprint == result.fingerprint
        assert replace(result, seed=8).fingerprint != result.fingerprint

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "not a result"),
            ("[]", "schema must be 1, got None"),
            ('{"schema": 99}', "schema must be 1, got 99"),
            ('{"schema": 1}', "costkit_version"),
        ],
    )
    def test_names_what_is_wrong_with_a_foreign_file(self, text: str, message: str) -> None:
        with pytest.raises(DataError, match=re.escape(message)):
            Result.from_json(text)


class TestGates:
    def test_pass_where_every_limit_holds(self, result: Result) -> None:
        assert all(gate.passed and gate.value is not None for gate in result.gates)
        assert exit_code(result.gates) == 0

    @pytest.mark.parametrize(
        ("limits", "gate"),
        [
            (Limits(quality_margin=0.01), "quality"),
            (Limits(context_reduction=0.70), "cost"),
            (Limits(cost_reduction=0.90), "cost"),
            (Limits(inflation=1.0), "inflation"),
        ],
    )
    def test_fail_with_their_own_exit_code(self, result: Result, limits: Limits, gate: GateName) -> None:
        outcomes = judge(result, limits)
        assert {one.name for one in outcomes if not one.passed} == {gate}
        assert exit_code(outcomes) == EXIT_CODES[gate]

    def test_coverage_fails_where_a_row_lost_questions(self, result: Result) -> None:
        short = replace(result, rows=(*result.rows[:-1], replace(result.rows[-1], n=189)))
        outcomes = judge(short)
        assert exit_code(outcomes) == 12
        assert "98.4%" in next(one.text for one in outcomes if one.name == "coverage")

    def test_the_worst_reader_counts(self, result: Result) -> None:
        bad = Difference(value=-0.1, low=-0.2, high=0.0, lower_bound=-0.19, n=192)
        spoilt = [
            replace(one, differences={**one.differences, "token_f1": bad}) if one.reader == "weak" else one
            for one in result.comparisons
        ]
        (failed,) = (one for one in judge(replace(result, comparisons=tuple(spoilt))) if not one.passed)
        assert failed.measure == "token_f1"
        assert failed.value == -0.19
        assert "weak reader" in failed.text

    def test_a_bound_on_the_margin_fails(self, result: Result) -> None:
        edge = Difference(value=0.0, low=-0.1, high=0.1, lower_bound=-0.03, n=192)
        one = replace(result.comparisons[1], differences={"span_recall": edge})
        assert not judge(replace(result, comparisons=(one,)))[0].passed

    def test_exit_code_is_that_of_the_first_gate_that_fails(self, result: Result) -> None:
        outcomes = judge(replace(result, rows=()), Limits(inflation=0.5, cost_reduction=0.99))
        assert [one.name for one in outcomes if not one.passed] == ["cost", "coverage", "inflation"]
        assert exit_code(reversed(outcomes)) == 11

    def test_a_run_without_the_judged_pipeline_says_so(self, result: Result) -> None:
        outcomes = judge(replace(result, comparisons=(), inflation=Inflation(tokens=5.0)))
        unjudged = [one for one in outcomes if one.value is None]
        assert [one.name for one in unjudged] == ["quality", "quality", "cost", "cost", "inflation"]
        assert all(one.passed and "not judged" in one.text for one in unjudged)

    def test_refuse_a_limit_that_cannot_be(self) -> None:
        with pytest.raises(ConfigurationError, match="quality_margin must lie between 0 and 1, got 3"):
            Limits(quality_margin=3)


class Page(HTMLParser):
    """Collects the tags of a page, its ids, and whatever it would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.references: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in {"src", "srcset", "data", "action"} or name.startswith("on"):
                self.loads.append(value or "")
            if name in {"href", "xlink:href"}:
                self.references.append(value or "")


class TestReport:
    def test_loads_nothing(self, html: str) -> None:
        page = Page(html)
        assert not page.loads
        assert not {"script", "link", "iframe", "img", "object"} & set(page.tags)
        assert all(reference.startswith("#") for reference in page.references)
        assert not re.search(r"https?://|@import|url\((?!#)", html)

    def test_ids_are_unique_and_references_resolve(self, html: str) -> None:
        page = Page(html)
        assert len(page.ids) == len(set(page.ids))
        assert {reference.removeprefix("#") for reference in page.references} <= set(page.ids)
        assert set(re.findall(r"url\(#([^)]*)\)", html)) <= set(page.ids)

    def test_is_the_same_for_the_same_result(self, result: Result, html: str) -> None:
        assert render(Result.from_json(result.to_json())) == html

    def test_shows_verdict_notes_and_every_plot(self, result: Result, html: str) -> None:
        assert "All gates pass" in html
        assert result.notes[0] in html
        for title in (
            "Context tokens, stage by stage",
            "Prompt tokens by segment",
            "Cost and span recall",
            "Cost and token F1",
            "By tier, in the replay",
            "Prompt growth in a conversation",
            "Context inflation over runs",
        ):
            assert f"<h3>{title}</h3>" in html
        assert html.count("<svg") == html.count("<figure")

    def test_names_the_gates_that_fail(self, result: Result) -> None:
        limits = Limits(cost_reduction=0.9)
        html = render(replace(result, gates=judge(result, limits)), limits=limits)
        assert "1 of 4 gates fails: cost" in html
        assert "Exit code 11." in html

    def test_escapes_hostile_names(self) -> None:
        hostile = '<script>alert("1")</script>$x^2$'
        plain = make_result(("naive", hostile, "all"))
        html = render(
            replace(
                plain,
                golden=replace(plain.golden, name=hostile),
                notes=(hostile,),
                settings={hostile: {hostile: [hostile]}},
            )
        )
        assert "<script" not in html
        assert html.count("&lt;script&gt;") > 10

    @pytest.mark.parametrize("pipelines", [("naive",), ("context",), ("naive", "all")])
    def test_stands_on_a_partial_run(self, pipelines: tuple[str, ...]) -> None:
        rows = tuple(
            replace(row, usd_per_question=None, usd_by_segment={}, usd_per_success={}, context_stages=())
            for row in (make_row("llamaindex", "first", name, "strong") for name in pipelines)
        )
        bare = replace(
            make_result(), rows=rows, comparisons=(), gates=(), inflation=Inflation(tokens=1480), timing=Timing()
        )
        html = render(bare)
        assert "Not judged" in html
        assert "no baseline is stored yet" in html


class TestTerminal:
    def test_fits_a_hundred_columns(self) -> None:
        out = io.StringIO()
        everything = make_result(tuple(FIGURES), ("langchain", "llamaindex"))
        show(everything, console=Console(file=out, width=100))
        text = out.getvalue()
        assert max(len(line) for line in text.splitlines()) <= 100
        assert "\N{HORIZONTAL ELLIPSIS}" not in text
        for title in ("LangChain: first pass", "LlamaIndex: replay", "LangChain: conversations", "Gates"):
            assert title in text
        assert text.count("route+cache+context") == 6

    def test_progress_writes_plain_lines_where_there_is_no_terminal(self) -> None:
        out = io.StringIO()
        progress = Progress(Console(file=out, width=40))
        progress.start(40)
        for step in range(40):
            progress.advance("langchain naive" if step < 20 else "langchain [all]")
        progress.stop()
        lines = out.getvalue().splitlines()
        assert lines[0] == "[4/40] langchain naive"
        assert lines[-1] == "[40/40] langchain [all]"
        assert len(lines) == 10

    def test_progress_draws_a_bar_on_a_terminal(self) -> None:
        out = io.StringIO()
        progress = Progress(Console(file=out, force_terminal=True, width=100))
        progress.start(2)
        progress.advance("langchain [all]")
        progress.stop()
        progress.stop()
        assert "langchain [all]" in out.getvalue()
        assert "1/2" in out.getvalue()


def test_the_template_ships_with_the_package() -> None:
    from costkit_evals import report

    assert Path(report.__file__).with_name("templates").joinpath("report.html.j2").is_file()
