"""Recording: through a backend that plays a GPU, and without one."""

from __future__ import annotations

import builtins
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dataflow.errors import MissingDependencyError, ModelError
from roomie.devices import load_devices
from roomie.errors import DeviceError, ProfileError
from roomie.profiler import (
    RANGE,
    LoadedModel,
    Measurement,
    TorchBackend,
    record_profile,
    require_cuda,
)
from tests.roomie.test_importers import annotation, gpu_kernel, launch, trace

DEVICES = load_devices()


class PlayedModel:
    """Answers as a GPU would, from given times."""

    def __init__(self, times_s: Sequence[float], content: dict[str, Any]) -> None:
        self._times = times_s
        self._content = content
        self.asked: tuple[int, int] | None = None

    def measure(self, *, warm_up: int, rounds: int) -> Measurement:
        self.asked = warm_up, rounds
        return Measurement(times_s=self._times, memory_bytes=2 << 30, weight_bytes=1 << 20)

    def trace(self, file: Path) -> None:
        file.write_text(json.dumps(self._content))


class PlayedBackend:
    tool = "played 1"

    def __init__(self, model: LoadedModel) -> None:
        self._model = model

    def load(self, model: str, batch: int) -> LoadedModel:
        if model == "none":
            raise ModelError("no such network")
        assert batch > 0
        return self._model


def recorded() -> dict[str, Any]:
    content = trace()
    content["traceEvents"] = [
        annotation("other", ts=0, dur=5), launch(1, ts=1), gpu_kernel(1, ts=2),
        annotation(RANGE, ts=10, dur=10), launch(2, ts=11), launch(3, ts=12),
        gpu_kernel(2, ts=30, dur=60), gpu_kernel(3, ts=90, dur=60),
    ]  # fmt: skip
    return content


def test_a_profile_has_the_median_measured_time_and_the_overhead_is_known() -> None:
    model = PlayedModel([100e-6, 101e-6, 5e-3, 99e-6, 100e-6], recorded())
    found = record_profile("vgg19", 8, PlayedBackend(model), DEVICES, warm_up=3, rounds=5)
    assert model.asked == (3, 5)
    assert found.origin == "measured"
    assert [k.name for k in found.kernels] == ["kernel_2", "kernel_3"]
    assert found.inference_time_s == 100e-6
    assert found.overhead == pytest.approx(1.2)
    assert (found.memory_bytes, found.weight_bytes, found.tool) == (2 << 30, 1 << 20, "played 1")
    assert "x1.200" in found.note


def test_a_file_is_profiled_under_its_own_name() -> None:
    backend = PlayedBackend(PlayedModel([1e-4], recorded()))
    assert record_profile("nets/yolov5s.pt", 1, backend, DEVICES).variant.model == "yolov5s"


def test_a_trace_without_kernels_is_an_error() -> None:
    content = recorded()
    content["traceEvents"] = [e for e in content["traceEvents"] if e["cat"] != "kernel"]
    with pytest.raises(ProfileError, match="no GPU kernels"):
        record_profile("vgg19", 1, PlayedBackend(PlayedModel([1e-4], content)), DEVICES)


def test_a_network_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ModelError):
        record_profile("none", 1, PlayedBackend(PlayedModel([1e-4], recorded())), DEVICES)


def test_without_a_cuda_device_it_says_so_and_what_serves_instead() -> None:
    torch = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False))
    with pytest.raises(DeviceError, match="no CUDA device") as caught:
        require_cuda(torch)
    assert "--profiles synthetic" in str(caught.value)
    require_cuda(SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: True)))


def test_without_torch_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "torch":
            raise ImportError("not here")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(MissingDependencyError, match=r"videojam\[profile\]"):
        TorchBackend()
