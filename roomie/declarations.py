"""cluster.yaml, and files of a workload and of a state: their models and loaders."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from dataflow.config import load_declaration, locate
from dataflow.config.units import Duration
from roomie.cluster import ClusterState, Gpu, Instance, Request, Spread
from roomie.devices import DeviceTable
from roomie.errors import ClusterError, DeviceError
from roomie.profiles import ProfileStore, Variant

_Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:-]{0,127}$")]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=1, le=10_000)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class GpuDeclaration(_Model):
    """GPUs of one kind in a node."""

    device: str
    """Kind of GPU, as in `videojam roomie devices`; a MIG slice is DEVICE/PROFILE."""
    count: _Count = 1
    """How many of them."""
    max_instances: Annotated[int, Field(ge=1)] | None = None
    """Most instances on each; as many as fit when absent."""


class NodeDeclaration(_Model):
    """A machine."""

    gpus: Annotated[list[GpuDeclaration], Field(min_length=1)]
    """Its GPUs; they are named NODE/0, NODE/1 and so on."""
    count: _Count = 1
    """How many such machines; they are named NODE-0, NODE-1 and so on if more than one."""


class ClusterFile(_Model):
    """cluster.yaml."""

    version: Literal[1]
    """Of this format."""
    nodes: Annotated[dict[_Id, NodeDeclaration], Field(min_length=1)]
    """Machines by name."""


class RequestDeclaration(_Model):
    """Instances that are wanted."""

    model: str
    """Which network."""
    instances: _Count = 1
    """How many; they are named NAME-0, NAME-1 and so on if more than one."""
    batch: Annotated[int, Field(ge=1)] | None = None
    """Batch size; chosen with the GPU when absent."""
    rate: _Positive | None = None
    """Items a second that each instance has to serve."""
    latency: Duration | None = None
    """Most time of an inference, for example 50ms."""
    removable: bool = False
    """Whether it may go when one that is not removable finds no room."""
    spread: Spread = "none"
    """none, prefer or require: whether instances of its group keep to different nodes."""
    group: str | None = None
    """Whose instances keep apart; the model when absent."""


class WorkloadFile(_Model):
    """A workload."""

    version: Literal[1]
    """Of this format."""
    requests: Annotated[dict[_Id, RequestDeclaration], Field(min_length=1)]
    """Instances by name."""


class _PlacedInstance(RequestDeclaration):
    id: _Id
    """Of the instance."""
    gpu: str
    """On which it runs."""
    batch: Annotated[int, Field(ge=1)]
    """Its batch size."""
    latency: float | None = None
    """Seconds."""


class StateFile(_Model):
    """What runs in a cluster, as `videojam roomie place --out` writes it."""

    version: Literal[1]
    """Of this format."""
    instances: list[_PlacedInstance]
    """In any order."""


def load_cluster(file: Path, devices: DeviceTable) -> ClusterState:
    """An empty cluster.

    Raises:
        ConfigError: the file cannot be read or declares something wrong.
        DeviceError: a GPU's kind is not known.
        ClusterError: two GPUs have one name.
    """
    declared = load_declaration(file, ClusterFile, remedy="see docs/roomie.md for an example")
    gpus: list[Gpu] = []
    for name, node in declared.nodes.items():
        machines = [name] if node.count == 1 else [f"{name}-{i}" for i in range(node.count)]
        for position, entry in enumerate(node.gpus):
            key = f"nodes.{name}.gpus.{position}.device"
            try:
                devices.device(entry.device)
            except DeviceError as error:
                raise DeviceError(
                    error.message,
                    file=file,
                    line=locate(file, key),
                    key=key,
                    value=entry.device,
                    remedy=error.remedy,
                ) from error
        for machine in machines:
            kinds = [entry for entry in node.gpus for _ in range(entry.count)]
            gpus += [
                Gpu(
                    id=f"{machine}/{index}",
                    node=machine,
                    device=devices.device(entry.device),
                    max_instances=entry.max_instances,
                )
                for index, entry in enumerate(kinds)
            ]
    twice = [name for name, count in Counter(gpu.id for gpu in gpus).items() if count > 1]
    if twice:
        raise ClusterError(
            "two GPUs have one name",
            file=file,
            key="nodes",
            value=twice[0],
            remedy="rename a node: NODE-0 and so on are taken by those with a count",
        )
    return ClusterState(gpus)


def load_workload(
    file: Path, *, profiles: ProfileStore | None = None, state: ClusterState | None = None
) -> list[Request]:
    """Requests in the order of the file.

    Args:
        file: the workload.
        profiles: models and batch sizes that may be named; any when None.
        state: what runs where they are to be placed, whose ids are taken.

    Raises:
        ConfigError: the file cannot be read or declares something wrong.
        ClusterError: two instances have one name, a name is taken, or a model has no profile.
    """
    declared = load_declaration(file, WorkloadFile, remedy="see docs/roomie.md for an example")
    requests: list[Request] = []
    for name, entry in declared.requests.items():
        key = f"requests.{name}"
        if profiles is not None:
            _check_profiled(file, key, entry, profiles)
        ids = [name] if entry.instances == 1 else [f"{name}-{i}" for i in range(entry.instances)]
        if state is not None:
            _check_free(file, key, ids, state)
        requests += [_request(each, entry) for each in ids]
    twice = [name for name, count in Counter(r.id for r in requests).items() if count > 1]
    if twice:
        raise ClusterError(
            "two instances have one name",
            file=file,
            key="requests",
            value=twice[0],
            remedy="rename one: NAME-0 and so on are taken by those with several instances",
        )
    return requests


def _check_profiled(
    file: Path, key: str, entry: RequestDeclaration, profiles: ProfileStore
) -> None:
    if entry.model not in profiles.models:
        wrong, value, message = f"{key}.model", str(entry.model), "no profile of this model"
    elif entry.batch is not None and Variant(entry.model, entry.batch) not in profiles.variants:
        wrong, value = f"{key}.batch", str(entry.batch)
        message = f"no profile of {entry.model} at this batch size"
    else:
        return
    raise ClusterError(
        message,
        file=file,
        line=locate(file, wrong),
        key=wrong,
        value=value,
        remedy=profiles.remedy(entry.model),
    )


def _check_free(file: Path, key: str, ids: Sequence[str], state: ClusterState) -> None:
    for name in ids:
        if name in state.instances:
            row, _ = state.instances[name]
            raise ClusterError(
                f"an instance of this name runs on {state.gpus[row].id} already",
                file=file,
                line=locate(file, key),
                key=key,
                value=name,
                remedy="rename the request, or place it on a cluster without that instance "
                "(leave out --state)",
            )


def _request(name: str, entry: RequestDeclaration) -> Request:
    return Request(
        id=name,
        model=entry.model,
        batch=entry.batch,
        rate=entry.rate,
        latency_s=entry.latency,
        removable=entry.removable,
        spread=entry.spread,
        group=entry.group,
    )


def load_state(
    file: Path, empty: ClusterState, *, profiles: ProfileStore | None = None
) -> ClusterState:
    """The cluster with the instances of a file.

    Args:
        file: the state.
        empty: the cluster.
        profiles: models and batch sizes that may be named; any when None.

    Raises:
        ConfigError: the file cannot be read or declares something wrong.
        ClusterError: a GPU is not in the cluster, two instances have one id, or a model has no
            profile.
    """
    declared = load_declaration(
        file, StateFile, remedy="write one with `videojam roomie place --out FILE`"
    )
    rows = {gpu.id: row for row, gpu in enumerate(empty.gpus)}
    residents: list[list[Instance]] = [[] for _ in empty.gpus]
    seen: set[str] = set()
    for position, entry in enumerate(declared.instances):
        key = f"instances.{position}"
        if entry.gpu not in rows:
            raise ClusterError(
                "no such GPU in the cluster",
                file=file,
                line=locate(file, f"{key}.gpu"),
                key=f"{key}.gpu",
                value=entry.gpu,
                remedy=f"GPUs: {', '.join(list(rows)[:8])}{', ...' if len(rows) > 8 else ''}",
            )
        if entry.id in seen:
            raise ClusterError(
                "two instances have one id",
                file=file,
                line=locate(file, f"{key}.id"),
                key=f"{key}.id",
                value=entry.id,
                remedy="give each an id of its own",
            )
        seen.add(entry.id)
        if profiles is not None:
            _check_profiled(file, key, entry, profiles)
        residents[rows[entry.gpu]].append(
            Instance(request=_request(entry.id, entry), variant=Variant(entry.model, entry.batch))
        )
    return ClusterState(empty.gpus, residents)


def state_as_json(state: ClusterState) -> str:
    """The text of a state's file; `load_state` reads it."""
    instances: list[dict[str, Any]] = []
    for gpu, on in zip(state.gpus, state.residents, strict=True):
        for instance in on:
            request = instance.request
            entry = {
                "id": instance.id,
                "gpu": gpu.id,
                "model": instance.variant.model,
                "batch": instance.variant.batch,
                "rate": request.rate,
                "latency": request.latency_s,
                "removable": request.removable or None,
                "spread": None if request.spread == "none" else request.spread,
                "group": request.group,
            }
            instances.append({key: value for key, value in entry.items() if value is not None})
    return json.dumps({"version": 1, "instances": instances}, indent=1) + "\n"
