"""From an empty cluster to models that serve, by events: how long it takes, and who takes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from evaluation.control_plane.models import BATCH, INPUT, version_of, write_model
from evaluation.control_plane.orders import Ledger, broken_promises
from evaluation.control_plane.site import Site
from evaluation.control_plane.watching import Watch
from evaluation.errors import MeasurementError
from roomie.control.client import RoomieClient
from roomie.control.instance_client import ClientSettings, InstanceClient
from roomie.control.records import ModelSpec

SPECS = (
    ModelSpec(model="squeezenet1_1", instances=2, batch=BATCH, spread="prefer"),
    ModelSpec(model="mobilenet_v3_large", instances=2, batch=BATCH, spread="prefer"),
    ModelSpec(model="shufflenet_v2_x2_0", batch=BATCH),
    ModelSpec(model="alexnet", batch=BATCH),
    ModelSpec(model="googlenet", batch=BATCH),
    ModelSpec(model="inception_v3", batch=BATCH),
)
"""What is deployed. They are placed by the kernel profiles of these networks, and run small models
in their place."""
SOURCE = "/benchmark"
PATIENCE = 120.0
"""Seconds; far more than anything takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """One model's way to service; seconds since its event was sent.

    Attributes:
        model: which one.
        together: whether it was sent together with the others.
        accepted: until it was heard that the event was accepted.
        ready: until it was heard that all instances were ready.
        answered: until a client that had waited had its first answer.
        loading: that the slowest instance took between its load call and its first good answer.
        deciding: that the controller took to decide on the event; mean over the events of a batch.
        writing: that it took to write all that it decided until all were ready; likewise.
    """

    model: str
    together: bool
    accepted: float
    ready: float
    answered: float
    loading: float
    deciding: float = 0.0
    writing: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploying:
    """What came of a run.

    Attributes:
        deployed: each deployment.
        faults: what should not have been, a sentence each.
    """

    deployed: tuple[Deployed, ...]
    faults: tuple[str, ...]


def write_models(site: Site) -> None:
    """Put the models of `SPECS` into a site's repository."""
    for spec in SPECS:
        write_model(site.models, spec.model)


def deploy_by_events(
    site: Site, watch: Watch, *, rounds: int, say: Callable[[str], None]
) -> Deploying:
    """Deploy the models one after the other, take them away, and deploy them together.

    Args:
        site: without models.
        watch: of it.
        rounds: how often.
        say: is told what happens.

    Raises:
        MeasurementError: a model is not deployed, or not in time.
    """
    deployed: list[Deployed] = []
    faults: list[str] = []
    ledger = Ledger()
    write_models(site)
    for number in range(rounds):
        for together in (False, True):
            how = "together" if together else "one after the other"
            say(f"round {number + 1} of {rounds}: {len(SPECS)} models {how}")
            batches = [SPECS] if together else [(spec,) for spec in SPECS]
            for batch in batches:
                deployed += _deploy_batch(site, watch, ledger, batch, together=together)
            came = watch.converge(ledger.wishes(), PATIENCE)
            faults += came.lacking
            _take_away(site, ledger)
            came = watch.converge(ledger.wishes(), PATIENCE)
            faults += came.lacking
    faults += broken_promises(ledger.orders, watch.statuses())
    return Deploying(deployed=tuple(deployed), faults=tuple(faults))


def deploy_all(site: Site, watch: Watch, ledger: Ledger) -> None:
    """Deploy the models of `SPECS`, and wait until they serve.

    Raises:
        MeasurementError: they do not in time.
    """
    write_models(site)
    _deploy_batch(site, watch, ledger, SPECS, together=True)
    came = watch.converge(ledger.wishes(), PATIENCE)
    if came.at is None:
        raise MeasurementError(f"the models do not serve: {'; '.join(came.lacking)}")


def _deploy_batch(
    site: Site, watch: Watch, ledger: Ledger, batch: tuple[ModelSpec, ...], *, together: bool
) -> list[Deployed]:
    before = site.controller_seconds()
    with ThreadPoolExecutor(len(batch)) as executor:
        found = list(executor.map(lambda spec: _deploy_one(site, watch, ledger, spec), batch))
    after = site.controller_seconds()
    spent = {what: (after[what] - before.get(what, 0.0)) / len(batch) for what in after}
    return [
        Deployed(
            model=spec.model,
            together=together,
            accepted=times["accepted"],
            ready=times["ready"],
            answered=times["answered"],
            loading=times["loading"],
            deciding=spent.get("order", 0.0),
            writing=spent.get("write", 0.0),
        )
        for spec, times in zip(batch, found, strict=True)
    ]


def _deploy_one(site: Site, watch: Watch, ledger: Ledger, spec: ModelSpec) -> Mapping[str, float]:
    settings = ClientSettings(wait=PATIENCE)
    times: dict[str, float] = {}
    with ExitStack() as stack:
        client = stack.enter_context(
            InstanceClient(spec.model, site.transport, site.names, settings=settings)
        )
        roomie = stack.enter_context(RoomieClient(site.transport, site.names, source=SOURCE))
        executor = stack.enter_context(ThreadPoolExecutor(1))

        def answered() -> float:
            version_of(client.infer({"x": INPUT}))
            return time.perf_counter() - began

        began = time.perf_counter()
        order = ledger.acknowledged(roomie.deploy(spec))
        first = executor.submit(answered)
        for status in roomie.follow(order, timeout=PATIENCE):
            times.setdefault(status.event, time.perf_counter() - began)
            if status.is_outcome and status.event != "ready":
                raise MeasurementError(f"{spec.model} is {status.event}: {status.reason}")
        times["answered"] = first.result(PATIENCE)
    loads = [
        entry.ready_seconds or 0.0
        for row in watch.workers.rows().values()
        for entry in row.instances
        if entry.id in {i.id for i in watch.placements.rows()[spec.model].instances}
    ]
    return {**times, "loading": max(loads, default=0.0)}


def _take_away(site: Site, ledger: Ledger) -> None:
    with RoomieClient(site.transport, site.names, source=SOURCE) as roomie:
        orders = [ledger.acknowledged(roomie.undeploy(spec.model)) for spec in SPECS]
        for order in orders:
            roomie.wait(order, timeout=PATIENCE)
