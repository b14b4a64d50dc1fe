"""The folder of a pair model: its files, the card that vouches for them, and the README that people read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path

from costkit import __version__
from costkit.errors import ModelAbsentError, ModelChecksumError

__all__ = ["CARD", "MODEL", "TOKENIZER", "verify_folder", "write_card"]

CARD = "card.json"
MODEL = "model.onnx"
TOKENIZER = "tokenizer.json"
# Raised when the inputs or the output of the graph change, so that an older folder is named as such.
_FORMAT = 1
_ADVICE = "train the model anew with `costkit cache train`, or copy its folder again"

_README = """# Pair model {name}

Gives the probability that one answer serves two questions. Trained by `costkit cache train` of costkit {version} from
all-MiniLM-L6-v2; load it with `costkit.cache.pair_model.PairModel.load`.

Data: {data}.

On {pairs} held-out pairs ({same} of them the same), none of whose questions it learned from: AUC {auc}, where the
cosine of the untrained model's vectors has {cosine_auc}; accuracy {accuracy}, Brier score {brier}. Probabilities were
fitted to these pairs: where your traffic has another share of same questions, choose a threshold on your own pairs.

The licence terms of the data apply to the weights. `card.json` has every figure and the SHA-256 of each file.
"""


def write_card(
    folder: Path, base: Path, data: Sequence[Path], training: Mapping[str, object], held_out: Mapping[str, object]
) -> str:
    """Write ``card.json`` and ``README.md`` beside the model and return the model's name."""
    sums = {name: _sha256(folder / name) for name in (MODEL, TOKENIZER)}
    name = f"pair-{sums[MODEL][:12]}"
    files = [{"file": file.name, "sha256": _sha256(file), "bytes": file.stat().st_size} for file in data]
    card = {
        "format": _FORMAT,
        "name": name,
        "made": datetime.now(UTC).date().isoformat(),
        "costkit": __version__,
        "base": {"model": "all-MiniLM-L6-v2", "model_sha256": _sha256(base / MODEL)},
        "data": files,
        "training": dict(training),
        "held_out": dict(held_out),
        "licence": "The licence terms of the data apply to the weights.",
        "files": sums,
    }
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    listed = "; ".join(f"{file.name} (SHA-256 {_sha256(file)})" for file in data)
    text = _README.format(name=name, version=__version__, data=listed, **held_out)
    (folder / "README.md").write_text(text, encoding="utf-8")
    return name


def verify_folder(folder: Path) -> str:
    """Compare the files with their card and return the model's name.

    Raises:
        ModelAbsentError: There is no pair model, or one of another release.
        ModelChecksumError: A file is missing or changed.
    """
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        current = card["format"] == _FORMAT
        name = str(card["name"])
        sums = {file: str(card["files"][file]) for file in (MODEL, TOKENIZER)} if current else {}
    except OSError as error:
        raise ModelAbsentError(
            f"{str(folder)!r} holds no pair model ({CARD}: {error.strerror}): give the folder that "
            "`costkit cache train --out` wrote"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise ModelChecksumError(f"{str(folder / CARD)!r} is no card of a pair model: {_ADVICE}") from None
    if not current:
        raise ModelAbsentError(f"{str(folder)!r} was written by another release of costkit: {_ADVICE}")
    for file, expected in sums.items():
        try:
            found = _sha256(folder / file)
        except OSError as error:
            raise ModelChecksumError(f"{str(folder / file)!r} cannot be read ({error.strerror}): {_ADVICE}") from error
        if found != expected:
            raise ModelChecksumError(f"{str(folder / file)!r} has SHA-256 {found}, expected {expected}: {_ADVICE}")
    return name


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()
