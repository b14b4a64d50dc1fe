"""Train a reranker: fine-tune minilm on judged passages and write it in FlashRank's layout, in int8."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING

from costkit import __version__
from costkit._pair_tokens import encode, open_tokenizer
from costkit._training import Example, OnStep, auc, check_run, cosines, fine_tuned, new_folder
from costkit.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    Array = NDArray[np.float32]

__all__ = ["MAX_TOKENS", "HeldOut", "Judged", "TrainedReranker", "train"]

# Of question and passage together; FlashRank reads it from the folder.
MAX_TOKENS = 256
FEWEST_QUESTIONS = 20
_HELD_OUT = 0.1
_MODEL = "model.onnx"
_TOKENIZER = "tokenizer.json"

_README = """# Reranker {name}

Says how well a passage answers a question. Trained by `costkit context train` of costkit {version} from
all-MiniLM-L6-v2, in int8, in FlashRank's layout: `costkit.context.from_flashrank("{name}", cache_dir=...)` with the
folder that this one lies in.

On {questions} held-out questions with {passages} passages: AUC {auc} ({float_auc} before int8), where the cosine of the
untrained model's vectors has {cosine_auc}; the best passage is one that answers for {first} of the questions
({cosine_first} by the cosine). The digits of a score depend a little on what else is in its batch: by up to {drift}.

The licence terms of the data apply to the weights.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A passage beside a question, and whether the answer stands in it."""

    question: str
    text: str
    relevant: bool


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """What a reranker is worth on questions that it did not learn from.

    Attributes:
        questions: How many there are.
        passages: How many passages they have.
        auc: The chance that a relevant passage scores above another one, over all questions.
        float_auc: The same before the weights were put into int8.
        cosine_auc: The same for the cosine of minilm's vectors.
        first: Share of the questions whose best passage is relevant.
        cosine_first: The same by the cosine.
        drift: The most that a score in int8 changes with what else is in its batch.
    """

    questions: int
    passages: int
    auc: float
    float_auc: float
    cosine_auc: float
    first: float
    cosine_first: float
    drift: float


@dataclass(frozen=True, kw_only=True)
class TrainedReranker:
    """A reranker that was written.

    Attributes:
        folder: Where it is; ``from_flashrank(folder.name, cache_dir=folder.parent)`` opens it.
        passages: How many judged passages it learned from.
        minutes: How long training and measuring took.
        held_out: What it is worth.
    """

    folder: Path
    passages: int
    minutes: float
    held_out: HeldOut


def train(
    judged: Sequence[Judged],
    out: Path | str,
    *,
    base: Path | None = None,
    seed: int = 7,
    epochs: int = 1,
    limit: int | None = None,
    on_step: OnStep | None = None,
) -> TrainedReranker:
    """Fine-tune minilm on judged passages and write a reranker to a new folder.

    One question in ten is held out to measure. The folder appears when all is done, never half written. Two threads.

    Args:
        judged: Passages beside their questions. The hardest irrelevant ones teach most: those that retrieval finds.
        out: The folder to write; it must not exist. Its name is the model's.
        base: The prepared minilm; by default the machine's own.
        seed: Of the split, the order, the dropout and the head's first weights.
        epochs: How often each passage is learned from.
        limit: Use at most so many questions, drawn at random; by default all.
        on_step: Called with the training steps done, those there are, and the loss of the last one.

    Raises:
        ConfigurationError: ``out`` exists or cannot be written, or ``epochs`` or ``limit`` is below 1.
        DataError: There are fewer than 20 questions that have both relevant and other passages.
        ModelFileError: minilm is not prepared, or damaged.
        MissingExtraError: torch or onnx is not installed.
    """
    from costkit.models import minilm_folder, verify_minilm

    out, base = Path(out), base or minilm_folder()
    check_run(out, epochs=epochs, limit=limit, feature="training a reranker")
    learned, held = _split(judged, limit=limit, seed=seed)
    verify_minilm(base)
    with new_folder(out) as part:
        started = time.monotonic()
        held_out = _train_to(part, base, learned, held, seed=seed, epochs=epochs, on_step=on_step or (lambda *_: None))
        minutes = (time.monotonic() - started) / 60
        _describe(part, out.name, held_out, {"passages": len(learned), "seed": seed, "epochs": epochs, "limit": limit})
    return TrainedReranker(folder=out, passages=len(learned), minutes=minutes, held_out=held_out)


def _split(judged: Sequence[Judged], *, limit: int | None, seed: int) -> tuple[list[Judged], list[Judged]]:
    """Hold out one question in ten; questions whose passages are all alike teach and measure nothing."""
    by_question: dict[str, list[Judged]] = {}
    for one in judged:
        by_question.setdefault(one.question, []).append(one)
    useful = [rows for rows in by_question.values() if len({row.relevant for row in rows}) == 2]
    if len(useful) < FEWEST_QUESTIONS:
        raise DataError(
            f"{len(useful)} of {len(by_question)} questions have both relevant and other passages: "
            f"at least {FEWEST_QUESTIONS} are needed"
        )
    drawn = random.Random(seed).sample(useful, min(limit or len(useful), len(useful)))  # noqa: S311 - no secret
    held = max(round(_HELD_OUT * len(drawn)), 1)
    return [row for rows in drawn[held:] for row in rows], [row for rows in drawn[:held] for row in rows]


def _train_to(
    part: Path,
    base: Path,
    learned: Sequence[Judged],
    held: Sequence[Judged],
    *,
    seed: int,
    epochs: int,
    on_step: OnStep,
) -> HeldOut:
    """Train, write the folder and measure what it holds on ``held``."""
    _write_tokenizer(part, base)
    tokenizer = open_tokenizer(part / _TOKENIZER, max_tokens=MAX_TOKENS)
    untrained: list[Array] = []
    weights = fine_tuned(
        base / _MODEL,
        [Example(a=one.question, b=one.text, label=one.relevant) for one in learned],
        tokenizer,
        seed=seed,
        epochs=epochs,
        turn=False,  # a question and a passage never change places
        on_step=on_step,
        before=lambda start: untrained.append(cosines(start, tokenizer, [(one.question, one.text) for one in held])),
    )
    from costkit import _pair_torch as pair_torch

    as_float = pair_torch.logits(weights, (encode(tokenizer, [(one.question, one.text)]) for one in held))
    _write_int8(part, weights)
    return _measured(part, tokenizer, held, as_float, untrained[0])


def _write_tokenizer(part: Path, base: Path) -> None:
    """Write what FlashRank opens beside the model."""
    shutil.copyfile(base / _TOKENIZER, part / _TOKENIZER)
    pad = json.loads((part / _TOKENIZER).read_text(encoding="utf-8")).get("padding") or {}
    token, token_id = pad.get("pad_token", "[PAD]"), pad.get("pad_id", 0)
    special = {"unk_token": "[UNK]", "sep_token": "[SEP]", "cls_token": "[CLS]", "pad_token": token}
    for file, content in {
        "config.json": {"pad_token_id": token_id},
        "tokenizer_config.json": {"model_max_length": MAX_TOKENS, "pad_token": token},
        "special_tokens_map.json": special,
    }.items():
        (part / file).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _write_int8(part: Path, weights: dict[str, torch.Tensor]) -> None:
    """Write the graph with its matrices in int8, a quarter of the size; activations are scaled as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from costkit._minilm_graph import build_pair_graph

    whole = part / "float.onnx"
    arrays = {name: tensor.detach().numpy() for name, tensor in weights.items()}
    whole.write_bytes(build_pair_graph(arrays).SerializeToString())
    quantize_dynamic(whole, part / _MODEL, per_channel=True, weight_type=QuantType.QInt8)
    whole.unlink()


def _measured(part: Path, tokenizer: Tokenizer, held: Sequence[Judged], as_float: Array, by_cosine: Array) -> HeldOut:
    import numpy as np

    relevant = np.array([one.relevant for one in held])
    places: dict[str, list[int]] = {}
    for place, one in enumerate(held):
        places.setdefault(one.question, []).append(place)
    alone = _int8_scores(part, tokenizer, [[one] for one in held])
    together = _int8_scores(part, tokenizer, [[held[place] for place in group] for group in places.values()])
    in_order = [place for group in places.values() for place in group]

    def first(scores: Array) -> float:
        return float(np.mean([relevant[max(group, key=lambda place: scores[place])] for group in places.values()]))

    return HeldOut(
        questions=len(places),
        passages=len(held),
        auc=round(auc(alone, relevant), 4),
        float_auc=round(auc(as_float, relevant), 4),
        cosine_auc=round(auc(by_cosine, relevant), 4),
        first=round(first(alone), 4),
        cosine_first=round(first(by_cosine), 4),
        drift=round(float(np.abs(_share(together) - _share(alone[in_order])).max()), 4),
    )


def _int8_scores(part: Path, tokenizer: Tokenizer, batches: Sequence[Sequence[Judged]]) -> Array:
    """The logits of the written model, batch by batch."""
    import numpy as np

    from costkit._onnxruntime import disable_telemetry

    disable_telemetry()
    from onnxruntime import InferenceSession

    session = InferenceSession(part / _MODEL, providers=["CPUExecutionProvider"])
    found = []
    for batch in batches:
        ids, mask, types = encode(tokenizer, [(one.question, one.text) for one in batch])
        [logits] = session.run(None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": types})
        found.append(logits[:, 0])
    scores: Array = np.concatenate(found)
    return scores


def _share(logits: Array) -> Array:
    """What FlashRank makes of a logit: a number from 0 to 1."""
    import numpy as np

    shares: Array = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return shares


def _describe(part: Path, name: str, held_out: HeldOut, training: dict[str, object]) -> None:
    """Write the card of figures and sums, and the README that people read."""
    sums = {}
    for file in sorted(part.iterdir()):
        with file.open("rb") as stream:
            sums[file.name] = file_digest(stream, "sha256").hexdigest()
    card = {"costkit": __version__, "training": training, "held_out": asdict(held_out), "files": sums}
    (part / "card.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    readme = _README.format(name=name, version=__version__, **asdict(held_out))
    (part / "README.md").write_text(readme, encoding="utf-8")
