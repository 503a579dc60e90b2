"""Small models in Triton's repository layout, whose answers say which version gave them.

They take and give FP32 ``[4]``: version ``v`` answers ``v`` times its input. Zeros, with which a
worker agent verifies what it has loaded, are answered well by every version that can be loaded, so
that one that errs is found out by requests only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from roomie.triton.server import Tensors

Behaviour: TypeAlias = Literal["good", "broken", "erring", "slow"]
"""``broken`` fails to load, ``erring`` raises for each request, ``slow`` takes `SLOW_SECONDS`."""

BATCH = 4
SECONDS = 0.005
"""That an execution takes: without any, nothing can be told from the machine's noise."""
SLOW_SECONDS = 0.2

INPUT: NDArray[np.float32] = np.ones((1, 4), np.float32)
"""A request's."""

_CONFIG = f"""\
backend: "python"
max_batch_size: {BATCH}
input [ {{ name: "x" data_type: TYPE_FP32 dims: [ 4 ] }} ]
output [ {{ name: "y" data_type: TYPE_FP32 dims: [ 4 ] }} ]
"""

_PROGRAM = """\
import time

import numpy as np
import triton_python_backend_utils as utils

VERSION, BEHAVIOUR, SECONDS = {version}, "{behaviour}", {seconds}


class TritonPythonModel:
    def initialize(self, args):
        if BEHAVIOUR == "broken":
            raise RuntimeError("the weights are damaged")

    def execute(self, requests):
        inputs = [utils.get_input_tensor_by_name(r, "x").as_numpy() for r in requests]
        if any(x.any() for x in inputs):
            time.sleep(SECONDS)
            if BEHAVIOUR == "erring":
                raise RuntimeError("it does not add up")
        outputs = [utils.Tensor("y", x * np.float32(VERSION)) for x in inputs]
        return [utils.InferenceResponse([output]) for output in outputs]
"""


def write_model(models: Path, name: str, versions: Mapping[int, Behaviour] | None = None) -> None:
    """Put a model into a repository.

    Args:
        models: the repository.
        name: of the model.
        versions: what each does; a good version 1 when None.
    """
    folder = models / name
    for version, behaviour in (versions or {1: "good"}).items():
        seconds = SLOW_SECONDS if behaviour == "slow" else SECONDS
        program = _PROGRAM.format(version=version, behaviour=behaviour, seconds=seconds)
        (folder / str(version)).mkdir(parents=True)
        (folder / str(version) / "model.py").write_text(program, encoding="utf-8")
    (folder / "config.pbtxt").write_text(_CONFIG, encoding="utf-8")


def version_of(answer: Tensors) -> int:
    """Which version has answered `INPUT`.

    Raises:
        ValueError: none can have answered so.
    """
    values = np.unique(answer["y"])
    if values.size != 1 or values[0] < 1 or values[0] != round(float(values[0])):
        raise ValueError(f"{answer['y'].tolist()} is no answer to {INPUT.tolist()}")
    return int(values[0])
