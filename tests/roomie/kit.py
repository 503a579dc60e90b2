"""What the tests of ROOMIE share: small devices, profiles and clusters."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from roomie.cluster import ClusterState, Gpu, Instance, Request
from roomie.costs import PairCosts
from roomie.devices import Device, load_devices
from roomie.profiles import Kernel, Profile, ProfileStore, Variant
from roomie.tables import KernelTable

_DATA = os.environ.get("VIDEOJAM_SHARED_DATA", Path(__file__).parents[2].parent / "shared" / "data")
SHARED_TRACE = Path(_DATA) / "gpu-traces" / "alexnet-a100.json.gz"
"""A real PyTorch profiler trace; the repository does not hold it."""

A100 = load_devices().device("A100-SXM4-40GB")


def kernel(
    *,
    blocks: int = 10_000,
    threads: int = 256,
    registers: int = 32,
    shared: int = 0,
    us: float = 10.0,
    name: str = "k",
) -> Kernel:
    return Kernel(
        name=name,
        duration_ns=round(us * 1000),
        grid=(blocks, 1, 1),
        block=(threads, 1, 1),
        registers=registers,
        static_shared=0,
        dynamic_shared=shared,
    )


def profile(
    model: str = "net",
    batch: int = 1,
    kernels: Sequence[Kernel] = (),
    *,
    device: Device = A100,
    memory: int = 1 << 30,
    weights: int = 100 << 20,
    time_s: float | None = None,
) -> Profile:
    chosen = tuple(kernels or (kernel(),))
    return Profile(
        variant=Variant(model, batch),
        device=device,
        origin="imported",
        tool="test",
        inference_time_s=time_s or sum(k.duration_ns for k in chosen) * 1e-9,
        memory_bytes=memory,
        weight_bytes=weights,
        kernels=chosen,
    )


def matrix_costs(
    slowdowns: Mapping[tuple[str, str], float],
    *,
    profiles: Sequence[Profile] = (),
    memory: int = 1 << 30,
) -> PairCosts:
    """Costs in which "a" slowed by "b" is what ``slowdowns`` says, else 0.

    Models are named by single letters, batch size 1, and take 1 ms alone.
    """
    letters = sorted({name for pair in slowdowns for name in pair})
    # Their times differ by a hair, by which the look-up tells them apart.
    made = list(profiles) or [
        profile(letter, 1, time_s=1e-3 * (1 + 1e-9 * n), memory=memory)
        for n, letter in enumerate(letters)
    ]
    store = ProfileStore(made, load_devices())
    names = {round(p.inference_time_s, 15): p.variant.model for p in made}

    def look_up(first: KernelTable, second: KernelTable) -> tuple[float, float]:
        own, other = (names[round(t.inference_time_s, 15)] for t in (first, second))
        return slowdowns.get((own, other), 0.0), slowdowns.get((other, own), 0.0)

    return PairCosts(store, pair=look_up)


def cluster(
    count: int = 2,
    *,
    device: Device = A100,
    per_node: int = 1,
    most: int | None = None,
    on: Mapping[int, Sequence[Instance]] | None = None,
) -> ClusterState:
    gpus = [
        Gpu(id=f"g{i}", node=f"n{i // per_node}", device=device, max_instances=most)
        for i in range(count)
    ]
    return ClusterState(gpus, [tuple((on or {}).get(i, ())) for i in range(count)])


def running(model: str, name: str | None = None, **settings: object) -> Instance:
    request = Request(id=name or model, model=model, batch=1, **settings)  # type: ignore[arg-type] # options of several types
    return Instance(request=request, variant=Variant(model, 1))


def where(state: ClusterState) -> dict[str, str]:
    """GPU of each instance."""
    return {name: state.gpus[row].id for name, (row, _) in state.instances.items()}
