"""The profile of context reduction: what is written is what is read, and what is wrong with a file is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from costkit.context import ContextReducer, Document, Profile
from costkit.errors import ConfigurationError, DataError
from costkit.testing import HashEmbedder, ListRecorder

PROFILE = Profile(
    chunk_characters=500,
    overlap_characters=0,
    retrieve=12,
    budget_tokens=20,
    enough=0.99,
    context_tokens=18.5,
    tokens_before=420.0,
    recall=0.91,
    reference_recall=0.93,
    loss_bound=0.029,
    margin=0.03,
    questions=120,
    embedder="hash",
    data="ours",
    made="2026-11-21",
)
DOCUMENTS = [
    Document(id=name, text=f"The {name} plan costs {len(name)} dollars. It has seats.") for name in ("solo", "team")
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    PROFILE.save(tmp_path / "profile.json")
    return tmp_path / "profile.json"


def test_what_is_saved_is_loaded(file: Path) -> None:
    assert Profile.load(file) == PROFILE


@pytest.mark.parametrize("given", ["a path", "a profile"])
def test_a_reducer_takes_its_budget_from_a_profile(file: Path, given: str) -> None:
    profile = file if given == "a path" else PROFILE
    reducer = ContextReducer.from_profile(profile, embedder=HashEmbedder(), recorder=ListRecorder())

    reduction = reducer.reduce("What does the solo plan cost?", DOCUMENTS)

    assert reducer.budget_tokens == 20
    assert reduction.tokens_after <= 20 < reduction.tokens_before


def test_what_a_profile_says_is_not_given_twice(file: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"budget_tokens=5 .* profile"):
        ContextReducer.from_profile(file, budget_tokens=5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "no profile of this release"),
        ({"budget_tokens": "many"}, "budget_tokens must be of type int, got 'many'"),
        ({"enough": None}, "enough must be of type float, got None"),
        ({"retrieve": True}, "retrieve must be of type int, got True"),
    ],
)
def test_a_changed_profile_is_refused_by_field(file: Path, change: dict[str, object], said: str) -> None:
    stored = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(stored | change), encoding="utf-8")
    with pytest.raises(DataError, match=said):
        Profile.load(file)


def test_a_file_that_is_absent_or_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("budget: 5", encoding="utf-8")
    for name in ("absent", "text"):
        with pytest.raises(DataError, match=f"{name}.*costkit context tune"):
            Profile.load(tmp_path / name)


def test_a_profile_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written"):
        PROFILE.save(tmp_path / "absent" / "profile.json")
