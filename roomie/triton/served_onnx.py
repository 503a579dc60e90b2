"""Run model.onnx beside this file with ONNX Runtime, inside Triton's Python backend.

`videojam triton add` copies this file into a model repository; nobody imports it here. The
requests that Triton has gathered are run as one batch, and one that fails fails all of them:
Triton counts no other error of a Python model as a failure.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as utils


class TritonPythonModel:
    """The interface that Triton's Python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the network.

        Args:
            args: strings by name, as the backend gives them.
        """
        config = json.loads(args["model_config"])
        options = onnxruntime.SessionOptions()
        threads = config.get("parameters", {}).get("threads", {}).get("string_value", "1")
        options.intra_op_num_threads = int(threads)
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        providers: list[Any] = ["CPUExecutionProvider"]
        if args["model_instance_kind"] == "GPU":
            device = {"device_id": int(args["model_instance_device_id"])}
            if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
                raise RuntimeError(
                    "this server's ONNX Runtime has no CUDA: install onnxruntime-gpu into its "
                    "environment, or use a Triton with the onnxruntime backend"
                )
            providers.insert(0, ("CUDAExecutionProvider", device))
        file = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self._session = onnxruntime.InferenceSession(str(file), options, providers=providers)
        self._inputs = [entry["name"] for entry in config["input"]]
        self._outputs = [entry["name"] for entry in config["output"]]
        self._batched = int(config["max_batch_size"]) > 0

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Run requests.

        Args:
            requests: one or more.

        Returns:
            As many responses.
        """
        if not self._batched:
            return [self._run([request])[0] for request in requests]
        return self._run(requests)

    def _run(self, requests: Sequence[Any]) -> list[Any]:
        feed = {}
        sizes: list[int] = []
        for name in self._inputs:
            values = [utils.get_input_tensor_by_name(r, name).as_numpy() for r in requests]
            sizes = [len(value) for value in values]
            feed[name] = values[0] if len(values) == 1 else np.concatenate(values)
        outputs = self._session.run(self._outputs, feed)
        edges = np.cumsum(sizes)[:-1]
        parts = zip(*(np.split(output, edges) for output in outputs), strict=True)
        return [
            utils.InferenceResponse(
                [
                    utils.Tensor(n, np.ascontiguousarray(v))
                    for n, v in zip(self._outputs, part, strict=True)
                ]
            )
            for part in parts
        ]
