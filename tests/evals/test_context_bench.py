"""``costkit bench context`` as a user runs it, on a tiny golden set."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from costkit.cli import main
from costkit.context import Document
from costkit.embed import Embedder
from costkit.errors import ConfigurationError
from costkit.testing import HashEmbedder
from costkit.tokens import ApproximateCounter
from costkit_evals.context_methods import DEFAULT_METHODS, Budget, Choice, joined, open_method
from costkit_evals.metrics import answer_stands

Run = Callable[..., tuple[int, str, str]]

TOPICS = ("gardens", "rivers", "bridges", "engines", "violins", "glaciers", "harbours", "orchards")
FACT = "The register of {} was opened in {}."
COUNTER = ApproximateCounter(upper_error=0.0)
# Kept out of the figures: the only ones that may differ from run to run.
TIMES = ("p50_ms", "p95_ms", "warm_p50_ms", "warm_p95_ms")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], minilm: Embedder) -> Run:
    """Run the program in this process; return its exit code, standard output and standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["costkit", "bench", "context", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main()
        printed = capsys.readouterr()
        return int(str(done.value.code or 0)), printed.out, printed.err

    return call


def text_of(topic: str, year: int) -> str:
    return (
        f"People have written about {topic} for a long time. {FACT.format(topic, year)} "
        "It is kept in the town hall. Visitors may read it on working days. A clerk turns the pages."
    )


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """Each topic has a document and a question; the answer stands in its second sentence. One has no answer."""
    return golden_set(tmp_path / "registers", first_year=1901)


def golden_set(folder: Path, *, first_year: int) -> Path:
    corpus, questions = [], []
    for year, topic in enumerate(TOPICS, first_year):
        text, fact = text_of(topic, year), FACT.format(topic, year)
        start = text.index(fact)
        corpus.append({"id": topic, "title": f"About {topic}", "text": text})
        span = {"doc_id": topic, "start": start, "end": start + len(fact), "sentence": fact}
        questions.append(
            {
                "id": f"q-{topic}",
                "question": f"When was the register of {topic} opened?",
                "answers": [str(year)],
                "gold_ids": [topic],
                "supporting": [span],
                "answerable": True,
            }
        )
    questions.append({"id": "q-none", "question": "Who paints the moon?", "answers": [], "answerable": False})
    folder.mkdir()
    for name, rows in (("corpus", corpus), ("questions", questions)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def rows_of(printed: str) -> list[dict[str, object]]:
    found = json.loads(printed)["results"]
    assert isinstance(found, list)
    return found


def share(row: Mapping[str, object], name: str) -> float:
    value, interval = row[name], row[f"{name}_ci"]
    assert isinstance(value, float)
    assert isinstance(interval, list)
    assert 0 <= interval[0] <= value <= interval[1] <= 1
    return value


def test_ours_and_its_rivals_stand_side_by_side_at_every_budget(run: Run, golden: Path) -> None:
    code, printed, _ = run("--golden", golden, "--budget-ratio", "0.5,0.2", "--timed", 2, "--json")

    rows = rows_of(printed)
    assert code == 0
    assert [(row["budget_ratio"], row["method"]) for row in rows] == [
        (ratio, method) for ratio in (0.5, 0.2) for method in DEFAULT_METHODS
    ]
    for row in rows:
        assert row["n"] == len(TOPICS)  # the question without an answer has nothing to keep
        assert share(row, "all_supporting_kept") == share(row, "supporting_sentence_recall")  # each rests on one
        assert all(isinstance(row[name], float) for name in TIMES)
    assert share(rows[0], "answer_kept") == 1.0


def test_all_but_the_frameworks_own_parts_keep_the_budget(run: Run, golden: Path) -> None:
    rows = rows_of(run("--golden", golden, "--budget-ratio", "0.1", "--timed", 0, "--json")[1])

    over = {row["method"] for row in rows if row["over_budget"]}
    assert over == {"sentence-optimizer", "embeddings-filter"}
    for row in rows:
        kept = row["tokens_kept_ratio"]
        assert isinstance(kept, float)
        assert (kept > 0.1) == (row["method"] in over)


def test_ours_is_paired_with_the_best_rival_that_keeps_the_budget(run: Run, golden: Path) -> None:
    rows = rows_of(run("--golden", golden, "--budget-ratio", "0.1", "--timed", 0, "--json")[1])

    ours, *rivals = rows
    held = {row["method"]: share(row, "answer_kept") for row in rivals if not row["over_budget"]}
    best = ours["answer_kept_best_rival"]
    assert held[best] == max(held.values())
    for name, rival in (("best_rival", best), ("truncation", "truncation")):
        assert ours[f"answer_kept_minus_{name}"] == pytest.approx(share(ours, "answer_kept") - held[rival])
        low, high = ours[f"answer_kept_minus_{name}_ci"]
        assert low <= ours[f"answer_kept_minus_{name}"] <= high
    assert not any("minus" in key for row in rivals for key in row)


def test_several_sets_become_one_corpus_and_are_told_apart_in_the_rows(run: Run, golden: Path, tmp_path: Path) -> None:
    other = golden_set(tmp_path / "copies", first_year=1801)

    rows = rows_of(run("--golden", golden, other, "--budget-ratio", "0.5", "--timed", 0, "--json", "--limit", 5)[1])

    for row in rows:
        assert row["n"] == 10
        assert {name: found["n"] for name, found in row["sets"].items()} == {"registers": 5, "copies": 5}
        halves = [share(found, "answer_kept") for found in row["sets"].values()]
        assert share(row, "answer_kept") == pytest.approx(sum(halves) / 2)


def test_two_sets_of_one_name_are_refused(run: Run, golden: Path) -> None:
    code, _, said = run("--golden", golden, golden)

    assert code == 2
    assert "registers" in said


def test_inside_the_gold_passage_half_of_the_words_are_kept(run: Run, golden: Path) -> None:
    rows = rows_of(
        run("--golden", golden, "--inside-gold", "--budget-ratio", "0.5", "--timed", 0, "--json", "--method", "bm25")[1]
    )

    (row,) = rows
    title, text = len("About gardens".split()), len(text_of("gardens", 1901).split())
    assert share(row, "supporting_sentence_recall") == 1.0
    assert row["tokens_kept_ratio"] <= (title + text / 2) / (title + text)


def test_the_same_command_gives_the_same_figures_again(run: Run, golden: Path) -> None:
    def figures() -> list[dict[str, object]]:
        rows = rows_of(run("--golden", golden, "--timed", 1, "--json", "--seed", 3)[1])
        return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]

    assert figures() == figures()


def test_people_get_a_table_and_what_the_times_mean(run: Run, golden: Path) -> None:
    code, printed, _ = run("--golden", golden, "--method", "costkit,truncation", "--timed", 1)

    assert code == 0
    assert "costkit" in printed
    assert "truncation" in printed
    assert "answer kept" in printed
    assert "Note: times" in printed


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--budget-ratio", "0.25,2"), "'2'"),
        (("--budget-ratio", "half"), "'half'"),
        (("--method", "magic"), "'magic'"),
        (("--method", "flashrank"), "flashrank:FOLDER"),
        (("--method", "llmlingua"), "llmlingua:FOLDER"),
        (("--method", "bm25:folder"), "'folder'"),
        (("--method", "costkit:no-such-folder"), "'no-such-folder'"),
    ],
)
def test_a_wrong_option_is_named(run: Run, golden: Path, options: tuple[str, ...], told: str) -> None:
    code, _, said = run("--golden", golden, *options)

    assert code == 2
    assert told in said


def test_a_set_without_answers_has_nothing_to_measure(run: Run, golden: Path) -> None:
    (golden / "questions.jsonl").write_text(json.dumps({"id": "q", "question": "Who?", "answerable": False}) + "\n")

    code, _, said = run("--golden", golden)

    assert code == 2
    assert "answerable" in said


@pytest.mark.parametrize("name", DEFAULT_METHODS)
def test_every_method_keeps_text_of_the_passages_and_says_where_it_stands(name: str) -> None:
    documents = [Document(id=topic, title=topic, text=text_of(topic, 1901)) for topic in TOPICS]
    tokens = COUNTER.count(joined(documents, {one.id: one.text for one in documents}))
    method = open_method(Choice.parse(name), HashEmbedder(), COUNTER)

    kept = method.keep(
        "When was the register of violins opened?", documents, Budget(tokens=int(tokens * 0.3), ratio=0.3)
    )

    sources = {one.id: one.text for one in documents}
    assert kept.spans
    assert {one for one, _, _ in kept.spans} >= set(kept.texts)
    for one, start, end in kept.spans:  # text that stands in two passages is kept in one and speaks for both
        assert any(sources[one][start:end] in text for text in kept.texts.values())
    assert kept.context == joined(documents, kept.texts)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="truncation"):
        Choice.parse("cut")


@pytest.mark.parametrize(
    ("text", "answer", "stands"),
    [
        ("It opened in 1939–1940, before the war.", "1940", 1.0),
        ("Manning's pass was caught.", "manning", 1.0),
        ("It was known to all.", "no", 0.0),
        ("The end of the Beatles", "end of Beatles", 1.0),
        ("Nothing of the kind.", "...", 0.0),
    ],
)
def test_an_answer_stands_where_its_words_do(text: str, answer: str, stands: float) -> None:
    assert answer_stands([text], [answer]) == stands


def test_a_question_without_answers_says_nothing_about_text() -> None:
    assert answer_stands(["Some text."], []) is None
