"""Export of the vehicle detector to ONNX, checked against torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from evaluation.training.detector_network import Deployed, VehicleDetector

LAYOUT = "videojam-detector-1"
"""Value of the metadata key ``layout`` by which the YOLO function knows our own output."""

_TOLERANCE = 5e-3  # pixels and shares; float32 sums in another order


def export_onnx(network: VehicleDetector, out: Path, *, labels: Sequence[str]) -> float:
    """Write the network with batch, height and width left open.

    Args:
        network: trained.
        out: file to write.
        labels: names of the classes, stored as the metadata ``names``.

    Returns:
        The largest absolute difference between ONNX Runtime and torch over several input shapes.

    Raises:
        ValueError: the difference is larger than rounding explains.
    """
    model = Deployed(network).eval()
    out.parent.mkdir(parents=True, exist_ok=True)
    example = torch.rand(2, 3, 416, 640)
    axes = {
        0: torch.export.Dim("batch", min=1, max=512),
        2: 32 * torch.export.Dim("rows", min=2, max=128),
        3: 32 * torch.export.Dim("columns", min=2, max=128),
    }
    program = torch.onnx.export(
        model,
        (example,),
        input_names=["images"],
        output_names=["candidates"],
        dynamic_shapes={"images": axes},
        dynamo=True,
        verbose=False,
    )
    program.save(str(out), external_data=False)
    stored = onnx.load(str(out))
    for node in stored.graph.node:  # where each operation stood in the Python source
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.helper.set_model_props(
        stored,
        {"layout": LAYOUT, "names": json.dumps(dict(enumerate(labels))), "license": "Apache-2.0"},
    )
    onnx.checker.check_model(stored)
    onnx.save(stored, str(out))
    return _compare(model, out)


def _compare(model: Deployed, out: Path) -> float:
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    worst = 0.0
    generator = torch.Generator().manual_seed(0)
    for shape in ((1, 3, 416, 416), (1, 3, 640, 640), (3, 3, 384, 640)):
        images = torch.rand(shape, generator=generator)
        with torch.no_grad():
            expected = model(images).numpy()
        actual = session.run(None, {"images": images.numpy()})[0]
        worst = max(worst, float(np.abs(actual - expected).max()))
    if worst > _TOLERANCE:
        raise ValueError(f"ONNX and torch differ by {worst}; the export is not to be trusted")
    return worst
