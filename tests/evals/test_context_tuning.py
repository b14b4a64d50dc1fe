"""``costkit context tune``: the cheapest settings that are shown to keep what the answers need."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from costkit.context import ContextReducer, Profile
from costkit.errors import ConfigurationError, CostkitError, DataError
from costkit.testing import HashEmbedder
from costkit_evals import context_tuning
from costkit_evals.context_commands import EXIT_NOTHING_SAFE, context

THINGS = [
    f"{first}{second}" for first in ("Amber", "Birch", "Cedar", "Delta", "Ember", "Fjord") for second in "ABCDEFGH"
]


@pytest.fixture(autouse=True)
def hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("costkit.embed.default_embedder", HashEmbedder)
    grid = {"CHUNKS": ((1500, 200), (500, 0)), "RETRIEVE": (4, 2), "BUDGETS": (400, 60, 20), "ENOUGH": (0.999, 0.5)}
    for name, values in grid.items():
        monkeypatch.setattr(context_tuning, name, values)


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """48 documents, each with two sentences that a question asks for among others that it does not."""
    return written(
        tmp_path / "golden", [f"The {thing} plan costs {at + 10} dollars." for at, thing in enumerate(THINGS)]
    )


def written(folder: Path, facts: list[str]) -> Path:
    folder.mkdir()
    corpus, questions = [], []
    for thing, fact in zip(THINGS, facts, strict=True):
        filler = " ".join(f"Article {number} of {thing} was signed by its owners." for number in range(15))
        also = f"Dollars for the {thing} plan are due in May."
        text = f"{fact} {filler} {also} {filler}"
        corpus.append({"id": thing, "title": thing, "text": text})
        questions.append(
            {
                "id": thing,
                "question": f"What does the {thing} plan cost in dollars?",
                "answers": [fact],
                "gold_ids": [thing],
                "supporting": [
                    {"doc_id": thing, "start": text.index(part), "end": text.index(part) + len(part)}
                    for part in (fact, also)
                ],
                "answerable": True,
                "kind": "",
            }
        )
    for name, rows in (("corpus", corpus), ("questions", questions)):
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return folder


def run(*arguments: object) -> Result:
    ran = CliRunner().invoke(context, ["tune", *map(str, arguments)])
    if isinstance(ran.exception, CostkitError):
        raise ran.exception
    return ran


@pytest.fixture
def tuned(golden: Path, tmp_path: Path) -> dict[str, object]:
    ran = run("--golden", golden, "--out", tmp_path / "profile.json", "--margin", "0.2", "--json")
    assert ran.exit_code == 0, ran.output
    found: dict[str, object] = json.loads(ran.stdout)
    return found


def test_the_profile_is_cheap_and_keeps_what_is_needed(tuned: dict[str, object], tmp_path: Path) -> None:
    profile = Profile.load(tmp_path / "profile.json")

    assert profile.context_tokens < 0.5 * profile.tokens_before
    assert profile.loss_bound <= profile.margin == 0.2
    assert profile.recall >= profile.reference_recall - profile.loss_bound
    assert ContextReducer.from_profile(profile).budget_tokens == profile.budget_tokens


def test_the_curve_goes_from_many_tokens_to_few_and_no_setting_beats_another(tuned: dict[str, object]) -> None:
    curve = tuned["curve"]
    assert isinstance(curve, list)

    assert len(curve) >= 2
    assert all({"context_tokens", "recall", "recall_ci", "loss_bound", "budget_tokens"} <= set(one) for one in curve)
    assert tuned["tried"] == 24


def test_the_roomiest_setting_is_tested_first_though_a_cheaper_one_was_as_good(tuned: dict[str, object]) -> None:
    curve = tuned["curve"]
    assert isinstance(curve, list)
    tokens = [one["context_tokens"] for one in curve]

    assert curve[0]["budget_tokens"] == 400
    assert tokens == sorted(tokens, reverse=True)
    assert curve[0]["recall"] == curve[1]["recall"]


def test_the_curve_is_drawn_beside_the_profile(tuned: dict[str, object], tmp_path: Path) -> None:
    drawn = ElementTree.parse(tmp_path / "profile.svg").getroot()

    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}path"))) > 10


def test_what_is_kept_of_one_copy_counts_for_the_other(golden: Path, tmp_path: Path) -> None:
    """Every document stands in the corpus twice, and questions rest on the second copy."""
    file = golden / "corpus.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    twice = [{**row, "id": name} for row in rows for name in (f"{row['id']}-first", row["id"])]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in twice), encoding="utf-8")

    ran = run("--golden", golden, "--out", tmp_path / "profile.json", "--margin", "0.2", "--json")

    assert json.loads(ran.stdout)["curve"][0]["recall"] > 0.9


def test_the_same_seed_gives_the_same_profile(golden: Path, tmp_path: Path) -> None:
    options = ("--golden", golden, "--margin", "0.2", "--limit", "20")
    for name in ("a", "b"):
        run(*options, "--out", tmp_path / f"{name}.json")

    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_where_nothing_is_shown_to_be_safe_no_profile_is_written(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty tokens never hold both sentences that an answer needs."""
    monkeypatch.setattr(context_tuning, "BUDGETS", (20,))

    ran = run("--golden", golden, "--out", tmp_path / "profile.json", "--margin", "0.01")

    assert ran.exit_code == EXIT_NOTHING_SAFE
    assert "None is shown to lose at most 1.0%" in ran.stdout
    assert not (tmp_path / "profile.json").exists()
    assert (tmp_path / "profile.svg").exists()


def test_too_few_questions_are_counted(golden: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"5 answerable questions to choose by and 5 to test on: 20 each"):
        run("--golden", golden, "--limit", "5", "--out", tmp_path / "profile.json")


def test_a_margin_that_is_no_share_is_named(golden: Path) -> None:
    with pytest.raises(ConfigurationError, match="margin must be a share above 0 and below 1, got 3"):
        run("--golden", golden, "--margin", "3")
