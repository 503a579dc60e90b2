"""Nsight Systems reports, exported by ``nsys export --type sqlite``."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from roomie.errors import ProfileError
from roomie.importers.common import ImportSettings, Recorded, Recording
from roomie.profiles import Kernel

_KERNELS = "CUPTI_ACTIVITY_KIND_KERNEL"
_COLUMNS = (
    "start", "end", "deviceId", "streamId", "gridX", "gridY", "gridZ", "blockX", "blockY",
    "blockZ", "registersPerThread", "staticSharedMemory", "dynamicSharedMemory",
)  # fmt: skip
_EXPORT = "export the report again: nsys export --type sqlite REPORT.nsys-rep"


def read_nsys(file: Path, settings: ImportSettings) -> Recording:
    """The kernels of one inference: of the last NVTX range of that name, or of the whole report.

    Raises:
        ProfileError: the file is no such export, has no kernels, or lacks a column.
    """
    try:
        # "ro": a file that is not there is an error, not a new database.
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            return _read(file, database, settings)
    except sqlite3.Error as error:
        raise ProfileError(
            f"not an SQLite export of Nsight Systems: {error}", file=file, remedy=_EXPORT
        ) from error


def _read(file: Path, database: sqlite3.Connection, settings: ImportSettings) -> Recording:
    tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
    if _KERNELS not in tables:
        raise ProfileError(
            f"the report has no table {_KERNELS}: no kernel was recorded",
            file=file,
            remedy="record with `nsys profile --trace=cuda,nvtx`, and export again",
        )
    columns = {row[1] for row in database.execute(f"PRAGMA table_info({_KERNELS})")}
    for column in _COLUMNS:
        if column not in columns:
            raise ProfileError(
                f"the table {_KERNELS} has no column {column}",
                file=file,
                key=column,
                remedy="export with a version of Nsight Systems from 2021 or later",
            )
    begin, end, note = _within(file, database, tables, settings.annotation)
    kernels = tuple(_kernels(file, database, tables, columns, begin, end))
    if not kernels:
        raise ProfileError("no kernels in the report", file=file, remedy=_EXPORT)
    device = _device(database, tables, kernels[0][1])
    major, minor = device.get("computeMajor"), device.get("computeMinor")
    return Recording(
        file=file,
        tool="Nsight Systems",
        kernels=tuple(recorded for recorded, _ in kernels),
        device=device.get("name"),
        compute_capability=None if major is None or minor is None else f"{major}.{minor}",
        sms=device.get("smCount"),
        memory_bytes=device.get("totalMemory"),
        note=note,
    )


def _within(
    file: Path, database: sqlite3.Connection, tables: set[str], annotation: str | None
) -> tuple[int, int, str]:
    """The range on the GPU's time line from which kernels are taken."""
    if annotation is None:
        return 0, 2**62, "all kernels of the report"
    found = None
    if "NVTX_EVENTS" in tables:
        found = database.execute(
            "SELECT e.start, e.end, COALESCE(e.text, s.value) AS name FROM NVTX_EVENTS e "
            "LEFT JOIN StringIds s ON s.id = e.textId "
            "WHERE name LIKE ? AND e.end IS NOT NULL ORDER BY e.start DESC LIMIT 1",
            (f"%{annotation}%",),
        ).fetchone()
    if found is None:
        raise ProfileError(
            "no NVTX range of that name",
            file=file,
            key="annotation",
            value=annotation,
            remedy="record with --trace=cuda,nvtx, and synchronise the device inside the range",
        )
    return int(found[0]), int(found[1]), f"kernels in the NVTX range {found[2]!r}"


def _kernels(  # noqa: PLR0917 - private
    file: Path,
    database: sqlite3.Connection,
    tables: set[str],
    columns: set[str],
    begin: int,
    end: int,
) -> Iterator[tuple[Recorded, int]]:
    name = next((c for c in ("demangledName", "shortName", "mangledName") if c in columns), None)
    named = name is not None and "StringIds" in tables
    query = (
        # Every name in it is a constant of this module.
        f"SELECT {', '.join(f'k.{c}' for c in _COLUMNS)}, k.rowid, "  # noqa: S608 - names of ours, no input
        f"{'s.value' if named else 'NULL'} FROM {_KERNELS} k "
        f"{f'LEFT JOIN StringIds s ON s.id = k.{name}' if named else ''} "
        "WHERE k.start >= ? AND k.end <= ? ORDER BY k.start, k.rowid"
    )
    for row in database.execute(query, (begin, end)):
        values: dict[str, Any] = dict(zip(_COLUMNS, row, strict=False))
        place, label = row[-2], row[-1]
        for column, value in values.items():
            least = 1 if column.startswith(("grid", "block")) else 0
            if not isinstance(value, int) or value < least:
                raise ProfileError(
                    f"must be a whole number of at least {least} (row {place} of {_KERNELS})",
                    file=file,
                    line=place,
                    key=column,
                    value=value,
                    remedy=_EXPORT,
                )
        if values["end"] < values["start"]:
            raise ProfileError(
                f"a kernel ends before it starts (row {place} of {_KERNELS})",
                file=file,
                line=place,
                key="end",
                value=values["end"],
                remedy=_EXPORT,
            )
        kernel = Kernel(
            name=str(label or "kernel"),
            duration_ns=values["end"] - values["start"],
            grid=(values["gridX"], values["gridY"], values["gridZ"]),
            block=(values["blockX"], values["blockY"], values["blockZ"]),
            registers=values["registersPerThread"],
            static_shared=values["staticSharedMemory"],
            dynamic_shared=values["dynamicSharedMemory"],
            stream=values["streamId"],
        )
        recorded = Recorded(kernel=kernel, start_ns=values["start"], place=place)
        yield recorded, values["deviceId"]


def _device(database: sqlite3.Connection, tables: set[str], wanted: int) -> dict[str, Any]:
    if "TARGET_INFO_GPU" not in tables:
        return {}
    cursor = database.execute("SELECT * FROM TARGET_INFO_GPU")
    names = [column[0] for column in cursor.description]
    devices = [dict(zip(names, row, strict=True)) for row in cursor]
    for device in devices:
        if device.get("cuDevice", device.get("id")) == wanted:
            return device
    return devices[0] if devices else {}
