"""The thesis' deployment of Fig 3.10 to 3.12, scaled to one small machine.

The pipeline that `evaluation.simulation` simulates, with real processes on a real Kafka: three YOLO
and five OCR replicas of unequal speed, and cameras that see dense and thin traffic in turns of 6 s.
Cameras run at a third of the thesis' pace (5 frames a second), and functions take as much longer,
because one machine with two cores has to be the cluster, its broker and its cameras: at a higher
pace its processors are what limits, and the balancer that takes the least of them wins. With four
cameras the replicas are busy 86 % of the time, on average over dense and thin phases: the knee.
Five offer more than they can do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dataflow.config.model import BALANCERS
from dataflow.plugins import installed
from evaluation.command import known_names
from evaluation.load import frame_times, names_for_partitions, picture
from evaluation.simulation.scenarios import pipeline
from evaluation.testbed import ReplicaPlan, Testbed, declaration

_SLOWER = 3
_SIMULATED = pipeline(1)
_CAMERA = _SIMULATED.cameras[0]
_YOLO, _OCR = _SIMULATED.groups
YOLO_RATES = tuple(replica.mu / _SLOWER for replica in _YOLO)
"""Frames a second of each replica."""
OCR_RATES = tuple(replica.mu / _SLOWER for replica in _OCR)
"""Objects a second of each replica."""
FPS = _CAMERA.fps / _SLOWER
QUEUE_ITEMS = _SIMULATED.capacity // _SLOWER
"""As many seconds of work as the thesis' 150."""


def plans() -> list[ReplicaPlan]:
    """The thesis' six nodes: three with YOLO, five with OCR."""
    return [
        ReplicaPlan(function=function, name=f"{function}-{n}", speed=rate / rates[0])
        for function, rates in (("yolo", YOLO_RATES), ("ocr", OCR_RATES))
        for n, rate in enumerate(rates)
    ]


def declare(servers: str, *, swing: float = _CAMERA.swing, **balancing: Any) -> dict[str, Any]:
    """The two functions under one balancer.

    Args:
        servers: host:port list.
        swing: dense traffic is (1 + swing) times the mean, thin (1 - swing).
        balancing: of both functions.
    """
    queue = {"items": QUEUE_ITEMS}
    traffic = {
        "distribution": "traffic",
        "mean": _CAMERA.objects,
        "swing": swing,
        "phase": _CAMERA.phase * FPS,
        "dwell": _CAMERA.dwell * FPS,
    }
    return declaration(
        servers,
        functions={
            "yolo": {
                "partitions": len(YOLO_RATES),
                "queue": queue,
                "parameters": {
                    "service": _service(YOLO_RATES[0], cv=_YOLO[0].jitter),
                    "objects_per_item": traffic,
                    "kind": "vehicle",
                    "label": "car",
                },
            },
            "ocr": {
                "partitions": len(OCR_RATES),
                "queue": queue,
                "parameters": {"service": _service(OCR_RATES[0], cv=_OCR[0].jitter)},
            },
        },
        balancing=balancing,
    )


def _service(rate: float, *, cv: float) -> dict[str, Any]:
    return {"distribution": "lognormal", "mean": 1 / rate, "cv": cv}


def installed_balancers(text: str, option: str) -> list[str]:
    """Balancers of a list with commas; also those of other packages.

    Raises:
        typer.BadParameter: one is not installed.
    """
    return known_names(text.split(","), installed(BALANCERS, "balancer"), option)


def start_cameras(bed: Testbed, count: int, seconds: float, seed: int) -> None:
    """Cameras, their homes dealt over the YOLO replicas as evenly as they go."""
    data = picture(160, 96)
    homes = [n % len(YOLO_RATES) for n in range(count)]
    names = names_for_partitions(homes, len(YOLO_RATES), prefix=f"cam{seed}")
    for number, name in enumerate(names):
        times = frame_times(seconds, FPS, np.random.default_rng([seed, number]))
        bed.camera(name, [1.0 + moment for moment in times], data)
