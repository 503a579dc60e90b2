"""Small models in Triton's repository layout: for the real server and for the fake."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from roomie.triton.fake import Program
from roomie.triton.server import Tensor, Tensors

CONFIG = """\
backend: "python"
max_batch_size: {batch}
input [ {{ name: "x" data_type: TYPE_FP32 dims: [ 4 ] }} ]
output [ {{ name: "y" data_type: TYPE_FP32 dims: [ 4 ] }} ]
parameters {{ key: "program" value {{ string_value: "{program}" }} }}
"""

MODEL = """\
import os, time
import numpy as np
import triton_python_backend_utils as utils

PROGRAM = "{program}"

class TritonPythonModel:
    def initialize(self, args):
        if PROGRAM == "broken":
            raise RuntimeError("the weights are damaged")
        if PROGRAM == "crawling":
            time.sleep(60)

    def execute(self, requests):
        responses = []
        if PROGRAM == "slow":
            time.sleep(0.3)
        for request in requests:
            x = utils.get_input_tensor_by_name(request, "x").as_numpy()
            if PROGRAM == "errs":
                raise RuntimeError("it does not add up")
            factor = {{"double": 2, "triple": 3}}.get(PROGRAM, 1)
            responses.append(utils.InferenceResponse([utils.Tensor("y", x * np.float32(factor))]))
        return responses
"""


def add_model(
    sources: Path, name: str, programs: Mapping[int, str] | str = "double", *, batch: int = 8
) -> None:
    """A model of the operator, with a program for each version (or just one)."""
    versions = {1: programs} if isinstance(programs, str) else programs
    folder = sources / name
    folder.mkdir(parents=True, exist_ok=True)
    first = next(iter(versions.values()))
    (folder / "config.pbtxt").write_text(CONFIG.format(batch=batch, program=first))
    for version, program in versions.items():
        (folder / str(version)).mkdir(exist_ok=True)
        # Python takes a file of the same size and second for the same file.
        mark = "#" * (sum(map(ord, program)) % 97)
        code = textwrap.dedent(MODEL.format(program=program)) + mark
        (folder / str(version) / "model.py").write_text(code)


def _times(factor: float) -> Program:
    def run(inputs: Tensors) -> dict[str, Tensor]:
        return {"y": np.asarray(inputs["x"], np.float32) * np.float32(factor)}

    return run


def _errs(_inputs: Tensors) -> dict[str, Tensor]:
    raise RuntimeError("it does not add up")


PROGRAMS: Mapping[str, Program] = {
    "double": _times(2),
    "triple": _times(3),
    "errs": _errs,
}
"""For the fake. ``broken`` is not among them: its load fails."""
