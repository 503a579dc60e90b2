"""GPUs of a machine: declared, or as a driver says that is not here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from roomie.control.hardware import (
    Driver,
    LocalGpu,
    choose,
    device_name,
    parse_declared,
    report,
)
from roomie.devices import load_devices
from roomie.errors import DeviceError

TABLE = load_devices()
GIB = 1 << 30


class NvmlError(Exception):
    """As NVML's."""


class Nvml:
    """A driver with some GPUs; a GPU with slices is in MIG mode."""

    NVMLError = NvmlError

    def __init__(self, *gpus: dict[str, Any], broken: bool = False) -> None:
        self.gpus = gpus
        self.broken = broken

    def nvmlInit(self) -> None:  # noqa: N802 - as the library spells it
        if self.broken:
            raise NvmlError("Driver Not Loaded")

    def nvmlShutdown(self) -> None:  # noqa: N802 - likewise
        pass

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - likewise
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:  # noqa: N802 - likewise
        return self.gpus[index]

    def nvmlDeviceGetName(self, gpu: dict[str, Any]) -> str:  # noqa: N802 - likewise
        return str(gpu["name"])

    def nvmlDeviceGetUUID(self, gpu: dict[str, Any]) -> bytes:  # noqa: N802 - likewise
        return str(gpu["uuid"]).encode()

    def nvmlDeviceGetMemoryInfo(self, gpu: dict[str, Any]) -> Any:  # noqa: N802 - likewise
        return SimpleNamespace(total=gpu.get("total", 4 * GIB), used=gpu.get("used", GIB))

    def nvmlDeviceGetMigMode(self, gpu: dict[str, Any]) -> tuple[int, int]:  # noqa: N802 - likewise
        if "slices" not in gpu:
            raise NvmlError("Not Supported")
        return 1, 1

    def nvmlDeviceGetMaxMigDeviceCount(self, _gpu: dict[str, Any]) -> int:  # noqa: N802 - likewise
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(  # noqa: N802 - likewise
        self, gpu: dict[str, Any], index: int
    ) -> dict[str, Any]:
        if index >= len(gpu["slices"]):
            raise NvmlError("Not Found")
        found: dict[str, Any] = gpu["slices"][index]
        return found


T4 = {"name": "Tesla T4", "uuid": "GPU-1"}
A10 = {"name": "NVIDIA A10", "uuid": "GPU-2", "total": 23 * GIB, "used": 5 * GIB}
SLICED = {
    "name": "NVIDIA A100-SXM4-40GB",
    "uuid": "GPU-3",
    "slices": [
        {"name": "NVIDIA A100-SXM4-40GB MIG 1g.5gb", "uuid": "MIG-a1"},
        {"name": "NVIDIA A100-SXM4-40GB MIG 3g.20gb", "uuid": "MIG-b2"},
    ],
}


def test_gpus_are_those_of_the_driver_with_their_memory() -> None:
    found = Driver(Nvml(T4, A10)).gpus(TABLE)
    assert [(gpu.device, gpu.index, gpu.uuid) for gpu in found] == [
        ("T4", 0, "GPU-1"),
        ("A10", 1, "GPU-2"),
    ]
    assert (found[1].memory_bytes, found[1].used_bytes) == (23 * GIB, 5 * GIB)
    announced = report("w", 1, found[1])
    assert (announced.id, announced.device, announced.memory_bytes) == ("w/1", "A10", 23 * GIB)


def test_slices_stand_for_their_gpu_and_a_server_uses_only_one() -> None:
    found = Driver(Nvml(SLICED)).gpus(TABLE)
    assert [gpu.device for gpu in found] == [
        "A100-SXM4-40GB/1g.5gb",
        "A100-SXM4-40GB/3g.20gb",
    ]
    with pytest.raises(DeviceError, match="only one MIG slice"):
        choose(found, [])
    (chosen,) = choose(found, ["MIG-b"])
    assert (chosen.device, chosen.index) == ("A100-SXM4-40GB/3g.20gb", 0)


def test_chosen_gpus_are_counted_as_the_server_counts_them() -> None:
    found = Driver(Nvml(T4, A10)).gpus(TABLE)
    assert [(gpu.device, gpu.index) for gpu in choose(found, ["GPU-2"])] == [("A10", 0)]
    for wrong in ("GPU-9", "GPU-"):
        with pytest.raises(DeviceError, match="it has: GPU-1"):
            choose(found, [wrong])


def test_without_a_driver_there_are_no_gpus() -> None:
    assert Driver(Nvml(broken=True)).gpus(TABLE) == ()


def test_a_driver_that_stops_answering_is_an_error() -> None:
    class Lost(Nvml):
        def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - as the library spells it
            raise NvmlError("GPU is lost")

    with pytest.raises(DeviceError, match="GPU is lost"):
        Driver(Lost()).gpus(TABLE)


def test_a_kind_that_is_not_known_says_how_to_add_it() -> None:
    with pytest.raises(DeviceError, match="--devices"):
        Driver(Nvml({"name": "NVIDIA Z9000", "uuid": "x"})).gpus(TABLE)


@pytest.mark.parametrize(
    ("driver", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100-SXM5-80GB"),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "H100-SXM5-80GB/1g.10gb"),
        ("Tesla V100-SXM2-32GB", "V100-SXM2-32GB"),
        ("NVIDIA L4", "L4"),
    ],
)
def test_the_drivers_names_are_understood(driver: str, name: str) -> None:
    assert device_name(driver, TABLE) == name


def test_gpus_can_be_declared_with_their_memory() -> None:
    assert parse_declared(["T4", "A10:12GiB", "A10:12GB", "T4:500m"], TABLE) == (
        LocalGpu(device="T4"),
        LocalGpu(device="A10", memory_bytes=12 * GIB),
        LocalGpu(device="A10", memory_bytes=12 * 10**9),
        LocalGpu(device="T4", memory_bytes=500 * 10**6),
    )


@pytest.mark.parametrize("wrong", ["T4:much", "T4:0", "T4:900GiB", "T4:-1g"])
def test_a_size_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(DeviceError, match="not a size of memory that T4 can have"):
        parse_declared([wrong], TABLE)


def test_a_misspelt_kind_is_corrected() -> None:
    with pytest.raises(DeviceError, match="did you mean 'T4'") as caught:
        parse_declared(["T44:8GiB"], TABLE)
    assert (caught.value.key, caught.value.value) == ("--gpu", "T44:8GiB")


def test_why_there_is_no_driver_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(Nvml(T4))
    assert driver.gpus(TABLE)
    assert driver.fault is None
    dead = Driver(Nvml(T4, broken=True))
    assert dead.gpus(TABLE) == ()
    assert "Driver Not Loaded" in (dead.fault or "")
    monkeypatch.setattr("roomie.control.hardware._nvml", lambda: None)
    without = Driver()
    assert without.gpus(TABLE) == ()
    assert "pip install 'videojam[triton]'" in (without.fault or "")
