"""A repository of instances, made from an operator's: folders and configurations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dataflow.errors import ConfigError, ModelError
from dataflow.functions.yolo.networks import BUILTIN
from roomie.errors import ModelLoadError
from roomie.triton.model_config import TUNING, Tuning, read_config
from roomie.triton.onnx_model import add_onnx
from roomie.triton.repository import InstanceRepository
from tests.roomie.triton.models import add_model


@pytest.fixture
def repository(tmp_path: Path) -> InstanceRepository:
    add_model(tmp_path / "models", "m", {1: "double", 2: "triple"})
    return InstanceRepository(tmp_path / "models", tmp_path / "instances")


def configured(repository: InstanceRepository, config: str, tuning: Tuning) -> dict[str, Any]:
    """The operator's configuration, as an instance gets it."""
    (repository.sources / "m" / "config.pbtxt").write_text(config)
    settings = repository.write("m.1", "m", tuning)
    assert read_config(repository.folder / "m.1" / "config.pbtxt") is not None
    loaded: dict[str, Any] = json.loads(settings.json)
    return loaded


def test_an_instance_is_a_model_with_one_version(repository: InstanceRepository) -> None:
    settings = repository.write("m.7", "m", Tuning(version=2, batch=4, window=0.002))
    folder = repository.folder / "m.7"
    assert {entry.name for entry in folder.iterdir()} == {"config.pbtxt", "2"}
    assert "triple" in (folder / "2" / "model.py").read_text()
    config = json.loads(settings.json)
    assert config["name"] == "m.7"
    assert config["max_batch_size"] == 4
    assert config["version_policy"] == {"specific": {"versions": ["2"]}}
    assert config["dynamic_batching"]["preferred_batch_size"] == [4]
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == "2000"
    assert config["instance_group"] == [{"count": 1, "kind": "KIND_CPU"}]
    assert config["parameters"][TUNING]["string_value"] == settings.tuning
    assert repository.has("m.7")
    repository.remove("m.7")
    assert not repository.has("m.7")
    assert (repository.sources / "m" / "2" / "model.py").exists(), "the operator's stays"


def test_the_gpu_and_the_limit_of_executions_go_into_the_configuration(
    repository: InstanceRepository,
) -> None:
    tuning = Tuning(version=1, gpu=3, executions=True)
    group = json.loads(repository.write("m.1", "m", tuning).json)["instance_group"][0]
    assert (group["kind"], group["gpus"]) == ("KIND_GPU", [3])
    assert group["rate_limiter"]["resources"] == [{"name": "executions", "count": 1}]


def test_one_at_a_time_needs_no_batching(repository: InstanceRepository) -> None:
    config = json.loads(repository.write("m.1", "m", Tuning(version=1, batch=1)).json)
    assert "dynamic_batching" not in config


def test_what_the_operator_wrote_beside_is_kept(repository: InstanceRepository) -> None:
    config = configured(
        repository,
        'backend: "onnxruntime" max_batch_size: 16\n'
        "instance_group [ { count: 2 kind: KIND_GPU gpus: [ 0, 1 ] } ]\n"
        "dynamic_batching { priority_levels: 2 default_priority_level: 1 }\n"
        'parameters { key: "layout" value { string_value: "yolov8" } }\n'
        "optimization { execution_accelerators {\n"
        '  gpu_execution_accelerator: [ { name: "tensorrt" } ] } }',
        Tuning(version=1, batch=8, gpu=1),
    )
    assert config["backend"] == "onnxruntime"
    assert config["optimization"]["execution_accelerators"]
    assert config["parameters"]["layout"]["string_value"] == "yolov8"
    assert config["dynamic_batching"]["priority_levels"] == "2"
    assert config["instance_group"] == [{"count": 2, "kind": "KIND_GPU", "gpus": [1]}]


def test_a_sequence_batcher_stays_one(repository: InstanceRepository) -> None:
    config = configured(
        repository, "max_batch_size: 8 sequence_batching { }", Tuning(version=1, batch=8)
    )
    assert "dynamic_batching" not in config
    assert "sequence_batching" in config


def test_without_a_configuration_triton_completes_one(repository: InstanceRepository) -> None:
    (repository.sources / "m" / "config.pbtxt").unlink()
    config = json.loads(repository.write("m.1", "m", Tuning(version=1, batch=4)).json)
    assert config["max_batch_size"] == 4
    assert "input" not in config


def test_a_model_without_batches_stays_so(repository: InstanceRepository) -> None:
    config = configured(repository, 'backend: "python"', Tuning(version=1, batch=1))
    assert config.get("max_batch_size", 0) == 0
    with pytest.raises(ModelLoadError, match="takes no batches"):
        repository.write("m.1", "m", Tuning(version=1, batch=2))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("max_batch_size: many", r"config.pbtxt:1: .*(\n.*)*remedy"),
        ('backend: "x"\nno_such_field: 1', "config.pbtxt:2: .*no_such_field"),
    ],
)
def test_a_configuration_that_is_none_is_refused_with_the_line(
    repository: InstanceRepository, config: str, said: str
) -> None:
    with pytest.raises(ModelLoadError, match=said):
        configured(repository, config, Tuning(version=1))


def test_copies_serve_where_links_would_lead_nowhere(repository: InstanceRepository) -> None:
    (repository.sources / "m" / "labels.txt").write_text("car\n")
    copying = InstanceRepository(repository.sources, repository.folder, copy=True)
    for _ in range(2):
        copying.write("m.1", "m", Tuning(version=1))
    version = repository.folder / "m.1" / "1"
    assert not version.is_symlink()
    assert (version / "model.py").is_file()
    assert (repository.folder / "m.1" / "labels.txt").read_text() == "car\n"
    linking = InstanceRepository(repository.sources, repository.folder)
    for _ in range(2):
        linking.write("m.1", "m", Tuning(version=1))
    assert version.is_symlink()
    copying.write("m.1", "m", Tuning(version=1))
    assert not version.is_symlink()
    assert (repository.sources / "m" / "1" / "model.py").read_bytes()
    linking.write("m.1", "m", Tuning(version=1))
    linking.remove("m.1")
    assert (repository.sources / "m" / "1" / "model.py").exists()


def test_what_others_keep_in_the_folder_is_neither_counted_nor_touched(
    repository: InstanceRepository,
) -> None:
    theirs = repository.folder / "theirs"
    (theirs / "1").mkdir(parents=True)
    (theirs / "config.pbtxt").write_text('backend: "onnxruntime"')
    (repository.folder / "bare" / "1").mkdir(parents=True)
    repository.write("m.1", "m", Tuning(version=1))
    assert repository.has("m.1")
    for name in ("theirs", "bare"):
        assert not repository.has(name)
        repository.remove(name)
        with pytest.raises(ModelLoadError, match="was not written by a node agent"):
            repository.write(name, "m", Tuning(version=1))
    assert (theirs / "config.pbtxt").read_text() == 'backend: "onnxruntime"'
    assert (repository.folder / "bare" / "1").is_dir()


@pytest.mark.parametrize("copy", [False, True])
def test_one_that_was_written_or_removed_by_halves_is_still_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copy: bool
) -> None:
    add_model(tmp_path / "models", "m", {1: "double"})
    repository = InstanceRepository(tmp_path / "models", tmp_path / "instances", copy=copy)

    class KilledError(BaseException):
        pass

    def kill(*_: object, **__: object) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(Path, "symlink_to", kill)
        patched.setattr("shutil.copytree", kill)
        with pytest.raises(KilledError):
            repository.write("m.1", "m", Tuning(version=1))
    assert repository.has("m.1")
    repository.write("m.1", "m", Tuning(version=1))
    with monkeypatch.context() as patched:
        patched.setattr("roomie.triton.repository._remove", kill)
        with pytest.raises(KilledError):
            repository.remove("m.1")
    assert repository.has("m.1")
    repository.remove("m.1")
    assert not any(repository.folder.iterdir())
    assert (repository.sources / "m" / "1" / "model.py").exists()


@pytest.mark.parametrize("fails", ["unlink", "rmdir"])
def test_one_that_cannot_be_deleted_is_said(
    repository: InstanceRepository, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    repository.write("m.1", "m", Tuning(version=1))

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(f"not permitted: {path}")

    with monkeypatch.context() as patched:
        patched.setattr(Path, fails, refuse)
        with pytest.raises(ModelLoadError, match=r"m\.1 cannot be deleted(.*\n)*.*remedy"):
            repository.remove("m.1")
    repository.remove("m.1")


@pytest.mark.parametrize(
    ("models", "instances", "said"),
    [
        ("r", "r", "is the folder of --models"),
        ("r", "r/instances", "lies in the folder of --models"),
        ("r/models", "r", "contains the folder of --models"),
        ("r", "link", "is the folder of --models"),
    ],
)
def test_instances_are_never_written_among_what_they_are_made_of(
    tmp_path: Path, models: str, instances: str, said: str
) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "r")
    with pytest.raises(ConfigError, match=said):
        InstanceRepository(tmp_path / models, tmp_path / instances)


def test_folders_that_are_no_versions_are_none(repository: InstanceRepository) -> None:
    for name in ("m/x", "m/007", "no-model/assets"):
        (repository.sources / name).mkdir(parents=True)
    assert repository.models() == {"m": (1, 2)}


def test_an_absent_repository_has_no_models(tmp_path: Path) -> None:
    nothing = InstanceRepository(tmp_path / "none", tmp_path / "instances")
    assert nothing.models() == {}
    with pytest.raises(ModelLoadError, match="it has: none"):
        nothing.write("m.1", "m", Tuning(version=1))


def test_an_onnx_network_becomes_a_model_of_the_python_backend(tmp_path: Path) -> None:
    folder = add_onnx(BUILTIN, tmp_path, "detector", version=3, max_batch=16)
    assert {entry.name for entry in folder.iterdir()} == {"model.onnx", "model.py"}
    config = read_config(tmp_path / "detector" / "config.pbtxt")
    assert config is not None
    assert (config.backend, config.max_batch_size) == ("python", 16)
    assert list(config.input[0].dims) == [3, -1, -1]
    assert config.parameters["layout"].string_value == "videojam-detector-1"


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no network file"):
        add_onnx(tmp_path / "none.onnx", tmp_path, "x")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(ModelError, match="is no ONNX network"):
        add_onnx(tmp_path / "text.onnx", tmp_path, "x")
