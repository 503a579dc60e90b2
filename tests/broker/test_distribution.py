"""The cache of Kafka's jars, with jgo replaced by a network that fails when told to."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from dataflow.broker.distribution import Progress, cached, obtain
from dataflow.errors import EmbeddedBrokerError, MissingDependencyError

VERSION = "4.99.0"
GROUP = Path("org/apache/kafka")


def pom(artifact: str, version: str, group: str, dependencies: str = "") -> bytes:
    return (
        "<project><modelVersion>4.0.0</modelVersion>"
        f"<groupId>{group}</groupId><artifactId>{artifact}</artifactId>"
        f"<version>{version}</version><dependencies>{dependencies}</dependencies></project>"
    ).encode()


def dependency(group: str, artifact: str, version: str) -> str:
    return (
        f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>"
        f"<version>{version}</version></dependency>"
    )


def jar() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("Some.class", b"x" * 100)
    return buffer.getvalue()


class Network:
    """A Maven repository of four artifacts. `broken` maps file names to what goes wrong."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.broken: dict[str, Callable[[], bytes]] = {}
        log4j, slf4j = "org.apache.logging.log4j", "org.slf4j"
        self.files = {
            f"kafka_2.13-{VERSION}.pom": pom(
                "kafka_2.13",
                VERSION,
                "org.apache.kafka",
                dependency(slf4j, "slf4j-api", "1.7.36") + dependency(log4j, "log4j-api", "2.9"),
            ),
            f"kafka_2.13-{VERSION}.jar": jar(),
            "slf4j-api-1.7.36.pom": pom("slf4j-api", "1.7.36", slf4j),
            "slf4j-api-1.7.36.jar": jar(),
            "log4j-api-2.9.pom": pom("log4j-api", "2.9", log4j),
            "log4j-api-2.9.jar": jar(),
            "log4j-slf4j-impl-2.9.jar": jar(),
        }

    def request(self, _method: str, url: str, **_options: object) -> requests.Response:
        name = url.rpartition("/")[2]
        self.asked.append(name)
        response = requests.Response()
        response.status_code = 404
        content = self.broken[name]() if name in self.broken else self.files.get(name)
        if content is not None:
            response.status_code = 200
            response.raw = io.BytesIO(content)
        return response


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Network:
    network = Network()
    monkeypatch.setattr(requests, "request", network.request)
    monkeypatch.setenv("JGO_CONFIG_FILE", str(tmp_path / "none.conf"))
    return network


def offline() -> bytes:
    raise requests.ConnectionError("Network is unreachable")


def test_the_jars_are_downloaded_once_and_then_used_offline(
    network: Network, tmp_path: Path
) -> None:
    steps: list[Progress] = []
    first = obtain(VERSION, tmp_path, steps.append)
    assert [jar.name for jar in first.jars] == [
        f"kafka_2.13-{VERSION}.jar",
        "slf4j-api-1.7.36.jar",
        "log4j-api-2.9.jar",
        "log4j-slf4j-impl-2.9.jar",  # Kafka's pom leaves out the bridge to its own logging
    ]
    assert all(jar.is_relative_to(tmp_path) and jar.exists() for jar in first.jars)
    assert str(tmp_path) in steps[0].message, "the place of the jars is said"
    assert steps[-1].done == steps[-1].total == 4
    network.asked.clear()
    assert obtain(VERSION, tmp_path) == first
    assert network.asked == []


def test_without_network_and_cache_the_remedy_is_said(network: Network, tmp_path: Path) -> None:
    network.broken = dict.fromkeys(network.files, offline)
    with pytest.raises(EmbeddedBrokerError, match="Network is unreachable") as caught:
        obtain(VERSION, tmp_path)
    assert "remedy: connect to the internet" in str(caught.value)
    assert cached(VERSION, tmp_path) is None


def test_a_certificate_that_nobody_trusts_is_not_taken_for_a_missing_network(
    network: Network, tmp_path: Path
) -> None:
    def intercepted() -> bytes:
        raise requests.exceptions.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed")

    network.broken = dict.fromkeys(network.files, intercepted)
    with pytest.raises(EmbeddedBrokerError, match="REQUESTS_CA_BUNDLE") as caught:
        obtain(VERSION, tmp_path)
    assert "connect to the internet" not in str(caught.value)


def test_an_interrupted_download_goes_on_where_it_stopped(network: Network, tmp_path: Path) -> None:
    network.broken = {"log4j-api-2.9.jar": offline}
    with pytest.raises(EmbeddedBrokerError):
        obtain(VERSION, tmp_path)
    network.broken, network.asked = {}, []
    assert len(obtain(VERSION, tmp_path).jars) == 4
    assert "slf4j-api-1.7.36.jar" not in network.asked
    assert "log4j-api-2.9.jar" in network.asked


def test_a_truncated_jar_never_counts_as_downloaded(network: Network, tmp_path: Path) -> None:
    network.broken = {"log4j-api-2.9.jar": lambda: jar()[:-30]}
    with pytest.raises(EmbeddedBrokerError):
        obtain(VERSION, tmp_path)
    network.broken = {}
    for path in obtain(VERSION, tmp_path).jars:
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None


def test_a_release_that_does_not_exist_is_named(network: Network, tmp_path: Path) -> None:
    with pytest.raises(EmbeddedBrokerError, match=r"4\.98\.0"):
        obtain("4.98.0", tmp_path)
    assert network.asked


@pytest.mark.parametrize("version", ["3.9.0", "latest", "4.3", "../4.3.1"])
def test_only_releases_of_kafka_4_are_accepted(version: str, tmp_path: Path) -> None:
    with pytest.raises(EmbeddedBrokerError, match="unknown Kafka version"):
        obtain(version, tmp_path)


def test_a_missing_or_changed_jar_invalidates_the_cache(network: Network, tmp_path: Path) -> None:
    first = obtain(VERSION, tmp_path)
    first.jars[1].unlink()
    assert cached(VERSION, tmp_path) is None
    network.asked.clear()
    assert obtain(VERSION, tmp_path) == first
    assert network.asked.count("slf4j-api-1.7.36.jar") == 1


@pytest.mark.usefixtures("network")
def test_a_damaged_manifest_counts_as_none(tmp_path: Path) -> None:
    first = obtain(VERSION, tmp_path)
    manifest = first.folder / "jars.json"
    manifest.write_text(json.dumps({"jars": [{"path": "x"}]}), encoding="utf-8")
    assert cached(VERSION, tmp_path) is None
    assert obtain(VERSION, tmp_path) == first


def test_without_jgo_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jgo.maven", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'videojam\[broker\]'"):
        obtain(VERSION, tmp_path)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedBrokerError, match="cannot be written") as caught:
        obtain(VERSION, tmp_path / "file" / "cache")
    assert "VIDEOJAM_CACHE" in str(caught.value)
