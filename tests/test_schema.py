"""The published JSON Schemas: up to date, good for editors, and of one mind with the code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from jsonschema import Draft202012Validator, ValidationError

from dataflow.config import parse_config
from dataflow.errors import ConfigError
from dataflow.messages import WorkItem
from dataflow.results import build_result
from dataflow.schema import DIALECT, main, result_schema, schema_files, topics_schema
from tests.config.kit import VALID
from tests.config.test_loading import FAULTS
from tests.strategies import items, micros
from tests.test_results import VALID as RESULT_VALUE

ROOT = Path(__file__).parent.parent
TOPICS = Draft202012Validator(topics_schema())
RESULT = Draft202012Validator(result_schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)


def objects(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and schema of each object that has properties."""
    yield "top", schema
    yield from schema["$defs"].items()


@pytest.mark.parametrize("name", sorted(schema_files()))
def test_the_committed_copy_is_up_to_date(name: str) -> None:
    committed = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert committed == schema_files()[name], "run `python -m dataflow.schema docs`"


def test_the_files_are_written_where_asked_for(tmp_path: Path) -> None:
    main(tmp_path / "new")
    assert {path.name: path.read_text() for path in (tmp_path / "new").iterdir()} == schema_files()


@pytest.mark.parametrize("schema", [topics_schema(), result_schema()], ids=["topics", "result"])
class TestForm:
    def test_it_is_a_schema_with_a_name(self, schema: dict[str, Any]) -> None:
        Draft202012Validator.check_schema(schema)
        assert schema["$schema"] == DIALECT
        assert schema["$id"].startswith("urn:videojam:schema:")
        assert schema["title"]
        assert schema["description"]

    def test_each_key_is_described(self, schema: dict[str, Any]) -> None:
        for name, definition in objects(schema):
            assert definition.get("description"), name
            for key, value in definition["properties"].items():
                target = schema["$defs"].get(value.get("$ref", "").rpartition("/")[2], {})
                assert value.get("description") or target.get("description"), f"{name}.{key}"
                assert "title" not in value, f"{name}.{key}"

    def test_unknown_keys_are_refused(self, schema: dict[str, Any]) -> None:
        for name, definition in objects(schema):
            assert definition["additionalProperties"] is False, name


def test_the_keys_that_name_something_say_so_themselves() -> None:
    schema = topics_schema()
    assert schema["properties"]["deployment"]["description"].startswith("Prefix of all topic")
    assert schema["$defs"]["StepConfig"]["properties"]["function"]["description"] == (
        "One of the declared functions."
    )
    assert schema["$defs"]["FunctionConfig"]["properties"]["partitioning"]["enum"] == [
        "camera",
        "spread",
    ]


@pytest.mark.parametrize("text", [VALID, (ROOT / "topics.yaml").read_text(encoding="utf-8")])
def test_valid_files_are_valid(text: str) -> None:
    TOPICS.validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    "cluster",
    [
        {"replication": "${COPIES}", "min_insync_replicas": "${LEAST}", "max_message_size": "${S}"},
        {"security": {"protocol": "${PROTOCOL}", "sasl_mechanism": "${M}", "password": "a${B}c"}},
        {"max_message_size": "1.5 MiB"},
        {"max_message_size": 5},
    ],
)
def test_values_from_the_environment_are_valid(cluster: dict[str, Any]) -> None:
    TOPICS.validate({**yaml.safe_load(VALID), "cluster": cluster})


OWN_VALIDATORS = {"functions.detect", "cluster", "cluster.security", "pipelines.fixed"}
"""Where one value contradicts another: a schema cannot tell."""


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        (old, new, key)
        for old, new, key, value, _ in FAULTS
        if not (key in OWN_VALIDATORS and value is None)
        and value != "dtect"
        and value != float("inf")  # YAML can say it, JSON cannot
        and not key.endswith("then.0")
    ],
)
def test_the_schema_sees_the_faults_of_single_values(old: str, new: str, key: str) -> None:
    with pytest.raises(ValidationError):
        TOPICS.validate(yaml.safe_load(VALID.replace(old, new)))
    assert key


@pytest.mark.parametrize(
    "size", ["64MiB", "1 GB", "7", "7b", "1.5k", "2T", "3kib", "5Ki", "x", "1PB"]
)
def test_sizes_that_the_schema_takes_are_read(size: str) -> None:
    tree = yaml.safe_load(VALID)
    tree["functions"]["detect"]["queue"]["size"] = size
    if TOPICS.is_valid(tree):
        parse_config(yaml.safe_dump(tree), environment={})
    elif size in ("5Ki", "x"):
        with pytest.raises(ConfigError):
            parse_config(yaml.safe_dump(tree), environment={})


@given(items(), micros)
def test_results_are_valid(work: WorkItem, finished_at: float) -> None:
    RESULT.validate(json.loads(build_result(work, finished_at).to_json()))


@pytest.mark.parametrize(
    "change",
    [{"version": 2}, {"sequence": -1}, {"more": 1}, {"id": 5}, {"vehicles": [{"kind": "vehicle"}]}],
)
def test_other_things_are_no_results(change: dict[str, Any]) -> None:
    RESULT.validate(RESULT_VALUE)
    with pytest.raises(ValidationError):
        RESULT.validate({**RESULT_VALUE, **change})
