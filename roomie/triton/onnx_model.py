"""ONNX networks for a server that has no backend for them: the Python backend runs them.

The tritonserver of `videojam triton` has the Python backend only. NVIDIA's container has one for
ONNX; there, put ``model.onnx`` into the version's folder as it is.
"""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path
from typing import Any

from dataflow.errors import ModelError
from roomie.triton.model_config import protobufs

_TYPES = {
    "tensor(float)": "TYPE_FP32",
    "tensor(float16)": "TYPE_FP16",
    "tensor(double)": "TYPE_FP64",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(bool)": "TYPE_BOOL",
}
_KEPT = ("layout", "names")
"""Metadata of the network that tell how its output is read; see docs/detector.md."""


def add_onnx(
    file: Path,
    repository: Path,
    name: str,
    *,
    version: int = 1,
    max_batch: int = 32,
    threads: int = 1,
) -> Path:
    """Put a network into a model repository.

    Args:
        file: the network.
        repository: an operator's; made if it is absent.
        name: of the model.
        version: number of the version's folder, which is replaced if it is there.
        max_batch: largest batch, where the network leaves its batch axis open.
        threads: of ONNX Runtime, for each instance.

    Returns:
        The version's folder.

    Raises:
        ModelError: the file is no network that can be served, or nothing can be written.
    """
    session = _open(file)
    config = _config(session, file, name, max_batch, threads)
    from google.protobuf import text_format  # noqa: PLC0415 - comes with the extra

    folder = repository / name / str(version)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, folder / "model.onnx")
        template = resources.files("roomie") / "triton" / "served_onnx.py"
        (folder / "model.py").write_text(template.read_text(encoding="utf-8"), encoding="utf-8")
        (repository / name / "config.pbtxt").write_text(
            text_format.MessageToString(config), encoding="utf-8"
        )
    except OSError as error:
        raise ModelError(
            f"{folder} cannot be written ({error})\n  remedy: make the repository writable"
        ) from error
    return folder


def _open(file: Path) -> Any:  # ONNX Runtime has no types
    import onnxruntime  # noqa: PLC0415 - slow to import

    if not file.is_file():
        raise ModelError(
            f"there is no network file {file}\n  remedy: give the path of an .onnx file"
        )
    try:
        return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no public common base
        raise ModelError(
            f"{file} is no ONNX network that can be loaded ({error})\n"
            "  remedy: check that the file is complete, or export it again"
        ) from error


def _config(session: Any, file: Path, name: str, max_batch: int, threads: int) -> Any:
    config = protobufs().ModelConfig(name=name, backend="python")
    shapes = [list(tensor.shape) for tensor in session.get_inputs()]
    firsts = {shape[0] if shape else None for shape in shapes}
    if firsts == {1}:
        config.max_batch_size = 1
    elif all(not isinstance(first, int) and first is not None for first in firsts):
        config.max_batch_size = max_batch
    # else: no batch axis that Triton could fill
    lead = 1 if config.max_batch_size else 0
    for tensors, target in (
        (session.get_inputs(), config.input),
        (session.get_outputs(), config.output),
    ):
        for tensor in tensors:
            if tensor.type not in _TYPES:
                raise ModelError(
                    f"{file}: {tensor.name} is a {tensor.type}, which cannot be served\n"
                    "  remedy: export the network with tensors of numbers"
                )
            entry = target.add()
            entry.name = tensor.name
            entry.data_type = entry_type(_TYPES[tensor.type])
            dims = [side if isinstance(side, int) and side > 0 else -1 for side in tensor.shape]
            entry.dims.extend(dims[lead:] or [1])
    config.parameters["threads"].string_value = str(threads)
    metadata = session.get_modelmeta().custom_metadata_map
    for key in _KEPT:
        if key in metadata:
            config.parameters[key].string_value = metadata[key]
    return config


def entry_type(name: str) -> int:
    """Number of a datatype of Triton's configuration."""
    return int(protobufs().DataType.Value(name))
