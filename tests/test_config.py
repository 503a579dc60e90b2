"""topics.yaml: what is read, and what a person is told when it is wrong."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dataflow.config import Config, TopicNames, declared_topics, load_config, parse_config
from dataflow.config.units import parse_duration
from dataflow.errors import ConfigError

ROOT = Path(__file__).parent.parent
FILE = Path("topics.yaml")
VALID = """\
version: 1
deployment: demo
cluster:
  bootstrap_servers: localhost:9092
  replication: 1
  security: {protocol: PLAINTEXT}
functions:
  detect:
    replicas: 2
    batch: {max: 4, wait: 10ms}
    queue: {items: 10, size: 1MiB}
  read: {}
pipelines:
  fixed:
    cameras: [fixed]
    steps:
      - function: detect
        then: [{to: read, send: crops, of: vehicle}]
      - function: read
"""


def fault(text: str, environment: Mapping[str, str] | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, file=FILE, environment=environment or {})
    return caught.value


def changed(old: str, new: str) -> str:
    assert VALID.count(old) == 1
    return VALID.replace(old, new)


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def test_the_projects_own_file_is_valid() -> None:
    config = load_config(ROOT / "topics.yaml", environment={})
    assert set(config.pipelines) == {"fixed", "mobile"}
    assert config.camera_kinds == ("fixed", "mobile")
    assert config.pipelines_for("fixed") == ("fixed",)
    assert config.pipelines_for("flying") == ()


def test_defaults_apply_where_nothing_is_written() -> None:
    config = parse_config(VALID, environment={})
    assert config.functions["read"].partitions == 4
    assert config.functions["detect"].queue.size == 1024**2
    assert config.functions["detect"].batch.wait == 0.01
    assert config.pipelines["fixed"].routes("read") == ()
    assert [route.to for route in config.pipelines["fixed"].routes("detect")] == ["read"]


# What is changed, where the fault is reported, its value, and words of the message and remedy.
FAULTS = [
    ("replicas: 2", "replicas: two", "functions.detect.replicas", "two", "integer"),
    ("replicas: 2", "replicas: -1", "functions.detect.replicas", -1, "greater than or equal"),
    ("replicas: 2", "replicas: 1.5", "functions.detect.replicas", 1.5, "integer"),
    ("replicas: 2", "replicas: true", "functions.detect.replicas", True, "no meaning"),
    ("replicas: 2", "replica: 2", "functions.detect.replica", None, "did you mean 'replicas'"),
    (
        "replicas: 2",
        "zzzzz: 2",
        "functions.detect.zzzzz",
        None,
        "known keys here: attempts, balancing, batch",
    ),
    ("replicas: 2", "replicas: 5", "functions.detect", None, "raise partitions to at least 5"),
    ("replicas: 2", "partitions: 0", "functions.detect.partitions", 0, "greater than or equal"),
    ("replicas: 2", "partitioning: any", "functions.detect.partitioning", "any", "'spread'"),
    (
        "replicas: 2",
        "stateful: true\n    partitioning: spread",
        "functions.detect",
        None,
        "partitioning: camera",
    ),
    ("max: 4", "max: 4000", "functions.detect.batch.max", 4000, "less than or equal to 1024"),
    ("max: 4", "most: 4", "functions.detect.batch.most", None, "known keys here: max, wait"),
    ("wait: 10ms", "wait: 10 weeks", "functions.detect.batch.wait", "10 weeks", "500ms, 2s, 10m"),
    ("wait: 10ms", "wait: -1", "functions.detect.batch.wait", -1, "greater than or equal"),
    ("wait: 10ms", "wait: .inf", "functions.detect.batch.wait", float("inf"), "finite"),
    ("size: 1MiB", "size: 1Ki", "functions.detect.queue.size", "1Ki", "byte unit"),
    ("size: 1MiB", "size: -1", "functions.detect.queue.size", -1, "could not parse"),
    ("size: 1MiB", "size: true", "functions.detect.queue.size", True, "no meaning"),
    ("read: {}", "Read_It: {}", "functions.Read_It", "Read_It", "lower-case letters"),
    ("read: {}", "read:", "functions.read", None, "write {} for all defaults"),
    ("read: {}", "read: 3", "functions.read", 3, "mapping"),
    ("version: 1", "version: 2", "version", 2, "should be 1"),
    ("version: 1\n", "", "version", None, "add 'version'"),
    ("deployment: demo", "deployment: Demo!", "deployment", "Demo!", "lower-case letters"),
    ("deployment: demo", "deplyment: demo", "deplyment", None, "did you mean 'deployment'"),
    ("replication: 1", "min_insync_replicas: 2", "cluster", None, "no record could ever be"),
    ("replication: 1", "replication: 0", "cluster.replication", 0, "greater than or equal"),
    (
        "protocol: PLAINTEXT",
        "protocol: plain",
        "cluster.security.protocol",
        "plain",
        "'SASL_PLAINTEXT'",
    ),
    (
        "protocol: PLAINTEXT",
        "protocol: SASL_SSL",
        "cluster.security",
        None,
        "needs sasl_mechanism, username and password",
    ),
    ("[fixed]", "[]", "pipelines.fixed.cameras", None, "at least 1"),
    ("[fixed]", "[Fix]", "pipelines.fixed.cameras.0", "Fix", "lower-case letters"),
    ("function: detect", "function: dtect", "pipelines.fixed.steps.0.function", "dtect", "detect"),
    ("function: detect", "id: a", "pipelines.fixed.steps.0.function", None, "add 'function'"),
    ("- function: read", "- function: detect", "pipelines.fixed", None, "give one of them an id"),
    ("to: read", "to: raed", "pipelines.fixed", None, "its steps: detect, read"),
    ("to: read", "to: detect", "pipelines.fixed", None, "routes go forward only"),
    (", of: vehicle", "", "pipelines.fixed.steps.0.then.0", None, "needs 'of'"),
    ("of: vehicle", "min_score: 2", "pipelines.fixed.steps.0.then.0.min_score", 2, "less than"),
]


@pytest.mark.parametrize(("old", "new", "key", "value", "words"), FAULTS)
def test_a_fault_names_file_line_key_value_and_what_to_do(
    old: str, new: str, key: str, value: object, words: str
) -> None:
    text = changed(old, new)
    error = fault(text)
    assert error.file == FILE
    assert error.key == key
    assert error.value == value
    assert words in str(error)
    last = key.rsplit(".", 1)[-1]
    if new.startswith(f"{last}:"):
        assert error.line == line_of(text, new)
    assert error.line is not None
    assert f"topics.yaml:{error.line}: {key}: " in str(error)


def test_a_wrong_value_comes_with_the_meaning_of_its_key() -> None:
    assert fault(changed("replicas: 2", "replicas: two")).remedy == (
        "replicas: Worker processes that `videojam up` starts."
    )


def test_a_balancer_that_is_not_installed_is_named_with_those_that_are() -> None:
    text = changed("  read: {}", "  read: {balancing: {policy: jqs}}")
    error = fault(text)
    assert error.key == "functions.read.balancing.policy"
    assert error.line == line_of(text, "policy: jqs")
    assert "did you mean 'jsq'" in str(error)
    assert "shared-queue" in str(error)


def test_further_faults_are_counted() -> None:
    error = fault(changed("batch: {max: 4, wait: 10ms}", "batch: {max: 0, wait: x}"))
    assert error.key == "functions.detect.batch.max"
    assert "1 more fault" in str(error)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "must be a mapping with the keys"),
        ("~\n", 1, "must be a mapping"),
        ("- version: 1\n", 1, "must be a mapping"),
        ("version: 1\nfunctions: [\n", 3, "not valid YAML"),
        ("version: 1\n\tdeployment: x\n", 2, "not valid YAML"),
        ("version: 1\n---\nversion: 1\n", 2, "another document"),
        ("version: 1\ndeployment: \x01\n", 2, "'\\x01' is not allowed"),
        ("version: 1\nx: !!int five\n", 2, "invalid literal"),
        ("version: 1\nx: 2001-99-99\n", 2, "month must be in"),
        ("version: 1\nx: *nowhere\n", 2, "undefined alias"),
        ("version: 1\nx: !!python/object/apply:os.getcwd []\n", 2, "could not determine"),
        ("? [a, b]\n: 1\n", 1, "unhashable key"),
        ("version: &v [*v]\n", None, "an alias"),
        ("[" * 1000, None, "nested too deeply"),
    ],
)
def test_what_is_not_yaml_is_told_with_its_line(text: str, line: int | None, words: str) -> None:
    error = fault(text)
    assert error.line == line
    assert error.file == FILE
    assert words in str(error)


@given(st.text(max_size=60))
def test_any_text_is_a_configuration_or_a_configuration_error(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_config(text, environment={})


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates()
)
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.data())
def test_any_value_anywhere_is_read_or_is_a_configuration_error(data: st.DataObject) -> None:
    tree = yaml.safe_load(VALID)
    here = tree
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(here[key], dict | list) or not here[key] or data.draw(st.booleans()):
            break
        here = here[key]
    here[key] = data.draw(trees)
    text = yaml.safe_dump(tree, allow_unicode=True)
    try:
        config = parse_config(text, environment={})
    except ConfigError as error:
        assert str(error)  # noqa: PT017 - either outcome is right
    else:
        assert declared_topics(config)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("replicas: 2", "replicas: 2\n    replicas: 3", "functions.detect.replicas"),
        ("read: {}", "read: {}\n  detect: {}", "functions.detect"),
        ("version: 1", "version: 1\ndeployment: x", "deployment"),
        ("to: read", "to: read, to: read", "pipelines.fixed.steps.0.then.0.to"),
    ],
)
def test_a_key_that_stands_twice_is_a_fault(old: str, new: str, key: str) -> None:
    error = fault(changed(old, new))
    assert error.key == key
    assert "twice" in error.message
    assert error.line is not None
    assert error.remedy == "remove one of the two"


def test_a_missing_file_and_an_unreadable_one_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file") as missing:
        load_config(tmp_path / "none.yaml")
    assert "videojam init" in str(missing.value.remedy)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("version: 1 # caf\xe9\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(latin)


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


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("2s", 2.0),
        ("1.5 s", 1.5),
        (" 10m ", 600.0),
        ("1h", 3600.0),
        ("7d", 604800.0),
        (3, 3.0),
        (0.25, 0.25),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-1s", "1 s s", "1e3s", "5S", True, None, [1], "٣s x"]
)
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="such as 500ms"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("64MiB", 64 * 1024**2), ("1GiB", 1024**3), ("500kB", 500_000), ("7", 7), ("1.5k", 1500)],
)
def test_sizes(text: str, size: int) -> None:
    config = parse_config(changed("size: 1MiB", f"size: {text}"), environment={})
    assert config.functions["detect"].queue.size == size


class TestDeclaredTopics:
    config: Config = parse_config(
        changed(
            "replicas: 2", "replicas: 2\n    stateful: true\n    retention: {time: 1m, size: 1GB}"
        ),
        environment={},
    )
    specs: ClassVar = {spec.name: spec for spec in declared_topics(config)}

    def test_each_function_and_pipeline_has_its_topics(self) -> None:
        assert set(self.specs) == {
            "demo.detect.work",
            "demo.detect.state",
            "demo.detect.signals",
            "demo.detect.dead",
            "demo.detect.snapshots",
            "demo.read.work",
            "demo.read.state",
            "demo.read.signals",
            "demo.read.dead",
            "demo.results.fixed",
            "demo.accounting",
            "demo.capacity",
        }
        assert TopicNames("demo").work("detect") in self.specs
        assert len(declared_topics(self.config)) == len(self.specs)

    def test_policies_follow_what_is_kept(self) -> None:
        policies = {name: spec.configs["cleanup.policy"] for name, spec in self.specs.items()}
        compacted = {name for name, policy in policies.items() if policy == "compact"}
        assert compacted == {
            "demo.detect.state",
            "demo.read.state",
            "demo.detect.snapshots",
            "demo.capacity",
        }
        assert set(policies.values()) == {"compact", "delete"}

    def test_work_keeps_what_its_retention_says(self) -> None:
        work = self.specs["demo.detect.work"]
        assert work.configs["retention.ms"] == "60000"
        assert work.configs["retention.bytes"] == "1000000000"
        assert int(work.configs["segment.ms"]) < 60_000
        assert "retention.bytes" not in self.specs["demo.results.fixed"].configs

    def test_partitions_follow_the_function_and_state_has_one(self) -> None:
        assert self.specs["demo.detect.work"].partitions == 4
        assert self.specs["demo.detect.snapshots"].partitions == 4
        assert {
            spec.partitions for name, spec in self.specs.items() if name.endswith((".state", "ing"))
        } == {1}

    def test_all_values_are_text_and_the_clusters_settings_are_everywhere(self) -> None:
        for spec in self.specs.values():
            assert all(isinstance(value, str) for value in spec.configs.values())
            assert spec.replication == 1
            assert spec.configs["max.message.bytes"] == str(10 * 1024 * 1024)
            assert spec.configs["min.insync.replicas"] == "1"
