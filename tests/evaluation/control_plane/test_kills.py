"""The benchmark of kills in short: each part once, and all of them together."""

from __future__ import annotations

import math
import time
from pathlib import Path

import psutil
import pytest

from dataflow.broker.paths import cache_home
from evaluation.control_plane.kills import Plan, kill
from evaluation.control_plane.site import Site
from evaluation.control_plane.watching import Watch
from roomie.triton.install import ensure_installed

GPUS = {"edge-0": "A100-SXM4-40GB:12GiB", "edge-1": "A100-SXM4-40GB:8GiB"}
PLAN = Plan(
    kinds=("controller", "agent", "triton", "broker", "everything"),
    rate=3.0,
    away=1.0,
    limit=math.inf,  # how long it takes is measured, not tested
)


@pytest.mark.broker
@pytest.mark.triton
@pytest.mark.timeout(400)
def test_whatever_is_killed_no_order_is_lost_and_no_instance_orphaned(tmp_path: Path) -> None:
    ensure_installed(cache_home())
    began = time.monotonic()

    def clock() -> float:
        return time.monotonic() - began

    told: list[str] = []
    roomie = {"session_timeout": "2s"}
    with (
        Site(tmp_path, gpus=GPUS, roomie=roomie, clock=clock) as site,
        Watch(site, clock=clock) as watch,
    ):
        watch.until_complete()
        killing = kill(site, watch, PLAN, clock=clock, say=told.append)
    assert killing.faults() == [], told
    assert [one.kind for one in killing.kills] == list(PLAN.kinds)
    assert killing.orders >= 6 + 2 * len(PLAN.kinds)
    assert sum(not request.failed for request in killing.requests) > 100
    left = [
        process.info["cmdline"]
        for process in psutil.process_iter(["cmdline"])
        if any(str(tmp_path) in word for word in process.info["cmdline"] or ())
    ]
    assert left == []
