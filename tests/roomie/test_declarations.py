"""cluster.yaml, workloads and states: what is read, and what a person is told when it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataflow.errors import ConfigError
from roomie.declarations import load_cluster, load_state, load_workload, state_as_json
from roomie.devices import load_devices
from roomie.errors import ClusterError
from roomie.profiles import ProfileStore
from tests.roomie.kit import cluster, profile, running

DEVICES = load_devices()
CLUSTER = """\
version: 1
nodes:
  edge:
    count: 2
    gpus:
      - {device: A100-SXM4-40GB, count: 2}
      - {device: A100-SXM4-40GB/1g.5gb, max_instances: 1}
  box:
    gpus: [{device: AGX-Xavier}]
"""
WORKLOAD = """\
version: 1
requests:
  cars: {model: vgg19, instances: 2, latency: 20ms, spread: require, group: fleet}
  plates: {model: alexnet, batch: 8, rate: 100, removable: true}
"""


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "file.yaml"
    file.write_text(text)
    return file


def test_nodes_and_gpus_are_numbered(tmp_path: Path) -> None:
    gpus = load_cluster(write(tmp_path, CLUSTER), DEVICES).gpus
    assert [gpu.id for gpu in gpus] == [
        "edge-0/0", "edge-0/1", "edge-0/2", "edge-1/0", "edge-1/1", "edge-1/2", "box/0",
    ]  # fmt: skip
    assert (gpus[2].device.sms, gpus[2].max_instances, gpus[2].node) == (14, 1, "edge-0")


def test_instances_are_numbered_and_carry_what_was_declared(tmp_path: Path) -> None:
    first, second, third = load_workload(write(tmp_path, WORKLOAD))
    assert [r.id for r in (first, second, third)] == ["cars-0", "cars-1", "plates"]
    assert (first.latency_s, first.spread, first.spread_group) == (0.02, "require", "fleet")
    assert (third.batch, third.rate, third.removable, third.spread_group) == (
        8, 100, True, "alexnet",
    )  # fmt: skip


def test_a_state_is_written_and_read_again(tmp_path: Path) -> None:
    rich = running("a", "x", latency_s=0.01, rate=5.0, removable=True, spread="prefer", group="g")
    state = cluster(3, on={0: [running("b")], 2: [rich]})
    file = write(tmp_path, state_as_json(state))
    assert load_state(file, cluster(3)).residents == state.residents


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "words"),
    [
        ("version: 1", "version: 2", 1, "version", "Input should be 1"),
        ("AGX-Xavier", "AGX-Xavie", 9, "nodes.box.gpus.0.device", "did you mean 'AGX-Xavier'"),
        ("max_instances", "max_instance", 7, "nodes.edge.gpus.1.max_instance", "did you mean"),
        ("count: 2\n", "count: 0\n", 4, "nodes.edge.count", "greater than or equal to 1"),
        ("gpus: [{device: AGX-Xavier}]", "gpus: []", 9, "nodes.box.gpus", "at least 1 item"),
        ("  box:", "  edge-1:", None, "nodes", "two GPUs have one name"),
        ("  box:", "  edge:", 8, "nodes.edge", "stands here twice"),
        ("nodes:", "nodes: [", None, None, "not valid YAML"),
    ],
)
def test_a_wrong_cluster_names_file_line_and_key(
    tmp_path: Path, *, old: str, new: str, line: int | None, key: str | None, words: str
) -> None:
    assert old in CLUSTER
    file = write(tmp_path, CLUSTER.replace(old, new, 1))
    with pytest.raises(ConfigError, match=words) as caught:
        load_cluster(file, DEVICES)
    assert (caught.value.file, caught.value.key) == (file, key)
    if line is not None:
        assert caught.value.line == line


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "words"),
    [
        ("20ms", "20", 3, "requests.cars.latency", None),
        ("20ms", "soon", 3, "requests.cars.latency", "a duration is a number"),
        ("batch: 8", "batch: 0", 4, "requests.plates.batch", "greater than or equal"),
        ("rate: 100", "rate: -1", 4, "requests.plates.rate", "greater than"),
        ("spread: require", "spread: always", 3, "requests.cars.spread", "'none', 'prefer'"),
        ("model: alexnet, ", "", 4, "requests.plates.model", "missing"),
        ("  plates:", "  cars-1:", None, "requests", "two instances have one name"),
        ("  plates:", "  -plates-:", 4, "requests.-plates-", "is not a name"),
    ],
)
def test_a_wrong_workload_names_file_line_and_key(
    tmp_path: Path, *, old: str, new: str, line: int | None, key: str, words: str | None
) -> None:
    assert old in WORKLOAD
    file = write(tmp_path, WORKLOAD.replace(old, new, 1))
    if words is None:
        assert load_workload(file)[0].latency_s == 20
        return
    with pytest.raises(ConfigError, match=words) as caught:
        load_workload(file)
    assert (caught.value.file, caught.value.key) == (file, key)
    if line is not None:
        assert caught.value.line == line


STATE = """\
version: 1
instances:
- {id: x, gpu: g0, model: a, batch: 1}
- {id: y, gpu: g1, model: b, batch: 1}
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "words"),
    [
        ("gpu: g1", "gpu: g9", 4, "instances.1.gpu", "GPUs: g0, g1"),
        ("id: y", "id: x", 4, "instances.1.id", "two instances have one id"),
        ("batch: 1}\n-", "batch: 0}\n-", 3, "instances.0.batch", "greater than or equal"),
    ],
)
def test_a_wrong_state_names_file_line_and_key(
    tmp_path: Path, *, old: str, new: str, line: int, key: str, words: str
) -> None:
    assert old in STATE
    file = write(tmp_path, STATE.replace(old, new, 1))
    with pytest.raises(ConfigError, match=words) as caught:
        load_state(file, cluster(2))
    assert (caught.value.file, caught.value.line, caught.value.key) == (file, line, key)


PROFILES = ProfileStore([profile("vgg19", 8), profile("alexnet", 8)], DEVICES)


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "words"),
    [
        ("model: vgg19", "model: vgg91", 3, "requests.cars.model", "did you mean 'vgg19'"),
        ("model: alexnet", "model: zzz", 4, "requests.plates.model", "remedy: profiled models"),
        ("batch: 8", "batch: 3", 4, "requests.plates.batch", "profiled batch sizes: 8"),
    ],
)
def test_a_workload_may_name_only_what_is_profiled(
    tmp_path: Path, *, old: str, new: str, line: int, key: str, words: str
) -> None:
    assert len(load_workload(write(tmp_path, WORKLOAD), profiles=PROFILES)) == 3
    assert old in WORKLOAD
    file = write(tmp_path, WORKLOAD.replace(old, new, 1))
    with pytest.raises(ClusterError, match=words) as caught:
        load_workload(file, profiles=PROFILES)
    assert (caught.value.file, caught.value.line, caught.value.key) == (file, line, key)


def test_a_state_may_name_only_what_is_profiled(tmp_path: Path) -> None:
    file = write(tmp_path, STATE)
    known = ProfileStore([profile("a"), profile("c")], DEVICES)
    with pytest.raises(ClusterError, match="no profile of this model") as caught:
        load_state(file, cluster(2), profiles=known)
    assert (caught.value.line, caught.value.key) == (4, "instances.1.model")


def test_a_workload_may_not_ask_for_what_runs_already(tmp_path: Path) -> None:
    file = write(tmp_path, WORKLOAD)
    state = cluster(3, on={2: [running("cars-1")]})
    with pytest.raises(ClusterError, match=r"runs on g2 already .*cars-1[^$]*--state") as caught:
        load_workload(file, state=state)
    assert (caught.value.file, caught.value.line, caught.value.key) == (file, 3, "requests.cars")


def test_a_file_that_is_not_there_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    for load in (lambda f: load_cluster(f, DEVICES), load_workload):
        with pytest.raises(ConfigError, match=r"docs/roomie\.md"):
            load(tmp_path / "none.yaml")
