"""Train a pair model: fine-tune minilm on labelled pairs of questions and write it as a folder to serve from."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from costkit.cache._pair_files import MODEL, TOKENIZER, write_card
from costkit.cache._pair_tokens import encode, in_order, open_tokenizer
from costkit.cache.labelled import Pair
from costkit.cache.pairs import read_pairs, split_pairs
from costkit.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from costkit.cache._pair_tokens import Tokens

    Array = NDArray[np.float32]

__all__ = ["HeldOut", "TrainedModel", "train"]

_BATCH = 32
# Batches are cut from this many pairs sorted by length: little padding, and another mixture in each epoch.
_BUCKET = 50 * _BATCH
_THREADS = 2


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """What a model is worth on pairs none of whose questions it learned from.

    Attributes:
        pairs: How many there are.
        same: How many of them are labelled the same.
        auc: The chance that a same pair scores above a different one.
        cosine_auc: The same for the cosine of minilm's vectors.
        accuracy: The share of pairs on the right side of probability 0.5.
        brier: The mean squared error of the probability; to guess the share p of same pairs each time has p(1-p).
        temperature: What the logits were divided by, the best on these pairs.
    """

    pairs: int
    same: int
    auc: float
    cosine_auc: float
    accuracy: float
    brier: float
    temperature: float


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A model that was written.

    Attributes:
        folder: Where it is.
        name: What ``PairModel.name`` says of it.
        pairs: How many pairs it learned from.
        minutes: How long training and measuring took.
        held_out: What it is worth.
    """

    folder: Path
    name: str
    pairs: int
    minutes: float
    held_out: HeldOut


def train(
    files: Sequence[Path | str],
    out: Path | str,
    *,
    base: Path | None = None,
    seed: int = 7,
    epochs: int = 1,
    limit: int | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
) -> TrainedModel:
    """Fine-tune minilm on labelled pairs and write the pair model to a new folder.

    One pair in twenty is held out to fit the temperature and to measure. The folder appears when all is done, never
    half written. Two threads.

    Args:
        files: JSON-lines files of pairs, see ``read_pairs``.
        out: The folder to write; it must not exist.
        base: The prepared minilm; by default the machine's own.
        seed: Of the split, the order, the dropout and the head's first weights.
        epochs: How often each pair is learned from.
        limit: Use at most so many pairs, drawn at random; by default all.
        on_step: Called with the training steps done, those there are, and the loss of the last one.

    Raises:
        ConfigurationError: ``out`` exists or cannot be written, or ``epochs`` or ``limit`` is below 1.
        DataError: A file or a row of it is wrong, or its pairs do not suffice.
        ModelFileError: minilm is not prepared, or damaged.
        MissingExtraError: torch or onnx is not installed.
    """
    from costkit.models import minilm_folder, verify_minilm

    out, base = Path(out), base or minilm_folder()
    _check(out, epochs=epochs, limit=limit)
    learned, held = split_pairs(read_pairs(files, limit=limit, seed=seed), seed=seed)
    verify_minilm(base)
    with _part_of(out) as part:
        started = time.monotonic()
        shutil.copyfile(base / TOKENIZER, part / TOKENIZER)
        held_out = _train_to(part, base, learned, held, seed, epochs, on_step or (lambda *_: None))
        minutes = (time.monotonic() - started) / 60
        report = {"pairs": len(learned), "seed": seed, "epochs": epochs, "limit": limit, "minutes": round(minutes, 1)}
        name = write_card(part, base, [Path(file) for file in files], report, asdict(held_out))
    return TrainedModel(folder=out, name=name, pairs=len(learned), minutes=minutes, held_out=held_out)


def _check(out: Path, *, epochs: int, limit: int | None) -> None:
    """Fail before the work, not after it."""
    for field, value in (("epochs", epochs), ("limit", limit)):
        if value is not None and value < 1:
            raise ConfigurationError(f"{field} must be 1 or more, got {value!r}")
    if out.exists():
        raise ConfigurationError(f"out={str(out)!r} exists: name a new folder, or remove it first")
    for package in ("torch", "onnx"):
        if find_spec(package) is None:
            raise MissingExtraError(feature="training a pair model", package=package, install="costkit[train]")


@contextmanager
def _part_of(out: Path) -> Iterator[Path]:
    """A sibling of ``out`` to write in: renamed to it at the end, removed after an error or Ctrl-C."""
    part = out.with_name(f"{out.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
        part.mkdir(parents=True)
    except OSError as error:
        raise _unwritable(out, error) from error
    try:
        yield part
        part.rename(out)
    except OSError as error:
        raise _unwritable(out, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _unwritable(out: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"out={str(out)!r} cannot be written ({error.strerror or error}): name a folder that can be"
    )


def _train_to(
    part: Path,
    base: Path,
    learned: Sequence[Pair],
    held: Sequence[Pair],
    seed: int,
    epochs: int,
    on_step: Callable[[int, int, float], None],
) -> HeldOut:
    """Train, measure on ``held`` and write the graph, whose logits are divided by the fitted temperature."""
    # Two threads that spin while they wait for a core take ten times as long where other work runs; read at the import.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import numpy as np
    import onnx
    import torch

    from costkit._minilm_graph import build_pair_graph, read_weights
    from costkit.cache import _pair_torch as pair_torch

    torch.manual_seed(seed)
    torch.set_num_threads(_THREADS)
    tokenizer = open_tokenizer(part / TOKENIZER)
    weights = pair_torch.to_tensors(read_weights(onnx.load(base / MODEL)), seed=seed)
    cosines = _cosines(weights, tokenizer, held)
    batches = list(_batches(learned, tokenizer, seed=seed, epochs=epochs))
    done = iter(range(1, len(batches) + 1))
    pair_torch.fit(weights, batches, on_step=lambda loss: on_step(next(done), len(batches), loss))
    logits = pair_torch.logits(weights, (encode(tokenizer, [in_order(pair.a, pair.b)]) for pair in held))
    same = np.array([pair.same for pair in held])
    temperature = _temperature(logits, same)
    arrays = {name: tensor.detach().numpy() for name, tensor in weights.items()}
    for name in ("head.score.weight", "head.score.bias"):
        arrays[name] = arrays[name] / np.float32(temperature)
    (part / MODEL).write_bytes(build_pair_graph(arrays).SerializeToString())
    return _held_out(logits / temperature, cosines, same, temperature)


def _batches(
    pairs: Sequence[Pair], tokenizer: Tokenizer, *, seed: int, epochs: int
) -> Iterator[Callable[[], tuple[Tokens, Array]]]:
    """Mix the pairs in each epoch, and cut batches of like length; each is turned into tokens when its turn comes."""
    draw = random.Random(seed)  # noqa: S311 - an order, no secret
    for _ in range(epochs):
        mixed = draw.sample(pairs, len(pairs))
        buckets = [mixed[start : start + _BUCKET] for start in range(0, len(mixed), _BUCKET)]
        ordered = [pair for bucket in buckets for pair in sorted(bucket, key=lambda pair: len(pair.a) + len(pair.b))]
        batches = [ordered[start : start + _BATCH] for start in range(0, len(ordered), _BATCH)]
        for batch in draw.sample(batches, len(batches)):
            turned = [(pair.b, pair.a) if draw.random() < 0.5 else (pair.a, pair.b) for pair in batch]
            yield partial(_tokens_and_labels, tokenizer, turned, [pair.same for pair in batch])


def _tokens_and_labels(
    tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]], same: Sequence[bool]
) -> tuple[Tokens, Array]:
    import numpy as np

    return encode(tokenizer, pairs), np.array(same, dtype=np.float32)


def _cosines(weights: dict[str, torch.Tensor], tokenizer: Tokenizer, pairs: Sequence[Pair]) -> Array:
    """The cosine of the untrained encoder's vectors, in the order of ``pairs``."""
    from costkit.cache import _pair_torch as pair_torch

    a, b = (
        pair_torch.mean_vectors(weights, (encode(tokenizer, [text]) for text in texts))
        for texts in ([pair.a for pair in pairs], [pair.b for pair in pairs])
    )
    cosines: Array = (a * b).sum(axis=1)
    return cosines


def _temperature(logits: Array, same: NDArray[np.bool_]) -> float:
    """The divisor of the logits with the least log loss (Guo et al. 2017, https://arxiv.org/abs/1706.04599)."""
    import numpy as np

    signed = np.where(same, logits, -logits)
    return float(min(np.geomspace(0.2, 5, 161), key=lambda divisor: np.logaddexp(0, -signed / divisor).mean()))


def _held_out(logits: Array, cosines: Array, same: NDArray[np.bool_], temperature: float) -> HeldOut:
    import numpy as np

    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return HeldOut(
        pairs=len(same),
        same=int(same.sum()),
        auc=round(_auc(logits, same), 4),
        cosine_auc=round(_auc(cosines, same), 4),
        accuracy=round(float(((probabilities > 0.5) == same).mean()), 4),
        brier=round(float(((probabilities - same) ** 2).mean()), 4),
        temperature=round(temperature, 4),
    )


def _auc(scores: Array, same: NDArray[np.bool_]) -> float:
    """The share of (same, different) couples in the right order; a tie counts half."""
    import numpy as np

    different = np.sort(scores[~same])
    below = np.searchsorted(different, scores[same], side="left")
    up_to = np.searchsorted(different, scores[same], side="right")
    return float((below + up_to).mean() / (2 * len(different)))
