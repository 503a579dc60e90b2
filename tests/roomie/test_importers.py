"""Files of other profilers: the real trace, small ones of each kind, and every way to be wrong."""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dataflow.errors import ConfigError
from roomie.devices import load_devices
from roomie.errors import DeviceError, ProfileError
from roomie.importers import ImportSettings, import_profile
from roomie.profiles import Profile
from tests.roomie.kit import SHARED_TRACE

DEVICES = load_devices()
SETTINGS = ImportSettings(model="alexnet", batch=8, memory_bytes=1 << 30, weight_bytes=5)


def take(file: Path, **changes: Any) -> Profile:
    return import_profile(file, replace(SETTINGS, **changes), DEVICES)


def gpu_kernel(correlation: int, *, ts: float, dur: float = 10, **args: Any) -> dict[str, Any]:
    return {
        "ph": "X", "cat": "kernel", "name": f"kernel_{correlation}", "ts": ts, "dur": dur,
        "args": {
            "device": 0, "stream": 7, "correlation": correlation, "registers per thread": 40,
            "shared memory": 4096, "grid": [100, 2, 1], "block": [128, 1, 1], **args,
        },
    }  # fmt: skip


def launch(correlation: int, *, ts: float) -> dict[str, Any]:
    return {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "ts": ts, "dur": 1,
            "args": {"correlation": correlation}}  # fmt: skip


def annotation(name: str, *, ts: float, dur: float) -> dict[str, Any]:
    return {"ph": "X", "cat": "user_annotation", "name": name, "ts": ts, "dur": dur}


def trace() -> dict[str, Any]:
    """Two inferences; kernels run after the ranges in which they were launched."""
    return {
        "deviceProperties": [
            {"id": 0, "name": "NVIDIA A100-SXM4-40GB", "computeMajor": 8, "computeMinor": 0,
             "numSms": 108, "totalGlobalMem": 42297524224, "warpSize": 32}
        ],
        "traceEvents": [
            annotation("warm-up", ts=0, dur=10), launch(1, ts=5), gpu_kernel(1, ts=100),
            annotation("inference", ts=20, dur=10), launch(3, ts=26), launch(2, ts=25),
            gpu_kernel(3, ts=125.5, dur=2.25, stream=8), gpu_kernel(2, ts=120, dur=10),
            {"ph": "M", "name": "process_name"},
        ],
    }  # fmt: skip


def write(tmp_path: Path, content: dict[str, Any], *, packed: bool = False) -> Path:
    file = tmp_path / ("trace.json.gz" if packed else "trace.json")
    data = json.dumps(content).encode()
    file.write_bytes(gzip.compress(data) if packed else data)
    return file


@pytest.mark.parametrize("packed", [False, True])
def test_a_kineto_trace_gives_the_kernels_launched_in_the_last_range(
    tmp_path: Path, packed: bool
) -> None:
    found = take(write(tmp_path, trace(), packed=packed))
    assert [k.name for k in found.kernels] == ["kernel_2", "kernel_3"]
    assert found.origin == "imported"
    assert found.device == DEVICES.device("A100-SXM4-40GB")
    first, second = found.kernels
    assert (first.duration_ns, second.duration_ns) == (10_000, 2_250)
    assert (first.grid, first.threads, first.registers) == ((100, 2, 1), 128, 40)
    assert (first.shared_memory, second.stream) == (4096, 8)
    # The two overlap: busy from 120 to 130 us only.
    assert found.inference_time_s == pytest.approx(10e-6)
    assert found.overhead == pytest.approx(1.225)


def test_a_range_may_be_named_and_a_measured_time_given(tmp_path: Path) -> None:
    file = write(tmp_path, trace())
    found = take(file, annotation="warm", inference_time_s=8e-6)
    assert [k.name for k in found.kernels] == ["kernel_1"]
    assert found.overhead == pytest.approx(1.25)
    with pytest.raises(ProfileError, match="inference, warm-up") as caught:
        take(file, annotation="nothing")
    assert caught.value.key == "annotation"


def test_profiler_steps_come_before_other_ranges(tmp_path: Path) -> None:
    content = trace()
    content["traceEvents"].append(annotation("ProfilerStep#1", ts=4, dur=3))
    assert [k.name for k in take(write(tmp_path, content)).kernels] == ["kernel_1"]


def test_without_ranges_all_kernels_are_taken(tmp_path: Path) -> None:
    content = trace()
    content["traceEvents"] = [
        e for e in content["traceEvents"] if e.get("cat") != "user_annotation"
    ]
    found = take(write(tmp_path, content))
    assert len(found.kernels) == 3
    assert "all kernels" in found.note


def kernel_of(content: dict[str, Any]) -> dict[str, Any]:
    return next(e for e in content["traceEvents"] if e.get("name") == "kernel_2")


def amd(content: dict[str, Any]) -> None:
    content["deviceProperties"][0].update(name="AMD Instinct MI250X", warpSize=64)


def amd_by_kernels(content: dict[str, Any]) -> None:
    content["deviceProperties"] = []
    kernel_of(content)["name"] = "Cijk_Ailk_Bljk_SB_MT64x64"


KINETO_FAULTS: list[tuple[Callable[[dict[str, Any]], Any], str | None, str]] = [
    (amd, "deviceProperties", "AMD GPU"),
    (amd_by_kernels, "deviceProperties", "AMD GPU"),
    (lambda c: c.pop("traceEvents"), "traceEvents", "not a trace"),
    (lambda c: c.update(traceEvents=[]), "traceEvents", "no GPU kernels"),
    (lambda c: kernel_of(c)["args"].pop("registers per thread"), "registers per thread",
     "kernel_2"),
    (lambda c: kernel_of(c)["args"].update(grid=[1, 2]), "grid", "kernel_2"),
    (lambda c: kernel_of(c)["args"].update({"shared memory": -1}), "shared memory", "kernel_2"),
    (lambda c: kernel_of(c).pop("dur"), "dur", "kernel_2"),
    (lambda c: kernel_of(c).update(ts="soon"), "ts", "kernel_2"),
    (lambda c: kernel_of(c)["args"].update(block=[2048, 1, 1]), "block", "more threads"),
    (lambda c: c["deviceProperties"][0].update(computeMajor=3, name="K80"), "compute_capability",
     "limits are not known"),
    (lambda c: c.update(deviceProperties=[]), "device", "does not say enough"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "key", "words"), KINETO_FAULTS)
def test_a_wrong_kineto_trace_names_file_and_field(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], key: str | None, words: str
) -> None:
    content = trace()
    change(content)
    file = write(tmp_path, content)
    with pytest.raises(ConfigError, match=words) as caught:
        take(file)
    assert (caught.value.file, caught.value.key) == (file, key)


def test_a_trace_that_is_cut_off_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    file.write_text(json.dumps(trace(), indent=1)[:-40])
    with pytest.raises(ProfileError, match="not JSON") as caught:
        take(file)
    assert caught.value.line is not None
    file.write_bytes(gzip.compress(json.dumps(trace()).encode())[:-30])
    with pytest.raises(ProfileError, match="cannot be read"):
        take(file)


def test_the_device_named_must_be_the_one_recorded_on(tmp_path: Path) -> None:
    file = write(tmp_path, trace())
    assert take(file, device="A100-PCIE-40GB").device.name == "A100-PCIE-40GB"
    with pytest.raises(DeviceError, match="which is not AGX-Xavier") as caught:
        take(file, device="AGX-Xavier")
    assert caught.value.file == file


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="no such file") as caught:
        take(tmp_path / "none.json")
    assert "a trace of PyTorch's profiler" in (caught.value.remedy or "")


@pytest.mark.parametrize("content", [b"# notes\n", b"", b"\x89PNG\r\n\x1a\n\xff\xfe"])
def test_a_file_of_no_profiler_says_which_ones_are_read(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "notes.md"
    file.write_bytes(content)
    with pytest.raises(ProfileError, match="not written by a known profiler") as caught:
        take(file)
    assert caught.value.file == file
    for words in ("PyTorch's profiler", "Nsight Systems", "Nsight Compute"):
        assert words in (caught.value.remedy or "")


@pytest.mark.shared_data
@pytest.mark.skipif(not SHARED_TRACE.is_file(), reason=f"no real trace at {SHARED_TRACE}")
def test_the_real_trace_of_alexnet_is_one_measured_inference() -> None:
    found = take(SHARED_TRACE, batch=128, device="A100-SXM4-40GB")
    assert len(found.kernels) == 39
    assert "measure|forward" in found.note
    assert found.inference_time_s == pytest.approx(5.28e-3, rel=0.01)
    assert any(k.name.startswith("sm80_xmma_fprop") and k.registers == 252 for k in found.kernels)


def nsys(tmp_path: Path, change: str = "") -> Path:
    file = tmp_path / "report.sqlite"
    file.unlink(missing_ok=True)
    with closing(sqlite3.connect(file)) as database:
        database.executescript(
            """
            CREATE TABLE StringIds (id INTEGER, value TEXT);
            INSERT INTO StringIds VALUES (1, 'void gemm'), (2, 'relu'), (3, 'inference');
            CREATE TABLE TARGET_INFO_GPU (id INTEGER, name TEXT, computeMajor INTEGER,
                computeMinor INTEGER, smCount INTEGER, totalMemory INTEGER);
            INSERT INTO TARGET_INFO_GPU VALUES
                (0, 'NVIDIA H100 80GB HBM3', 9, 0, 132, 85024112640);
            CREATE TABLE NVTX_EVENTS (start INTEGER, end INTEGER, text TEXT, textId INTEGER);
            INSERT INTO NVTX_EVENTS VALUES (0, 150, NULL, 3), (990, 2000, NULL, 3);
            CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER, end INTEGER, deviceId INTEGER,
                streamId INTEGER, gridX INTEGER, gridY INTEGER, gridZ INTEGER, blockX INTEGER,
                blockY INTEGER, blockZ INTEGER, registersPerThread INTEGER,
                staticSharedMemory INTEGER, dynamicSharedMemory INTEGER, demangledName INTEGER);
            INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES
                (1200, 1500, 0, 7, 4, 1, 1, 256, 1, 1, 32, 0, 0, 2),
                (1000, 1200, 0, 7, 8, 2, 1, 128, 1, 1, 64, 1024, 2048, 1),
                (10, 50, 0, 7, 1, 1, 1, 32, 1, 1, 16, 0, 0, 2);
            """
        )
        database.executescript(change)
        database.commit()
    return file


def test_an_nsight_systems_export_gives_its_kernels_in_order(tmp_path: Path) -> None:
    found = take(nsys(tmp_path), device="H100-SXM5-80GB")
    assert [k.name for k in found.kernels] == ["relu", "void gemm", "relu"]
    gemm = found.kernels[1]
    assert (gemm.static_shared, gemm.dynamic_shared, gemm.duration_ns) == (1024, 2048, 200)
    assert (gemm.grid_blocks, gemm.threads, gemm.registers) == (16, 128, 64)
    assert found.tool == "Nsight Systems"


def test_an_nvtx_range_selects_one_inference_and_the_last_one_counts(tmp_path: Path) -> None:
    found = take(nsys(tmp_path), annotation="infer")
    assert [k.name for k in found.kernels] == ["void gemm", "relu"]
    # Its name is not in the table, but its capability is: what the report says is enough.
    assert (found.device.sms, found.device.compute_capability) == (132, "9.0")
    with pytest.raises(ProfileError, match="no NVTX range"):
        take(nsys(tmp_path), annotation="none")


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        ("DROP TABLE kernels", None, "no kernel was recorded"),
        ("DELETE FROM kernels", None, "no kernels in the report"),
        ("ALTER TABLE kernels DROP COLUMN registersPerThread", "registersPerThread", "no column"),
        ("UPDATE kernels SET gridX = 0 WHERE start = 1000", "gridX", "row 2"),
        ("UPDATE kernels SET blockY = NULL WHERE start = 1000", "blockY", "row 2"),
        ("UPDATE kernels SET end = 900 WHERE start = 1000", "end", "ends before it starts"),
        ("UPDATE kernels SET registersPerThread = 300", "registers", "more registers"),
        ("UPDATE TARGET_INFO_GPU SET computeMajor = 4", "compute_capability", "not known"),
        ("DROP TABLE TARGET_INFO_GPU", "device", "does not say enough"),
    ],
)
def test_a_wrong_nsight_systems_export_names_the_field(
    tmp_path: Path, change: str, key: str | None, words: str
) -> None:
    file = nsys(tmp_path, change.replace("kernels", "CUPTI_ACTIVITY_KIND_KERNEL"))
    with pytest.raises(ConfigError, match=words) as caught:
        take(file)
    assert (caught.value.file, caught.value.key) == (file, key)


def test_a_database_that_is_damaged_is_an_error(tmp_path: Path) -> None:
    file = nsys(tmp_path)
    file.write_bytes(file.read_bytes()[:600])
    with pytest.raises(ProfileError, match="not an SQLite export"):
        take(file)


RAW = """\
==PROF== Connected to process 1
"ID","Process ID","Kernel Name","Context","Stream","Block Size","Grid Size","Device","CC",\
"gpu__time_duration.sum","launch__registers_per_thread","launch__shared_mem_per_block_static",\
"launch__shared_mem_per_block_dynamic"
"","","","","","","","","","usecond","register/thread","byte/block","Kbyte/block"
"0","1","gemm","1","7","(128, 1, 1)","(64, 2, 1)","0","8.0","12.5","96","1,024","16.38"
"1","1","relu","1","7","(256, 1, 1)","(1024, 1, 1)","0","8.0","3","18","0","0"
"""

DETAILS = """\
"ID","Process ID","Kernel Name","Context","Stream","Block Size","Grid Size","Device","CC",\
"Section Name","Metric Name","Metric Unit","Metric Value"
"0","1","gemm","1","7","(128, 1, 1)","(64, 2, 1)","0","8.0","S","Duration","usecond","12.5"
"0","1","gemm","1","7","(128, 1, 1)","(64, 2, 1)","0","8.0","S","Registers Per Thread","register/thread","96"
"0","1","gemm","1","7","(128, 1, 1)","(64, 2, 1)","0","8.0","S","Static Shared Memory Per Block","byte/block","1,024"
"0","1","gemm","1","7","(128, 1, 1)","(64, 2, 1)","0","8.0","S","Dynamic Shared Memory Per Block","Kbyte/block","16.38"
"1","1","relu","1","7","(256, 1, 1)","(1024, 1, 1)","0","8.0","S","Duration","nsecond","3,000"
"1","1","relu","1","7","(256, 1, 1)","(1024, 1, 1)","0","8.0","S","Registers Per Thread","register/thread","18"
"1","1","relu","1","7","(256, 1, 1)","(1024, 1, 1)","0","8.0","S","Static Shared Memory Per Block","byte/block","0"
"1","1","relu","1","7","(256, 1, 1)","(1024, 1, 1)","0","8.0","S","Dynamic Shared Memory Per Block","byte/block","0"
"""  # noqa: E501 - as Nsight Compute writes it


@pytest.mark.parametrize("text", [RAW, DETAILS], ids=["raw", "details"])
def test_both_pages_of_nsight_compute_give_the_same_kernels(tmp_path: Path, text: str) -> None:
    file = tmp_path / "report.csv"
    file.write_text(text)
    found = take(file, device="A100-SXM4-40GB", inference_time_s=14e-6)
    gemm, relu = found.kernels
    assert (gemm.duration_ns, gemm.registers, gemm.static_shared) == (12_500, 96, 1024)
    assert (gemm.dynamic_shared, gemm.grid, gemm.block) == (16_380, (64, 2, 1), (128, 1, 1))
    assert (relu.name, relu.duration_ns, relu.registers) == ("relu", 3000, 18)
    assert found.overhead == pytest.approx(15.5 / 14)


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "words"),
    [
        ('"Kernel Name"', '"Name"', None, None, "has a column 'Kernel Name'"),
        ('"launch__registers_per_thread"', '"other"', 2, "launch__registers_per_thread", "missing"),
        ('"8.0","3","18"', '"8.0","3","many"', 5, "launch__registers_per_thread", "not a value"),
        ('"usecond"', '"cycles"', 4, "gpu__time_duration.sum", "unit"),
        ('"(64, 2, 1)"', '"(64, 2)"', 4, "Grid Size", "three whole numbers"),
        ('"18","0","0"\n', '"18","0"\n', 5, None, "12 values where the table has 13"),
        ('"12.5","96"', '"12.5","260"', 4, "registers", "more registers"),
    ],
)
def test_a_wrong_nsight_compute_table_names_line_and_column(
    tmp_path: Path, *, old: str, new: str, line: int | None, key: str | None, words: str
) -> None:
    assert old in RAW
    file = tmp_path / "report.csv"
    file.write_text(RAW.replace(old, new, 1))
    with pytest.raises(ProfileError, match=words) as caught:
        take(file, device="A100-SXM4-40GB")
    assert (caught.value.file, caught.value.line, caught.value.key) == (file, line, key)


def test_nsight_compute_does_not_name_the_gpu_and_a_person_must(tmp_path: Path) -> None:
    file = tmp_path / "report.csv"
    file.write_text(RAW)
    with pytest.raises(DeviceError, match="name the GPU with --device"):
        take(file)
    with pytest.raises(DeviceError, match="which is not H100"):
        take(file, device="H100-SXM5-80GB")


def test_a_table_without_a_metric_for_a_kernel_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "report.csv"
    file.write_text("\n".join(x for x in DETAILS.splitlines() if '"18"' not in x))
    with pytest.raises(ProfileError, match="lacks a metric") as caught:
        take(file, device="A100-SXM4-40GB")
    assert caught.value.key == "launch__registers_per_thread"


@pytest.mark.parametrize("suffix", [".nsys-rep", ".ncu-rep"])
def test_reports_in_their_own_format_say_how_to_export_them(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"report{suffix}"
    file.write_bytes(b"binary")
    with pytest.raises(ProfileError, match="export it"):
        take(file)
