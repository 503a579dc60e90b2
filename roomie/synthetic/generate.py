"""Synthetic profiles of the networks of thesis Table 4.2, and the command that writes them.

    python -m roomie.synthetic.generate [--device A100-SXM4-40GB] [--out roomie/data/profiles]

Needs the extra ``profile``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from roomie.devices import Device, load_devices
from roomie.profile_files import file_name, write_profiles
from roomie.profiles import Profile, Variant
from roomie.synthetic.families import kernels_of
from roomie.synthetic.layers import Network
from roomie.synthetic.models import BATCHES, MODELS

TOOL = "videojam roomie.synthetic 1"
NOTE = (
    "SYNTHETIC: computed from the network's layers, calibrated on one real trace (AlexNet on an "
    "A100); not measured on this device"
)
CONTEXT_BYTES = 480 * 1024**2
"""CUDA context with cuDNN's and cuBLAS' handles, of a process on an A100 (an assumption)."""
WORKSPACE_BYTES = 64 * 1024**2
"""Workspace of convolutions and matrix products (an assumption)."""
FRAGMENTATION = 1.1
"""What a caching allocator holds over what is alive (an assumption)."""

DEVICES = ("A100-SXM4-40GB", "AGX-Xavier")
"""For which profiles ship: the devices of the thesis' evaluation."""


def profile_of(network: Network, device: Device) -> Profile:
    """The synthetic profile of a network that was walked over.

    Its inference time is the sum of its kernels: launches that keep ahead of the device.
    """
    kernels = tuple(kernel for op in network.operators for kernel in kernels_of(op, device))
    return Profile(
        variant=Variant(network.model, network.batch),
        device=device,
        origin="synthetic",
        tool=TOOL,
        inference_time_s=sum(kernel.duration_ns for kernel in kernels) * 1e-9,
        memory_bytes=CONTEXT_BYTES
        + WORKSPACE_BYTES
        + network.weight_bytes
        + round(FRAGMENTATION * network.activation_bytes),
        weight_bytes=network.weight_bytes,
        kernels=kernels,
        note=NOTE,
    )


def generate(models: Sequence[str], devices: Sequence[Device], folder: Path) -> list[Path]:
    """Write the profiles of some networks at all `BATCHES` on some devices.

    Raises:
        MissingDependencyError: torch or torchvision is not installed.
    """
    from roomie.synthetic.walk import walk  # noqa: PLC0415 - needs torch when called

    written = []
    for model in models:
        networks = [walk(model, batch) for batch in BATCHES]
        for device in devices:
            profiles = [profile_of(network, device) for network in networks]
            file = folder / file_name(profiles[0])
            write_profiles(file, profiles)
            written.append(file)
    return written


def main(
    *,
    out: Annotated[Path, typer.Option(help="Folder of the profiles.")] = Path(
        "roomie/data/profiles"
    ),
    device: Annotated[
        list[str] | None, typer.Option(help="Devices; default: both shipped.")
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="Networks; default: all.")] = None,
) -> None:
    """Write synthetic profiles."""
    table = load_devices()
    chosen = [table.device(name) for name in device or DEVICES]
    for name in model or MODELS:
        for file in generate([name], chosen, out):
            typer.echo(f"{file} ({file.stat().st_size} bytes)")


if __name__ == "__main__":
    typer.run(main)
