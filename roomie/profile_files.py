"""The file format of profiles: JSON Lines, version 1, gzip or not.

A file holds one profile or more. A profile is a header line and, after it, one line for each
kernel, as many as the header says::

    {"format": "videojam-profile", "version": 1, "model": "alexnet", "batch": 8, ...}
    {"name": "ampere_sgemm_32x32", "duration_ns": 12000, "grid": [1, 1, 1], ...}

Documented in docs/roomie.md. Every fault names file, line and field.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from roomie.devices import Device, DeviceTable
from roomie.errors import DeviceError, ProfileError
from roomie.fields import Fields
from roomie.profiles import ORIGINS, Kernel, Profile, ProfileStore, Variant, excess

FORMAT = "videojam-profile"
VERSION = 1
SUFFIXES = (".jsonl", ".jsonl.gz")
BUILTIN = "synthetic"
"""In place of a folder: the synthetic profiles that ship."""

_HEADER = (
    "format",
    "version",
    "model",
    "batch",
    "device",
    "compute_capability",
    "sms",
    "device_memory_bytes",
    "origin",
    "tool",
    "inference_time_s",
    "memory_bytes",
    "weight_bytes",
    "kernels",
    "note",
)
_KERNEL = (
    "name",
    "duration_ns",
    "grid",
    "block",
    "registers",
    "static_shared",
    "dynamic_shared",
    "stream",
)


def load_profiles(folders: Sequence[Path | str], devices: DeviceTable) -> ProfileStore:
    """All profiles of some folders and files.

    Args:
        folders: folders (searched below too), files, or the word ``synthetic``.
        devices: the table of devices.

    Raises:
        ProfileError: a folder does not exist or holds no profile, or a profile is malformed.
        DeviceError: a profile is of a device whose limits are not known.
    """
    profiles: list[Profile] = []
    for folder in folders:
        if str(folder) == BUILTIN and not Path(folder).exists():
            with resources.as_file(resources.files("roomie") / "data" / "profiles") as built_in:
                profiles += _load_folder(built_in, devices)
        else:
            profiles += _load_folder(Path(folder), devices)
    return ProfileStore(profiles, devices)


def _load_folder(folder: Path, devices: DeviceTable) -> Iterator[Profile]:
    if folder.is_file():
        yield from read_profiles(folder, devices)
        return
    if not folder.is_dir():
        raise ProfileError(
            "no such folder or file",
            file=folder,
            remedy=f"name a folder of profiles, or {BUILTIN!r} for those that ship",
        )
    files = sorted(file for file in folder.rglob("*") if file.name.endswith(SUFFIXES))
    if not files:
        raise ProfileError(
            "no profile in this folder",
            file=folder,
            remedy=f"profiles end in {' or '.join(SUFFIXES)}; write some with `videojam roomie "
            "import` or `videojam roomie profile`",
        )
    for file in files:
        yield from read_profiles(file, devices)


def read_profiles(file: Path, devices: DeviceTable) -> Iterator[Profile]:
    """The profiles of one file, each checked against its device.

    Raises:
        ProfileError: the file is malformed, truncated or of another version, or a kernel exceeds
            the device.
        DeviceError: the device's limits are not known.
    """
    lines = _lines(file)
    for number, line in lines:
        record = _parse(file, number, line)
        if "format" not in record and "duration_ns" in record:
            raise ProfileError(
                "a kernel where a profile should begin: more kernels than the header says",
                file=file,
                line=number,
                key="kernels",
                remedy="correct the header's count, or remove what follows the last kernel",
            )
        yield _read_one(file, number, record, lines, devices)


def _read_one(
    file: Path,
    line: int,
    header: Mapping[str, Any],
    lines: Iterator[tuple[int, str]],
    devices: DeviceTable,
) -> Profile:
    here = Fields(file, line, header)
    _check_format(here)
    here.known(_HEADER, optional=("note",))
    device = _device(here, devices)
    count = here.integer("kernels", least=1)
    kernels: list[Kernel] = []
    seen: dict[str, Kernel] = {}  # networks repeat their blocks
    for number, text in lines:
        kernel = seen.get(text)
        if kernel is None:
            record = _parse(file, number, text)
            if "format" in record:
                raise _truncated(file, number, count, len(kernels))
            kernel = seen[text] = _checked_kernel(Fields(file, number, record), device)
        kernels.append(kernel)
        if len(kernels) == count:
            break
    else:
        raise _truncated(file, None, count, len(kernels))
    if sum(kernel.duration_ns for kernel in kernels) == 0:
        raise ProfileError(
            "all kernels take no time", file=file, line=line, remedy="record the profile again"
        )
    return Profile(
        variant=Variant(here.text("model"), here.integer("batch", least=1)),
        device=device,
        origin=here.choice("origin", ORIGINS),
        tool=here.text("tool"),
        inference_time_s=here.positive("inference_time_s"),
        memory_bytes=here.integer("memory_bytes", least=1),
        weight_bytes=here.integer("weight_bytes", least=0),
        kernels=tuple(kernels),
        note=here.text("note", optional=True),
    )


def _check_format(here: Fields) -> None:
    if here.record.get("format") != FORMAT:
        raise here.error(
            "not a profile",
            "format",
            f'its first line must have "format": "{FORMAT}"; traces of profilers are read by '
            "`videojam roomie import`",
        )
    if here.record.get("version") != VERSION:
        raise here.error(
            f"a version that this videojam does not read (it reads {VERSION})",
            "version",
            "upgrade videojam, or record the profile again",
        )


def _truncated(file: Path, line: int | None, count: int, found: int) -> ProfileError:
    return ProfileError(
        f"truncated: the header says {count} kernels, and {found} follow",
        file=file,
        line=line,
        key="kernels",
        value=count,
        remedy="copy the file again, or record the profile again",
    )


def _device(here: Fields, devices: DeviceTable) -> Device:
    """The device of the table, or one made of the header where its limits per SM are known."""
    name = here.text("device")
    capability = here.text("compute_capability")
    sms = here.integer("sms", least=1)
    memory = here.integer("device_memory_bytes", least=1)
    known = devices.devices.get(name)
    if known is None:
        try:
            limits = devices.limits_of(capability)
        except DeviceError as error:
            raise DeviceError(
                error.message,
                file=here.file,
                line=here.line,
                key="compute_capability",
                value=capability,
                remedy=error.remedy,
            ) from error
        return Device(
            name=name,
            compute_capability=capability,
            limits=limits,
            sms=sms,
            memory_bytes=memory,
        )
    for key, value, right in (
        ("compute_capability", capability, known.compute_capability),
        ("sms", sms, known.sms),
    ):
        if value != right:
            raise here.error(
                f"contradicts the table of devices, in which {name} has {right}",
                key,
                "correct the name of the device, or the table",
            )
    return known


def _checked_kernel(here: Fields, device: Device) -> Kernel:
    here.known(_KERNEL, optional=("stream",))
    kernel = Kernel(
        name=here.text("name"),
        duration_ns=here.integer("duration_ns", least=0),
        grid=here.triple("grid"),
        block=here.triple("block"),
        registers=here.integer("registers", least=0),
        static_shared=here.integer("static_shared", least=0),
        dynamic_shared=here.integer("dynamic_shared", least=0),
        stream=here.integer("stream", least=0) if "stream" in here.record else 0,
    )
    problem = excess(kernel, device)
    if problem is not None:
        key, message, value = problem
        raise ProfileError(
            f"the kernel {message}",
            file=here.file,
            line=here.line,
            key=key,
            value=value,
            remedy=f"was it profiled on another GPU than {device.name}?",
        )
    return kernel


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ProfileError(f"cannot be read: {error}", file=file) from error
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise ProfileError(
                f"not a whole gzip file: {error}", file=file, remedy="copy the file again"
            ) from error
    if not data.strip():
        raise ProfileError("the file is empty", file=file, remedy="record the profile again")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ProfileError(
            f"not UTF-8: {error}", file=file, line=data.count(b"\n", 0, error.start) + 1
        ) from error
    for number, line in enumerate(io.StringIO(text), start=1):
        if line.strip():
            yield number, line


def _parse(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ProfileError(
            f"not JSON: {error}",
            file=file,
            line=number,
            remedy="the line may be cut off: copy the file again",
        ) from error
    if not isinstance(record, dict):
        raise ProfileError("must be a JSON object", file=file, line=number)
    return record


def write_profiles(file: Path, profiles: Iterable[Profile]) -> None:
    """Write profiles into one file, compressed if its name ends in ``.gz``.

    The bytes depend on the profiles alone, so that a regenerated file differs only if they do.
    """
    text = "".join(f"{line}\n" for profile in profiles for line in _dump(profile))
    data = text.encode()
    if file.name.endswith(".gz"):
        data = gzip.compress(data, compresslevel=9, mtime=0)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    partial.write_bytes(data)
    partial.replace(file)


def _dump(profile: Profile) -> Iterator[str]:
    header: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "model": profile.variant.model,
        "batch": profile.variant.batch,
        "device": profile.device.name,
        "compute_capability": profile.device.compute_capability,
        "sms": profile.device.sms,
        "device_memory_bytes": profile.device.memory_bytes,
        "origin": profile.origin,
        "tool": profile.tool,
        "inference_time_s": round(profile.inference_time_s, 9),
        "memory_bytes": profile.memory_bytes,
        "weight_bytes": profile.weight_bytes,
        "kernels": len(profile.kernels),
    }
    if profile.note:
        header["note"] = profile.note
    yield json.dumps(header)
    for kernel in profile.kernels:
        record: dict[str, Any] = {
            "name": kernel.name,
            "duration_ns": kernel.duration_ns,
            "grid": kernel.grid,
            "block": kernel.block,
            "registers": kernel.registers,
            "static_shared": kernel.static_shared,
            "dynamic_shared": kernel.dynamic_shared,
        }
        if kernel.stream:
            record["stream"] = kernel.stream
        yield json.dumps(record, separators=(",", ":"))


def file_name(profile: Profile) -> str:
    """Where `videojam roomie` writes the profiles of a model on a device, below a folder."""
    return f"{profile.device.name.replace('/', '_')}/{profile.variant.model}.jsonl.gz"


def renamed(profile: Profile, *, device: Device) -> Profile:
    """The same profile under another name of the same GPU.

    Raises:
        ProfileError: that device has other limits or another number of SMs.
    """
    old = profile.device
    if (old.compute_capability, old.sms) != (device.compute_capability, device.sms):
        raise ProfileError(
            f"recorded on {old.name} (compute capability {old.compute_capability}, {old.sms} SMs), "
            f"which is not {device.name} ({device.compute_capability}, {device.sms} SMs)",
            key="device",
            value=device.name,
            remedy="name the GPU that it was recorded on, or leave --device out",
        )
    return replace(profile, device=device)
