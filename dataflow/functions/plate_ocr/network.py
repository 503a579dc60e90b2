"""Opens the small networks of this package in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from dataflow.errors import ModelError

MODELS = Path(__file__).resolve().parent.parent / "models"
"""Where the shipped networks lie."""


def open_network(
    path: Path, *, threads: int = 1
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """A network of one input and one output as a function of arrays.

    Args:
        path: the ONNX file.
        threads: intra-op threads; 1 leaves the other cores to other replicas.

    Raises:
        ModelError: the file is missing, damaged, or has other inputs and outputs.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if not path.is_file():
        raise ModelError(f"{path}: there is no such network file")
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # the runtime's exceptions share no public base
        raise ModelError(f"{path}: ONNX Runtime cannot open it ({error})") from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1 or inputs[0].type != "tensor(float)":
        raise ModelError(f"{path}: expected one float input and one output")
    name = inputs[0].name

    def run(array: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(session.run(None, {name: array})[0], dtype=np.float32)

    return run
