"""Train a pair model: fine-tune minilm on labelled pairs of questions and write it as a folder to serve from."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from costkit._pair_tokens import encode, open_tokenizer
from costkit._training import Example, OnStep, auc, check_run, cosines, fine_tuned, new_folder
from costkit.cache._pair_files import MODEL, TOKENIZER, write_card
from costkit.cache.labelled import Pair
from costkit.cache.pair_model import MAX_TOKENS, in_order
from costkit.cache.pairs import read_pairs, split_pairs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

__all__ = ["HeldOut", "TrainedModel", "train"]


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
    on_step: OnStep | None = None,
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
    check_run(out, epochs=epochs, limit=limit, feature="training a pair model")
    learned, held = split_pairs(read_pairs(files, limit=limit, seed=seed), seed=seed)
    verify_minilm(base)
    with new_folder(out) as part:
        started = time.monotonic()
        shutil.copyfile(base / TOKENIZER, part / TOKENIZER)
        held_out = _train_to(part, base, learned, held, seed, epochs, on_step or (lambda *_: None))
        minutes = (time.monotonic() - started) / 60
        report = {"pairs": len(learned), "seed": seed, "epochs": epochs, "limit": limit, "minutes": round(minutes, 1)}
        name = write_card(part, base, [Path(file) for file in files], report, asdict(held_out))
    return TrainedModel(folder=out, name=name, pairs=len(learned), minutes=minutes, held_out=held_out)


def _train_to(
    part: Path, base: Path, learned: Sequence[Pair], held: Sequence[Pair], seed: int, epochs: int, on_step: OnStep
) -> HeldOut:
    """Train, measure on ``held`` and write the graph, whose logits are divided by the fitted temperature."""
    import numpy as np

    tokenizer = open_tokenizer(part / TOKENIZER, max_tokens=MAX_TOKENS)
    untrained: list[Array] = []
    weights = fine_tuned(
        base / MODEL,
        [Example(a=pair.a, b=pair.b, label=pair.same) for pair in learned],
        tokenizer,
        seed=seed,
        epochs=epochs,
        turn=True,
        on_step=on_step,
        before=lambda start: untrained.append(cosines(start, tokenizer, [(pair.a, pair.b) for pair in held])),
    )
    from costkit import _pair_torch as pair_torch
    from costkit._minilm_graph import build_pair_graph

    logits = pair_torch.logits(weights, (encode(tokenizer, [in_order(pair.a, pair.b)]) for pair in held))
    same = np.array([pair.same for pair in held])
    temperature = _temperature(logits, same)
    arrays = {name: tensor.detach().numpy() for name, tensor in weights.items()}
    for name in ("head.score.weight", "head.score.bias"):
        arrays[name] = arrays[name] / np.float32(temperature)
    (part / MODEL).write_bytes(build_pair_graph(arrays).SerializeToString())
    return _held_out(logits / temperature, untrained[0], same, temperature)


def _temperature(logits: Array, same: NDArray[np.bool_]) -> float:
    """The divisor of the logits with the least log loss (Guo et al. 2017, https://arxiv.org/abs/1706.04599)."""
    import numpy as np

    signed = np.where(same, logits, -logits)
    return float(min(np.geomspace(0.2, 5, 161), key=lambda divisor: np.logaddexp(0, -signed / divisor).mean()))


def _held_out(logits: Array, by_cosine: Array, same: NDArray[np.bool_], temperature: float) -> HeldOut:
    import numpy as np

    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return HeldOut(
        pairs=len(same),
        same=int(same.sum()),
        auc=round(auc(logits, same), 4),
        cosine_auc=round(auc(by_cosine, same), 4),
        accuracy=round(float(((probabilities > 0.5) == same).mean()), 4),
        brier=round(float(((probabilities - same) ** 2).mean()), 4),
        temperature=round(temperature, 4),
    )
