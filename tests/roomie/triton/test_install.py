"""Installing tritonserver: what goes wrong, and what is said then. Nothing is downloaded here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dataflow.broker.distribution import Progress
from roomie.errors import TritonError
from roomie.triton.install import (
    check_platform,
    ensure_installed,
    environment_folder,
    installed,
)

Outcome = Callable[[Sequence[str]], tuple[int, str]]
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


class Machine:
    """Commands are noted; a virtual environment and a wheel appear as files."""

    def __init__(self, outcome: Outcome = lambda _c: (0, ""), stubs: Sequence[str] = (VERSION,)):
        self.outcome = outcome
        self.stubs = stubs
        self.commands: list[Sequence[str]] = []

    def run(self, command: Sequence[str], timeout: float) -> subprocess.CompletedProcess[str]:
        assert timeout > 0
        self.commands.append(command)
        code, text = self.outcome(command)
        if code == 0 and "venv" in command:
            folder = Path(command[-1])
            (folder / "bin").mkdir(parents=True)
            (folder / "bin" / "python").touch()
            self.folder = folder
        if code == 0 and any("nvidia-pytriton" in word for word in command):
            server = self.folder / "lib" / f"python{VERSION}" / "site-packages" / "pytriton"
            server = server / "tritonserver"
            (server / "bin").mkdir(parents=True)
            (server / "bin" / "tritonserver").touch()
            (server / "backends" / "python").mkdir(parents=True)
            for stub in self.stubs:
                (server / "python_backend_stubs" / stub).mkdir(parents=True)
                (server / "python_backend_stubs" / stub / "triton_python_backend_stub").write_text(
                    stub
                )
        return subprocess.CompletedProcess(command, code, text, "")


def failing(word: str, text: str) -> Outcome:
    return lambda command: (1, text) if any(word in part for part in command) else (0, "")


def test_it_is_installed_once_with_progress_and_then_found(tmp_path: Path) -> None:
    machine = Machine()
    steps: list[Progress] = []
    assert installed(tmp_path) is None
    found = ensure_installed(tmp_path, run=machine.run, report=steps.append)
    assert [step.done for step in steps] == [0, 1, 2, 3]
    assert found.binary.is_file()
    stub = found.backends / "python" / "triton_python_backend_stub"
    assert stub.read_text() == VERSION
    assert "nvidia_pytriton.libs" in found.environment["LD_LIBRARY_PATH"]
    pip = [command for command in machine.commands if "install" in command]
    assert "--no-deps" in pip[0]
    assert any("numpy" in word and "<2" in word for word in pip[1])
    count = len(machine.commands)
    assert ensure_installed(tmp_path, run=machine.run) == found
    assert len(machine.commands) == count


def test_an_installation_that_was_interrupted_is_made_anew(tmp_path: Path) -> None:
    with pytest.raises(TritonError):
        ensure_installed(tmp_path, run=Machine(failing("numpy", "no route to host")).run)
    assert environment_folder(tmp_path).is_dir()
    assert installed(tmp_path) is None
    assert ensure_installed(tmp_path, run=Machine().run).binary.is_file()


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (failing("venv", "ensurepip is not available"), "python3-venv"),
        (failing("nvidia-pytriton", "Temporary failure in name resolution"), "name resolution"),
        (failing("numpy", "No space left on device"), "400 MB of space"),
        (lambda c: (0, "libpython9.so => not found" if "ldd" in c else ""), "libpython9.so"),
    ],
)
def test_what_fails_is_said_with_a_remedy(tmp_path: Path, outcome: Outcome, said: str) -> None:
    with pytest.raises(TritonError, match=said) as caught:
        ensure_installed(tmp_path, run=Machine(outcome).run)
    assert "remedy:" in str(caught.value)


def test_a_download_that_hangs_is_given_up(tmp_path: Path) -> None:
    machine = Machine()

    def run(command: Sequence[str], timeout: float) -> subprocess.CompletedProcess[str]:
        if "pip" in command:
            raise subprocess.TimeoutExpired(list(command), timeout)
        return machine.run(command, timeout)

    with pytest.raises(TritonError, match="could not be downloaded within 900 s"):
        ensure_installed(tmp_path, run=run)


def test_a_python_that_the_wheel_has_no_backend_for_is_named(tmp_path: Path) -> None:
    with pytest.raises(TritonError, match=rf"Python {VERSION} \(it has: 3.8, 3.9\)"):
        ensure_installed(tmp_path, run=Machine(stubs=("3.8", "3.9")).run)


@pytest.mark.parametrize(
    ("system", "machine", "glibc", "said"),
    [
        ("Darwin", "arm64", "", "no tritonserver on PyPI for Darwin on arm64"),
        ("Linux", "riscv64", "2.39", "no tritonserver on PyPI for Linux on riscv64"),
        ("Linux", "x86_64", "2.31", "needs glibc 2.35 or newer; this system has 2.31"),
        ("Linux", "x86_64", "", "this system has another C library"),
    ],
)
def test_machines_that_cannot_run_it_are_told_why(
    system: str, machine: str, glibc: str, said: str
) -> None:
    with pytest.raises(TritonError, match=said):
        check_platform(system=system, machine=machine, glibc=glibc)


def test_arm_and_intel_with_a_new_library_are_fine() -> None:
    check_platform(system="Linux", machine="aarch64", glibc="2.35")
    check_platform(system="Linux", machine="x86_64", glibc="2.41")


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "triton").write_text("a file in the way")
    with pytest.raises(TritonError, match="VIDEOJAM_CACHE"):
        ensure_installed(tmp_path, run=Machine().run)
