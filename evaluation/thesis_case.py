"""The thesis' deployment of Fig 3.10 to 3.12, scaled to one small machine.

Three YOLO and five OCR replicas of unequal speed, each a process of its own. Cameras run at a third
of the thesis' pace (5 frames a second), and functions take as much longer (90 ms a frame on the
fastest slice, 55 ms an object), because one machine with two cores has to be the cluster, its
broker and its cameras: at a higher pace its processors are what limits, and the balancer that takes
the least of them wins. With four cameras the replicas are busy four fifths of the time, on average
over dense and thin phases: the knee. Five are as much as they can do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dataflow.config.model import BALANCERS
from dataflow.plugins import installed
from evaluation.command import known_names
from evaluation.load import VEHICLES, bursty_times, names_for_partitions, picture
from evaluation.testbed import ReplicaPlan, Testbed, declaration

YOLO_SECONDS, OCR_SECONDS = 0.09, 0.055
"""Service times of the fastest replica."""
YOLO_SPEEDS = (1.0, 0.75, 0.5)
OCR_SPEEDS = (1.0, 1.0, 0.75, 0.75, 0.5)
FPS = 5.0
QUEUE_ITEMS = 75


def plans() -> list[ReplicaPlan]:
    """The thesis' six nodes: three with YOLO, five with OCR."""
    return [
        *(
            ReplicaPlan(function="yolo", name=f"yolo-{n}", speed=speed)
            for n, speed in enumerate(YOLO_SPEEDS)
        ),
        *(
            ReplicaPlan(function="ocr", name=f"ocr-{n}", speed=speed)
            for n, speed in enumerate(OCR_SPEEDS)
        ),
    ]


def declare(servers: str, **balancing: Any) -> dict[str, Any]:
    """The two functions under one balancer."""
    service = {"distribution": "lognormal", "cv": 0.2}
    queue = {"items": QUEUE_ITEMS}
    return declaration(
        servers,
        functions={
            "yolo": {
                "partitions": len(YOLO_SPEEDS),
                "queue": queue,
                "parameters": {
                    "service": {**service, "mean": YOLO_SECONDS},
                    "objects_per_item": {"distribution": "from", "probabilities": list(VEHICLES)},
                    "kind": "vehicle",
                    "label": "car",
                },
            },
            "ocr": {
                "partitions": len(OCR_SPEEDS),
                "queue": queue,
                "parameters": {"service": {**service, "mean": OCR_SECONDS}},
            },
        },
        balancing=balancing,
    )


def installed_balancers(text: str, option: str) -> list[str]:
    """Balancers of a list with commas; also those of other packages.

    Raises:
        typer.BadParameter: one is not installed.
    """
    return known_names(text.split(","), installed(BALANCERS, "a balancer"), option)


def start_cameras(bed: Testbed, count: int, seconds: float, seed: int) -> None:
    """Bursty cameras, their homes dealt over the YOLO replicas as evenly as they go."""
    data = picture(160, 96)
    homes = [n % len(YOLO_SPEEDS) for n in range(count)]
    for number, name in enumerate(names_for_partitions(homes, len(YOLO_SPEEDS))):
        times = bursty_times(seconds, FPS, np.random.default_rng([seed, number]))
        bed.camera(name, [1.0 + moment for moment in times], data)
