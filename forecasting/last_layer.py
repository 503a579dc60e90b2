"""The last layer of a network: what goes into it, its weights, and what follows it.

The network itself is not changed. A copy of its graph answers one tensor more, what goes into the
last layer, so that the layer can be learned anew (`forecasting.finetune`) and applied in numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import flatbuffers
import numpy as np
from numpy.typing import NDArray

from forecasting.windows import Loads

Weights: TypeAlias = NDArray[np.float64]
"""[k, f + 1]: weights, and the bias as the last column."""
Tail: TypeAlias = Literal["linear", "bent"]
"""What follows the layer: nothing, or tanh, exp, and products with what does not depend on it."""

_BENT = ("TANH", "EXP", "MUL", "MUL")


class NoLastLayerError(Exception):
    """The network does not end in a layer that can be learned anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastLayer:
    """The last layer of a network.

    Attributes:
        weights: as they were trained, float64 [k, f + 1].
        tail: what follows it.
        content: the network as a TFLite file whose last output is float32 [n, f]: what goes into
            the layer.
    """

    weights: Weights
    tail: Tail
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Activations:
    """What the last layer starts from, for m histories.

    Attributes:
        features: float64 [m, f + 1]: what goes into the layer, and 1 for the bias.
        base: float64 [m, k]: what the layer's answer is multiplied with; 1 for a linear tail.
    """

    features: NDArray[np.float64]
    base: NDArray[np.float64]


def find_last_layer(content: bytes, output: int) -> LastLayer:
    """Look for the layer that a network's forecasts come from.

    Args:
        content: a TFLite file with float32 weights.
        output: index of the tensor of the forecasts.

    Raises:
        NoLastLayerError: its graph ends in something else, or its weights are quantised.
        ImportError: LiteRT lacks the schema.
    """
    from ai_edge_litert import schema_py_generated as schema  # noqa: PLC0415 - 0.1 s; rarely needed

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if name[0] != "_"}
    makers = {int(tensor): op for op in graph.operators for tensor in op.outputs}

    def name(op: Any) -> str:
        code = model.operatorCodes[op.opcodeIndex]
        return str(names.get(max(code.builtinCode, code.deprecatedBuiltinCode)))

    def back(tensor: int) -> tuple[tuple[str, ...], Any] | None:
        """From a tensor to the layer that it comes from, and what lies between."""
        op = makers.get(tensor)
        if op is None:
            return None
        if name(op) == "FULLY_CONNECTED":
            return (), op
        if name(op) not in _BENT:
            return None  # of a product, the factor that is no answer of the layer
        ways = (back(int(before)) for before in op.inputs)
        way = next((way for way in ways if way is not None), None)
        return None if way is None else ((*way[0], name(op)), way[1])

    found = back(output)
    if found is None or found[0] not in {(), _BENT}:
        raise NoLastLayerError("its graph does not end in a fully connected layer that is known")
    tail, op = found
    if len(op.inputs) < 3 or int(op.inputs[2]) < 0:
        raise NoLastLayerError("its last layer has no bias")
    if op.builtinOptions.fusedActivationFunction != schema.ActivationFunctionType.NONE:
        raise NoLastLayerError("its last layer has an activation of its own")
    arrays = []
    for tensor in (int(op.inputs[1]), int(op.inputs[2])):
        detail = graph.tensors[tensor]
        stored = model.buffers[detail.buffer].data
        if detail.type != schema.TensorType.FLOAT32 or stored is None:
            raise NoLastLayerError("the weights of its last layer are no float32")
        values = np.frombuffer(bytes(stored), np.float32).reshape(detail.shape)
        arrays.append(values.astype(np.float64))
    graph.outputs = [*map(int, graph.outputs), int(op.inputs[0])]
    model.signatureDefs = []  # they would list fewer outputs than there are
    return LastLayer(
        weights=np.concatenate([arrays[0], arrays[1][:, None]], axis=1),
        tail="bent" if tail else "linear",
        content=_packed(model),
    )


def _packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(len(model.buffers) * 1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def activations(layer: LastLayer, features: Loads, forecasts: Loads) -> Activations:
    """What the layer starts from, given what the network answered.

    Args:
        layer: the network's.
        features: float32 [m, f], the additional output.
        forecasts: float32 [m, k], the network's own.
    """
    rows = np.concatenate([features.astype(np.float64), np.ones((len(features), 1))], axis=1)
    shape = forecasts.shape
    if layer.tail == "linear":
        return Activations(features=rows, base=np.ones(shape))
    bend = np.exp(np.tanh(rows @ layer.weights.T))
    return Activations(features=rows, base=forecasts.astype(np.float64) / bend)


def answer(tail: Tail, weights: Weights, given: Activations) -> NDArray[np.float64]:
    """Forecasts [m, k] with these weights in the place of the trained ones."""
    inner: NDArray[np.float64] = given.features @ weights.T
    return inner if tail == "linear" else given.base * np.exp(np.tanh(inner))


def slope(tail: Tail, weights: Weights, given: Activations) -> NDArray[np.float64]:
    """Derivatives [m, k] of the forecasts by what the layer answers before the tail."""
    if tail == "linear":
        return np.ones(given.base.shape)
    bend: NDArray[np.float64] = np.tanh(given.features @ weights.T)
    return given.base * np.exp(bend) * (1 - bend**2)
