"""The live map: what is shown of placements, workers and telemetry."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from rich.console import Console

from cli import gpus_view
from roomie.control.overview import ClusterView, cluster_view
from roomie.control.records import (
    GpuReport,
    InstanceReport,
    InstanceTelemetry,
    ModelSpec,
    PlacedInstance,
    Placement,
    Telemetry,
    WorkerReport,
)
from roomie.devices import load_devices
from tests.roomie.control.kit import placed

GIB = 1 << 30


def report(*instances: InstanceReport, ready: bool = True) -> WorkerReport:
    return WorkerReport(
        worker="w",
        node="edge-1",
        incarnation="x",
        url="w:8001",
        gpus=(
            GpuReport(id="w/0", device="T4"),
            GpuReport(id="w/1", device="unheard-of", memory_bytes=4 * GIB),
        ),
        at=0.0,
        lease=5.0,
        server_ready=ready,
        instances=instances,
    )


def placement(*instances: PlacedInstance, deferred: str | None = None) -> Placement:
    return Placement(spec=ModelSpec(model="m", instances=2), instances=instances, deferred=deferred)


ONE = placed("m.1", "w", batch=4, ready_at="w:8001", speed=100).model_copy(
    update={"alone": 0.01, "profile": "m", "slowdown": 0.4, "memory_bytes": 2 * GIB}
)
TOLD = InstanceTelemetry(
    id="m.1",
    requests=10,
    failures=2,
    items=40,
    queue_seconds=0.05,
    compute_seconds=0.15,
    executions=10,
    pending=3,
    full_executions=4,
    full_seconds=0.06,
)


def telemetry(*told: InstanceTelemetry) -> Telemetry:
    return Telemetry(worker="w", at=0.0, seconds=2.0, instances=told, used_bytes={"w/0": 3 * GIB})


def view_of(
    reports: Sequence[WorkerReport] = (),
    placements: Sequence[Placement] = (),
    told: Sequence[Telemetry] = (),
    *,
    age: float = 1.0,
) -> ClusterView:
    return cluster_view(
        {entry.worker: (entry, age) for entry in reports},
        {entry.spec.model: entry for entry in placements},
        {entry.worker: (entry, age) for entry in told},
        load_devices(),
    )


def test_an_instance_shows_measured_against_predicted() -> None:
    said = InstanceReport(id="m.1", state="ready")
    view = view_of([report(said)], [placement(ONE)], [telemetry(TOLD)])
    (worker,) = view.workers
    assert (worker.alive, worker.server_ready, worker.leaving) == (True, True, ())
    gpu = worker.gpus[0]
    assert gpu.memory_bytes == load_devices().device("T4").memory_bytes
    assert (gpu.promised_bytes, gpu.used_bytes) == (2 * GIB, 3 * GIB)
    (instance,) = gpu.instances
    assert instance.rate == 20
    assert instance.failures == 1
    assert instance.queue_seconds == pytest.approx(0.005)
    assert instance.compute_seconds == pytest.approx(0.015)
    assert instance.measured == pytest.approx(0.5)
    assert instance.predicted == 0.4
    assert instance.pending == 3
    assert worker.gpus[1].memory_bytes == 4 * GIB
    assert view.models[0].ready == 1


def test_without_full_batches_or_a_profile_no_slowdown_is_measured() -> None:
    said = InstanceReport(id="m.1", state="ready")
    part = TOLD.model_copy(update={"full_executions": 0})
    view = view_of([report(said)], [placement(ONE)], [telemetry(part)])
    assert view.workers[0].gpus[0].instances[0].measured is None
    unknown = ONE.model_copy(update={"alone": 0.0, "profile": None})
    view = view_of([report(said)], [placement(unknown)], [telemetry(TOLD)])
    assert view.workers[0].gpus[0].instances[0].measured is None
    assert view.workers[0].gpus[0].instances[0].predicted is None


def test_old_telemetry_says_nothing() -> None:
    view = view_of([report()], [placement(ONE)], [telemetry(TOLD)], age=11.0)
    assert view.workers[0].gpus[0].instances[0].rate is None


def test_what_the_worker_says_counts_while_it_is_alive() -> None:
    said = InstanceReport(id="m.1", state="failed", reason="no memory")
    view = view_of([report(said)], [placement(ONE)])
    instance = view.workers[0].gpus[0].instances[0]
    assert (instance.state, instance.reason) == ("failed", "no memory")
    silent = view_of([report(said)], [placement(ONE)], age=6.0).workers[0]
    assert (silent.alive, silent.server_ready) == (False, False)
    assert silent.gpus[0].instances[0].state == "ready", "as the placement says"


def test_a_worker_that_was_never_heard_of_shows_what_is_placed_on_it() -> None:
    view = view_of([], [placement(placed("m.1", "lost"))])
    (worker,) = view.workers
    assert (worker.worker, worker.alive) == ("lost", False)
    assert [gpu.id for gpu in worker.gpus] == ["lost/0"]


def test_a_worker_that_has_been_silent_for_long_is_forgotten_unless_something_is_there() -> None:
    assert view_of([report()], age=601.0).workers == ()
    assert len(view_of([report()], [placement(ONE)], age=601.0).workers) == 1


def test_what_is_placed_nowhere_any_more_is_leaving() -> None:
    said = InstanceReport(id="old", state="draining")
    assert view_of([report(said)]).workers[0].leaving == ("old",)


def test_an_instance_on_a_gpu_that_its_worker_lacks_is_shown() -> None:
    view = view_of([report()], [placement(placed("m.1", "w", gpu=7))])
    assert [gpu.id for gpu in view.workers[0].gpus] == ["w/0", "w/1", "w/7"]


def shown(view: ClusterView) -> str:
    console = Console(width=250, record=True, file=None)
    with console.capture() as captured:
        console.print(gpus_view.as_tables(view, "no broker answers"))
    return captured.get()


def test_tables_lines_and_json_say_the_same() -> None:
    said = (
        InstanceReport(id="m.1", state="ready"),
        InstanceReport(id="m.2", state="failed", reason="the weights are damaged\nremedy: none"),
        InstanceReport(id="old", state="draining"),
    )
    view = view_of(
        [report(*said)],
        [placement(ONE, placed("m.2", "w"), deferred="no GPU is free enough")],
        [telemetry(TOLD)],
    )
    lines = "\n".join(gpus_view.as_lines(view, "no broker answers"))
    for text in (shown(view), lines):
        for part in (
            *("w/0", "T4", "m.1", "ready", "20.0", "+50%", "+40%", "edge-1"),
            *("the weights are damaged", "no GPU is free enough", "draining: old"),
            *("1 of 2 ready", "no broker answers"),
        ):
            assert part in text, part
        assert "remedy: none" not in text
    data = json.loads(json.dumps(gpus_view.as_json(view, 12.0), allow_nan=False))
    assert data["workers"][0]["gpus"][0]["instances"][0]["measured"] == 0.5
    assert data["at"] == 12.0


def test_an_unknown_age_is_no_number_in_json() -> None:
    data = gpus_view.as_json(view_of([], [placement(placed("m.1", "lost"))]), 0.0)
    assert data["workers"][0]["age"] is None
    assert "never heard of" in "\n".join(
        gpus_view.as_lines(view_of([], [placement(placed("m.1", "lost"))]))
    )


def test_an_empty_cluster_says_how_to_add_a_node() -> None:
    assert "videojam node" in shown(view_of())
    assert "videojam node" in "\n".join(gpus_view.as_lines(view_of()))
