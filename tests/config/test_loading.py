"""topics.yaml: what is read, and what a person is told when it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dataflow.config import declared_topics, load_config, parse_config
from dataflow.errors import ConfigError
from tests.config.kit import FILE, VALID, changed, fault, line_of

ROOT = Path(__file__).parents[2]


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


@pytest.mark.parametrize("value", ["6m", "301", "50ms"])
def test_a_session_is_as_long_as_clients_take(value: str) -> None:
    # Not among FAULTS: a schema cannot bound a duration that is written with its unit.
    with pytest.raises(ConfigError, match="than or equal to") as caught:
        parse_config(changed("replication: 1", f"session_timeout: {value}"), environment={})
    assert caught.value.key == "cluster.session_timeout"


@pytest.mark.parametrize("value", ["2m", "61", "50ms"])
def test_a_controllers_session_is_as_long_as_fausts_requests_take(value: str) -> None:
    section = f"roomie: {{session_timeout: {value}}}\n"
    with pytest.raises(ConfigError, match="than or equal to") as caught:
        parse_config(VALID + section, environment={})
    assert caught.value.key == "roomie.session_timeout"


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
    (
        "read: {}",
        "read: {balancing: {bytes_per_second: 0}}",
        "functions.read.balancing.bytes_per_second",
        0,
        "greater than 0",
    ),
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
