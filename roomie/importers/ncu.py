"""Nsight Compute results as CSV: ``ncu --csv --page raw``, or the default page ``details``.

Nsight Compute replays kernels one by one and serialises streams: durations are those of kernels
alone, with clocks locked to base unless told otherwise. Give the measured inference time.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from roomie.errors import ProfileError
from roomie.importers.common import READABLE, ImportSettings, Recorded, Recording
from roomie.profiles import Kernel

_UNITS = {
    "nsecond": 1.0, "ns": 1.0, "usecond": 1e3, "us": 1e3, "msecond": 1e6, "ms": 1e6,
    "second": 1e9, "s": 1e9,
    "byte/block": 1.0, "byte": 1.0, "kbyte/block": 1e3, "kbyte": 1e3,
    "mbyte/block": 1e6, "mbyte": 1e6,
    "register/thread": 1.0, "": 1.0,
}  # fmt: skip
"""To ns and bytes; Nsight Compute's Kbyte is 1000 bytes."""

# Field of a kernel -> metric of the raw page, metric of the details page.
_METRICS = {
    "duration": ("gpu__time_duration.sum", "Duration"),
    "registers": ("launch__registers_per_thread", "Registers Per Thread"),
    "static": ("launch__shared_mem_per_block_static", "Static Shared Memory Per Block"),
    "dynamic": ("launch__shared_mem_per_block_dynamic", "Dynamic Shared Memory Per Block"),
}
_RECORD = (
    "record with `ncu --csv --page raw --metrics gpu__time_duration.sum,"
    "launch__registers_per_thread,launch__shared_mem_per_block_static,"
    "launch__shared_mem_per_block_dynamic`"
)


@dataclass(frozen=True)
class _Row:
    line: int
    columns: Mapping[str, str]
    metrics: Mapping[str, tuple[str, str]]  # field -> (value, unit)


def read_ncu(file: Path, _settings: ImportSettings) -> Recording:
    """All kernels of the file, in the order in which they were launched.

    Raises:
        ProfileError: the file is no such table, or a kernel lacks what a profile needs.
    """
    rows = list(_rows(file))
    if not rows:
        raise ProfileError("no kernels in the table", file=file, remedy=_RECORD)
    kernels = []
    now = 0
    for row in rows:
        kernel = _kernel(file, row)
        kernels.append(Recorded(kernel=kernel, start_ns=now, place=row.line))
        now += kernel.duration_ns
    first = rows[0].columns
    return Recording(
        file=file,
        tool="Nsight Compute",
        kernels=tuple(kernels),
        device=None,
        compute_capability=first.get("CC"),
        sms=_sms(first),
        memory_bytes=None,
        note="durations of kernels that were replayed one by one",
    )


def _rows(file: Path) -> Iterator[_Row]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ProfileError(f"cannot be read: {error.strerror}", file=file) from error
    except UnicodeDecodeError as error:
        raise ProfileError("not written by a known profiler", file=file, remedy=READABLE) from error
    # ncu writes its own progress, as ==PROF== lines, before the table.
    begin = next((n for n, line in enumerate(lines) if "Kernel Name" in line), None)
    if begin is None:
        raise ProfileError(
            "not written by a known profiler: a table of Nsight Compute has a column 'Kernel Name'",
            file=file,
            remedy=READABLE,
        )
    reader = csv.reader(lines[begin:])
    header = next(reader)
    records = _records(file, reader, begin + 1, header)
    if "Metric Name" in header:
        yield from _long(records)
    else:
        yield from _wide(file, begin + 1, header, records)


def _records(
    file: Path, reader: Iterator[list[str]], offset: int, header: list[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    for number, values in enumerate(reader, start=offset + 1):
        if not values or values[0].startswith("=="):
            continue
        if len(values) != len(header):
            raise ProfileError(
                f"{len(values)} values where the table has {len(header)} columns",
                file=file,
                line=number,
                remedy="the table may be cut off: export it again",
            )
        yield number, dict(zip(header, values, strict=True))


def _wide(
    file: Path, line: int, header: list[str], records: Iterator[tuple[int, dict[str, str]]]
) -> Iterator[_Row]:
    """The raw page: a column a metric, and their units in a row of their own."""
    for metric, _ in _METRICS.values():
        if metric not in header:
            raise ProfileError(
                "a column is missing", file=file, line=line, key=metric, remedy=_RECORD
            )
    units: dict[str, str] = {}
    for number, values in records:
        if not values["Kernel Name"] and not units:
            units = values
            continue
        metrics = {
            name: (values[metric], units.get(metric, "")) for name, (metric, _) in _METRICS.items()
        }
        yield _Row(number, values, metrics)


def _long(records: Iterator[tuple[int, dict[str, str]]]) -> Iterator[_Row]:
    """The details page: a row a metric; those of a kernel have one ID."""
    labels = {detail: name for name, (_, detail) in _METRICS.items()}
    current: _Row | None = None
    found: dict[str, tuple[str, str]] = {}
    for number, values in records:
        if current is None or values.get("ID") != current.columns.get("ID"):
            if current is not None:
                yield current
            found = {}
            current = _Row(number, values, found)
        name = labels.get(values["Metric Name"])
        if name is not None:
            found[name] = values.get("Metric Value", ""), values.get("Metric Unit", "")
    if current is not None:
        yield current


def _kernel(file: Path, row: _Row) -> Kernel:
    return Kernel(
        name=row.columns["Kernel Name"] or "kernel",
        duration_ns=_metric(file, row, "duration"),
        grid=_triple(file, row, "Grid Size"),
        block=_triple(file, row, "Block Size"),
        registers=_metric(file, row, "registers"),
        static_shared=_metric(file, row, "static"),
        dynamic_shared=_metric(file, row, "dynamic"),
        stream=int(row.columns.get("Stream", "0") or 0) if _is_count(row, "Stream") else 0,
    )


def _is_count(row: _Row, column: str) -> bool:
    return row.columns.get(column, "").isdecimal()


def _metric(file: Path, row: _Row, name: str) -> int:
    key = _METRICS[name][0]
    if name not in row.metrics:
        raise ProfileError(
            "the kernel lacks a metric", file=file, line=row.line, key=key, remedy=_RECORD
        )
    value, unit = row.metrics[name]
    scale = _UNITS.get(unit.lower())
    try:
        number = float(value.replace(",", ""))
    except ValueError:
        number = -1.0
    if scale is None or not 0 <= number < 1e18:
        raise ProfileError(
            f"not a value in a unit that is known: {value!r} {unit!r}",
            file=file,
            line=row.line,
            key=key,
            remedy=_RECORD,
        )
    return round(number * scale)


def _triple(file: Path, row: _Row, column: str) -> tuple[int, int, int]:
    parts = [
        int(part) for part in re.findall(r"\d+", row.columns.get(column, "").replace(",", " "))
    ]
    if len(parts) != 3 or min(parts) < 1:
        raise ProfileError(
            "must be three whole numbers of at least 1",
            file=file,
            line=row.line,
            key=column,
            value=row.columns.get(column),
            remedy=_RECORD,
        )
    return parts[0], parts[1], parts[2]


def _sms(columns: Mapping[str, str]) -> int | None:
    value = columns.get("device__attribute_multiprocessor_count", "")
    return int(value) if value.isdecimal() else None
