"""Any reduction of any documents keeps its budget, its offsets and its citations."""

from __future__ import annotations

from dataclasses import replace

import pytest
from click.testing import CliRunner

from costkit.context import Document, Reduction, from_embedder
from costkit.testing import HashEmbedder, WordCounter
from costkit_evals.context_budget_check import Case, broken_promise, main


def test_no_case_breaks_a_promise() -> None:
    done = CliRunner().invoke(main, ["--cases", "1500", "--seed", "1"])

    assert done.exit_code == 0, done.output
    assert done.output == "1500 cases: no budget exceeded, no offset broken, no citation lost\n"


@pytest.fixture
def case() -> Case:
    """A budget too small for its documents, two of which say the same."""
    refunds = "Refunds are paid to the card that was charged, within 14 days of the claim."
    texts = (
        f"{refunds} Cats sleep all day.",
        "Parcels are shipped on Monday and on Thursday.",
        f"Cats sleep all day long. {refunds}",
    )
    return Case(
        question="When are refunds paid?",
        documents=tuple(Document(id=f"d{at}", text=text) for at, text in enumerate(texts)),
        budget_tokens=18,
        counter=WordCounter(),
        order="stable",
        on_nothing="keep",
        economics=None,
        k=None,
        reranker=from_embedder(HashEmbedder()),
    )


def test_what_breaks_a_promise_is_seen(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = case.reduce()
    kept = sound.kept[0]
    assert kept.also_in

    def broken(reduction: Reduction) -> str | None:
        monkeypatch.setattr(Case, "reduce", lambda _: reduction)
        return broken_promise(case)

    def with_span(**changes: object) -> Reduction:
        spans = tuple(replace(span, **changes) for span in sound.passages[0].kept)
        return replace(sound, passages=(replace(sound.passages[0], kept=spans), *sound.passages[1:]))

    assert broken(sound) is None
    assert "nothing failed" in (broken(replace(sound, decision="fallback")) or "")
    assert "not the count" in (broken(replace(sound, tokens_after=sound.tokens_after + 1)) or "")
    assert "offsets" in (broken(with_span(start=kept.start + 1)) or "")
    assert "nothing says so" in (broken(with_span(also_in=())) or "")
    long = Document(id="long", text="word " * 9000)
    shown = replace(sound.passages[0], text=long.text)
    assert "above the budget" in (broken(replace(sound, passages=(shown,))) or "")
