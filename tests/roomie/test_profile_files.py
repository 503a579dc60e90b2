"""Files of profiles: round trip, and every fault with file, line and field."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomie.devices import load_devices
from roomie.errors import DeviceError, ProfileError
from roomie.profile_files import load_profiles, read_profiles, renamed, write_profiles
from roomie.profiles import Kernel, Profile, ProfileStore, Variant, scale_to
from tests.roomie.kit import A100, kernel, profile

DEVICES = load_devices()
sizes = st.integers(1, 65535)
kernels = st.builds(
    Kernel,
    name=st.text(min_size=1, max_size=20),
    duration_ns=st.integers(1, 10**9),
    grid=st.tuples(sizes, sizes, sizes),
    block=st.tuples(st.integers(1, 32), st.integers(1, 8), st.integers(1, 4)),
    registers=st.integers(0, 64),
    static_shared=st.integers(0, 48 * 1024),
    dynamic_shared=st.integers(0, 48 * 1024),
    stream=st.integers(0, 100),
)


def read(file: Path) -> list[Profile]:
    return list(read_profiles(file, DEVICES))


@pytest.mark.parametrize("name", ["p.jsonl", "p.jsonl.gz"])
@given(made=st.lists(kernels, min_size=1, max_size=6), note=st.text(max_size=10))
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, name: str, made: list[Kernel], note: str
) -> None:
    file = tmp_path_factory.mktemp("profiles") / name
    wanted = [
        replace(profile("a", 1, made), inference_time_s=0.0125, note=note),
        replace(profile("a", 2, made[::-1]), inference_time_s=0.5),
    ]
    write_profiles(file, wanted)
    assert read(file) == wanted


def test_the_same_profiles_make_the_same_bytes(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.jsonl.gz", "b.jsonl.gz")]
    for file in files:
        write_profiles(file, [profile()])
    assert files[0].read_bytes() == files[1].read_bytes()


def lines(tmp_path: Path, change: Callable[[list[dict[str, Any]]], None]) -> Path:
    """A file of one profile with two kernels, changed."""
    file = tmp_path / "p.jsonl"
    write_profiles(file, [profile("a", 1, [kernel(name="k0"), kernel(name="k1")])])
    records = [json.loads(line) for line in file.read_text().splitlines()]
    change(records)
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


# What is changed, and line, field and words of the error.
FAULTS: list[tuple[Callable[[list[dict[str, Any]]], Any], int | None, str | None, str]] = [
    (lambda r: r[0].update(version=2), 1, "version", "does not read"),
    (lambda r: r[0].update(format="other"), 1, "format", "not a profile"),
    (lambda r: r[0].pop("model"), 1, "model", "missing"),
    (lambda r: r[0].update(extra=1), 1, "extra", "unknown field"),
    (lambda r: r[0].update(batch=0), 1, "batch", "whole number of at least 1"),
    (lambda r: r[0].update(batch=True), 1, "batch", "whole number"),
    (lambda r: r[0].update(inference_time_s=0), 1, "inference_time_s", "above 0"),
    (lambda r: r[0].update(inference_time_s="1"), 1, "inference_time_s", "must be a number"),
    (lambda r: r[0].update(inference_time_s=float("inf")), 1, "inference_time_s", "above 0"),
    (lambda r: r[0].update(origin="guessed"), 1, "origin", "measured, imported, synthetic"),
    (lambda r: r[0].update(model=""), 1, "model", "must be text"),
    (lambda r: r[0].update(sms=107), 1, "sms", "contradicts the table"),
    (lambda r: r[0].update(compute_capability="9.0"), 1, "compute_capability", "contradicts"),
    (lambda r: r[0].update(kernels=3), None, "kernels", "truncated"),
    (lambda r: r[0].update(kernels=1), 3, "kernels", "more kernels than the header says"),
    (lambda r: r.append(dict(r[0])), None, "kernels", "truncated"),
    (lambda r: r.insert(2, dict(r[0])), 3, "kernels", "truncated"),
    (lambda r: r[2].pop("grid"), 3, "grid", "missing"),
    (lambda r: r[2].update(grid=[1, 2]), 3, "grid", "three whole numbers"),
    (lambda r: r[2].update(block=[0, 1, 1]), 3, "block", "three whole numbers"),
    (lambda r: r[2].update(registers=-1), 3, "registers", "whole number"),
    (lambda r: r[2].update(duration_ns=1.5), 3, "duration_ns", "whole number"),
    (lambda r: r[2].update(name=None), 3, "name", "must be text"),
    (lambda r: r[2].update(block=[2048, 1, 1]), 3, "block", "more threads in a block"),
    (lambda r: r[2].update(registers=300), 3, "registers", "more registers"),
    (lambda r: r[2].update(dynamic_shared=200_000), 3, "dynamic_shared", "more shared memory"),
    (lambda r: [k.update(duration_ns=0) for k in r[1:]], 1, None, "take no time"),
]


@pytest.mark.parametrize(("change", "line", "key", "words"), FAULTS)
def test_a_wrong_profile_names_file_line_and_field(
    tmp_path: Path,
    change: Callable[[list[dict[str, Any]]], None],
    line: int | None,
    key: str | None,
    words: str,
) -> None:
    file = lines(tmp_path, change)
    with pytest.raises(ProfileError, match=words) as caught:
        read(file)
    assert (caught.value.file, caught.value.line, caught.value.key) == (file, line, key)


def test_a_device_with_unknown_limits_is_an_error_with_its_line(tmp_path: Path) -> None:
    def change(records: list[dict[str, Any]]) -> None:
        records[0].update(device="Other", compute_capability="3.5")

    file = lines(tmp_path, change)
    with pytest.raises(DeviceError, match="limits are not known") as caught:
        read(file)
    assert (caught.value.file, caught.value.line) == (file, 1)
    assert caught.value.key == "compute_capability"


def test_an_unknown_device_of_a_known_capability_is_taken_as_its_header_says(
    tmp_path: Path,
) -> None:
    file = lines(tmp_path, lambda r: r[0].update(device="A100-PG509-200", sms=100))
    (found,) = read(file)
    assert (found.device.name, found.device.sms) == ("A100-PG509-200", 100)
    assert found.device.limits == A100.limits


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"\x1f\x8b\x08garbage", "gzip"),
        (b'{"format": "videojam-pro', "not JSON"),
        (b"[1]\n", "must be a JSON object"),
        (b"\xff\xfe\n", "UTF-8"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_file_of_something_else_is_an_error(tmp_path: Path, data: bytes, words: str) -> None:
    file = tmp_path / "p.jsonl"
    file.write_bytes(data)
    with pytest.raises(ProfileError, match=words) as caught:
        read(file)
    assert caught.value.file == file


def test_a_gzip_file_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl.gz"
    write_profiles(file, [profile("a", 1, [kernel(us=u) for u in range(1, 200)])])
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ProfileError, match="not a whole gzip file"):
        read(file)


def test_a_line_that_is_cut_off_is_an_error_with_its_number(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    write_profiles(file, [profile("a", 1, [kernel(), kernel()])])
    file.write_text(file.read_text()[:-10])
    with pytest.raises(ProfileError, match="not JSON") as caught:
        read(file)
    assert caught.value.line == 3


def test_folders_are_searched_and_must_hold_profiles(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="no such folder"):
        load_profiles([tmp_path / "none"], DEVICES)
    with pytest.raises(ProfileError, match="no profile in this folder"):
        load_profiles([tmp_path], DEVICES)
    write_profiles(tmp_path / "deep/er/a.jsonl", [profile("a")])
    write_profiles(tmp_path / "b.jsonl.gz", [profile("b")])
    assert load_profiles([tmp_path], DEVICES).models == ("a", "b")


def test_two_profiles_of_one_variant_are_an_error(tmp_path: Path) -> None:
    write_profiles(tmp_path / "a.jsonl", [profile("a")])
    write_profiles(tmp_path / "b.jsonl", [profile("a")])
    with pytest.raises(ProfileError, match="two profiles of a@1"):
        load_profiles([tmp_path], DEVICES)


def test_a_profile_may_be_renamed_to_another_name_of_the_same_gpu_only() -> None:
    sxm, pcie = profile(), DEVICES.device("A100-PCIE-40GB")
    assert renamed(sxm, device=pcie).device == pcie
    with pytest.raises(ProfileError, match="which is not"):
        renamed(sxm, device=DEVICES.device("H100-SXM5-80GB"))


def test_a_slice_takes_its_whole_gpus_profile_scaled_and_says_so() -> None:
    whole = profile("a", 1, [kernel(us=100)])
    store = ProfileStore([whole], DEVICES)
    part = DEVICES.device("A100-SXM4-40GB/1g.5gb")
    found = store.find(Variant("a", 1), part)
    assert found is not None
    assert found.origin == "scaled"
    assert found.inference_time_s == pytest.approx(100e-6 * 108 / 14, rel=0.05)
    assert store.find(Variant("a", 1), DEVICES.device("AGX-Xavier")) is None
    assert store.batches("a", part) == (1,)


def test_a_kernel_that_fits_into_a_slice_is_no_slower_there() -> None:
    part = DEVICES.device("A100-SXM4-40GB/1g.5gb")
    small = profile("a", 1, [kernel(blocks=7, threads=32, us=100)])
    assert scale_to(small, part).inference_time_s == pytest.approx(100e-6)


def test_a_profile_says_nothing_about_another_compute_capability() -> None:
    with pytest.raises(ProfileError, match="compute capabilities differ"):
        scale_to(profile(), DEVICES.device("AGX-Xavier"))
