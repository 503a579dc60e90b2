"""A tritonserver from PyPI, in a virtual environment of its own.

The wheel of `nvidia-pytriton` (Apache-2.0, 55 MB) holds the server binary with its libraries and
the Python backend. Nothing of its Python code is used, so none of its dependencies is installed;
what the *models* need is: the backend's stub wants NumPy below 2, and networks run in ONNX Runtime.
That would disturb whoever uses NumPy 2, hence the environment of its own.

Layout of the cache folder (`dataflow.broker.paths.cache_home`)::

    triton/<release>-py<X.Y>/           the virtual environment
    triton/<release>-py<X.Y>/ready      written when it is complete
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataflow.broker.distribution import Progress, ReportProgress, cache_lock, silent
from dataflow.errors import EmbeddedBrokerError
from roomie.errors import TritonError

RELEASE = "0.7.0"
"""Of nvidia-pytriton; it brings Triton 2.51."""
GLIBC = (2, 35)
_REQUIREMENTS = ("numpy>=1.26,<2", "onnxruntime>=1.18")
_INSTALL_SECONDS = 900.0
_WITH_DEPENDENCIES_SECONDS = 900.0

Run = Callable[[Sequence[str], float], "subprocess.CompletedProcess[str]"]
"""Runs a command for so many seconds at most; for tests of failures."""


@dataclass(frozen=True, kw_only=True)
class TritonInstallation:
    """A tritonserver on this machine.

    Attributes:
        folder: its virtual environment.
        binary: the server.
        backends: folder of its backends.
        environment: variables that the server needs.
    """

    folder: Path
    binary: Path
    backends: Path
    environment: Mapping[str, str]


def fault(message: str, remedy: str, log_lines: Sequence[str] = ()) -> TritonError:
    """The error that says what is wrong, shows a log, and ends with the remedy."""
    if log_lines:
        message += "\n  its last log lines:\n" + "\n".join(f"    {line}" for line in log_lines)
    return TritonError(f"{message}\n  remedy: {remedy}")


_ELSEWHERE = "start a Triton of your own, for example NVIDIA's container, and give its URL"


def check_platform(
    *,
    system: str | None = None,
    machine: str | None = None,
    glibc: str | None = None,
) -> None:
    """See that the wheel can run here.

    Args:
        system: as `platform.system`; this machine's when None.
        machine: as `platform.machine`.
        glibc: version of the C library, empty where there is none.

    Raises:
        TritonError: it cannot; says why.
    """
    system = platform.system() if system is None else system
    machine = platform.machine() if machine is None else machine
    if system != "Linux" or machine not in {"x86_64", "AMD64", "aarch64", "arm64"}:
        raise fault(f"there is no tritonserver on PyPI for {system} on {machine}", _ELSEWHERE)
    version = platform.libc_ver()[1] if glibc is None else glibc
    try:
        found = tuple(int(part) for part in version.split(".")[:2])
    except ValueError:
        found = ()
    if found < GLIBC:
        raise fault(
            f"tritonserver needs glibc {GLIBC[0]}.{GLIBC[1]} or newer; this system has "
            f"{version or 'another C library'}",
            f"use a newer distribution (Debian 12, Ubuntu 22.04), or {_ELSEWHERE}",
        )


def environment_folder(cache: Path, release: str = RELEASE) -> Path:
    """Where the virtual environment of this Python lies."""
    return cache / "triton" / f"{release}-py{sys.version_info[0]}.{sys.version_info[1]}"


def installed(cache: Path, release: str = RELEASE) -> TritonInstallation | None:
    """What lies in the cache, or None where it is absent or incomplete."""
    folder = environment_folder(cache, release)
    if not (folder / "ready").is_file():
        return None
    found = _describe(folder)
    return found if found.binary.is_file() and (folder / "bin" / "python").exists() else None


def ensure_installed(
    cache: Path,
    *,
    release: str = RELEASE,
    report: ReportProgress = silent,
    run: Run | None = None,
) -> TritonInstallation:
    """The tritonserver, installed first where it is not yet.

    Args:
        cache: the user's cache folder.
        release: of nvidia-pytriton.
        report: is told of each step.
        run: runs commands; `subprocess.run` when None.

    Raises:
        TritonError: it cannot be installed or would not run; says why, and what to do.
    """
    found = installed(cache, release)
    if found is not None:
        return found
    check_platform()
    folder = environment_folder(cache, release)
    try:
        with cache_lock(cache / "triton"):
            found = installed(cache, release)  # by whoever held the lock
            return found or _install(folder, release, report, run or _run)
    except EmbeddedBrokerError as error:  # the lock is the broker's, so are its words
        raise TritonError(str(error)) from error


def _install(folder: Path, release: str, report: ReportProgress, run: Run) -> TritonInstallation:
    shutil.rmtree(folder, ignore_errors=True)
    report(Progress(message="making a virtual environment for tritonserver", done=0, total=3))
    made = run([sys.executable, "-m", "venv", str(folder)], _INSTALL_SECONDS)
    if made.returncode:
        raise fault(
            f"the virtual environment {folder} cannot be made",
            "see that the folder is writable and that Python has venv "
            "(Debian: apt-get install python3-venv)",
            _tail(made),
        )
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    pip += ["--disable-pip-version-check", "--no-input"]
    report(Progress(message="downloading tritonserver (55 MB)", done=1, total=3))
    _pip(run, [*pip, "--no-deps", f"nvidia-pytriton=={release}"], "tritonserver")
    report(Progress(message="downloading what models run in (35 MB)", done=2, total=3))
    _pip(run, [*pip, *_REQUIREMENTS], "what models run in")
    found = _describe(folder)
    _install_stub(found)
    _check_libraries(found, run)
    (folder / "ready").write_text(release, encoding="utf-8")
    report(Progress(message="tritonserver is installed", done=3, total=3))
    return found


def _describe(folder: Path) -> TritonInstallation:
    packages = Path(
        sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)})
    )
    server = packages / "pytriton" / "tritonserver"
    libraries = [str(packages / "nvidia_pytriton.libs")]
    # libpython of the running Python, for the backend's stub
    libraries += [str(sysconfig.get_config_var("LIBDIR") or "")]
    libraries += [os.environ.get("LD_LIBRARY_PATH", "")]
    return TritonInstallation(
        folder=folder,
        binary=server / "bin" / "tritonserver",
        backends=server / "backends",
        environment={
            "LD_LIBRARY_PATH": ":".join(filter(None, libraries)),
            "PYTHONPATH": str(packages),
            "PATH": f"{folder / 'bin'}:{os.environ.get('PATH', os.defpath)}",
        },
    )


def _install_stub(found: TritonInstallation) -> None:
    """Copy the Python backend's stub for this Python to where the server looks for it."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    stubs = found.backends.parent / "python_backend_stubs"
    stub = stubs / version / "triton_python_backend_stub"
    if not stub.is_file():
        have = ", ".join(sorted(entry.name for entry in stubs.glob("3.*"))) or "none"
        raise fault(
            f"this tritonserver has no Python backend for Python {version} (it has: {have})",
            f"run videojam with one of these, or {_ELSEWHERE}",
        )
    shutil.copy2(stub, found.backends / "python" / stub.name)


def _check_libraries(found: TritonInstallation, run: Run) -> None:
    """See that the server and the stub find all their shared libraries."""
    environment = [f"{key}={value}" for key, value in found.environment.items()]
    for program in (found.binary, found.backends / "python" / "triton_python_backend_stub"):
        seen = run(["env", *environment, "ldd", str(program)], 60.0)
        lacking = [line.split()[0] for line in seen.stdout.splitlines() if "not found" in line]
        if lacking:
            raise fault(
                f"{program.name} lacks shared libraries: {', '.join(lacking)}",
                "install them (for libpython on Debian: apt-get install "
                f"libpython{sys.version_info[0]}.{sys.version_info[1]}), or name their folder "
                "with LD_LIBRARY_PATH",
            )


def _pip(run: Run, command: Sequence[str], what: str) -> None:
    try:
        done = run(command, _WITH_DEPENDENCIES_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise fault(
            f"{what} could not be downloaded within {error.timeout:.0f} s",
            "try again with a better network: what is complete is kept by pip",
        ) from error
    if done.returncode:
        raise fault(
            f"{what} could not be installed from PyPI",
            "see that PyPI, or the index that pip is configured for, can be reached, and that the "
            "disk has 400 MB of space; then try again",
            _tail(done),
        )


def _tail(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-6:]


def _run(command: Sequence[str], timeout: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(command), capture_output=True, text=True, timeout=timeout, check=False
    )
