"""The check of what certificates promise: it counts splits, abstentions and splits that exceed the target."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from costkit.cache.equivalence import CosineScore
from costkit.cache.labelled import Question
from costkit.embed import Embedder
from costkit.testing import HashEmbedder
from costkit_evals.certificate_check import check, main

EMBEDDER = HashEmbedder(dimensions=2048)


def stream(groups: int, *, mislabelled: int = 0) -> list[Question]:
    """Every group asks the same words in two orders; the second question of the first ``mislabelled`` has another group."""
    words = [(f"alpha{group}", f"beta{group}", f"gamma{group}") for group in range(groups)]
    again = [f"other{group}" if group < mislabelled else str(group) for group in range(groups)]
    return [
        Question(text=text, group=group)
        for turn, names in ((1, map(str, range(groups))), (-1, again))
        for text, group in zip((" ".join(one[::turn]) for one in words), names, strict=True)
    ]


def test_a_clean_stream_is_certified_in_every_split_and_never_exceeds() -> None:
    seen: list[str] = []

    [found] = check("clean", stream(200), EMBEDDER, CosineScore(), targets=[0.05], splits=5, on_split=seen.append)

    assert (found.splits, found.abstained, found.exceeded) == (5, 0, 0)
    assert found.hit_rate == 0.5
    assert found.wrong_per_hit == found.worst == 0.0
    assert seen == ["clean at 0.05"] * 5


def test_a_stream_that_errs_more_than_the_target_is_never_certified() -> None:
    [found] = check("wrong", stream(200, mislabelled=40), EMBEDDER, CosineScore(), targets=[0.05], splits=5)

    assert found.abstained == 5
    assert found.threshold is found.hit_rate is None
    assert "were wrong where the sequence starts" in found.reason


def test_splits_that_exceed_the_target_are_counted() -> None:
    """3% of the groups are served wrongly: where few of them fall into the certify part, the test part has the rest."""
    [found] = check("odd", stream(400, mislabelled=12), EMBEDDER, CosineScore(), targets=[0.05], splits=60)

    assert 0 < found.exceeded < found.splits - found.abstained
    assert found.worst is not None
    assert found.worst > 0.05


def test_the_program_prints_one_json_object_and_keeps_vectors(minilm: Embedder, tmp_path: Path) -> None:
    file = tmp_path / "stream.jsonl"
    rows = [{"text": f"Where is order {number}?", "group": number} for number in range(20)]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows * 2), encoding="utf-8")
    arguments = ["--stream", str(file), "--splits", "2", "--vectors", str(tmp_path / "vectors.npz")]

    as_json = CliRunner().invoke(main, [*arguments, "--target", "0.3", "--json"])
    plain = CliRunner().invoke(main, [*arguments, "--score", "cosine"])

    [result] = json.loads(as_json.stdout)["results"]
    assert (result["stream"], result["splits"], result["target"]) == ("stream.jsonl", 2, 0.3)
    assert "stream.jsonl at 0.05: exceeded in 0 of 2 splits, 2 abstained" in plain.stdout
    assert (tmp_path / "vectors.npz").exists()
