"""Traces of the PyTorch profiler (Kineto's Chrome trace JSON, gzip or not).

A kernel belongs to the range on the CPU in which it was launched: the two are joined by their
correlation id. Kineto does not tell static from dynamic shared memory; all counts as dynamic.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from roomie.errors import ProfileError
from roomie.importers.common import ImportSettings, Recorded, Recording
from roomie.profiles import Kernel

_RANGES = ("user_annotation", "cpu_op_annotation")
_LAUNCHES = ("cuda_runtime", "cuda_driver")
_RECORD = "record it with torch.profiler.profile(activities=[CPU, CUDA]) and export_chrome_trace"


def read_kineto(file: Path, settings: ImportSettings) -> Recording:
    """The kernels of one inference.

    Raises:
        ProfileError: the file is no such trace, was not recorded on an NVIDIA GPU, has no kernels,
            or a kernel lacks what a profile needs.
    """
    trace = _load(file)
    events = [event for event in trace["traceEvents"] if isinstance(event, dict)]
    kernels = [event for event in events if event.get("cat") == "kernel"]
    _refuse_amd(file, trace, kernels)
    if not kernels:
        raise ProfileError(
            "the trace has no GPU kernels",
            file=file,
            key="traceEvents",
            remedy=f"was CUDA among the profiler's activities? {_RECORD}",
        )
    chosen, note = _one_inference(file, events, kernels, settings.annotation)
    recorded = sorted(
        (_recorded(file, event) for event in chosen), key=lambda kernel: kernel.start_ns
    )
    device = _device(trace, chosen[0])
    major, minor = device.get("computeMajor"), device.get("computeMinor")
    return Recording(
        file=file,
        tool="PyTorch profiler (Kineto)",
        kernels=tuple(recorded),
        device=device.get("name"),
        compute_capability=None if major is None or minor is None else f"{major}.{minor}",
        sms=device.get("numSms"),
        memory_bytes=device.get("totalGlobalMem"),
        note=note,
    )


def _load(file: Path) -> dict[str, Any]:
    try:
        data = file.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ProfileError(
            f"cannot be read: {error}", file=file, remedy="copy the file again"
        ) from error
    try:
        trace = json.loads(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise ProfileError(f"not JSON: {error}", file=file, remedy=_RECORD) from error
    except json.JSONDecodeError as error:
        raise ProfileError(
            f"not JSON: {error.msg}",
            file=file,
            line=error.lineno,
            remedy="the trace may be cut off: export it again",
        ) from error
    if not isinstance(trace, dict) or not isinstance(trace.get("traceEvents"), list):
        raise ProfileError(
            "not a trace of the PyTorch profiler", file=file, key="traceEvents", remedy=_RECORD
        )
    return trace


def _refuse_amd(file: Path, trace: Mapping[str, Any], kernels: Sequence[Any]) -> None:
    devices = [d for d in trace.get("deviceProperties") or [] if isinstance(d, dict)]
    amd = next(
        (
            d
            for d in devices
            if d.get("warpSize") == 64 or "AMD" in str(d.get("name")) or "gfx" in str(d.get("name"))
        ),
        None,
    )
    if amd is not None or any(event.get("name", "").startswith("Cijk_") for event in kernels):
        raise ProfileError(
            "a trace of an AMD GPU: its wavefronts, registers and shared memory follow other rules",
            file=file,
            key="deviceProperties",
            value=None if amd is None else amd.get("name"),
            remedy="profile on an NVIDIA GPU",
        )


def _one_inference(
    file: Path,
    events: Sequence[Mapping[str, Any]],
    kernels: Sequence[Mapping[str, Any]],
    annotation: str | None,
) -> tuple[list[Mapping[str, Any]], str]:
    """Kernels that were launched in the range that encloses one inference."""
    launched = {
        _args(event).get("correlation"): event.get("ts")
        for event in events
        if event.get("cat") in _LAUNCHES
    }
    ranges = [
        event
        for event in events
        if event.get("cat") in _RANGES
        and "ts" in event
        and "dur" in event
        and (annotation is None or annotation in str(event.get("name")))
    ]
    steps = [event for event in ranges if str(event.get("name")).startswith("ProfilerStep#")]
    # The last one: earlier ones warm up. Of ranges that begin late, the inner ones begin later.
    for within in sorted(steps or ranges, key=lambda event: float(event["ts"]), reverse=True):
        begin, end = float(within["ts"]), float(within["ts"]) + float(within["dur"])
        inside = [
            kernel
            for kernel in kernels
            if (at := launched.get(_args(kernel).get("correlation"))) is not None
            and begin <= float(at) <= end
        ]
        if inside:
            return inside, f"kernels launched in {within.get('name')!r}"
    if annotation is not None:
        names = sorted({str(event.get("name")) for event in events if event.get("cat") in _RANGES})
        raise ProfileError(
            "no range of that name has kernels",
            file=file,
            key="annotation",
            value=annotation,
            remedy=f"ranges of the trace: {', '.join(names[:10]) or 'none'}",
        )
    return list(kernels), "no range with kernels: all kernels of the trace"


def _args(event: Mapping[str, Any]) -> Mapping[str, Any]:
    args = event.get("args")
    return args if isinstance(args, dict) else {}


def _recorded(file: Path, event: Mapping[str, Any]) -> Recorded:
    args = _args(event)
    name = str(event.get("name"))

    def number(source: Mapping[str, Any], key: str, scale: int = 1) -> int:
        value = source.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise ProfileError(
                f"the kernel {name[:60]} has no usable {key!r}",
                file=file,
                key=key,
                value=value if isinstance(value, int | float | str) else None,
                remedy=_RECORD,
            )
        return round(value * scale)

    return Recorded(
        kernel=Kernel(
            name=name,
            duration_ns=number(event, "dur", 1000),
            grid=_triple(file, name, "grid", args.get("grid")),
            block=_triple(file, name, "block", args.get("block")),
            registers=number(args, "registers per thread"),
            static_shared=0,
            dynamic_shared=number(args, "shared memory"),
            stream=number(args, "stream"),
        ),
        start_ns=number(event, "ts", 1000),
    )


def _triple(file: Path, name: str, key: str, value: Any) -> tuple[int, int, int]:
    if not (
        isinstance(value, list)
        and len(value) == 3
        and all(type(part) is int and part >= 1 for part in value)
    ):
        raise ProfileError(
            f"the kernel {name[:60]} has no usable {key!r}", file=file, key=key, remedy=_RECORD
        )
    return value[0], value[1], value[2]


def _device(trace: Mapping[str, Any], kernel: Mapping[str, Any]) -> Mapping[str, Any]:
    wanted = _args(kernel).get("device", 0)
    for device in trace.get("deviceProperties") or []:
        if isinstance(device, dict) and device.get("id") == wanted:
            return device
    return {}
