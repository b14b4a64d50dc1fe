"""Fine-tuning minilm on labelled pairs of texts: what the two commands that train share. It needs torch and onnx."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from costkit._pair_tokens import encode
from costkit.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from costkit._pair_tokens import Tokens

    Array = NDArray[np.float32]

__all__ = ["Example", "OnStep", "auc", "check_run", "cosines", "fine_tuned", "new_folder"]

OnStep = Callable[[int, int, float], None]  # steps done, steps in all, the last loss

_BATCH = 32
# Batches are cut from this many pairs sorted by length: little padding, and another mixture in each epoch.
_BUCKET = 50 * _BATCH
_THREADS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """Two texts and whether they belong together."""

    a: str
    b: str
    label: bool


def check_run(out: Path, *, epochs: int, limit: int | None, feature: str) -> None:
    """Fail before the work, not after it.

    Raises:
        ConfigurationError: ``out`` exists, or ``epochs`` or ``limit`` is below 1.
        MissingExtraError: torch or onnx is not installed.
    """
    for field, value in (("epochs", epochs), ("limit", limit)):
        if value is not None and value < 1:
            raise ConfigurationError(f"{field} must be 1 or more, got {value!r}")
    if out.exists():
        raise ConfigurationError(f"out={str(out)!r} exists: name a new folder, or remove it first")
    for package in ("torch", "onnx"):
        if find_spec(package) is None:
            raise MissingExtraError(feature=feature, package=package, install="costkit[train]")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A sibling of ``out`` to write in: renamed to it at the end, removed after an error or Ctrl-C.

    Raises:
        ConfigurationError: It cannot be written.
    """
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


def fine_tuned(
    base: Path,
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    *,
    seed: int,
    epochs: int,
    turn: bool,
    on_step: OnStep,
    before: Callable[[dict[str, torch.Tensor]], None] = lambda _: None,
) -> dict[str, torch.Tensor]:
    """Return the weights of minilm and a head, fine-tuned on ``examples`` with two threads.

    Args:
        base: ``model.onnx`` of the prepared minilm.
        examples: What to learn from.
        tokenizer: Reads two texts together.
        seed: Of the order, the dropout and the head's first weights.
        epochs: How often each example is learned from.
        turn: True exchanges the texts of half the examples, for pairs without a direction.
        on_step: Called after each step.
        before: Called with the untrained weights.
    """
    # Two threads that spin while they wait for a core take ten times as long where other work runs; read at the import.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import onnx
    import torch

    from costkit import _pair_torch as pair_torch
    from costkit._minilm_graph import read_weights

    torch.manual_seed(seed)
    torch.set_num_threads(_THREADS)
    weights = pair_torch.to_tensors(read_weights(onnx.load(base)), seed=seed)
    before(weights)
    batches = list(_batches(examples, tokenizer, seed=seed, epochs=epochs, turn=turn))
    done = iter(range(1, len(batches) + 1))
    pair_torch.fit(weights, batches, on_step=lambda loss: on_step(next(done), len(batches), loss))
    return weights


def _batches(
    examples: Sequence[Example], tokenizer: Tokenizer, *, seed: int, epochs: int, turn: bool
) -> Iterator[Callable[[], tuple[Tokens, Array]]]:
    """Mix the examples in each epoch, and cut batches of like length; each is turned into tokens when its turn comes."""
    draw = random.Random(seed)  # noqa: S311 - an order, no secret
    for _ in range(epochs):
        mixed = draw.sample(examples, len(examples))
        buckets = [mixed[start : start + _BUCKET] for start in range(0, len(mixed), _BUCKET)]
        ordered = [one for bucket in buckets for one in sorted(bucket, key=lambda one: len(one.a) + len(one.b))]
        batches = [ordered[start : start + _BATCH] for start in range(0, len(ordered), _BATCH)]
        for batch in draw.sample(batches, len(batches)):
            texts = [(one.b, one.a) if turn and draw.random() < 0.5 else (one.a, one.b) for one in batch]
            yield partial(_tokens_and_labels, tokenizer, texts, [one.label for one in batch])


def _tokens_and_labels(
    tokenizer: Tokenizer, texts: Sequence[tuple[str, str]], labels: Sequence[bool]
) -> tuple[Tokens, Array]:
    import numpy as np

    return encode(tokenizer, texts), np.array(labels, dtype=np.float32)


def cosines(weights: dict[str, torch.Tensor], tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]]) -> Array:
    """Return the cosine of the encoder's vectors of each pair of texts: before training, what minilm knows already."""
    from costkit import _pair_torch as pair_torch

    a, b = (pair_torch.mean_vectors(weights, (encode(tokenizer, [pair[side]]) for pair in pairs)) for side in (0, 1))
    found: Array = (a * b).sum(axis=1)
    return found


def auc(scores: Array, labels: NDArray[np.bool_]) -> float:
    """Return the share of (true, false) couples whose scores are in the right order; a tie counts half."""
    import numpy as np

    false = np.sort(scores[~labels])
    below = np.searchsorted(false, scores[labels], side="left")
    up_to = np.searchsorted(false, scores[labels], side="right")
    return float((below + up_to).mean() / (2 * len(false)))
