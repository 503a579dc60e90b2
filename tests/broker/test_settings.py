from __future__ import annotations

from pathlib import Path

import pytest

from dataflow.broker.settings import BrokerSettings, log4j2_properties, server_properties


def parsed(text: str) -> dict[str, str]:
    """Read properties whose values need no unescaping."""
    properties: dict[str, str] = {}
    for line in text.splitlines():
        key, value = line.split("=", 1)
        assert key not in properties, f"{key} is written twice"
        properties[key] = value
    return properties


def test_properties_describe_one_node_that_is_controller_and_broker() -> None:
    settings = BrokerSettings(data_dir=Path("/data"))
    properties = parsed(server_properties(settings, port=9092, controller_port=19093))
    assert properties["process.roles"] == "broker,controller"
    assert properties["listeners"] == "CLIENTS://127.0.0.1:9092,CONTROLLER://127.0.0.1:19093"
    assert properties["controller.quorum.voters"] == "1@127.0.0.1:19093"
    assert properties["advertised.listeners"] == "CLIENTS://127.0.0.1:9092"
    assert properties["log.dirs"] == "/data/kafka"
    assert properties["auto.create.topics.enable"] == "false"
    assert properties["group.initial.rebalance.delay.ms"] == "0"
    assert int(properties["group.min.session.timeout.ms"]) <= 1000
    # A broker that was killed is refused until its former self is taken for dead.
    assert int(properties["broker.session.timeout.ms"]) <= 1500
    for name in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic"):
        assert properties[f"{name}.replication.factor"] == "1"


def test_a_frame_of_ten_megabytes_fits_every_limit_on_its_way() -> None:
    settings = BrokerSettings(data_dir=Path("/data"))
    properties = parsed(server_properties(settings, port=1, controller_port=2))
    assert int(properties["message.max.bytes"]) > 10_000_000
    assert int(properties["replica.fetch.max.bytes"]) >= int(properties["message.max.bytes"])
    assert int(properties["socket.request.max.bytes"]) > int(properties["message.max.bytes"])


def test_requests_that_wait_take_a_quarter_of_the_default_heap_at_most() -> None:
    settings = BrokerSettings(data_dir=Path("/data"))
    properties = parsed(server_properties(settings, port=1, controller_port=2))
    assert int(properties["queued.max.request.bytes"]) <= 512 * 1024 * 1024 // 4
    # Kafka refuses to start with less.
    assert int(properties["queued.max.request.bytes"]) >= int(
        properties["socket.request.max.bytes"]
    )


def test_extra_properties_override() -> None:
    settings = BrokerSettings(
        data_dir=Path("/data"), extra={"num.io.threads": "2", "message.max.bytes": "5"}
    )
    properties = parsed(server_properties(settings, port=1, controller_port=2))
    assert properties["num.io.threads"] == "2"
    assert properties["message.max.bytes"] == "5"


def test_a_wildcard_address_advertises_the_given_name() -> None:
    settings = BrokerSettings(
        data_dir=Path("/data"),
        host="0.0.0.0",  # noqa: S104 - nothing listens: only the text is looked at
        advertised_host="edge-1",
    )
    properties = parsed(server_properties(settings, port=9092, controller_port=2))
    assert properties["listeners"].startswith("CLIENTS://0.0.0.0:9092,")
    assert properties["advertised.listeners"] == "CLIENTS://edge-1:9092"


def test_ipv6_addresses_are_bracketed() -> None:
    settings = BrokerSettings(data_dir=Path("/data"), host="::1")
    assert settings.bootstrap_servers(9092) == "[::1]:9092"


@pytest.mark.parametrize(
    ("folder", "written"),
    [
        ("/a b/c", "log.dirs=/a b/c/kafka"),
        ("/back\\slash", "log.dirs=/back\\\\slash/kafka"),
        ("/größe", "log.dirs=/gr\\u00f6\\u00dfe/kafka"),
        ("/\N{VIDEO CAMERA}", "log.dirs=/\\ud83d\\udcf9/kafka"),
    ],
)
def test_folder_names_are_escaped_as_java_reads_them(folder: str, written: str) -> None:
    text = server_properties(BrokerSettings(data_dir=Path(folder)), port=1, controller_port=2)
    assert text.isascii()
    assert written in text.splitlines()


def test_the_log_is_rolled() -> None:
    text = log4j2_properties(BrokerSettings(data_dir=Path("/data")))
    assert "appender.file.fileName = /data/log/server.log" in text
    assert "appender.file.strategy.max = 3" in text
