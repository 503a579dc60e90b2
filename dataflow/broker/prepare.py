"""What is computed once for a Kafka release, so that each start of a broker is quick.

- The *template* of a formatted data folder: Kafka's own storage tool formats one, and every new
  data folder is a copy with ids of its own. That saves a Java start for each new folder.
- The *class archive* (CDS, or an AOT cache from Java 25 on): the JVM of a broker that has just
  become ready writes the classes it has loaded, and every later one maps them. That halves the
  time until a broker answers. Without it everything works, only slower.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path

from dataflow.broker._faults import explain, fault
from dataflow.broker.distribution import Distribution, Progress, ReportProgress, cache_lock, silent
from dataflow.broker.java import JavaRuntime
from dataflow.broker.jvm import archive_name, jvm_options
from dataflow.broker.ready import free_ports, wait_until_ready
from dataflow.broker.settings import BrokerSettings, log4j2_properties, server_properties
from dataflow.processes import GuardedProcess

STORAGE_TOOL = "kafka.tools.StorageTool"
BROKER = "kafka.Kafka"

META = "meta.properties"
_FORMAT_TIMEOUT_S = 120.0
_RECORD_TIMEOUT_S = 120.0


def new_id() -> str:
    """Return a new id as Kafka writes them: 16 random bytes in URL-safe base 64."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):  # Kafka avoids those too: they look like options
            return text


def cluster_id_of(kafka_dir: Path) -> str | None:
    """Return the cluster id of a formatted log directory, None if it is not formatted."""
    try:
        text = (kafka_dir / META).read_text(encoding="latin-1")
    except FileNotFoundError:
        return None
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "cluster.id":
            return value.strip()
    return None


def with_new_ids(meta: str, cluster_id: str, directory_id: str) -> str:
    """Return the text of a ``meta.properties`` with other ids, all else as it is."""
    ids = {"cluster.id": cluster_id, "directory.id": directory_id}
    lines = []
    for line in meta.splitlines():
        key = line.partition("=")[0].strip()
        lines.append(f"{key}={ids[key]}" if key in ids else line)
    return "\n".join(lines) + "\n"


def write_configuration(settings: BrokerSettings, *, port: int, controller_port: int) -> Path:
    """Write the files Kafka reads into the data folder; return the path of server.properties."""
    for folder in (settings.data_dir, settings.kafka_dir, settings.log_dir):
        folder.mkdir(parents=True, exist_ok=True)
    properties = settings.data_dir / "server.properties"
    properties.write_text(
        server_properties(settings, port=port, controller_port=controller_port), encoding="ascii"
    )
    (settings.data_dir / "log4j2.properties").write_text(
        log4j2_properties(settings), encoding="ascii"
    )
    return properties


def broker_command(
    java: JavaRuntime,
    distribution: Distribution,
    settings: BrokerSettings,
    *,
    record_archive: Path | None = None,
) -> list[str]:
    """Return the command line that runs the broker whose configuration lies in its data folder."""
    return [
        str(java.executable),
        *jvm_options(
            java,
            heap=settings.heap,
            archive=_usable_archive(distribution, java),
            record_archive=record_archive,
        ),
        f"-Dlog4j2.configurationFile={settings.data_dir / 'log4j2.properties'}",
        "-cp",
        distribution.class_path,
        BROKER,
        str(settings.data_dir / "server.properties"),
    ]


def ensure_template(distribution: Distribution, java: JavaRuntime) -> Path:
    """Return the formatted folder that new ones are copied from, making it the first time.

    Raises:
        EmbeddedBrokerError: Kafka's storage tool failed.
    """
    template = distribution.folder / "template"
    if not (template / META).exists():
        with cache_lock(distribution.folder):
            if not (template / META).exists():
                _make_template(distribution, java, template)
    return template


def format_storage(distribution: Distribution, java: JavaRuntime, kafka_dir: Path) -> str:
    """Make `kafka_dir` a formatted log directory of a new cluster; return the cluster's id.

    Raises:
        EmbeddedBrokerError: Kafka's storage tool failed.
        OSError: the folder cannot be written.
    """
    template = ensure_template(distribution, java)
    cluster_id = new_id()
    kafka_dir.mkdir(parents=True, exist_ok=True)
    for source in template.iterdir():
        if source.name != META:
            shutil.copyfile(source, kafka_dir / source.name)
    # Last, and at once: a folder with this file counts as formatted.
    meta = (template / META).read_text(encoding="latin-1")
    partial = kafka_dir / f"{META}.partial"
    partial.write_text(with_new_ids(meta, cluster_id, new_id()), encoding="latin-1")
    partial.replace(kafka_dir / META)
    return cluster_id


def _make_template(distribution: Distribution, java: JavaRuntime, template: Path) -> None:
    with tempfile.TemporaryDirectory(dir=distribution.folder) as scratch:
        settings = BrokerSettings(data_dir=Path(scratch), version=distribution.version)
        # The ports are written nowhere: formatting only checks that they are ports.
        properties = write_configuration(settings, port=9092, controller_port=9093)
        command = [
            str(java.executable),
            *jvm_options(java, heap="256m"),
            f"-Dlog4j2.configurationFile={settings.data_dir / 'log4j2.properties'}",
            "-cp",
            distribution.class_path,
            STORAGE_TOOL,
            *("format", "--cluster-id", new_id(), "--config", str(properties)),
        ]
        try:
            answer = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=_FORMAT_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise fault(
                f"Kafka's storage tool did not end in {_FORMAT_TIMEOUT_S:.0f} s",
                "is the machine overloaded? Try again",
            ) from error
        formatted = settings.kafka_dir
        if answer.returncode != 0 or not (formatted / META).exists():
            raise explain(
                "Kafka's storage tool failed", answer.stdout.splitlines(), "shown in part"
            )
        shutil.rmtree(template, ignore_errors=True)
        formatted.rename(template)


def ensure_archive(
    distribution: Distribution,
    java: JavaRuntime,
    *,
    report: ReportProgress = silent,
    environ: dict[str, str] | None = None,
) -> bool:
    """Record the class archive for `java` unless it is there; True if it is there afterwards.

    A broker in a temporary folder is started and stopped once, which takes about ten seconds. It
    is not an error if that fails: brokers start without an archive too.
    """
    archive = distribution.folder / archive_name(java)
    if archive.exists():
        return _usable_archive(distribution, java) is not None
    ensure_template(distribution, java)
    with cache_lock(distribution.folder):
        # An empty file marks a failed attempt, which is not repeated at every start.
        if not archive.exists():
            report(Progress(message="preparing fast starts (once for this Java and Kafka)"))
            with suppress(OSError):
                _record_into(archive, distribution, java, environ)
    return _usable_archive(distribution, java) is not None


def _usable_archive(distribution: Distribution, java: JavaRuntime) -> Path | None:
    archive = distribution.folder / archive_name(java)
    try:
        return archive if archive.stat().st_size > 0 else None
    except OSError:
        return None


def _record_into(
    archive: Path,
    distribution: Distribution,
    java: JavaRuntime,
    environ: dict[str, str] | None,
) -> None:
    with tempfile.TemporaryDirectory(dir=distribution.folder) as scratch:
        recorded = Path(scratch) / archive.name
        if _record(distribution, java, Path(scratch), recorded, environ):
            recorded.replace(archive)
        else:
            archive.touch()


def _record(
    distribution: Distribution,
    java: JavaRuntime,
    scratch: Path,
    recorded: Path,
    environ: dict[str, str] | None,
) -> bool:
    settings = BrokerSettings(data_dir=scratch / "broker", version=distribution.version, port=0)
    port, controller_port = free_ports(settings.host, 2)
    write_configuration(settings, port=port, controller_port=controller_port)
    cluster_id = format_storage(distribution, java, settings.kafka_dir)
    command = broker_command(java, distribution, settings, record_archive=recorded)
    process = GuardedProcess(command, console=settings.console_file, environ=environ)
    try:
        ready = wait_until_ready(
            settings.host,
            port,
            bootstrap_servers=settings.bootstrap_servers(port),
            cluster_id=cluster_id,
            deadline=time.monotonic() + _RECORD_TIMEOUT_S,
            alive=lambda: process.exit_code() is None,
        )
        complied = process.terminate(_RECORD_TIMEOUT_S)
    finally:
        process.kill()
    return ready and complied and recorded.exists() and recorded.stat().st_size > 0
