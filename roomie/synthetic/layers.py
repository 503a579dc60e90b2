"""A network as a list of operators with shapes."""

from __future__ import annotations

import math
from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class LayerOp:
    """One operator of the ATen library.

    Attributes:
        name: without overload and trailing underscore, for example ``convolution``.
        inputs: shapes of its tensor arguments, in order.
        output: shape of its (first) result.
        groups: of a convolution.
        bias: whether a convolution adds one.
    """

    name: str
    inputs: tuple[Shape, ...]
    output: Shape
    groups: int = 1
    bias: bool = False

    @property
    def numel(self) -> int:
        """Elements of the output."""
        return math.prod(self.output)


@dataclass(frozen=True, kw_only=True)
class Network:
    """What a walk over a network found.

    Attributes:
        model: its name.
        batch: of the input.
        operators: in order.
        weight_bytes: of parameters and buffers, FP32.
        activation_bytes: largest sum of live activations.
    """

    model: str
    batch: int
    operators: tuple[LayerOp, ...]
    weight_bytes: int
    activation_bytes: int
