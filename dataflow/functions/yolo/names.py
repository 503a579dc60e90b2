"""Names of a detector's classes: from a file, from the network's metadata, or COCO's."""

from __future__ import annotations

import ast
from pathlib import Path

from dataflow.errors import ModelError

VEHICLES = ("car", "van", "truck", "bus", "motorcycle")
"""Labels that are reported unless the user says otherwise."""

_COCO = """
    person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire
    hydrant, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant,
    bear, zebra, giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee, skis,
    snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis
    racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich,
    orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed,
    dining table, toilet, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven,
    toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier,
    toothbrush
"""
COCO = tuple(" ".join(name.split()) for name in _COCO.split(","))
"""The 80 classes of COCO (Lin et al. 2014) in the order that detectors use."""

_ALIASES = {
    "motorbike": "motorcycle",
    "aeroplane": "airplane",
    "tvmonitor": "tv",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
}
"""Older spellings of COCO's names, as darknet's lists have them."""


def read_names(path: Path) -> tuple[str, ...]:
    """Read a names file: one class a line, in the network's order.

    Raises:
        ModelError: the file cannot be read or holds no name.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"cannot read the names file {path} ({error})\n"
            "  remedy: give a text file with one class name a line"
        ) from error
    names = tuple(canonical(line.strip()) for line in lines if line.strip())
    if not names:
        raise ModelError(
            f"the names file {path} is empty\n  remedy: write one class name a line into it"
        )
    return names


def parse_names(text: str) -> tuple[str, ...] | None:
    """Names from the ONNX metadata value ``names``: a mapping or a list, in Python or JSON syntax.

    Returns:
        The names in the order of their numbers; None where the text is something else.
    """
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if isinstance(value, dict):
        try:
            value = [value[key] for key in sorted(value, key=int)]
        except (TypeError, ValueError):
            return None
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        return None
    return tuple(canonical(name) for name in value) or None


def choose(
    count: int, names_file: Path | None, stored: str | None, *, origin: str
) -> tuple[str, ...]:
    """Names of a network's classes.

    Args:
        count: how many classes it has.
        names_file: one class a line; None where there is none.
        stored: metadata value ``names``, or None; COCO's names where there is neither.
        origin: of the network, for errors.

    Raises:
        ModelError: the names cannot be read, or there are more or fewer than classes.
    """
    if names_file is not None:
        found, where = read_names(names_file), str(names_file)
    else:
        parsed = None if stored is None else parse_names(stored)
        found, where = parsed or COCO, "its metadata" if parsed else "COCO"
    if len(found) != count:
        raise ModelError(
            f"{origin}: it has {count} classes, but {where} names {len(found)}\n"
            "  remedy: give its class names, one a line, with the parameter `names`"
        )
    return found


def canonical(name: str) -> str:
    """COCO's spelling of a class name."""
    return _ALIASES.get(name, name)
