"""The table of GPUs, and tables of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dataflow.errors import ConfigError
from roomie.devices import load_devices
from roomie.errors import DeviceError

OWN = """\
compute_capabilities:
  "12.0": {warps: 48, blocks: 24, shared_memory: 102400, shared_memory_per_block: 101376,
           shared_memory_unit: 128, reserved_shared_memory: 1024}
devices:
  Mine: {compute_capability: "12.0", sms: 84, memory: 17179869184, fp32_tflops: 40,
         bandwidth_gb_s: 900}
mig:
  - of: [Mine]
    profiles:
      half: {sms: 42, memory_gib: 8, compute_slices: 4, memory_slices: 4}
"""


def test_what_the_thesis_used_is_known() -> None:
    table = load_devices()
    assert table.device("AGX-Xavier").sms == 8
    assert table.device("A100-SXM4-40GB").sms == 108
    assert {"7.2", "8.0", "8.6", "8.9", "9.0"} <= set(table.limits)


@pytest.mark.parametrize(("slices", "sms"), [("1g.5gb", 14), ("3g.20gb", 42), ("4g.20gb", 56)])
def test_a_mig_slice_is_a_device_with_fourteen_sms_a_compute_slice(slices: str, sms: int) -> None:
    found = load_devices().device(f"A100-SXM4-40GB/{slices}")
    assert (found.sms, found.parent) == (sms, "A100-SXM4-40GB")
    assert found.memory_bytes < load_devices().device("A100-SXM4-40GB").memory_bytes


def test_a_slice_has_its_memory_slices_share_of_the_bandwidth() -> None:
    whole, part = (load_devices().device(f"H100-SXM5-80GB{p}") for p in ("", "/3g.40gb"))
    assert part.bandwidth_gb_s == whole.bandwidth_gb_s / 2
    assert part.sms == 60


def test_a_table_of_ones_own_adds_capabilities_devices_and_slices(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    table = load_devices(tmp_path / "own.yaml")
    assert table.device("Mine/half").limits.warps == 48
    assert "A100-SXM4-40GB" in table.devices


def test_a_table_may_be_json_and_replace_limits_of_devices_that_ship(tmp_path: Path) -> None:
    limits = load_devices().limits["8.0"].model_dump() | {"warps": 32}
    (tmp_path / "own.json").write_text(json.dumps({"compute_capabilities": {"8.0": limits}}))
    table = load_devices(tmp_path / "own.json")
    assert table.device("A100-SXM4-40GB/1g.5gb").limits.warps == 32
    assert load_devices().device("A100-SXM4-40GB").limits.warps == 64


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ("warps: 48", "warps: 0", "compute_capabilities.12.0.warps", "greater than"),
        ("sms: 84", "sms: 84, speed: 1", "devices.Mine.speed", "unknown key"),
        ('capability: "12.0"', 'capability: "13.0"', "devices.Mine.compute_capability", "limits"),
        ("of: [Mine]", "of: [Yours]", "mig.0.of", "not declared"),
        ("memory_slices: 4", "memory_slices: 9", "mig.0.profiles.half.memory_slices", "less than"),
    ],
)
def test_a_wrong_table_names_file_and_key(
    tmp_path: Path, old: str, new: str, key: str, words: str
) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(OWN.replace(old, new))
    with pytest.raises(ConfigError, match=words) as caught:
        load_devices(file)
    assert (caught.value.file, caught.value.key) == (file, key)


def test_an_unknown_device_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(DeviceError, match="A100-SXM4-40GB") as caught:
        load_devices().device("A100-SXM-40GB")
    assert "--devices" in str(caught.value)


def test_an_unknown_capability_is_an_error_with_those_that_are_known() -> None:
    with pytest.raises(DeviceError, match=r"7\.2, 7\.5, 8\.0"):
        load_devices().limits_of("3.5")


def test_a_missing_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_devices(tmp_path / "none.yaml")


def test_a_table_that_is_no_mapping_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="must be a mapping"):
        load_devices(tmp_path / "own.yaml")
