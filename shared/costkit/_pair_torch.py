"""A cross-encoder in torch, for training alone: the encoder of ``costkit._minilm_graph`` and its head as functions.

Its parameters are a plain mapping from the names of the published weights to tensors, so that what was trained goes
straight into the ONNX graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name it has everywhere

from costkit._minilm_graph import HEAD_WIDTH, LAYER_NORM_EPSILON, count_layers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Tokens = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]

__all__ = ["fit", "logits", "mean_vectors", "to_tensors"]

Weights = Mapping[str, torch.Tensor]

_DROPOUT = 0.1
_ENCODER_RATE = 5e-5
# The head starts from random numbers, the encoder from a good place.
_HEAD_RATE = 5e-4
_WARM_UP = 0.1
_DECAY = 0.01
_LARGEST_GRADIENT = 1.0
# Most words stand in no pair; moved away from those that do, they would mean something else to the same layers.
_FROZEN = "embeddings.word_embeddings.weight"


def to_tensors(weights: Mapping[str, Array], *, seed: int) -> dict[str, torch.Tensor]:
    """Return trainable copies of the encoder's ``weights`` with a head of random numbers beside them."""
    width = weights[_FROZEN].shape[1]
    generator = torch.Generator().manual_seed(seed)
    shapes = {"head.dense": (width, 3 * width), "head.score": (1, width)}
    made = {name: torch.tensor(value) for name, value in weights.items()}
    for name, shape in shapes.items():
        made[f"{name}.weight"] = torch.randn(shape, generator=generator) / shape[1] ** 0.5
        made[f"{name}.bias"] = torch.zeros(shape[0])
    for name, tensor in made.items():
        tensor.requires_grad_(name != _FROZEN)
    return made


def fit(
    weights: Weights,
    batches: Sequence[Callable[[], tuple[Tokens, Array]]],
    *,
    on_step: Callable[[float], None],
) -> None:
    """Train ``weights`` in place on ``batches``, each a function that makes its tokens and labels of 0 and 1.

    AdamW; the rate rises over the first tenth of the steps and falls to 0 over the rest. ``on_step`` gets each loss.
    """
    head = [tensor for name, tensor in weights.items() if name.startswith("head.")]
    body = [tensor for name, tensor in weights.items() if tensor.requires_grad and not name.startswith("head.")]
    groups = [{"params": body, "lr": _ENCODER_RATE}, {"params": head, "lr": _HEAD_RATE}]
    optimizer = torch.optim.AdamW(groups, weight_decay=_DECAY)
    warm_up = max(1, round(_WARM_UP * len(batches)))

    def rate(step: int) -> float:
        return min((step + 1) / warm_up, (len(batches) - step) / max(1, len(batches) - warm_up))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    for batch in batches:
        tokens, labels = batch()
        loss = F.binary_cross_entropy_with_logits(_forward(weights, tokens, training=True), torch.tensor(labels))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(body + head, _LARGEST_GRADIENT)
        optimizer.step()
        schedule.step()
        on_step(float(loss.detach()))


def logits(weights: Weights, batches: Iterator[Tokens]) -> Array:
    """Return the logit of every pair in ``batches``, in their order."""
    with torch.inference_mode():
        found = [_forward(weights, tokens, training=False).numpy() for tokens in batches]
    return np.concatenate(found)


def mean_vectors(weights: Weights, batches: Iterator[Tokens]) -> Array:
    """Return the encoder's unit vector of every single text in ``batches``: the embedding that minilm is made for."""
    with torch.inference_mode():
        found = [
            F.normalize(_mean(_encode(weights, tokens, dropout=0.0), torch.tensor(tokens[1])), dim=-1).numpy()
            for tokens in batches
        ]
    return np.concatenate(found)


def _forward(weights: Weights, tokens: Tokens, *, training: bool) -> torch.Tensor:
    x = _encode(weights, tokens, dropout=_DROPOUT if training else 0.0)
    mask, second = torch.tensor(tokens[1]), torch.tensor(tokens[2])
    a, b = _mean(x, mask - second), _mean(x, second)
    joined = torch.cat([x[:, 0], (a - b).abs(), a * b], dim=-1)
    hidden = F.dropout(torch.tanh(_dense(weights, joined, "head.dense")), _DROPOUT, training)
    return _dense(weights, hidden, "head.score")[:, 0]


def _mean(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weight = mask.to(x.dtype)
    return (x * weight[:, :, None]).sum(1) / weight.sum(1, keepdim=True)


def _dense(weights: Weights, x: torch.Tensor, name: str) -> torch.Tensor:
    return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _norm(weights: Weights, x: torch.Tensor, name: str) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], LAYER_NORM_EPSILON)


def _encode(weights: Weights, tokens: Tokens, *, dropout: float) -> torch.Tensor:
    ids, mask, types = (torch.tensor(values) for values in tokens)
    x = F.embedding(ids, weights[_FROZEN]) + F.embedding(types, weights["embeddings.token_type_embeddings.weight"])
    x = x + weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
    x = F.dropout(_norm(weights, x, "embeddings.LayerNorm"), dropout)
    for layer in range(count_layers(weights)):
        x = _layer(weights, x, mask[:, None, None, :].bool(), f"encoder.layer.{layer}", dropout)
    return x


def _layer(weights: Weights, x: torch.Tensor, mask: torch.Tensor, name: str, dropout: float) -> torch.Tensor:
    query, key, value = (
        _dense(weights, x, f"{name}.attention.self.{part}").unflatten(-1, (-1, HEAD_WIDTH)).transpose(1, 2)
        for part in ("query", "key", "value")
    )
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    out = _dense(weights, mixed.transpose(1, 2).flatten(-2), f"{name}.attention.output.dense")
    x = _norm(weights, x + F.dropout(out, dropout), f"{name}.attention.output.LayerNorm")
    inner = F.gelu(_dense(weights, x, f"{name}.intermediate.dense"))
    outer = F.dropout(_dense(weights, inner, f"{name}.output.dense"), dropout)
    return _norm(weights, x + outer, f"{name}.output.LayerNorm")
