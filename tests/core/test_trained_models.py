"""The models that users train, and one clear error per cause; on a BERT of two layers that knows 26 words.

First the pair model, trained and served; then the reranker.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from costkit._minilm_graph import build_graph, build_pair_graph
from costkit._pair_tokens import encode, open_tokenizer
from costkit.cache._pair_files import write_card
from costkit.cache.labelled import Pair
from costkit.cache.pair_model import MAX_TOKENS, PairModel
from costkit.cache.pairs import read_pairs, split_pairs
from costkit.cache.train import train
from costkit.cache.train_command import train_command
from costkit.context import from_flashrank
from costkit.context.train import Judged, TrainedReranker
from costkit.context.train import train as train_reranker
from costkit.errors import (
    ConfigurationError,
    DataError,
    MissingExtraError,
    ModelAbsentError,
    ModelChecksumError,
    ModelFileError,
)
from costkit.text import normalise_question

with_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch (costkit[train]) is not installed")

WIDTH = 64
LAYERS = 2
WORDS = "how what is the a of price size colour for old new my your boat lamp chair oven rope drum kite vase ?".split()


def random_weights(vocabulary: int, *, seed: int = 3) -> dict[str, NDArray[np.float32]]:
    """Weights under the published names."""
    draw = np.random.default_rng(seed)
    weights: dict[str, NDArray[np.float32]] = {}

    def matrix(name: str, *shape: int) -> None:
        weights[name] = draw.normal(0, 0.1, shape).astype(np.float32)

    def dense(name: str, out: int, into: int) -> None:
        matrix(f"{name}.weight", out, into)
        matrix(f"{name}.bias", out)

    def norm(name: str) -> None:
        weights[f"{name}.weight"] = np.ones(WIDTH, dtype=np.float32)
        weights[f"{name}.bias"] = np.zeros(WIDTH, dtype=np.float32)

    matrix("embeddings.word_embeddings.weight", vocabulary, WIDTH)
    matrix("embeddings.position_embeddings.weight", 128, WIDTH)
    matrix("embeddings.token_type_embeddings.weight", 2, WIDTH)
    norm("embeddings.LayerNorm")
    for layer in (f"encoder.layer.{number}" for number in range(LAYERS)):
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            dense(f"{layer}.attention.{part}", WIDTH, WIDTH)
        norm(f"{layer}.attention.output.LayerNorm")
        dense(f"{layer}.intermediate.dense", 2 * WIDTH, WIDTH)
        dense(f"{layer}.output.dense", WIDTH, 2 * WIDTH)
        norm(f"{layer}.output.LayerNorm")
    return weights


def random_head(*, seed: int = 4) -> dict[str, NDArray[np.float32]]:
    """The head of a pair model."""
    draw = np.random.default_rng(seed)
    shapes = {
        "dense.weight": (WIDTH, 3 * WIDTH),
        "dense.bias": (WIDTH,),
        "score.weight": (1, WIDTH),
        "score.bias": (1,),
    }
    return {f"head.{name}": draw.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}


def tokenizer() -> Tokenizer:
    """Whole words; pairs as BERT reads them."""
    known = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    made = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()  # type: ignore[assignment]
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # type: ignore[assignment]
    made.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", known["[CLS]"]), ("[SEP]", known["[SEP]"])],
    )
    return made


def write_base(folder: Path) -> Path:
    """Write what `costkit models` would have prepared."""
    folder.mkdir(parents=True)
    made = tokenizer()
    made.save(str(folder / "tokenizer.json"))
    (folder / "model.onnx").write_bytes(build_graph(random_weights(made.get_vocab_size())).SerializeToString())
    for name in ("config.json", "special_tokens_map.json", "tokenizer_config.json"):
        (folder / name).write_text("{}", encoding="utf-8")
    sums = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "files": sums}), encoding="utf-8")
    return folder


QUESTION = "What is the price of my boat?"
OTHERS = ["how old is the lamp", "what is the size of my boat", "price of a boat ?", "What is the price of your oven?"]
FIGURES = {"pairs": 9, "same": 4, "auc": 0.8, "cosine_auc": 0.7, "accuracy": 0.75, "brier": 0.2, "temperature": 1.1}

questions = st.lists(st.sampled_from(WORDS), min_size=1, max_size=30).map(" ".join)


# --- served ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair model with random weights."""
    place = tmp_path_factory.mktemp("pair")
    base = write_base(place / "base")
    folder = place / "model"
    folder.mkdir()
    weights = {**random_weights(tokenizer().get_vocab_size()), **random_head()}
    (folder / "model.onnx").write_bytes(build_pair_graph(weights).SerializeToString())
    tokenizer().save(str(folder / "tokenizer.json"))
    data = place / "pairs.jsonl"
    data.write_text("{}\n", encoding="utf-8")
    write_card(folder, base, [data], {"pairs": 50}, FIGURES)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> PairModel:
    return PairModel.load(folder)


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def test_a_score_is_the_probability_that_the_graph_gives_for_both_questions(folder: Path, model: PairModel) -> None:
    ids, mask, types = encode(
        open_tokenizer(folder / "tokenizer.json", max_tokens=MAX_TOKENS), [("a boat", "the lamp")]
    )
    session = InferenceSession(folder / "model.onnx")
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    logit = float(np.asarray(session.run(None, inputs)[0])[0, 0])
    assert model.score("the lamp", ["a boat"]) == pytest.approx([1 / (1 + np.exp(-logit))])


def test_scores_tell_pairs_apart(model: PairModel) -> None:
    assert len(set(model.score(QUESTION, OTHERS))) == len(OTHERS)


@settings(deadline=None, max_examples=40)
@given(a=questions, b=questions)
def test_a_score_has_no_direction_and_is_a_probability(model: PairModel, a: str, b: str) -> None:
    assert model.score(a, [b]) == model.score(b, [a])
    assert 0 <= model.score(a, [b])[0] <= 1


@settings(deadline=None, max_examples=20)
@given(question=questions, others=st.lists(questions, max_size=5))
def test_a_score_does_not_depend_on_the_others(model: PairModel, question: str, others: list[str]) -> None:
    alone = [model.score(question, [other])[0] for other in others]
    assert model.score(question, others) == pytest.approx(alone, abs=1e-5)


def test_the_graph_gives_padding_no_weight(folder: Path) -> None:
    session = InferenceSession(folder / "model.onnx")
    opened = open_tokenizer(folder / "tokenizer.json", max_tokens=MAX_TOKENS)

    def logits(pairs: list[tuple[str, str]]) -> list[float]:
        inputs = zip(("input_ids", "attention_mask", "token_type_ids"), encode(opened, pairs), strict=True)
        return np.asarray(session.run(["logit"], dict(inputs))[0])[:, 0].tolist()

    pairs = [("boat", "lamp"), (QUESTION, "how old is the lamp and what is the size of the new chair of your oven")]
    assert logits(pairs) == pytest.approx([logits([pair])[0] for pair in pairs], abs=1e-5)


def test_long_questions_are_cut_to_the_models_length(folder: Path, model: PairModel) -> None:
    ids, _, _ = encode(
        open_tokenizer(folder / "tokenizer.json", max_tokens=MAX_TOKENS), [("boat " * 300, "lamp " * 300)]
    )
    assert ids.shape == (1, MAX_TOKENS)
    assert len(model.score("boat " * 300, ["lamp " * 300])) == 1


@pytest.mark.parametrize("text", ["", " ", "\ud800 boat", "ボート"])
def test_any_text_has_a_score(model: PairModel, text: str) -> None:
    assert 0 <= model.score(text, [QUESTION])[0] <= 1


def test_what_the_time_does_not_suffice_for_scores_0(model: PairModel) -> None:
    assert model.score(QUESTION, OTHERS, budget_seconds=0) == [0.0] * len(OTHERS)
    assert model.score(QUESTION, OTHERS, budget_seconds=3600) == model.score(QUESTION, OTHERS)


def test_no_others_have_no_scores(model: PairModel) -> None:
    assert model.score(QUESTION, []) == []


def test_a_single_text_or_a_senseless_budget_is_refused(model: PairModel) -> None:
    with pytest.raises(ConfigurationError, match="others must be a list of str"):
        model.score(QUESTION, "a boat")
    for budget in (-1.0, float("nan")):
        with pytest.raises(ConfigurationError, match="budget_seconds must be 0 or more"):
            model.score(QUESTION, OTHERS, budget_seconds=budget)


def test_the_name_follows_the_weights(folder: Path, model: PairModel) -> None:
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    assert model.name == card["name"] == f"pair-{card['files']['model.onnx'][:12]}"


def test_a_missing_folder_or_card_is_said_to_be_no_model(tmp_path: Path) -> None:
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ModelAbsentError, match=r"holds no pair model .*costkit cache train --out"):
            PairModel.load(folder)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_changed_or_missing_file_is_named(copied: Path, name: str) -> None:
    (copied / name).write_bytes((copied / name).read_bytes() + b" ")
    with pytest.raises(ModelChecksumError, match=rf"{name}' has SHA-256"):
        PairModel.load(copied)
    (copied / name).unlink()
    with pytest.raises(ModelChecksumError, match=rf"{name}' cannot be read"):
        PairModel.load(copied)


@pytest.mark.parametrize("card", ["", "[]", "{}", '{"format": 1, "name": "x"}'])
def test_a_broken_card_is_named(copied: Path, card: str) -> None:
    (copied / "card.json").write_text(card, encoding="utf-8")
    with pytest.raises(ModelChecksumError, match=r"card\.json' is no card of a pair model"):
        PairModel.load(copied)


def test_a_folder_of_another_release_is_not_guessed_at(copied: Path) -> None:
    card = json.loads((copied / "card.json").read_text(encoding="utf-8"))
    (copied / "card.json").write_text(json.dumps({**card, "format": 2}), encoding="utf-8")
    with pytest.raises(ModelAbsentError, match="written by another release"):
        PairModel.load(copied)


def test_files_that_are_no_model_are_refused_though_the_card_vouches_for_them(copied: Path, tmp_path: Path) -> None:
    (copied / "model.onnx").write_bytes(b"no graph")
    write_card(copied, write_base(tmp_path / "base"), [], {}, FIGURES)
    with pytest.raises(ModelFileError, match="cannot be opened"):
        PairModel.load(copied)


# --- pairs -----------------------------------------------------------------------------------------------------------


def write_rows(file: Path, rows: list[object]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def made_pairs(count: int = 240) -> list[dict[str, object]]:
    """Two wordings of a question about a thing; "old" in the second one asks for another answer. No two pairs are linked."""
    things = ["boat", "lamp", "chair", "oven", "rope", "drum", "kite", "vase"]
    rows: list[dict[str, object]] = []
    for number in range(count):
        thing, same = things[number % len(things)], number % 3 > 0
        b = f"what is the price for {'my' if same else 'old'} {thing} {number}"
        rows.append({"a": f"price of the {thing} {number}", "b": b, "same": same})
    return rows


@pytest.fixture
def pairs_file(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "pairs.jsonl", made_pairs())


def test_pairs_are_read_in_order_from_plain_and_packed_files(pairs_file: Path, tmp_path: Path) -> None:
    packed = tmp_path / "more.jsonl.gz"
    packed.write_bytes(gzip.compress(b"\n" + pairs_file.read_bytes()))
    once = [Pair(a=str(row["a"]), b=str(row["b"]), same=bool(row["same"])) for row in made_pairs()]
    assert read_pairs([pairs_file]) == once
    assert read_pairs([pairs_file, packed]) == once + once


def test_a_limit_draws_a_sample_that_the_seed_decides(pairs_file: Path) -> None:
    drawn = read_pairs([pairs_file], limit=60, seed=1)
    assert len(drawn) == 60
    assert drawn == read_pairs([pairs_file], limit=60, seed=1) != read_pairs([pairs_file], limit=60, seed=2)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ('{"a": "x", ', "is no JSON"),
        ("[1, 2]", "is no JSON object"),
        ('{"a": "x", "same": true}', "lacks the field 'b'"),
        ('{"a": "x", "b": "y"}', "lacks the field 'same'"),
        ('{"a": "x", "b": "y", "same": 1}', "same must be true or false, got 1"),
        ('{"a": "x", "b": "y", "same": "yes"}', "same must be true or false, got 'yes'"),
        ('{"a": " ", "b": "y", "same": true}', "a must be a text that is not empty, got ' '"),
        ('{"a": "x", "b": 3, "same": true}', "b must be a text that is not empty, got 3"),
    ],
)
def test_a_broken_row_is_named_by_file_and_line(pairs_file: Path, row: str, complaint: str) -> None:
    pairs_file.write_text(pairs_file.read_text(encoding="utf-8") + row + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"{pairs_file}, line 241.*{complaint}"):
        read_pairs([pairs_file])


@pytest.mark.parametrize(
    ("name", "content"),
    [("cut.gz", gzip.compress(b"some text" * 99)[:20]), ("plain.gz", b"{}"), ("latin.jsonl", "é".encode("latin-1"))],
)
def test_a_file_that_is_absent_or_no_text_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    file = tmp_path / name
    with pytest.raises(DataError, match=rf"{name}' cannot be read"):
        read_pairs([file])
    file.write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}' cannot be read"):
        read_pairs([file])


def test_too_few_pairs_or_one_label_are_refused(tmp_path: Path) -> None:
    rows: list[object] = [*made_pairs(49)]
    with pytest.raises(DataError, match="49 pairs in all: at least 50 are needed"):
        read_pairs([write_rows(tmp_path / "few.jsonl", rows)])
    alike: list[object] = [row for row in made_pairs() if row["same"]]
    with pytest.raises(DataError, match="every pair has same=True"):
        read_pairs([write_rows(tmp_path / "alike.jsonl", alike)])
    with pytest.raises(ConfigurationError, match="no pairs file given"):
        read_pairs([])


@settings(max_examples=60)
@given(
    ends=st.lists(st.tuples(st.integers(0, 150), st.integers(0, 150)), min_size=60, max_size=90), seed=st.integers(0, 9)
)
def test_no_question_stands_on_both_sides_of_the_split(ends: list[tuple[int, int]], seed: int) -> None:
    pairs = [Pair(a=f"Is {a} odd?", b=f"is {b} odd", same=index % 2 == 0) for index, (a, b) in enumerate(ends)]
    try:
        learned, held = split_pairs(pairs, seed=seed)
    except DataError:
        return
    assert sorted(map(repr, learned + held)) == sorted(map(repr, pairs))
    assert 0.05 * len(pairs) <= len(held) <= 0.2 * len(pairs)
    sides = [{normalise_question(text) for pair in side for text in (pair.a, pair.b)} for side in (learned, held)]
    assert not sides[0] & sides[1]


def test_pairs_that_all_hang_together_cannot_be_split() -> None:
    pairs = [Pair(a="the same question", b=f"question {index}", same=index % 2 == 0) for index in range(60)]
    with pytest.raises(DataError, match="linked by questions that they share"):
        split_pairs(pairs, seed=7)


# --- training --------------------------------------------------------------------------------------------------------


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_base(tmp_path / "models" / "minilm")


@with_torch
def test_a_trained_model_tells_unseen_pairs_apart_and_its_card_says_how_well(
    base: Path, pairs_file: Path, tmp_path: Path
) -> None:
    steps: list[tuple[int, int]] = []
    done = train(
        [pairs_file], tmp_path / "out", base=base, epochs=20, on_step=lambda at, of, _loss: steps.append((at, of))
    )
    assert steps == [(at, len(steps)) for at in range(1, len(steps) + 1)]
    assert done.held_out.auc > 0.9
    card = json.loads((done.folder / "card.json").read_text(encoding="utf-8"))
    assert card["name"] == done.name == PairModel.load(done.folder).name
    assert card["data"] == [
        {
            "file": "pairs.jsonl",
            "sha256": hashlib.sha256(pairs_file.read_bytes()).hexdigest(),
            "bytes": pairs_file.stat().st_size,
        }
    ]
    assert card["held_out"]["auc"] == done.held_out.auc
    assert done.pairs + done.held_out.pairs == 240
    assert "licence terms of the data apply" in (done.folder / "README.md").read_text(encoding="utf-8")


@with_torch
def test_what_is_served_is_what_was_trained(base: Path, pairs_file: Path, tmp_path: Path) -> None:
    """The figures of the report come from torch; the served model must give the same ones."""
    done = train([pairs_file], tmp_path / "out", base=base)
    model = PairModel.load(done.folder)
    _, held = split_pairs(read_pairs([pairs_file]), seed=7)
    found = np.array([model.score(pair.a, [pair.b])[0] for pair in held])
    same = np.array([pair.same for pair in held])
    assert ((found - same) ** 2).mean() == pytest.approx(done.held_out.brier, abs=1e-4)
    assert ((found > 0.5) == same).mean() == pytest.approx(done.held_out.accuracy, abs=1e-4)


@with_torch
def test_the_seed_decides_the_model(base: Path, pairs_file: Path, tmp_path: Path) -> None:
    names = [train([pairs_file], tmp_path / f"{at}", base=base, seed=seed).name for at, seed in enumerate((1, 1, 2))]
    assert names[0] == names[1] != names[2]


@with_torch
def test_ctrl_c_leaves_nothing(base: Path, pairs_file: Path, tmp_path: Path) -> None:
    def interrupt(_done: int, _total: int, _loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train([pairs_file], tmp_path / "place" / "out", base=base, on_step=interrupt)
    assert list((tmp_path / "place").iterdir()) == []


@with_torch
def test_the_command_prints_progress_and_figures(
    base: Path, pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COSTKIT_MODELS", str(base.parent))
    arguments = ["--pairs", str(pairs_file), "--epochs", "2", "--limit", "200"]
    ran = CliRunner().invoke(train_command, [*arguments, "--out", str(tmp_path / "a"), "--json"])
    assert ran.exit_code == 0, ran.output
    printed = json.loads(ran.stdout)
    assert printed["folder"] == str(tmp_path / "a")
    assert printed["pairs"] + printed["held_out"]["pairs"] == 200
    assert ran.stderr.splitlines()[-1].startswith("[12/12] loss ")
    plain = CliRunner().invoke(train_command, [*arguments, "--out", str(tmp_path / "b")])
    assert f"{printed['name']} is in {tmp_path / 'b'}" in plain.stdout


@with_torch
def test_a_minilm_that_is_not_prepared_is_said_so_before_the_work(pairs_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelAbsentError, match="run `costkit models`"):
        train([pairs_file], tmp_path / "out", base=tmp_path / "nowhere")


@with_torch
def test_a_folder_that_cannot_be_written_is_named(base: Path, pairs_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        train([pairs_file], tmp_path / "file" / "out", base=base)


def test_an_existing_folder_or_a_wrong_number_is_refused_first(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="exists: name a new folder"):
        train([], tmp_path)
    for options in ({"epochs": 0}, {"limit": 0}):
        with pytest.raises(ConfigurationError, match=r"must be 1 or more, got 0"):
            train([], tmp_path / "out", **options)


def test_without_torch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"needs 'torch'.*costkit\[train\]"):
        train([tmp_path / "pairs.jsonl"], tmp_path / "out")


# --- a reranker ------------------------------------------------------------------------------------------------------

THINGS = "boat lamp chair oven rope drum kite vase".split()


def judged_passages() -> list[Judged]:
    """Questions for a price, each beside passages that tell it and others that tell a colour."""
    openings = ("what is the price of the", "price for my", "the price of your", "what price", "for what is the")
    return [
        Judged(question=f"{opening} {thing} ?", text=f"{of} {what} of the {thing}", relevant=what == "price")
        for opening in openings
        for thing in THINGS
        for of in ("the", "my")
        for what in ("price", "colour")
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedReranker:
    place = tmp_path_factory.mktemp("reranker")
    base = write_base(place / "models" / "minilm")
    return train_reranker(judged_passages(), place / "rerankers" / "ours", base=base, epochs=20)


@with_torch
def test_a_trained_reranker_puts_unseen_questions_passages_in_order(trained: TrainedReranker) -> None:
    reranker = from_flashrank("ours", cache_dir=trained.folder.parent)

    scores = reranker.score("my new rope ?", ["your price of the rope", "your colour of the rope", "a vase ?"])

    assert scores.index(max(scores)) == 0
    assert trained.held_out.auc > 0.9
    assert trained.held_out.questions == 4


@with_torch
def test_a_trained_reranker_comes_with_flashranks_files_and_its_figures(trained: TrainedReranker) -> None:
    names = {file.name for file in trained.folder.iterdir()}
    flashranks = {"config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "model.onnx"}
    card = json.loads((trained.folder / "card.json").read_text(encoding="utf-8"))

    assert names == flashranks | {"card.json", "README.md"}
    assert card["held_out"]["auc"] == trained.held_out.auc
    assert card["files"]["model.onnx"] == hashlib.sha256((trained.folder / "model.onnx").read_bytes()).hexdigest()
    assert 'from_flashrank("ours"' in (trained.folder / "README.md").read_text(encoding="utf-8")


@with_torch
def test_int8_makes_the_reranker_small_and_keeps_its_order(trained: TrainedReranker) -> None:
    parameters = sum(array.size for array in random_weights(tokenizer().get_vocab_size()).values())
    assert (trained.folder / "model.onnx").stat().st_size < 4 * parameters
    assert trained.held_out.auc == pytest.approx(trained.held_out.float_auc, abs=0.05)


@with_torch
def test_the_seed_decides_the_reranker(base: Path, tmp_path: Path) -> None:
    def weights(name: str, seed: int) -> bytes:
        done = train_reranker(judged_passages(), tmp_path / name, base=base, seed=seed)
        return (done.folder / "model.onnx").read_bytes()

    assert weights("a", 1) == weights("b", 1) != weights("c", 2)


def test_too_few_useful_questions_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_sided = [Judged(question=f"question {at}", text="the lamp", relevant=True) for at in range(30)]
    monkeypatch.setattr("costkit._training.find_spec", lambda _: object())
    with pytest.raises(DataError, match="0 of 30 questions have both relevant and other passages: at least 20"):
        train_reranker(one_sided, tmp_path / "out")
