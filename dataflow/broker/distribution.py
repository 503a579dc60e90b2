"""Kafka's jars: resolved by jgo once, kept in the user's cache, used offline from then on.

Layout of the cache folder (`dataflow.broker.paths.cache_home`)::

    maven/                      the Maven repository jgo fills
    kafka/<version>/jars.json   the class path, written when it is complete
    kafka/<version>/...         what `dataflow.broker.prepare` computes once

jgo's `build` would sort the jars into ``jars/`` and ``modules/`` and download a JDK 11 to do so.
The broker wants them all on one class path, so only jgo's resolver is used here.
"""

from __future__ import annotations

import copy
import fcntl
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataflow.broker._faults import fault
from dataflow.errors import MissingDependencyError

GROUP, ARTIFACT = "org.apache.kafka", "kafka_2.13"
LOG4J_GROUP = "org.apache.logging.log4j"

_TIMEOUT_S = 30


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One step of the preparation, for people.

    Attributes:
        message: what is being done.
        done: files done so far.
        total: files in all, or None while that is not known.
    """

    message: str
    done: int = 0
    total: int | None = None


ReportProgress = Callable[[Progress], None]


def silent(_progress: Progress) -> None:
    """Report to nobody."""


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """A Kafka release on this machine.

    Attributes:
        version: the release.
        folder: the cache folder of this release.
        jars: the class path, in order.
    """

    version: str
    folder: Path
    jars: tuple[Path, ...]

    @property
    def class_path(self) -> str:
        """The class path as Java takes it on Linux."""
        return ":".join(str(jar) for jar in self.jars)


@contextmanager
def cache_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a cache folder, waiting for whoever else is filling it.

    Raises:
        EmbeddedBrokerError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise fault(
            f"the cache folder {folder} cannot be written: {error.strerror}",
            "make it writable, or set VIDEOJAM_CACHE to another folder",
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cached(version: str, cache: Path) -> Distribution | None:
    """Return the release from the cache, or None where it is absent or incomplete."""
    folder = cache / "kafka" / version
    try:
        manifest = json.loads((folder / "jars.json").read_text(encoding="utf-8"))
        jars = [(cache / entry["path"], int(entry["bytes"])) for entry in manifest["jars"]]
        complete = bool(jars) and all(path.stat().st_size == size for path, size in jars)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not complete:
        return None
    return Distribution(version=version, folder=folder, jars=tuple(path for path, _ in jars))


def obtain(version: str, cache: Path, report: ReportProgress = silent) -> Distribution:
    """Return the release, downloading it first where the cache does not hold it.

    An interrupted download is taken up again at the file it had reached.

    Args:
        version: the Kafka release, for example ``4.3.1``.
        cache: the cache folder, see the module's description.
        report: is told of each step.

    Raises:
        EmbeddedBrokerError: the release does not exist, or cannot be downloaded.
        MissingDependencyError: jgo is not installed.
    """
    if re.fullmatch(r"4\.\d+\.\d+", version) is None:
        raise fault(f"unknown Kafka version {version!r}", "give a release 4.x.y, such as 4.3.1")
    known = cached(version, cache)
    if known is not None:
        return known
    with cache_lock(cache):
        known = cached(version, cache)  # another process may have filled it meanwhile
        if known is not None:
            return known
        jars = _download(version, cache, report)
        folder = cache / "kafka" / version
        folder.mkdir(parents=True, exist_ok=True)
        manifest = {
            "kafka": version,
            "jars": [
                {"path": str(jar.relative_to(cache)), "bytes": jar.stat().st_size} for jar in jars
            ],
        }
        partial = folder / "jars.json.partial"
        partial.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        partial.replace(folder / "jars.json")
    return Distribution(version=version, folder=folder, jars=tuple(jars))


def _download(version: str, cache: Path, report: ReportProgress) -> list[Path]:
    """Resolve and download the jars; return their paths, Kafka's own first."""
    try:
        from jgo.config import GlobalSettings  # noqa: PLC0415 - optional package
        from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415 - optional package
        from jgo.maven import MavenContext  # noqa: PLC0415 - optional package
    except ImportError as error:
        raise MissingDependencyError(
            "the embedded broker needs the package jgo 3 or newer to download Kafka\n"
            "  remedy: pip install 'videojam[broker]'"
        ) from error
    coordinate = f"{GROUP}:{ARTIFACT}:{version}"
    repository = cache / "maven"
    try:
        context = MavenContext(
            resolver=_atomic_resolver(cache / "partial"),
            repo_cache=repository,
            remote_repos={"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories},
            timeout=_TIMEOUT_S,
        )
        report(Progress(message=f"resolving {coordinate} into {repository}"))
        artifacts = _resolve(context, version)
        jars: list[Path] = []
        for artifact in artifacts:
            name = str(artifact.filename)
            report(Progress(message=f"downloading {name}", done=len(jars), total=len(artifacts)))
            jars.append(Path(artifact.resolve()))
        report(Progress(message="jars complete", done=len(jars), total=len(artifacts)))
    except (OSError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            raise fault(
                f"cannot obtain {coordinate}: the server's certificate is signed by nobody trusted",
                "where a proxy of your network signs certificates, name the PEM file of its "
                "authority in REQUESTS_CA_BUNDLE and try again",
            ) from error
        raise fault(
            f"cannot obtain {coordinate}: {reason[:300]}",
            "connect to the internet for the first start and try again (it goes on where it "
            f"stopped), or copy a filled cache folder to {cache} (or point VIDEOJAM_CACHE at it); "
            "a mirror of Maven Central is set under [repositories] in ~/.config/jgo.conf",
        ) from error
    return jars


def _resolve(context: Any, version: str) -> list[Any]:
    """Return jgo's artifacts of the run-time class path."""
    from jgo.parse import Coordinate  # noqa: PLC0415 - optional package

    wanted = context.create_dependency(
        Coordinate(groupId=GROUP, artifactId=ARTIFACT, version=version, scope="compile")
    )
    inputs, transitive = context.resolver.resolve([wanted])
    needed = [*inputs, *(d for d in transitive if d.scope in ("compile", "runtime"))]
    artifacts = [dependency.artifact for dependency in needed]
    # Kafka logs through slf4j to log4j2, but the pom leaves the bridge to the distribution.
    versions = {artifact.artifactId: artifact.version for artifact in artifacts}
    slf4j_1 = versions["slf4j-api"].startswith("1.")
    bridge = "log4j-slf4j-impl" if slf4j_1 else "log4j-slf4j2-impl"
    component = context.project(LOG4J_GROUP, bridge).at_version(versions["log4j-api"])
    return [*artifacts, component.artifact()]


def _atomic_resolver(staging: Path) -> Any:
    """Return jgo's resolver, made safe against interruption.

    jgo writes a download straight to its place in the repository and takes any file there for
    complete. This one downloads beside it, checks the archive's checksums, and moves it.
    """
    from jgo.maven import PythonResolver  # noqa: PLC0415 - optional package

    class AtomicResolver(PythonResolver):
        """Downloads to a staging folder first."""

        def download(self, artifact: Any) -> Path | None:
            """Download `artifact` completely, or not at all."""
            aside = copy.copy(artifact.context)
            aside.repo_cache = staging
            component = aside.project(artifact.groupId, artifact.artifactId).at_version(
                artifact.version
            )
            twin = component.artifact(artifact.classifier, artifact.packaging)
            Path(twin.cached_path).unlink(missing_ok=True)
            fetched = super().download(twin)
            if fetched is None:
                return None
            complete = Path(fetched)
            if complete.suffix == ".jar":
                with zipfile.ZipFile(complete) as archive:
                    damaged = archive.testzip()
                if damaged is not None:
                    raise zipfile.BadZipFile(f"{complete.name}: {damaged} is damaged")
            place = Path(artifact.cached_path)
            place.parent.mkdir(parents=True, exist_ok=True)
            return complete.replace(place)

    return AtomicResolver()
