"""Embeddings: the offline model is the real one, and what each embedder promises to its callers."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import costkit
from costkit.embed import Embedder, default_embedder, from_fastembed, from_minilm, remember
from costkit.errors import ConfigurationError, ModelFileError
from costkit.models import minilm_folder

DATA = Path(__file__).parent / "data"
# More than one batch, of mixed lengths.
TEXTS = [
    "How long is the warranty?",
    "Delete all rows.",
    "",
    "données été 数据 🚀",
    "a " * 600,
    "\ud800 lone surrogate",
    *"abcdefg",
]


class CountingEmbedder:
    """A small deterministic embedder that notes what it was asked for."""

    name = "counting"
    dimensions = 4

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        digests = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[: self.dimensions] for text in texts]
        rows = np.array([list(digest) for digest in digests], dtype=np.float32).reshape(-1, self.dimensions) + 1
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def python(code: str) -> str:
    """Run ``code`` in a fresh interpreter and return what it prints."""
    paths = os.pathsep.join([str(Path(costkit.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    environment.pop("ORT_DISABLE_TELEMETRY")
    run = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class TestMinilm:
    def test_cosines_agree_with_sentence_transformers(self, minilm: Embedder) -> None:
        """200 pairs, 39 of them with a text beyond the 256 tokens at which both cut."""
        raw = (DATA / "minilm_pairs.json").read_bytes()
        reference = json.loads((DATA / "minilm_reference.json").read_text())
        assert hashlib.sha256(raw).hexdigest() == reference["pairs_sha256"]
        pairs = json.loads(raw)
        assert len(pairs) == len(reference["cosines"]) == 200
        vectors = minilm.embed([text for pair in pairs for text in pair]).astype(np.float64)
        cosines = (vectors[0::2] * vectors[1::2]).sum(axis=1)
        np.testing.assert_allclose(cosines, reference["cosines"], rtol=0, atol=1e-4)

    def test_rows_are_float32_of_unit_length_in_the_order_given(self, minilm: Embedder) -> None:
        vectors = minilm.embed(TEXTS)
        assert (vectors.shape, vectors.dtype) == ((len(TEXTS), 384), np.float32)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(minilm.embed(TEXTS[::-1]), vectors[::-1], atol=1e-6)

    def test_a_text_has_the_same_vector_alone_and_in_a_batch(self, minilm: Embedder) -> None:
        alone = np.concatenate([minilm.embed([text]) for text in TEXTS])
        np.testing.assert_allclose(minilm.embed(TEXTS), alone, atol=1e-6)

    def test_no_texts_give_no_rows(self, minilm: Embedder) -> None:
        assert minilm.embed([]).shape == (0, 384)

    def test_words_beyond_256_tokens_do_not_count(self, minilm: Embedder) -> None:
        head = "word " * 254
        cut, longer = minilm.embed([head, head + "and much more after the cut " * 50])
        np.testing.assert_allclose(cut, longer, atol=1e-6)

    def test_threads_may_share_it(self, minilm: Embedder) -> None:
        texts = [f"question number {number}" for number in range(8)]
        expected = minilm.embed(texts)
        with ThreadPoolExecutor(8) as pool:
            for vectors in pool.map(lambda _: minilm.embed(texts), range(24)):
                np.testing.assert_allclose(vectors, expected, atol=1e-6)

    @pytest.mark.usefixtures("minilm")
    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
    def test_a_forked_worker_embeds_and_exits(self) -> None:
        code = """
import os, signal, sys
from costkit.embed import from_minilm
embedder = from_minilm()
before = embedder.embed(["hello"] * 40)
child = os.fork()
if child == 0:
    signal.alarm(60)
    sys.exit(int(abs(embedder.embed(["hello"] * 40) - before).max() > 1e-6))
status = os.waitpid(child, 0)[1]
print(status, abs(embedder.embed(["hello"] * 40) - before).max() < 1e-6)
"""
        assert python(code) == "0 True"

    def test_an_unprepared_folder_is_refused_at_construction(self, tmp_path: Path) -> None:
        with pytest.raises(ModelFileError, match="run `costkit models`"):
            from_minilm(tmp_path)


@pytest.mark.parametrize("texts", ["one text", [b"bytes"], [None], [3]])
def test_anything_but_a_list_of_str_is_refused(minilm: Embedder, texts: Sequence[str]) -> None:
    for embedder in (minilm, remember(CountingEmbedder())):
        with pytest.raises(ConfigurationError, match="texts must"):
            embedder.embed(texts)


def test_fastembed_models_are_known_before_anything_is_downloaded() -> None:
    embedder = from_fastembed()
    assert (embedder.name, embedder.dimensions) == ("BAAI/bge-small-en-v1.5", 384)


def test_an_unknown_fastembed_model_is_named_with_a_near_one() -> None:
    with pytest.raises(ConfigurationError, match=r"model='BAAI/bge-smal-en' .*did you mean BAAI/bge-small-en"):
        from_fastembed("BAAI/bge-smal-en")


def test_importing_the_module_loads_no_heavy_package() -> None:
    code = "import sys, costkit.embed; print([n for n in ('numpy', 'fastembed', 'onnxruntime') if n in sys.modules])"
    assert python(code) == "[]"


@pytest.mark.usefixtures("minilm")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_telemetry_thread_runs_beside_the_embedder() -> None:
    code = """
import os, costkit.embed
os.environ.update(OPENBLAS_NUM_THREADS="1", TOKENIZERS_PARALLELISM="0")
costkit.embed.from_minilm().embed(["x"])
print(len(os.listdir("/proc/self/task")))
"""
    assert python(code) == "1"


class TestRemember:
    @given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=12), max_size=8), st.integers(1, 10))
    def test_it_changes_no_vector_whatever_was_asked_before(self, calls: list[list[str]], max_texts: int) -> None:
        plain = CountingEmbedder()
        memory = remember(CountingEmbedder(), max_texts=max_texts)
        for texts in calls:
            np.testing.assert_array_equal(memory.embed(texts), plain.embed(texts))

    def test_each_text_is_computed_once(self) -> None:
        inner = CountingEmbedder()
        memory = remember(inner)
        memory.embed(["a", "b", "a"])
        memory.embed(["b", "c"])
        assert inner.asked == ["a", "b", "c"]

    def test_the_least_recently_used_text_is_forgotten_first(self) -> None:
        inner = CountingEmbedder()
        memory = remember(inner, max_texts=2)
        for text in ("a", "b", "a", "c", "a", "b"):
            memory.embed([text])
        assert inner.asked == ["a", "b", "c", "b"]

    def test_changing_a_result_changes_nothing_remembered(self) -> None:
        memory = remember(CountingEmbedder())
        first = memory.embed(["a"])
        expected = first.copy()
        first[:] = 0
        np.testing.assert_array_equal(memory.embed(["a"]), expected)

    def test_threads_may_share_it(self) -> None:
        plain, memory = CountingEmbedder(), remember(CountingEmbedder(), max_texts=5)
        batches = [[str((start + step) % 20) for step in range(8)] for start in range(200)]
        with ThreadPoolExecutor(8) as pool:
            for texts, vectors in zip(batches, pool.map(memory.embed, batches), strict=True):
                np.testing.assert_array_equal(vectors, plain.embed(texts))

    def test_name_and_dimensions_are_those_of_the_embedder(self) -> None:
        memory = remember(CountingEmbedder())
        assert (memory.name, memory.dimensions) == ("counting", 4)
        assert memory.embed([]).shape == (0, 4)

    def test_remembering_nothing_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="max_texts must be 1 or more, got 0"):
            remember(CountingEmbedder(), max_texts=0)


class TestDefault:
    @pytest.mark.usefixtures("minilm")
    def test_it_is_minilm_where_that_is_prepared_and_one_for_the_process(self) -> None:
        assert default_embedder().name == "minilm"
        assert default_embedder() is default_embedder()

    def test_it_is_bge_small_where_nothing_is_prepared(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COSTKIT_MODELS", str(tmp_path))
        assert default_embedder().name == "BAAI/bge-small-en-v1.5"

    @pytest.mark.usefixtures("minilm")
    def test_the_environment_decides(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COSTKIT_EMBEDDER", "BAAI/bge-base-en-v1.5")
        assert (default_embedder().name, default_embedder().dimensions) == ("BAAI/bge-base-en-v1.5", 768)

    def test_an_unknown_name_in_the_environment_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COSTKIT_EMBEDDER", "word2vec")
        with pytest.raises(ConfigurationError, match="COSTKIT_EMBEDDER='word2vec'"):
            default_embedder()

    def test_asking_for_an_absent_minilm_does_not_fall_back(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Vectors of another model would not fit those stored."""
        monkeypatch.setenv("COSTKIT_MODELS", str(tmp_path))
        monkeypatch.setenv("COSTKIT_EMBEDDER", "minilm")
        with pytest.raises(ModelFileError, match="not prepared"):
            default_embedder()

    def test_a_damaged_minilm_does_not_fall_back(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COSTKIT_MODELS", str(tmp_path))
        minilm_folder().mkdir()
        with pytest.raises(ModelFileError, match="run `costkit models`"):
            default_embedder()
