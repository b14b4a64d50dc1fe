"""LLMLingua-2 with a tiny model of random weights: what is kept of documents, and what is left alone around it."""

from __future__ import annotations

import random
import re
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from costkit.context import Document
from costkit.context.llmlingua import LLMLingua2
from costkit.errors import ConfigurationError, ModelFileError

pytest.importorskip("llmlingua", reason="needs the extra costkit[llmlingua]")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TEXT = (
    "Annual leave is 27.5 days for every member of staff, and carried days lapse on 31 March 2027. "
    "A hotel may cost up to 1,200 euros a month, breakfast not included, and taxis need a written reason."
)
SHORT = "Trains are booked in second class by the travel desk of each and every office on 14 days of notice."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in a folder whose name says nothing of its family."""
    made = tmp_path_factory.mktemp("models") / "my own compressor"
    made.mkdir()
    words = sorted(set(re.findall(r"\w+|[^\w\s]", f"{TEXT} {SHORT}".lower())))
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *"/-%:", *(f"##{digit}" for digit in range(10))]
    (made / "vocab.txt").write_text("\n".join(dict.fromkeys(vocabulary)), encoding="utf-8")
    tokenizer = transformers.BertTokenizerFast(vocab=str(made / "vocab.txt"))
    tokenizer.save_pretrained(made)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        model = transformers.BertForTokenClassification(
            transformers.BertConfig(vocab_size=len(tokenizer), num_labels=2, **size)
        )
    model.save_pretrained(made)
    return made


@pytest.fixture
def documents() -> list[Document]:
    return [
        Document(id="leave", text=TEXT, title="Rules"),
        Document(id="trains", text=SHORT),
        Document(id="no", text=" "),
    ]


def test_every_document_is_compressed_by_itself_and_keeps_its_id(folder: Path, documents: list[Document]) -> None:
    left = LLMLingua2(folder).compress(documents, rate=0.6)

    assert [one.document_id for one in left] == ["leave", "trains", "no"]
    assert [one.title for one in left] == ["Rules", "", ""]
    assert all(0 < one.tokens_after < one.tokens_before for one in left[:2])
    assert left == LLMLingua2(folder).compress(documents, rate=0.6)
    assert (left[2].text, left[2].whole) == (" ", True)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_no_number_is_lost_or_torn(folder: Path, documents: list[Document], rate: float) -> None:
    for document, left in zip(documents, LLMLingua2(folder).compress(documents, rate=rate), strict=True):
        numbers = re.findall(r"\d+(?:[.,]\d+)*", document.text)
        assert re.findall(r"\d+(?:[.,]\d+)*", left.text) == numbers


def test_it_asks_no_network_and_leaves_the_callers_random_states_alone(
    folder: Path, documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)

    def draws(between: Callable[[], object]) -> tuple[float, float, float]:
        random.seed(7)
        np.random.seed(7)
        torch.manual_seed(7)
        between()
        return random.random(), np.random.random(), torch.rand(1).item()

    assert draws(lambda: LLMLingua2(folder).compress(documents)) == draws(lambda: None)


def test_a_long_document_is_compressed_in_pieces(folder: Path) -> None:
    (left,) = LLMLingua2(folder).compress([Document(id="long", text=f"{TEXT} " * 40)], rate=0.5)

    assert not left.whole
    assert left.text.count("27.5") == 40


@pytest.mark.parametrize("rate", [0, 1, 1.5, True])
def test_a_rate_that_cannot_work_is_named(folder: Path, rate: float) -> None:
    with pytest.raises(ConfigurationError, match=f"rate must be .* got {rate!r}"):
        LLMLingua2(folder).compress([], rate=rate)


def test_a_model_that_llmlingua_cannot_run_is_refused_with_the_reason(tmp_path: Path) -> None:
    transformers.GPT2Config(architectures=["GPT2LMHeadModel"]).save_pretrained(tmp_path)
    with pytest.raises(ConfigurationError, match=r"GPT2LMHeadModel.*only LLMLingua-2 is supported.*transformers \d"):
        LLMLingua2(tmp_path).warm()
    transformers.GPT2Config(architectures=["GPT2ForTokenClassification"]).save_pretrained(tmp_path)
    with pytest.raises(ConfigurationError, match="of type 'gpt2'"):
        LLMLingua2(tmp_path).warm()


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"must hold config\.json"):
        LLMLingua2(tmp_path / "absent").warm()
