"""The ONNX graph of all-MiniLM-L6-v2, written node by node from its weights; no torch, no exporter.

It is a 6-layer BERT encoder: 384 wide, 12 heads, post-layer-norm, exact (erf) GELU. The output is one vector per token;
mean pooling and normalisation are left to the runtime that serves it. The pair model is the same encoder over two
questions at once, with a head that gives one logit. Depth and width are those of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto, ValueInfoProto

    Array = NDArray[np.float32] | NDArray[np.int64]

__all__ = ["HEAD_WIDTH", "LAYER_NORM_EPSILON", "build_graph", "build_pair_graph", "count_layers", "read_weights"]

HEAD_WIDTH = 32
LAYER_NORM_EPSILON = 1e-12
_OPSET = 17
_IR_VERSION = 8


class _Graph:
    """Nodes and constants in the order they are added; every method returns the name of the value it made."""

    def __init__(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        self._weights = weights
        self.width = weights["embeddings.word_embeddings.weight"].shape[1]
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, Array] = {}

    def node(
        self, operator: str, inputs: Sequence[str], attributes: Mapping[str, int | float | list[int]] | None = None
    ) -> str:
        output = f"{operator.lower()}_{len(self.nodes)}"
        made = helper.make_node(operator, list(inputs), [output], name=output)
        made.attribute.extend(helper.make_attribute(key, value) for key, value in (attributes or {}).items())
        self.nodes.append(made)
        return output

    def constant(self, name: str, value: Array) -> str:
        self.constants[name] = value
        return name

    def weight(self, name: str) -> str:
        return self.constant(name, self._weights[name])

    def dense(self, x: str, name: str) -> str:
        """``x @ W.T + b``; the stored weight is (out, in), the graph holds it transposed."""
        kernel = self.constant(f"{name}.weight", np.ascontiguousarray(self._weights[f"{name}.weight"].T))
        return self.node("Add", [self.node("MatMul", [x, kernel]), self.weight(f"{name}.bias")])

    def layer_norm(self, x: str, name: str) -> str:
        inputs = [x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias")]
        return self.node("LayerNormalization", inputs, {"axis": -1, "epsilon": LAYER_NORM_EPSILON})

    def heads(self, x: str, order: Sequence[int]) -> str:
        """Split the width into heads and bring the axes (batch, token, head, width) into ``order``."""
        shape = self.constant("shape_heads", np.array([0, 0, self.width // HEAD_WIDTH, HEAD_WIDTH], dtype=np.int64))
        return self.node("Transpose", [self.node("Reshape", [x, shape])], {"perm": list(order)})


def _embeddings(graph: _Graph) -> str:
    words = graph.node("Gather", [graph.weight("embeddings.word_embeddings.weight"), "input_ids"])
    types = graph.node("Gather", [graph.weight("embeddings.token_type_embeddings.weight"), "token_type_ids"])
    # A Slice by the one-element Shape: a Gather of a scalar from Shape breaks in onnxruntime's constant folding.
    length = graph.node("Shape", ["input_ids"], {"start": 1, "end": 2})
    first = graph.constant("index_0", np.array([0], dtype=np.int64))
    table = graph.weight("embeddings.position_embeddings.weight")
    positions = graph.node("Slice", [table, first, length, first])
    total = graph.node("Add", [graph.node("Add", [words, types]), positions])
    return graph.layer_norm(total, "embeddings.LayerNorm")


def _padding_bias(graph: _Graph) -> str:
    """0 where a token is real, the lowest float where it is padding, so that softmax gives padding exactly 0."""
    axes = graph.constant("axes_heads", np.array([1, 2], dtype=np.int64))
    mask = graph.node("Cast", ["attention_mask"], {"to": TensorProto.FLOAT})
    padding = graph.node("Sub", [graph.constant("one", np.array(1, dtype=np.float32)), mask])
    lowest = graph.constant("lowest", np.array(np.finfo(np.float32).min, dtype=np.float32))
    return graph.node("Unsqueeze", [graph.node("Mul", [padding, lowest]), axes])


def _attention(graph: _Graph, x: str, bias: str, name: str) -> str:
    query = graph.heads(graph.dense(x, f"{name}.self.query"), (0, 2, 1, 3))
    key = graph.heads(graph.dense(x, f"{name}.self.key"), (0, 2, 3, 1))
    value = graph.heads(graph.dense(x, f"{name}.self.value"), (0, 2, 1, 3))
    scale = graph.constant("root_head_width", np.array(math.sqrt(HEAD_WIDTH), dtype=np.float32))
    scores = graph.node("Add", [graph.node("Div", [graph.node("MatMul", [query, key]), scale]), bias])
    mixed = graph.node("MatMul", [graph.node("Softmax", [scores], {"axis": -1}), value])
    flat = graph.constant("shape_flat", np.array([0, 0, graph.width], dtype=np.int64))
    joined = graph.node("Reshape", [graph.node("Transpose", [mixed], {"perm": [0, 2, 1, 3]}), flat])
    return graph.layer_norm(
        graph.node("Add", [graph.dense(joined, f"{name}.output.dense"), x]), f"{name}.output.LayerNorm"
    )


def _gelu(graph: _Graph, x: str) -> str:
    root = graph.constant("root_2", np.array(math.sqrt(2), dtype=np.float32))
    erf = graph.node("Erf", [graph.node("Div", [x, root])])
    gate = graph.node("Mul", [x, graph.node("Add", [erf, "one"])])
    return graph.node("Mul", [gate, graph.constant("half", np.array(0.5, dtype=np.float32))])


def _layer(graph: _Graph, x: str, bias: str, name: str) -> str:
    attended = _attention(graph, x, bias, f"{name}.attention")
    inner = _gelu(graph, graph.dense(attended, f"{name}.intermediate.dense"))
    outer = graph.node("Add", [graph.dense(inner, f"{name}.output.dense"), attended])
    return graph.layer_norm(outer, f"{name}.output.LayerNorm")


def _encoder(graph: _Graph, layers: int) -> str:
    bias = _padding_bias(graph)
    x = _embeddings(graph)
    for layer in range(layers):
        x = _layer(graph, x, bias, f"encoder.layer.{layer}")
    return x


def _mean(graph: _Graph, x: str, mask: str) -> str:
    """The mean vector of the tokens that ``mask``, float of shape (batch, tokens), marks with 1."""
    middle = graph.constant("axes_middle", np.array([1], dtype=np.int64))
    total = graph.node("MatMul", [graph.node("Unsqueeze", [mask, middle]), x])
    count = graph.node("Unsqueeze", [graph.node("ReduceSum", [mask, middle]), middle])
    return graph.node("Squeeze", [graph.node("Div", [total, count]), middle])


def _pair_head(graph: _Graph, x: str) -> str:
    """First token, |difference| and product of the two questions' means; dense, tanh, dense."""
    real = graph.node("Cast", ["attention_mask"], {"to": TensorProto.FLOAT})
    second = graph.node("Cast", ["token_type_ids"], {"to": TensorProto.FLOAT})
    a, b = _mean(graph, x, graph.node("Sub", [real, second])), _mean(graph, x, second)
    first = graph.node("Gather", [x, graph.constant("first_token", np.array(0, dtype=np.int64))], {"axis": 1})
    features = [first, graph.node("Abs", [graph.node("Sub", [a, b])]), graph.node("Mul", [a, b])]
    joined = graph.node("Concat", features, {"axis": -1})
    return graph.dense(graph.node("Tanh", [graph.dense(joined, "head.dense")]), "head.score")


def _tokens_input(name: str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])


def _model(graph: _Graph, name: str, output: str, shape: Sequence[str | int]) -> ModelProto:
    graph.nodes[-1].output[0] = output
    proto = helper.make_graph(
        graph.nodes,
        name,
        [_tokens_input(name) for name in ("input_ids", "attention_mask", "token_type_ids")],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, list(shape))],
        [numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
    )
    opset = helper.make_opsetid("", _OPSET)
    model = helper.make_model(proto, opset_imports=[opset], ir_version=_IR_VERSION, producer_name="costkit")
    checker.check_model(model)
    return model


def count_layers(weights: Mapping[str, object]) -> int:
    """Return how many encoder layers there are weights for."""
    return len({name.split(".")[2] for name in weights if name.startswith("encoder.layer.")})


def build_graph(weights: Mapping[str, NDArray[np.float32]]) -> ModelProto:
    """Write the encoder as an ONNX model in float32 (opset 17).

    Args:
        weights: The tensors of ``model.safetensors`` by name; the pooler's are not used.

    Returns:
        A checked model: int64 ``input_ids``, ``attention_mask``, ``token_type_ids`` of shape (batch, tokens) to float32
        ``last_hidden_state`` of shape (batch, tokens, 384).
    """
    graph = _Graph(weights)
    _encoder(graph, count_layers(weights))
    return _model(graph, "all-MiniLM-L6-v2", "last_hidden_state", ["batch", "tokens", graph.width])


def build_pair_graph(weights: Mapping[str, NDArray[np.float32]]) -> ModelProto:
    """Write the pair model as an ONNX model in float32 (opset 17).

    Args:
        weights: The encoder's tensors as for ``build_graph``, and those of the head: ``head.dense`` from three times
            the width to the width, and ``head.score`` from there to one.

    Returns:
        A checked model of the same inputs, where ``token_type_ids`` is 1 for the second question and its closing
        separator, to the float32 ``logit`` of shape (batch, 1).
    """
    graph = _Graph(weights)
    _pair_head(graph, _encoder(graph, count_layers(weights)))
    return _model(graph, "costkit-pair-model", "logit", ["batch", 1])


def read_weights(model: ModelProto) -> dict[str, NDArray[np.float32]]:
    """Return the tensors, by name, that ``model`` was built from; the inverse of ``build_graph``."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    kernels = {node.input[1] for node in model.graph.node if node.op_type == "MatMul"}
    return {
        name: np.ascontiguousarray(value.T if name in kernels else value)
        for name, value in values.items()
        if name.startswith(("embeddings.", "encoder.", "head."))
    }
