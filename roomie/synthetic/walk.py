"""Record the operators of a torchvision network without weights, memory or a GPU.

The network lies on torch's ``meta`` device: operators are dispatched with their shapes, and nothing
is computed. Needs the extra ``profile``.
"""

from __future__ import annotations

import weakref
from typing import Any

from dataflow.errors import MissingDependencyError
from roomie.synthetic import models
from roomie.synthetic.layers import LayerOp, Network, Shape


def walk(model: str, batch: int) -> Network:
    """Operators, weights and activations of one of `roomie.synthetic.models.MODELS`.

    Raises:
        MissingDependencyError: torch or torchvision is not installed.
    """
    try:
        import torch  # noqa: PLC0415 - an extra
        import torchvision  # noqa: PLC0415 - an extra
        from torch.utils._python_dispatch import TorchDispatchMode  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingDependencyError(
            f"walking over a network needs torch and torchvision: {error}\n"
            "  remedy: pip install 'videojam[profile]'"
        ) from error

    recorder = _Recorder()

    class Mode(TorchDispatchMode):  # type: ignore[misc] # torch is untyped here
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            del types
            result = func(*args, **(kwargs or {}))
            recorder.record(str(func), args, result, torch.Tensor)
            return result

    settings: dict[str, Any] = {"weights": None}
    if model in ("googlenet", "inception_v3"):
        settings["init_weights"] = False
    if model in models.DETECTORS:
        settings["weights_backbone"] = None
    pixels = models.INPUT_PIXELS.get(model, models.DEFAULT_PIXELS)
    with torch.device("meta"):
        network = torchvision.models.get_model(model, **settings).eval()
        images = torch.empty(batch, 3, pixels, pixels)
        with torch.no_grad(), Mode():
            if model in models.DETECTORS:
                _run_detector(torch, network, model, images, recorder)
            else:
                network(images)
    weights = sum(
        tensor.numel() * tensor.element_size()
        for tensor in (*network.parameters(), *network.buffers())
    )
    return Network(
        model=model,
        batch=batch,
        operators=tuple(recorder.operators),
        weight_bytes=int(weights),
        activation_bytes=recorder.peak + int(images.numel() * images.element_size()),
    )


class _Recorder:
    """Operators, and the bytes of the tensors that are alive."""

    def __init__(self) -> None:
        self.operators: list[LayerOp] = []
        self.live = 0
        self.peak = 0

    def record(self, name: str, args: tuple[Any, ...], result: Any, tensor: Any) -> None:
        name = name.removeprefix("aten.").partition(".")[0]
        # In place: the same kernel. A leading underscore belongs to the name.
        name = name.removesuffix("_")
        parts = [
            part for arg in args for part in (arg if isinstance(arg, list | tuple) else (arg,))
        ]
        inputs: list[Shape] = [tuple(part.shape) for part in parts if isinstance(part, tensor)]
        first = result[0] if isinstance(result, list | tuple) else result
        groups, bias = 1, False
        if name == "convolution":
            groups, bias = args[8], args[2] is not None
        self.operators.append(
            LayerOp(
                name=name,
                inputs=tuple(inputs),
                output=tuple(first.shape),
                groups=groups,
                bias=bias,
            )
        )
        for part in result if isinstance(result, list | tuple) else (result,):
            if isinstance(part, tensor) and not any(part is arg for arg in args):
                self._hold(part)

    def _hold(self, tensor: Any) -> None:
        if tensor._is_view():  # noqa: SLF001 - torch has no public name for it
            return
        size = tensor.numel() * tensor.element_size()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(tensor, self._release, size)

    def _release(self, size: int) -> None:
        self.live -= size


def _run_detector(torch: Any, network: Any, model: str, images: Any, recorder: _Recorder) -> None:
    """Backbone and heads as they are; what depends on data by `models.postprocessing`."""
    batch = images.shape[0]
    features = list(network.backbone(images).values())
    cells = sum(int(level.shape[2] * level.shape[3]) for level in features)
    if model.startswith("fasterrcnn"):
        network.rpn.head(features)
        anchors = 3 * cells
        recorder.operators += models.postprocessing(anchors, 1, batch=batch, kept=4000)
        rois = batch * models.PROPOSALS
        pooled = (rois, 256, 7, 7)
        recorder.operators.append(LayerOp(name="roi_align", inputs=((rois, 5),), output=pooled))
        boxes = network.roi_heads.box_head(torch.empty(*pooled))
        network.roi_heads.box_predictor(boxes)
        recorder.operators += models.postprocessing(models.PROPOSALS, 91, batch=batch, kept=1000)
        return
    network.head(features)
    anchors = {"fcos": 1, "reti": 9}.get(model[:4], 6) * cells
    recorder.operators += models.postprocessing(anchors, 91, batch=batch, kept=1000)
