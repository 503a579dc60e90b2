"""Values from the environment, and secrets that are told nobody."""

from __future__ import annotations

import traceback

import pytest

from dataflow.config import parse_config
from tests.config.kit import changed, fault, line_of


class TestEnvironment:
    text = changed(
        "security: {protocol: PLAINTEXT}",
        "security:\n    protocol: SASL_SSL\n    sasl_mechanism: PLAIN\n"
        "    username: ${KAFKA_USER}\n    password: pre-${KAFKA_PASSWORD}",
    )

    def test_variables_are_filled_in(self) -> None:
        environment = {"KAFKA_USER": "jam", "KAFKA_PASSWORD": "s3cret"}
        security = parse_config(self.text, environment=environment).cluster.security
        assert security.username == "jam"
        assert security.password is not None
        assert security.password.get_secret_value() == "pre-s3cret"

    def test_numbers_may_come_from_there(self) -> None:
        text = changed("replication: 1", "replication: ${COPIES}")
        assert parse_config(text, environment={"COPIES": "3"}).cluster.replication == 3

    def test_one_that_is_not_set_is_a_fault(self) -> None:
        error = fault(self.text, {"KAFKA_USER": "jam"})
        assert error.key == "cluster.security.password"
        assert error.line == line_of(self.text, "    password:")
        assert "KAFKA_PASSWORD is not set" in error.message
        assert error.remedy == "export KAFKA_PASSWORD=... before starting videojam"

    def test_only_the_cluster_takes_them(self) -> None:
        assert fault(changed("deployment: demo", "deployment: ${NAME}"), {"NAME": "x"}).value == (
            "${NAME}"
        )


@pytest.mark.parametrize(
    "security",
    [
        "{password: [hunter2]}",
        "{password: {hunter2: hunter2}}",
        "{key_password: [hunter2]}",
        "{password: hunter2, protocol: SASL_SSL}",
        "{password: hunter2, protocol: no}",
        "{passwrd: hunter2}",
        "{username: [hunter2]}",
        "hunter2",
        "[hunter2]",
        "${SECRET}",
        "{password: '${SECRET}', protocol: SASL_SSL}",
        "{protocol: '${SECRET}'}",
    ],
)
def test_secrets_are_in_no_message(security: str) -> None:
    text = changed("{protocol: PLAINTEXT}", security)
    error = fault(text, {"SECRET": "hunter2"})
    told = "".join(traceback.format_exception(error))
    assert "hunter2" not in told.replace("{hunter2:", "")
    assert "cluster.security" in str(error)


@pytest.mark.parametrize("key", ["replication", "max_message_size"])
def test_a_value_from_the_environment_is_shown_as_written(key: str) -> None:
    text = changed("replication: 1", f"{key}: ${{WRONG}}")
    error = fault(text, {"WRONG": "5 hunter2"})
    assert error.value == "${WRONG}"
    assert "hunter2" not in "".join(traceback.format_exception(error))


def test_a_password_is_not_printed_with_the_configuration() -> None:
    text = changed("{protocol: PLAINTEXT}", "{password: hunter2}")
    config = parse_config(text, environment={})
    assert "hunter2" not in f"{config!r}{config}{config.model_dump_json()}"
