"""`videojam init` and `videojam validate`."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from cli.init import default_topics
from dataflow.config import load_config
from tests.cli.conftest import Videojam
from tests.topics.declarations import declaration_text


def test_init_writes_a_commented_declaration_that_loads(videojam: Videojam, tmp_path: Path) -> None:
    result = videojam("init")
    assert result.exit_code == 0
    text = (tmp_path / "topics.yaml").read_text()
    assert set(load_config(tmp_path / "topics.yaml").pipelines) == {"fixed", "mobile"}
    assert "\n  # A camera that stands still" in text
    assert "yaml-language-server" not in text


def test_init_never_overwrites_unasked(videojam: Videojam, tmp_path: Path) -> None:
    file = tmp_path / "topics.yaml"
    file.write_text("mine")
    refused = videojam("init")
    assert refused.exit_code == 1
    assert "--force" in refused.stderr
    assert file.read_text() == "mine"
    assert videojam("init", "--force").exit_code == 0
    assert file.read_text() == default_topics()


def test_init_makes_the_folder_and_says_how_to_go_on(videojam: Videojam, tmp_path: Path) -> None:
    result = videojam("init", "a/b")
    assert result.exit_code == 0
    assert (tmp_path / "a/b/topics.yaml").is_file()
    assert "--config a/b/topics.yaml" in result.stdout


def test_init_into_a_file_is_an_error(videojam: Videojam, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert videojam("init", "file/below").exit_code == 1


@pytest.mark.parametrize("command", [("validate",), ("topics", "validate")])
def test_a_valid_declaration(videojam: Videojam, tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "topics.yaml").write_text(declaration_text())
    result = videojam(*command)
    assert result.exit_code == 0, result.output
    assert result.stdout == "topics.yaml: 2 functions, 1 pipelines, 12 topics: valid\n"


def test_every_faulty_function_is_named_with_its_line(videojam: Videojam, tmp_path: Path) -> None:
    text = declaration_text(
        functions="  first:\n    plugin: emulatd\n  second:\n    plugin: emulated\n"
        "    parameters:\n      no_such: 1"
    )
    (tmp_path / "topics.yaml").write_text(text)
    lines = text.splitlines()
    plugin = lines.index("    plugin: emulatd") + 1
    parameter = lines.index("      no_such: 1") + 1
    result = videojam("validate")
    assert result.exit_code == 1
    assert f"topics.yaml:{plugin}: functions.first.plugin: no function plugin" in result.stderr
    assert "did you mean 'emulated'?" in result.stderr
    assert (
        f"topics.yaml:{parameter}: functions.second.parameters.no_such: unknown parameter"
        in result.stderr
    )


def test_a_faulty_balancer_or_forecaster_is_named_with_its_line(
    videojam: Videojam, tmp_path: Path
) -> None:
    text = declaration_text(
        functions="  first:\n    plugin: emulated\n    balancing:\n      policy: wrr\n"
        "      parameters:\n        keep_daed: true\n"
        "  second:\n    plugin: emulated\n    balancing:\n      forecaster: dense\n"
        "      forecaster_parameters:\n        model: absent.tflite"
    )
    (tmp_path / "topics.yaml").write_text(text)
    lines = text.splitlines()
    parameter = lines.index("        keep_daed: true") + 1
    model = lines.index("        model: absent.tflite") + 1
    result = videojam("validate")
    assert result.exit_code == 1
    assert (
        f"topics.yaml:{parameter}: functions.first.balancing.parameters.keep_daed: "
        "unknown parameter\n  remedy: did you mean 'keep_dead'?"
    ) in result.stderr
    assert (
        f"topics.yaml:{model}: functions.second.balancing.forecaster_parameters.model: "
        "absent.tflite: the network cannot be read"
    ) in result.stderr


ROOMIE = """\
roomie:
  placer: rommie
  autoscaling:
    policy: infas
    forecaster: mixtur
"""


def test_what_roomie_is_to_use_is_checked_too(videojam: Videojam, tmp_path: Path) -> None:
    text = declaration_text() + ROOMIE
    (tmp_path / "topics.yaml").write_text(text)
    lines = text.splitlines()
    result = videojam("validate")
    assert result.exit_code == 1
    for line, key, words in (
        ("  placer: rommie", "placer", "did you mean 'roomie'?"),
        ("    policy: infas", "autoscaling.policy", "did you mean 'infaas'?"),
        ("    forecaster: mixtur", "autoscaling.forecaster", "did you mean 'mixture'?"),
    ):
        assert f"topics.yaml:{lines.index(line) + 1}: roomie.{key}: no " in result.stderr
        assert words in result.stderr
    text = declaration_text() + "roomie: {placer: least-loaded, autoscaling: {forecaster: ewma}}\n"
    (tmp_path / "topics.yaml").write_text(text)
    result = videojam("validate")
    assert result.exit_code == 0, result.output


def test_folders_of_profiles_and_tables_of_gpus_are_looked_for(
    videojam: Videojam, tmp_path: Path
) -> None:
    for section in ("{profiles: [nowhere]}", "{devices: nowhere}"):
        (tmp_path / "topics.yaml").write_text(declaration_text() + f"roomie: {section}\n")
        result = videojam("validate")
        assert result.exit_code == 1
        line = len(declaration_text().splitlines()) + 1
        assert f"topics.yaml:{line}: roomie.{section[1:8]}" in result.stderr
        assert "nowhere: " in result.stderr


def test_a_fault_within_a_table_of_gpus_keeps_its_own_place(
    videojam: Videojam, tmp_path: Path
) -> None:
    (tmp_path / "gpus.yaml").write_text(
        "devices:\n  toy:\n    {compute_capability: '1.0', sms: 1, memory: 1000000000, "
        "fp32_tflops: 1, bandwidth_gb_s: 1}\n"
    )
    (tmp_path / "topics.yaml").write_text(declaration_text() + "roomie: {devices: gpus.yaml}\n")
    result = videojam("validate")
    assert result.exit_code == 1
    assert "gpus.yaml: devices.toy.compute_capability: " in result.stderr


def test_a_missing_declaration_names_init(videojam: Videojam) -> None:
    result = videojam("validate", "--config", "elsewhere.yaml")
    assert result.exit_code == 1
    assert "elsewhere.yaml: no such file" in result.stderr
    assert "videojam init" in result.stderr


@pytest.mark.parametrize("command", [("topics", "schema"), ("schema",), ("schema", "topics")])
def test_the_schema_accepts_what_init_writes(videojam: Videojam, command: tuple[str, ...]) -> None:
    result = videojam(*command)
    assert result.exit_code == 0
    schema = json.loads(result.stdout)
    jsonschema.validate(yaml.safe_load(default_topics()), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**yaml.safe_load(default_topics()), "unknown": 1}, schema)


def test_the_schema_of_results(videojam: Videojam) -> None:
    result = videojam("schema", "result")
    assert result.exit_code == 0
    assert "camera" in json.loads(result.stdout)["properties"]
    assert videojam("schema", "nothing").exit_code == 2
