"""The networks of thesis Table 4.2 (torchvision), and what a walk needs to know of each."""

from __future__ import annotations

from roomie.synthetic.layers import LayerOp

CLASSIFIERS = (
    "vgg19", "alexnet", "maxvit_t", "resnet152", "googlenet", "densenet201", "squeezenet1_1",
    "mobilenet_v3_large", "shufflenet_v2_x2_0", "inception_v3", "wide_resnet101_2",
    "resnext101_32x8d", "efficientnet_v2_l", "convnext_large",
)  # fmt: skip
DETECTORS = (
    "ssd300_vgg16", "fcos_resnet50_fpn", "retinanet_resnet50_fpn_v2", "fasterrcnn_resnet50_fpn_v2",
    "ssdlite320_mobilenet_v3_large",
)  # fmt: skip
MODELS = (*CLASSIFIERS, *DETECTORS)
BATCHES = (1, 2, 4, 8, 16, 32)

INPUT_PIXELS = {
    "inception_v3": 299,
    "efficientnet_v2_l": 480,
    "ssd300_vgg16": 300,
    "ssdlite320_mobilenet_v3_large": 320,
    "fcos_resnet50_fpn": 800,
    "retinanet_resnet50_fpn_v2": 800,
    "fasterrcnn_resnet50_fpn_v2": 800,
}
"""Side of the square input, where it is not `DEFAULT_PIXELS`."""
DEFAULT_PIXELS = 224

PROPOSALS = 1000
"""Boxes of an image that the second stage of Faster R-CNN looks at."""


def postprocessing(candidates: int, classes: int, *, batch: int, kept: int) -> list[LayerOp]:
    """What follows a detector's heads: scores, best candidates, boxes and their suppression.

    Simplified: torchvision loops over classes too, launching thousands of tiny kernels; here each
    image is one pass, as in an exported network.

    Args:
        candidates: anchors or points of an image, over all levels.
        classes: scored for each.
        batch: images.
        kept: candidates that reach the suppression.
    """
    scores = (batch, candidates, classes)
    operators = [LayerOp(name="sigmoid", inputs=(scores,), output=scores)]
    boxes = (kept, 4)
    for _ in range(batch):
        operators += [
            LayerOp(name="topk", inputs=((candidates, classes),), output=(1,)),
            LayerOp(name="index", inputs=((candidates, 4),), output=boxes),
            LayerOp(name="mul", inputs=(boxes, boxes), output=boxes),
            LayerOp(name="add", inputs=(boxes, boxes), output=boxes),
            LayerOp(name="cat", inputs=(boxes, boxes), output=boxes),
            LayerOp(name="nms", inputs=(boxes,), output=boxes),
            LayerOp(name="index", inputs=(boxes,), output=(kept, 4)),
        ]
    return operators
