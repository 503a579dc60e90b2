"""Record profiles on a real GPU: what `videojam roomie profile` does.

One network at one batch size is measured without a profiler, then traced for one inference. The
profile keeps the traced durations and the measured time; their ratio is the profiler's overhead,
which whoever uses the profile divides out (`Profile.overhead`).
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from dataflow.errors import MissingDependencyError, ModelError
from roomie.devices import DeviceTable
from roomie.errors import DeviceError
from roomie.importers.common import ImportSettings, to_profile
from roomie.importers.kineto import read_kineto
from roomie.profiles import Profile
from roomie.synthetic.models import DEFAULT_PIXELS, DETECTORS, INPUT_PIXELS, MODELS

RANGE = "videojam-inference"
"""Annotation around the inference that is traced."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What was measured without a profiler.

    Attributes:
        times_s: of single inferences, one after the other.
        memory_bytes: most device memory that the process needed, context included.
        weight_bytes: of the network.
    """

    times_s: Sequence[float]
    memory_bytes: int
    weight_bytes: int


class LoadedModel(Protocol):
    """A network on the GPU, with an input of one batch size."""

    def measure(self, *, warm_up: int, rounds: int) -> Measurement:
        """Run it without a profiler, each inference by itself."""
        ...

    def trace(self, file: Path) -> None:
        """Write a Kineto trace of one inference, in a range called `RANGE`."""
        ...


class Backend(Protocol):
    """Where networks run."""

    @property
    def tool(self) -> str:
        """For the profile: what recorded it, with versions."""
        ...

    def load(self, model: str, batch: int) -> LoadedModel:
        """Put a network on the GPU.

        Raises:
            DeviceError: there is no GPU.
            ModelError: there is no such network, or it does not fit.
        """
        ...


def record_profile(
    model: str,
    batch: int,
    backend: Backend,
    devices: DeviceTable,
    *,
    device: str | None = None,
    warm_up: int = 10,
    rounds: int = 50,
) -> Profile:
    """Record one profile.

    Args:
        model: a network of torchvision, or a TorchScript file.
        batch: its batch size.
        backend: where it runs.
        devices: the table of devices.
        device: the GPU's name in the table; None for what the driver calls it.
        warm_up: inferences before measuring.
        rounds: inferences measured; their median counts.

    Raises:
        DeviceError: there is no GPU, or its limits are not known.
        ModelError: the network cannot be loaded.
        ProfileError: the trace cannot be used.
    """
    loaded = backend.load(model, batch)
    measured = loaded.measure(warm_up=warm_up, rounds=rounds)
    settings = ImportSettings(
        model=Path(model).stem if model.endswith(".pt") else model,
        batch=batch,
        memory_bytes=measured.memory_bytes,
        weight_bytes=measured.weight_bytes,
        inference_time_s=statistics.median(measured.times_s),
        device=device,
        annotation=RANGE,
    )
    with tempfile.TemporaryDirectory(prefix="videojam-profile-") as folder:
        file = Path(folder) / "trace.json"
        loaded.trace(file)
        profile = to_profile(read_kineto(file, settings), settings, devices)
    return replace(
        profile,
        origin="measured",
        tool=backend.tool,
        note=f"median of {len(measured.times_s)} inferences; profiler's overhead "
        f"x{profile.overhead:.3f}",
    )


class TorchBackend:
    """torch on a CUDA device. Not tried on one yet: no GPU was at hand when it was written.

    Raises:
        MissingDependencyError: torch or torchvision is not installed.
        DeviceError: torch finds no CUDA device.
    """

    def __init__(self) -> None:
        try:
            import torch  # noqa: PLC0415 - an extra
            import torchvision  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise MissingDependencyError(
                f"recording profiles needs torch and torchvision: {error}\n"
                "  remedy: pip install 'videojam[profile]'"
            ) from error
        self._torch: Any = torch
        self._torchvision: Any = torchvision
        require_cuda(torch)

    @property
    def tool(self) -> str:
        """See `Backend.tool`."""
        return (
            f"torch {self._torch.__version__}, torchvision {self._torchvision.__version__}, "
            f"CUDA {self._torch.version.cuda}"
        )

    def load(self, model: str, batch: int) -> LoadedModel:
        """See `Backend.load`."""
        torch = self._torch
        pixels = INPUT_PIXELS.get(model, DEFAULT_PIXELS)
        try:
            network = self._network(model).eval().to("cuda")
            images = torch.rand(batch, 3, pixels, pixels, device="cuda")
        except torch.cuda.OutOfMemoryError as error:
            raise ModelError(f"{model} at batch size {batch} does not fit: {error}") from error
        # Detectors of torchvision take a list of images.
        return _TorchModel(torch, network, list(images) if model in DETECTORS else images)

    def _network(self, model: str) -> Any:
        if model.endswith((".pt", ".torchscript")):
            try:
                return self._torch.jit.load(model, map_location="cuda")
            except (RuntimeError, ValueError, OSError) as error:
                raise ModelError(
                    f"{model} is no TorchScript file: {error}\n"
                    "  remedy: export the network with torch.jit.trace; YOLO: "
                    "`yolo export model=... format=torchscript`"
                ) from error
        settings: dict[str, Any] = {"weights": None}
        if model in DETECTORS:
            settings["weights_backbone"] = None
        try:
            return self._torchvision.models.get_model(model, **settings)
        except ValueError as error:
            raise ModelError(
                f"torchvision has no network {model!r}\n"
                f"  remedy: one of {', '.join(MODELS)}, another of torchvision's, or a TorchScript "
                "file"
            ) from error


def require_cuda(torch: Any) -> None:
    """Refuse to go on without a GPU.

    Raises:
        DeviceError: torch finds no CUDA device.
    """
    if not torch.cuda.is_available():
        raise DeviceError(
            "torch finds no CUDA device, and kernels can only be recorded on one",
            remedy="run on a machine with an NVIDIA GPU and its driver; without one, the synthetic "
            "profiles that ship serve for trying things out (--profiles synthetic)",
        )


class _TorchModel:
    """See `LoadedModel`."""

    def __init__(self, torch: Any, network: Any, images: Any) -> None:
        self._torch = torch
        self._network = network
        self._images = images

    def measure(self, *, warm_up: int, rounds: int) -> Measurement:
        cuda = self._torch.cuda
        free_before = cuda.mem_get_info()[0]
        times = []
        with self._inference():
            for _ in range(warm_up):
                self._network(self._images)
            cuda.synchronize()
            for _ in range(rounds):
                begin, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
                begin.record()
                self._network(self._images)
                end.record()
                end.synchronize()
                times.append(begin.elapsed_time(end) * 1e-3)
        free, total = cuda.mem_get_info()
        # What the whole device holds: a process of its own on an idle GPU is assumed.
        weights = sum(p.numel() * p.element_size() for p in self._network.parameters())
        return Measurement(
            times_s=times,
            memory_bytes=int(total - min(free, free_before)),
            weight_bytes=int(weights),
        )

    def trace(self, file: Path) -> None:
        profiler = self._torch.profiler
        activities = [profiler.ProfilerActivity.CPU, profiler.ProfilerActivity.CUDA]
        with self._inference():
            # A first trace starts CUPTI, which delays the kernels under it.
            with profiler.profile(activities=activities):
                self._network(self._images)
                self._torch.cuda.synchronize()
            with (
                profiler.profile(activities=activities) as recorded,
                profiler.record_function(RANGE),
            ):
                self._network(self._images)
                self._torch.cuda.synchronize()
        recorded.export_chrome_trace(str(file))

    @contextmanager
    def _inference(self) -> Iterator[None]:
        with self._torch.inference_mode():
            yield
