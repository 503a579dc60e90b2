"""Which profiler wrote a file, by its content."""

from __future__ import annotations

from pathlib import Path

from roomie.devices import DeviceTable
from roomie.errors import ProfileError
from roomie.importers.common import READABLE, ImportSettings, to_profile
from roomie.importers.kineto import read_kineto
from roomie.importers.ncu import read_ncu
from roomie.importers.nsys import read_nsys
from roomie.profiles import Profile


def import_profile(file: Path, settings: ImportSettings, devices: DeviceTable) -> Profile:
    """A profile of one inference from a trace of PyTorch, or of Nsight Systems or Compute.

    Raises:
        ProfileError: the file is none of them, or malformed.
        DeviceError: its GPU's limits are not known.
    """
    try:
        with file.open("rb") as stream:
            head = stream.read(16)
    except FileNotFoundError as error:
        raise ProfileError("no such file", file=file, remedy=READABLE) from error
    except OSError as error:
        raise ProfileError(f"cannot be read: {error.strerror}", file=file) from error
    if head.startswith(b"SQLite format 3"):
        recording = read_nsys(file, settings)
    elif head.startswith(b"\x1f\x8b") or head.lstrip()[:1] in (b"{", b"["):
        recording = read_kineto(file, settings)
    elif file.suffix == ".nsys-rep":
        raise ProfileError(
            "a report of Nsight Systems in its own format",
            file=file,
            remedy="export it: nsys export --type sqlite REPORT.nsys-rep",
        )
    elif file.suffix == ".ncu-rep":
        raise ProfileError(
            "a report of Nsight Compute in its own format",
            file=file,
            remedy="export it: ncu --import REPORT.ncu-rep --csv --page raw > REPORT.csv",
        )
    else:
        recording = read_ncu(file, settings)
    return to_profile(recording, settings, devices)
