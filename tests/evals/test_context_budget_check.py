"""Any reduction of any documents keeps its budget, its offsets and its citations."""

from __future__ import annotations

from dataclasses import replace

import pytest
from click.testing import CliRunner
from hypothesis import find, settings

from costkit.context import Document, Reduction
from costkit_evals.context_budget_check import Case, broken_promise, cases, main


def test_no_case_breaks_a_promise() -> None:
    done = CliRunner().invoke(main, ["--cases", "1500", "--seed", "1"])

    assert done.exit_code == 0, done.output
    assert done.output == "1500 cases: no budget exceeded, no offset broken, no citation lost\n"


@pytest.fixture
def case() -> Case:
    """A case whose budget is too small for its documents, two of which say the same."""
    return find(
        cases(),
        lambda case: (
            len(case.documents) > 2
            and any(span.also_in for span in case.reduce().kept)
            and broken_promise(case) is None
        ),
        settings=settings(max_examples=5000, database=None, derandomize=True),
    )


def test_what_breaks_a_promise_is_seen(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = case.reduce()
    kept = sound.kept[0]

    def broken(reduction: Reduction) -> str | None:
        monkeypatch.setattr(Case, "reduce", lambda _: reduction)
        return broken_promise(case)

    def with_span(**changes: object) -> Reduction:
        spans = tuple(replace(span, **changes) for span in sound.passages[0].kept)
        return replace(sound, passages=(replace(sound.passages[0], kept=spans), *sound.passages[1:]))

    assert broken(sound) is None
    assert "not the count" in (broken(replace(sound, tokens_after=sound.tokens_after + 1)) or "")
    assert "offsets" in (broken(with_span(start=kept.start + 1)) or "")
    assert "nothing says so" in (broken(with_span(also_in=())) or "")
    long = Document(id="long", text="word " * 9000)
    shown = replace(sound.passages[0], text=long.text)
    assert "above the budget" in (broken(replace(sound, passages=(shown,))) or "")
