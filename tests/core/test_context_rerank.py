"""Rerankers behind their one protocol; the FlashRank model is a tiny graph of our own, so nothing is downloaded."""

from __future__ import annotations

import builtins
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from costkit.context import ContextReducer, Document, from_embedder, from_fastembed_cross_encoder, from_flashrank
from costkit.errors import ConfigurationError, MissingExtraError, ModelFileError

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "hotel", "cost", "leave", "days", "euros", "120"]


class Counting:
    """An embedder that counts what it is asked for; texts that hold a word point along its axis."""

    name = "counting"
    dimensions = 4

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        rows = np.array(
            [[0.1] + [float(word in text.lower()) for word in ("hotel", "leave", "train")] for text in texts]
        )
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def write_flashrank_folder(folder: Path, *, inputs: Sequence[str], columns: int = 1) -> None:
    """A cross-encoder whose score grows with the number of tokens of the passage, in FlashRank's layout."""
    import onnx
    from onnx import TensorProto, helper
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder.mkdir(parents=True)
    counted = "token_type_ids" if "token_type_ids" in inputs else "attention_mask"
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    nodes = [
        helper.make_node("Cast", [counted], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["numbers", "axes"], ["total"], keepdims=1),
        helper.make_node("Concat", ["total"] * columns, ["logits"], axis=1),
    ]
    declared = [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "tokens"]) for name in inputs]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", columns])
    graph = helper.make_graph(nodes, "tiny", declared, [output], [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")

    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"pad_token_id": 0}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 64, "pad_token": "[PAD]"}))
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": "[PAD]", "unk_token": "[UNK]"}))


# --- with the embedder alone -----------------------------------------------------------------------------------------


def test_the_embedding_reranker_prefers_meaning_and_shared_words() -> None:
    scores = from_embedder(Counting()).score("hotel cost", ["A hotel at any cost.", "A hotel.", "Annual leave."])
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 3
    assert all(type(score) is float for score in scores)


def test_a_text_is_embedded_once_however_often_it_is_scored() -> None:
    embedder = Counting()
    reranker = from_embedder(embedder)
    first = reranker.score("hotel cost", ["A hotel.", "Annual leave."])
    assert reranker.score("hotel cost", ["A hotel.", "Annual leave."]) == first
    assert sorted(embedder.asked) == ["A hotel.", "Annual leave.", "hotel cost"]


def test_the_embedding_reranker_takes_empty_input() -> None:
    reranker = from_embedder(Counting())
    assert reranker.score("hotel", []) == []
    assert len(reranker.score("", ["", "  "])) == 2
    assert len(reranker.score("the of", ["the", "leave"])) == 2


# --- FlashRank -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "inputs",
    [["input_ids", "attention_mask", "token_type_ids"], ["input_ids", "attention_mask"]],
    ids=["bert", "no-types"],
)
@pytest.mark.parametrize("columns", [1, 2])
def test_an_own_onnx_folder_is_used_without_download(tmp_path: Path, inputs: list[str], columns: int) -> None:
    model = f"own-{len(inputs)}-{columns}"
    write_flashrank_folder(tmp_path / model, inputs=inputs, columns=columns)
    reranker = from_flashrank(model, cache_dir=tmp_path)
    texts = ["hotel cost 120 euros", "leave", "leave days"]
    scores = reranker.score("hotel", texts)
    assert reranker.name == f"flashrank:{model}"
    assert texts == ["hotel cost 120 euros", "leave", "leave days"]
    assert all(type(score) is float for score in scores)
    assert json.loads(json.dumps(scores)) == scores
    if columns == 1:
        assert scores[0] > scores[2] > scores[1]


def test_flashrank_scores_no_texts_and_many_in_the_order_given(tmp_path: Path) -> None:
    write_flashrank_folder(tmp_path / "own-many", inputs=["input_ids", "attention_mask", "token_type_ids"])
    reranker = from_flashrank("own-many", cache_dir=tmp_path)
    assert reranker.score("hotel", []) == []
    texts = ["leave " * (1 + index % 7) for index in range(80)]
    scores = reranker.score("hotel", texts)
    assert all(scores[index] == pytest.approx(scores[index % 7], abs=1e-6) for index in range(80))


def test_flashrank_leaves_the_root_logger_alone(tmp_path: Path) -> None:
    write_flashrank_folder(tmp_path / "own-quiet", inputs=["input_ids", "attention_mask"])
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    for handler in handlers:
        root.removeHandler(handler)
    try:
        from_flashrank("own-quiet", cache_dir=tmp_path).score("hotel", ["leave"])
        assert (root.handlers, root.level) == ([], level)
    finally:
        for handler in handlers:
            root.addHandler(handler)


def test_flashrank_drives_the_reducer(tmp_path: Path) -> None:
    write_flashrank_folder(tmp_path / "own-reduce", inputs=["input_ids", "attention_mask", "token_type_ids"])
    reranker = from_flashrank("own-reduce", cache_dir=tmp_path)
    documents = [Document(id="a", text="Short one. The long sentence about the hotel has many words in it. Short two.")]
    reduction = ContextReducer(budget_tokens=18, reranker=reranker, recorder=_Nowhere()).reduce("hotel", documents)
    assert reduction.texts() == {"a": "The long sentence about the hotel has many words in it."}


class _Nowhere:
    def record(self, event: object) -> None:
        pass


def test_a_half_downloaded_flashrank_folder_says_what_is_missing(tmp_path: Path) -> None:
    write_flashrank_folder(tmp_path / "own-broken", inputs=["input_ids", "attention_mask"])
    (tmp_path / "own-broken" / "special_tokens_map.json").unlink()
    with pytest.raises(ModelFileError, match=r"special_tokens_map\.json"):
        from_flashrank("own-broken", cache_dir=tmp_path).score("hotel", ["leave"])


def test_an_unknown_flashrank_model_is_refused_at_construction(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'no-such-model'"):
        from_flashrank("no-such-model", cache_dir=tmp_path)
    with pytest.raises(ConfigurationError, match="gives no scores"):
        from_flashrank("rank_zephyr_7b_v1_full", cache_dir=tmp_path)


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name.startswith(("flashrank", "fastembed")):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"costkit\[flashrank\]"):
        from_flashrank()
    with pytest.raises(MissingExtraError, match="fastembed"):
        from_fastembed_cross_encoder()


# --- fastembed -------------------------------------------------------------------------------------------------------


def test_an_unknown_fastembed_cross_encoder_is_refused_at_construction() -> None:
    with pytest.raises(ConfigurationError, match="'no/such'"):
        from_fastembed_cross_encoder("no/such")


def test_a_known_fastembed_cross_encoder_is_opened_at_the_first_use_only() -> None:
    assert from_fastembed_cross_encoder().name == "fastembed:Xenova/ms-marco-MiniLM-L-6-v2"


def test_a_fastembed_cross_encoder_scores_in_the_order_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastembed.common.model_management import ModelManagement

    folder = tmp_path / "downloaded"
    write_flashrank_folder(folder, inputs=["input_ids", "attention_mask", "token_type_ids"])
    (folder / "onnx").mkdir()
    (folder / "model.onnx").rename(folder / "onnx" / "model.onnx")
    monkeypatch.setattr(ModelManagement, "download_model", lambda *_, **__: folder)
    scores = from_fastembed_cross_encoder().score("hotel", ["hotel cost 120 euros", "leave", "leave days"])
    assert scores[0] > scores[2] > scores[1]
    assert all(type(score) is float for score in scores)


def test_a_fastembed_model_that_does_not_open_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastembed.common.model_management import ModelManagement

    monkeypatch.setattr(ModelManagement, "download_model", lambda *_, **__: tmp_path)
    with pytest.raises(ModelFileError, match="Xenova"):
        from_fastembed_cross_encoder(cache_dir=tmp_path).score("hotel", ["leave"])
