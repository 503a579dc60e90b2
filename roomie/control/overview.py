"""GPUs, what runs on them and how it is slowed: as placements, workers and telemetry say. Pure.

`videojam gpus` draws it; its JSON is these values.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from roomie.control.records import (
    GpuReport,
    InstanceReport,
    InstanceState,
    InstanceTelemetry,
    PlacedInstance,
    Placement,
    Telemetry,
    WorkerReport,
)
from roomie.devices import DeviceTable

OLD_SECONDS = 10.0
"""Telemetry that is older says nothing about the present."""
FORGOTTEN_SECONDS = 600.0
"""A worker that has been silent for so long is shown no more, unless something is placed on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceView:
    """An instance.

    Attributes:
        id: its name to the server.
        model: whose it is.
        version: which one it serves.
        gpu: where it is placed.
        state: what its worker says, or what the placement says where the worker is silent.
        reason: why it failed.
        batch: largest batch.
        window: seconds that the server waits for a batch to fill.
        reserved: whether it keeps its place.
        memory_bytes: that it needs; 0 where not known.
        expected: items a second that it is expected to serve.
        rate: items a second, lately; None without telemetry.
        failures: requests a second that failed, lately.
        pending: requests that wait.
        queue_seconds: mean wait of a request.
        compute_seconds: mean time of a batch.
        predicted: slowdown (T~ - T) / T as predicted; None where there was no profile to do so.
        measured: the same as measured with full batches; None without them, or without a profile.
    """

    id: str
    model: str
    version: int
    gpu: str
    state: InstanceState
    reason: str | None = None
    batch: int = 1
    window: float = 0.0
    reserved: bool = True
    memory_bytes: int = 0
    expected: float = 0.0
    rate: float | None = None
    failures: float | None = None
    pending: int | None = None
    queue_seconds: float | None = None
    compute_seconds: float | None = None
    predicted: float | None = None
    measured: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuView:
    """A GPU or slice.

    Attributes:
        id: WORKER/INDEX.
        device: its kind.
        memory_bytes: its size; None for a kind that is not known here.
        promised_bytes: sum of what its instances need, as far as that is known.
        used_bytes: what its driver says; None where it does not.
        instances: on it, by id.
    """

    id: str
    device: str
    memory_bytes: int | None
    promised_bytes: int
    used_bytes: int | None
    instances: tuple[InstanceView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """A worker.

    Attributes:
        worker: its name.
        node: its machine.
        url: of its server.
        alive: whether its lease lasts.
        age: seconds since its last report.
        server_ready: whether its server answers.
        gpus: in their order.
        leaving: instances that it still has though they are placed nowhere any more.
    """

    worker: str
    node: str
    url: str
    alive: bool
    age: float
    server_ready: bool
    gpus: tuple[GpuView, ...]
    leaving: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelView:
    """A model.

    Attributes:
        model: its name.
        version: that serves.
        wanted: instances that are always wanted.
        placed: instances that have a place.
        ready: instances that serve.
        incoming: version on its way in, None if there is none.
        deferred: why instances are missing.
    """

    model: str
    version: int
    wanted: int
    placed: int
    ready: int
    incoming: int | None
    deferred: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """All of it: workers and models by name."""

    workers: tuple[WorkerView, ...]
    models: tuple[ModelView, ...]


def cluster_view(
    workers: Mapping[str, tuple[WorkerReport, float]],
    placements: Mapping[str, Placement],
    telemetry: Mapping[str, tuple[Telemetry, float]],
    devices: DeviceTable,
) -> ClusterView:
    """What there is.

    Args:
        workers: reports with their ages in seconds, by worker.
        placements: by model.
        telemetry: with ages, by worker.
        devices: kinds that are known.
    """
    measured = {
        entry.id: (entry, told.seconds)
        for told, age in telemetry.values()
        if age <= OLD_SECONDS
        for entry in told.instances
    }
    used = {
        gpu: size
        for told, age in telemetry.values()
        if age <= OLD_SECONDS
        for gpu, size in told.used_bytes.items()
    }
    placed: dict[str, list[tuple[str, PlacedInstance]]] = defaultdict(list)
    for placement in placements.values():
        for instance in placement.instances:
            placed[instance.worker].append((placement.spec.model, instance))
    shown = [
        _worker(report, age, placed.pop(name, []), measured, used=used, devices=devices)
        for name, (report, age) in sorted(workers.items())
        if age <= FORGOTTEN_SECONDS or name in placed
    ]
    shown += [_gone(name, instances) for name, instances in sorted(placed.items())]
    states = {
        instance.id: instance.state
        for worker in shown
        for gpu in worker.gpus
        for instance in gpu.instances
    }
    return ClusterView(
        workers=tuple(shown),
        models=tuple(
            ModelView(
                model=name,
                version=placement.spec.version,
                wanted=placement.spec.instances,
                placed=len(placement.instances),
                ready=sum(states.get(i.id) == "ready" for i in placement.instances),
                incoming=None if placement.rollout is None else placement.rollout.version,
                deferred=placement.deferred,
            )
            for name, placement in sorted(placements.items())
        ),
    )


_Measured = Mapping[str, tuple[InstanceTelemetry, float]]


def _worker(
    report: WorkerReport,
    age: float,
    placed: Sequence[tuple[str, PlacedInstance]],
    measured: _Measured,
    *,
    used: Mapping[str, int],
    devices: DeviceTable,
) -> WorkerView:
    alive = age <= report.lease
    said = {entry.id: entry for entry in report.instances}
    views = [
        _instance(model, instance, said.pop(instance.id, None), measured, alive=alive)
        for model, instance in placed
    ]
    known = {gpu.id for gpu in report.gpus}
    gpus = [_gpu(gpu, views, devices, used.get(gpu.id)) for gpu in report.gpus]
    strays = sorted({view.gpu for view in views} - known)
    gpus += [_gpu(GpuReport(id=name, device="unknown"), views, devices) for name in strays]
    return WorkerView(
        worker=report.worker,
        node=report.node,
        url=report.url,
        alive=alive,
        age=age,
        server_ready=report.server_ready and alive,
        gpus=tuple(gpus),
        leaving=tuple(sorted(said)),
    )


def _gone(name: str, placed: Sequence[tuple[str, PlacedInstance]]) -> WorkerView:
    """A worker that nobody has heard of, on which something is placed."""
    views = [_instance(model, instance, None, {}, alive=False) for model, instance in placed]
    gpus = sorted({view.gpu for view in views})
    return WorkerView(
        worker=name,
        node="",
        url="",
        alive=False,
        age=float("inf"),
        server_ready=False,
        gpus=tuple(
            _gpu(GpuReport(id=gpu, device="unknown"), views, DeviceTable({}, {})) for gpu in gpus
        ),
    )


def _gpu(
    report: GpuReport,
    views: Sequence[InstanceView],
    devices: DeviceTable,
    used_bytes: int | None = None,
) -> GpuView:
    here = sorted((view for view in views if view.gpu == report.id), key=lambda view: view.id)
    kind = devices.devices.get(report.device)
    size = report.memory_bytes or (None if kind is None else kind.memory_bytes)
    return GpuView(
        id=report.id,
        device=report.device,
        memory_bytes=size,
        promised_bytes=sum(view.memory_bytes for view in here),
        used_bytes=used_bytes,
        instances=tuple(here),
    )


def _instance(
    model: str,
    placed: PlacedInstance,
    said: InstanceReport | None,
    measured: _Measured,
    *,
    alive: bool,
) -> InstanceView:
    told, seconds = measured.get(placed.id, (None, 0.0))
    state = placed.state
    if alive:
        state = said.state if said is not None else "pending"
    return InstanceView(
        id=placed.id,
        model=model,
        version=placed.version,
        gpu=placed.gpu,
        state=state,
        reason=None if said is None else said.reason,
        batch=placed.batch,
        window=placed.window,
        reserved=placed.reserved,
        memory_bytes=placed.memory_bytes,
        expected=placed.speed,
        rate=None if told is None else told.items / seconds,
        failures=None if told is None else told.failures / seconds,
        pending=None if told is None else told.pending,
        queue_seconds=None if told is None else _mean(told.queue_seconds, told.requests),
        compute_seconds=None if told is None else _mean(told.compute_seconds, told.executions),
        predicted=None if placed.profile is None else placed.slowdown,
        measured=_slowdown(placed, told),
    )


def _mean(total: float, count: int) -> float | None:
    return total / count if count else None


def _slowdown(placed: PlacedInstance, told: InstanceTelemetry | None) -> float | None:
    """(T~ - T) / T of full batches: others do not compare with the profile."""
    if told is None or not told.full_executions or placed.alone <= 0:
        return None
    return told.full_seconds / told.full_executions / placed.alone - 1.0
