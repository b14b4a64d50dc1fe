"""``costkit cache`` on the command line, with the real offline model."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from costkit.cache import CosineScore, Evidence, ResponseCache
from costkit.cache.certificate import Certificate
from costkit.cache.commands import EXIT_ABSTAINED, cache
from costkit.cache.equivalence import FittedScore
from costkit.cache.labelled import Pair, groups, log, pairs
from costkit.cache.sample import sample
from costkit.embed import Embedder
from costkit.errors import ConfigurationError, CostkitError, DataError
from costkit.ledger import Ledger
from costkit.scope import Scope
from costkit.testing import HashEmbedder

pytestmark = pytest.mark.usefixtures("minilm")

PARAPHRASES = [
    ("How do I reset my password?", "how can I reset my password"),
    ("When is my invoice due?", "On which day is my invoice due?"),
    ("Where do I find the manual?", "Where can I find the manual?"),
    ("Can I return a broken lamp?", "May I return a broken lamp?"),
]


def run(*arguments: object) -> Result:
    ran = CliRunner().invoke(cache, [str(one) for one in arguments])
    if isinstance(ran.exception, CostkitError):
        raise ran.exception
    return ran


def lines(file: Path, rows: list[dict[str, object]]) -> Path:
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    if file.suffix == ".gz":
        file.write_bytes(gzip.compress(text.encode()))
    else:
        file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def orders() -> list[dict[str, object]]:
    """350 questions that are each asked in two ways, and differ in a code."""
    codes = [f"A{1000 + number}" for number in range(350)]
    ways = ("Where is my order {}?", "Where is my order {} now?")
    return [{"text": way.format(code), "group": code} for way in ways for code in codes]


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    asked = [text for pair in PARAPHRASES for text in pair]
    return lines(tmp_path / "log.jsonl", [{"text": text} for text in asked])


# --- calibrate ------------------------------------------------------------------------------------------------------


def test_calibrate_writes_a_certificate_that_the_cache_can_load(
    tmp_path: Path, orders: list[dict[str, object]]
) -> None:
    stream = lines(tmp_path / "orders.jsonl.gz", orders)
    out = tmp_path / "certificate.json"

    ran = run("calibrate", "--stream", stream, "--target", "0.02", "--out", out, "--json")

    assert ran.exit_code == 0, ran.output
    printed = json.loads(ran.stdout)
    made = Certificate.load(out)
    assert printed["outcome"] == "certified"
    assert printed["threshold"] == made.threshold
    assert made.bound <= 0.02
    assert (made.score, made.embedder) == (FittedScore().name, "minilm")
    assert (made.data.file, made.data.rows, len(made.data.sha256)) == ("orders.jsonl.gz", 700, 64)
    assert "replaying" in ran.stderr
    cached = ResponseCache(version="orders-1", certificate=made)
    assert cached.threshold == made.threshold
    cached.close()


def test_calibrate_abstains_with_a_code_of_its_own_and_writes_nothing(
    tmp_path: Path, orders: list[dict[str, object]]
) -> None:
    stream = lines(tmp_path / "orders.jsonl", orders[:40] + orders[350:390])
    out = tmp_path / "certificate.json"

    ran = run("calibrate", "--stream", stream, "--out", out)

    assert ran.exit_code == EXIT_ABSTAINED
    assert "149" in ran.stdout
    assert "costkit cache sample --n 300" in ran.stdout
    assert not out.exists()
    as_json = run("calibrate", "--stream", stream, "--out", out, "--json")
    assert json.loads(as_json.stdout)["outcome"] == "abstained"


def test_questions_that_are_never_looked_up_alone_are_not_calibrated_on(
    tmp_path: Path, orders: list[dict[str, object]]
) -> None:
    """Each of the follow-ups has a group of its own, and would be a wrong hit on the one before."""
    follow_ups: list[dict[str, object]] = [{"text": "and the other one?", "group": f"f{at}"} for at in range(50)]
    stream = lines(tmp_path / "orders.jsonl", orders + follow_ups)
    out = tmp_path / "made.json"

    assert run("calibrate", "--stream", stream, "--target", "0.02", "--out", out).exit_code == 0
    assert Certificate.load(out).data.rows == 700


def test_calibrate_takes_its_groups_from_a_judged_log(tmp_path: Path, orders: list[dict[str, object]]) -> None:
    """Without the judgement every question has a group of its own, unless it was asked in the same words before."""
    asked = [{"text": row["text"]} for row in orders[:350]]
    again = [{"text": str(row["text"]).replace("Where is my", "Where's my")} for row in orders[:350]]
    stream = lines(tmp_path / "log.jsonl", asked + again)
    judged = [{"a": a["text"], "b": b["text"], "same": True} for a, b in zip(again, asked, strict=True)]
    half = lines(tmp_path / "half.jsonl", [*judged[:175], *({**pair, "same": None} for pair in judged[175:])])
    rest = lines(tmp_path / "rest.jsonl", judged[175:])
    options = ("--stream", stream, "--target", "0.05", "--out", tmp_path / "made.json", "--judged", half)

    assert run("calibrate", *options).exit_code == EXIT_ABSTAINED
    assert run("calibrate", *options, "--judged", rest).exit_code == 0
    assert Certificate.load(tmp_path / "made.json").data.file == "log.jsonl half.jsonl rest.jsonl"


@pytest.mark.parametrize(
    ("content", "options", "error", "said"),
    [
        ('{"text": "a"}', [], DataError, r"stream\.jsonl, line 1 lacks the field 'group'"),
        ('{"text": "", "group": 1}', [], DataError, "line 1: text must be a text that is not empty, got ''"),
        ("no json", [], DataError, "line 1 is no JSON"),
        ("", [], DataError, "holds no labelled rows"),
        ('{"text": "and him?", "group": 1}', [], DataError, "no question that can be asked alone"),
        (
            '{"text": "refunds", "group": 1}',
            ["--target", "2"],
            ConfigurationError,
            r"target must be a share .*got 2\.0",
        ),
        ('{"text": "refunds", "group": 1}', ["--fit", "/no/such.json"], DataError, "/no/such.json"),
        ('{"text": "a", "group": 1}', ["--judged", "/no/such.jsonl"], DataError, "/no/such.jsonl"),
    ],
    ids=repr,
)
def test_calibrate_names_what_is_wrong_with_its_input(
    content: str, options: list[str], error: type[Exception], said: str, tmp_path: Path
) -> None:
    stream = tmp_path / "stream.jsonl"
    stream.write_text(content, encoding="utf-8")
    with pytest.raises(error, match=said):
        run("calibrate", "--stream", stream, *options)


# --- sample and judged logs -----------------------------------------------------------------------------------------


def test_sample_writes_pairs_that_people_and_commands_can_read(tmp_path: Path, questions: Path) -> None:
    out = tmp_path / "to-judge.jsonl"

    ran = run("sample", "--questions", questions, "--n", "3", "--out", out, "--json")

    assert json.loads(ran.stdout) == {"file": str(out), "pairs": 3, "questions": 8}
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [list(row) for row in rows] == [["a", "b", "cosine", "score", "same"]] * 3
    assert all(row["same"] is None for row in rows)
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    lines(out, [{**rows[0], "same": True}, *rows[1:]])
    assert pairs([out]) == [Pair(a=rows[0]["a"], b=rows[0]["b"], same=True)]


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    """A ledger of two tenants: acme asked the paraphrases, its rival one question."""
    recorder = Ledger.at(tmp_path / "ledger.db")
    cache = ResponseCache(version="1", embedder=HashEmbedder(), path=tmp_path / "asked", recorder=recorder)
    for text in [text for pair in PARAPHRASES for text in pair]:
        cache.lookup(text, scope=Scope(tenant="acme"))
    cache.lookup("How much is the lamp?", scope=Scope(tenant="rival"))
    cache.lookup("And for the other one?", scope=Scope(tenant="acme"))  # never looked up alone
    cache.close()
    recorder.close()
    return f"sqlite:///{tmp_path / 'ledger.db'}"


def test_sample_and_calibrate_read_what_was_asked_from_the_ledger(tmp_path: Path, ledger: str) -> None:
    out = tmp_path / "to-judge.jsonl"

    ran = run("sample", "--db", ledger, "--tenant", "acme", "--n", "4", "--out", out, "--json")

    assert json.loads(ran.stdout) == {"file": str(out), "pairs": 4, "questions": 8}
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    lines(out, [{**row, "same": True} for row in rows])
    judged = run("calibrate", "--db", ledger, "--tenant", "acme", "--judged", out, "--json")
    assert json.loads(judged.stdout)["outcome"] == "abstained"  # eight questions prove nothing


def test_questions_of_several_tenants_are_not_sampled_together(ledger: str) -> None:
    with pytest.raises(ConfigurationError, match=r"tenant is not given.*2 tenants.*'acme'"):
        run("sample", "--db", ledger)
    with pytest.raises(DataError, match=r"no question of the tenant 'nobody'"):
        run("sample", "--db", ledger, "--tenant", "nobody")


def test_a_log_is_a_file_or_the_ledger_but_not_both(ledger: str, questions: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"give the file .*, or --db"):
        run("sample", "--questions", questions, "--db", ledger)


def test_calibrate_without_any_labels_says_what_to_give() -> None:
    with pytest.raises(ConfigurationError, match="stream is not given"):
        run("calibrate")


def test_sample_never_overwrites_a_file_that_may_hold_judgements(tmp_path: Path, questions: Path) -> None:
    out = lines(tmp_path / "to-judge.jsonl", [{"a": "x", "b": "y", "same": True}])
    with pytest.raises(ConfigurationError, match=r"to-judge.*exists"):
        run("sample", "--questions", questions, "--out", out)


def test_sample_leaves_out_what_was_judged_and_exact_repeats() -> None:
    texts = ["pay my bill", "pay my bill", "Pay my bill!", "pay my bill now", "pay my old bill now"]
    vectors = HashEmbedder().embed(texts)

    drawn = sample(texts, vectors, CosineScore(threshold=0.8), count=10)
    again = sample(
        texts, vectors, CosineScore(threshold=0.8), count=10, judged=[Pair(a=texts[0], b=texts[3], same=True)]
    )

    assert {frozenset((one.a.lower().strip("!"), one.b.lower().strip("!"))) for one in drawn} == {
        frozenset(("pay my bill", "pay my bill now")),
        frozenset(("pay my bill now", "pay my old bill now")),
    }
    assert len(again) == 1


def test_sample_draws_evenly_around_the_threshold_and_the_same_for_the_same_seed() -> None:
    """100 pairs of cosine .945 lie above the threshold, 5 of cosine .913 below it."""
    texts, near = [], ["a b c d e f", "a b c d e"]
    for number in range(100):
        word = f"w{number}"
        texts += [f"{word} x{word} y{word} z{word}", f"{word} x{word} y{word} z{word} z{word}"]
    for number in range(5):
        texts += [" ".join(f"{letter}{number}" for letter in words.split()) for words in near]
    vectors = HashEmbedder(dimensions=4096).embed(texts)
    score = CosineScore(threshold=0.93)

    drawn = sample(texts, vectors, score, count=10)

    assert sum(one.a.startswith("a") for one in drawn) == 5
    assert drawn == sample(texts, vectors, score, count=10)
    assert drawn != sample(texts, vectors, score, count=10, seed=8)
    with pytest.raises(ConfigurationError, match="n must be 1 or more, got 0"):
        sample(texts, vectors, score, count=0)


def test_judged_pairs_join_questions_to_groups() -> None:
    texts = ["one", "two", "three", "four", "Two?"]

    found = groups(
        texts,
        [Pair(a="one", b="two", same=True), Pair(a="TWO", b="three", same=True), Pair(a="one", b="four", same=False)],
    )

    assert found[0] == found[1] == found[2] == found[4]
    assert found[3] != found[0]


def test_judgements_that_contradict_each_other_are_named() -> None:
    judged = [Pair(a="a", b="b", same=True), Pair(a="b", b="c", same=True), Pair(a="a", b="c", same=False)]
    with pytest.raises(DataError, match="'a' and 'c' were judged different"):
        groups(["a", "b", "c"], judged)


def test_a_log_needs_texts_alone(questions: Path) -> None:
    assert log(questions)[:2] == list(PARAPHRASES[0])


# --- one store -------------------------------------------------------------------------------------------------------


@pytest.fixture
def entry_id(minilm: Embedder) -> str:
    """A store in the default folder, with one answer that was served once."""
    cached = ResponseCache(version="shop-1", embedder=minilm)
    ticket = cached.lookup("When are refunds paid?").ticket
    stored = cached.store(ticket, "On Mondays.", evidence=[Evidence(document_id="refunds.md")])
    assert cached.lookup("When are refunds paid?").kind == "exact"
    cached.close()
    assert stored is not None
    return stored


@pytest.mark.usefixtures("entry_id")
def test_stats_and_invalidate_look_into_a_store() -> None:
    before = json.loads(run("stats", "--json").stdout)
    dropped = json.loads(run("invalidate", "refunds.md", "--json").stdout)
    after = json.loads(run("stats", "--json").stdout)

    assert (before["entries"], before["documents"]) == (1, 0)
    assert before["decisions"] == {"miss": 1, "exact": 1}
    assert before["bytes"] > 0
    assert dropped == {"document_id": "refunds.md", "tenant": None, "dropped": 1}
    assert (after["entries"], after["documents"]) == (0, 1)
    assert "0 entries" in run("stats").stdout
    assert "0 answers" in run("invalidate", "refunds.md", "--tenant", "acme").stdout


def test_stats_name_the_questions_that_were_asked_again(minilm: Embedder) -> None:
    cache = ResponseCache(version="shop-1", embedder=minilm)
    ann = Scope(tenant="acme", user="ann")
    cache.store(cache.lookup("How long does a refund take?", scope=ann).ticket, "Five days.")
    cache.lookup("How long does a refund take?", scope=ann)
    cache.lookup("How long does the refund of an order take?", scope=ann)
    cache.close()

    [found] = json.loads(run("stats", "--json").stdout)["re_asked"]

    assert found["question"] == "How long does a refund take?"
    assert found["re_asks"] == 1
    assert found["rate"] == 1 / found["hits"]
    assert "asked again after 1 of" in run("stats").stdout


def test_drop_takes_one_answer_out(entry_id: str) -> None:
    assert json.loads(run("drop", entry_id, "--json").stdout) == {"entry_id": entry_id, "dropped": True}
    assert "nothing was dropped" in run("drop", entry_id).stdout
    with pytest.raises(ConfigurationError, match="entry_id must be"):
        run("drop", "refunds")


@pytest.mark.usefixtures("entry_id")
def test_an_export_can_be_imported_elsewhere(tmp_path: Path, minilm: Embedder) -> None:
    file, folder = tmp_path / "cache.jsonl.gz", tmp_path / "elsewhere"

    exported = json.loads(run("export", file, "--json").stdout)
    imported = run("import", file, "--path", folder)

    assert exported == {"file": str(file), "entry": 1}
    assert "1 answers, 0 documents and 0 other points" in imported.stdout
    cached = ResponseCache(version="shop-1", embedder=minilm, path=folder)
    assert cached.lookup("When are refunds paid?").answer == "On Mondays."
    cached.close()


@pytest.mark.usefixtures("entry_id")
def test_optimize_says_what_it_did() -> None:
    done = json.loads(run("optimize", "--json").stdout)

    assert done == {"expired": 0, "stale": 0, "upgraded": 0, "records": 0, "documents": 0, "unreadable": 0}
    assert "0 expired and 0 stale answers" in run("optimize").stdout


def test_a_cache_that_is_not_there_is_a_wrong_path(tmp_path: Path) -> None:
    others = (["drop", "x"], ["optimize"], ["export", tmp_path / "cache.jsonl"])
    for arguments in (["stats"], ["invalidate", "refunds.md"], ["stats", "--path", tmp_path], *others):
        with pytest.raises(CostkitError, match=r"there is no cache in .*--path"):
            run(*arguments)


def test_a_folder_and_a_server_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"--path or --url, not both"):
        run("stats", "--path", tmp_path, "--url", "http://localhost:6333")


@pytest.mark.parametrize("group", [None, True, {"id": 1}, ""], ids=repr)
def test_a_stream_with_a_group_that_names_nothing_is_refused(tmp_path: Path, group: object) -> None:
    stream = lines(tmp_path / "stream.jsonl", [{"text": "Where is my order?", "group": group}])
    with pytest.raises(DataError, match="line 1: group must name the answer"):
        run("calibrate", "--stream", stream, "--out", tmp_path / "certificate.json")
