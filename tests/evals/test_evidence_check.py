"""The handbook's dated changes, made by real re-ingestion in both frameworks: no stale answer is served after them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from costkit.embed import Embedder, remember
from costkit_evals.evidence_check import Setting, check, main, settings
from costkit_evals.golden import GoldenSet, load

HANDBOOK = Path(__file__).parents[2] / "evals" / "golden" / "handbook"
SOUND = 20
OTHER_DOCUMENTS = 15


@pytest.fixture(scope="module")
def golden() -> GoldenSet:
    """What the handbook's changes touch, and some of the rest: the command does the whole."""
    whole = load(HANDBOOK)
    touched = {name for change in whole.changes for name in change.question_ids}
    others = [one.id for one in whole.questions if one.answerable and one.id not in touched][:SOUND]
    kept = [one for one in whole.questions if one.id in touched.union(others)]
    needed = {name for one in kept for name in one.gold_ids}
    rest = [one.id for one in whole.corpus if one.id not in needed][:OTHER_DOCUMENTS]
    return replace(
        whole,
        corpus=tuple(one for one in whole.corpus if one.id in needed.union(rest)),
        questions=tuple(kept),
        paraphrases=tuple(one for one in whole.paraphrases if one.question_id in touched),
    )


@pytest.fixture(scope="module")
def embedder(minilm: Embedder) -> Embedder:
    return remember(minilm)


def name(setting: Setting) -> str:
    return f"{setting.framework}-{setting.reuse}-{setting.event}-{'watched' if setting.watched else 'unwatched'}"


@pytest.mark.parametrize("setting", [one for one in settings() if one.watched or one.event == "changed"], ids=name)
def test_no_stale_answer_is_served_after_the_handbooks_changes(
    golden: GoldenSet, embedder: Embedder, setting: Setting
) -> None:
    found = check(golden, embedder, setting)

    assert len(golden.changes) >= 15
    assert found.outdated >= 14
    assert found.served_before >= 20
    assert found.stale == 0
    assert found.lost < found.sound


def test_the_check_sees_stale_answers_where_nothing_looks_after_the_cache(
    golden: GoldenSet, embedder: Embedder
) -> None:
    blind = Setting(framework="langchain", reuse="before_retrieval", watched=False, event="changed")

    found = check(golden, embedder, blind)

    assert found.stale >= found.served_before > 20
    assert found.lost == 0


def test_the_command_prints_a_line_or_an_object_for_each_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from costkit.testing import HashEmbedder

    monkeypatch.setattr("costkit_evals.evidence_check.default_embedder", HashEmbedder)
    rows = {
        "corpus.jsonl": {"id": "refunds", "title": "Refunds", "text": "Refunds are paid within 14 days."},
        "questions.jsonl": {
            "id": "q1",
            "question": "When are refunds paid?",
            "answers": ["14 days"],
            "gold_ids": ["refunds"],
        },
        "changes.jsonl": {
            "id": "c1",
            "date": "2027-01-01",
            "doc_id": "refunds",
            "old": "14 days",
            "new": "30 days",
            "question_ids": ["q1"],
            "new_answer": "30 days",
        },
    }
    for file, row in rows.items():
        (tmp_path / file).write_text(json.dumps(row) + "\n", encoding="utf-8")

    one = Setting(framework="langchain", reuse="before_retrieval", watched=True, event="changed")
    monkeypatch.setattr("costkit_evals.evidence_check.settings", lambda: [one])

    lines = CliRunner().invoke(main, [str(tmp_path)])
    [found] = json.loads(CliRunner().invoke(main, [str(tmp_path), "--json"]).stdout)["results"]

    assert lines.stdout == (
        "langchain before_retrieval, documents changed through costkit: 0 stale of 1 asked (1 were served before) "
        "for 1 outdated answers; 0 of 0 sound answers lost\n"
    )
    assert found["setting"] == asdict(one)


def test_every_way_but_the_blind_one_is_checked() -> None:
    assert len(settings()) == 12
    assert all(one.watched or one.reuse == "after_retrieval" for one in settings())
