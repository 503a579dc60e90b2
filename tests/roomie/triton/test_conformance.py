"""One suite for every inference server: the real Triton and the fake."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from roomie.errors import BadRequestError, ModelLoadError, UnavailableError
from roomie.triton.fake import FakeTriton
from roomie.triton.model_config import Tuning, tuning_of
from roomie.triton.repository import InstanceRepository
from roomie.triton.server import InferenceServer, ModelStatistics
from tests.roomie.triton.models import PROGRAMS, add_model
from tests.roomie.waiting import wait_until

LOAD_SECONDS = 60.0
X = np.arange(8, dtype=np.float32).reshape(2, 4)


@dataclass
class Kit:
    server: InferenceServer
    repository: InstanceRepository

    def load(self, program: str = "double", *, batch: int = 4, window: float = 0.0) -> str:
        """Load an instance of a model of that program under a new name."""
        name = f"{program}-{uuid.uuid4().hex[:8]}"
        add_model(self.repository.sources, name, program)
        self.retune(name, batch=batch, window=window)
        return name

    def retune(self, name: str, *, batch: int = 4, window: float = 0.0) -> None:
        settings = self.repository.write(name, name, Tuning(version=1, batch=batch, window=window))
        self.server.load(name, settings, timeout=LOAD_SECONDS)

    def statistics(self, name: str) -> ModelStatistics:
        return self.server.statistics().get(name, ModelStatistics())

    def gone(self, name: str) -> bool:
        entry = self.server.index().get(name)
        return entry is None or entry.state == "unavailable"


@pytest.fixture(params=["fake", pytest.param("triton", marks=pytest.mark.triton)])
def kit(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kit]:
    if request.param == "fake":
        folder = tmp_path / "models"
        folder.mkdir()
        server: InferenceServer = FakeTriton(folder, PROGRAMS)
    else:
        running = request.getfixturevalue("triton")
        folder, server = running.folder, running.client
    before = set(server.index())
    yield Kit(server, InstanceRepository(tmp_path / "sources", folder))
    for name in set(server.index()) - before:
        server.unload(name, timeout=LOAD_SECONDS)


def test_a_loaded_model_answers_and_an_unloaded_one_does_not(kit: Kit) -> None:
    assert kit.server.ready()
    name = kit.load()
    assert kit.server.index()[name].state == "ready"
    assert kit.server.model_ready(name)
    answer = kit.server.infer(name, {"x": X}, timeout=10)
    np.testing.assert_array_equal(answer["y"], 2 * X)
    assert answer["y"].dtype == np.float32
    kit.server.unload(name, timeout=10)
    wait_until(lambda: kit.gone(name), "it is unloaded")
    assert not kit.server.model_ready(name)
    with pytest.raises(UnavailableError):
        kit.server.infer(name, {"x": X}, timeout=10)


def test_outputs_can_be_chosen(kit: Kit) -> None:
    name = kit.load()
    assert list(kit.server.infer(name, {"x": X}, outputs=["y"], timeout=10)) == ["y"]


def test_a_model_is_described_with_what_was_placed(kit: Kit) -> None:
    name = kit.load(batch=4, window=0.002)
    described = kit.server.describe(name)
    assert described.max_batch == 4
    assert [(spec.name, spec.datatype, spec.dims) for spec in described.inputs] == [
        ("x", "FP32", (4,))
    ]
    assert [spec.name for spec in described.outputs] == ["y"]
    assert tuning_of(described.parameters) == "version=1 batch=4 window=2000us cpu"


def test_a_loaded_model_can_be_placed_otherwise_without_a_gap(kit: Kit) -> None:
    name = kit.load(batch=2)
    with pytest.raises(BadRequestError):
        kit.server.infer(name, {"x": np.ones((4, 4), np.float32)}, timeout=10)
    failures: list[Exception] = []
    stopping = threading.Event()

    def ask() -> None:
        while not stopping.is_set():
            try:
                kit.server.infer(name, {"x": X}, timeout=10)
            except Exception as error:  # noqa: BLE001 - shown by the assertion
                failures.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        kit.retune(name, batch=4)
    finally:
        stopping.set()
        asking.join()
    assert failures == []
    kit.server.infer(name, {"x": np.ones((4, 4), np.float32)}, timeout=10)


def test_a_change_that_fails_leaves_the_model_as_it_was(kit: Kit) -> None:
    name = kit.load(batch=2)
    add_model(kit.repository.sources, name, "broken")
    with pytest.raises(ModelLoadError, match=name):
        kit.retune(name, batch=4)
    assert kit.server.index()[name].state == "ready"
    assert kit.server.describe(name).max_batch == 2
    answer = kit.server.infer(name, {"x": X}, timeout=10)
    np.testing.assert_array_equal(answer["y"], 2 * X)


def test_statistics_count_requests_items_and_time(kit: Kit) -> None:
    name = kit.load()
    for _ in range(3):
        kit.server.infer(name, {"x": X}, timeout=10)
    seen = kit.statistics(name)
    assert (seen.requests, seen.failures, seen.items, seen.executions) == (3, 0, 6, 3)
    assert seen.by_batch[2][0] == 3
    assert seen.compute_seconds == pytest.approx(sum(s for _, s in seen.by_batch.values()))
    assert seen.pending in {0, None}


def test_a_model_that_errs_is_unavailable_and_counted(kit: Kit) -> None:
    name = kit.load("errs")
    for _ in range(2):
        with pytest.raises(UnavailableError, match="it does not add up"):
            kit.server.infer(name, {"x": X}, timeout=10)
    assert kit.statistics(name).failures == 2
    assert kit.statistics(name).requests == 0


def test_a_wrong_input_is_the_senders_fault(kit: Kit) -> None:
    name = kit.load()
    with pytest.raises(BadRequestError, match="'x'"):
        kit.server.infer(name, {"x": np.ones((2, 5), np.float32)}, timeout=10)
    with pytest.raises(BadRequestError):
        kit.server.infer(name, {}, timeout=10)


def test_a_load_that_fails_says_why_and_disturbs_nobody(kit: Kit) -> None:
    good = kit.load()
    with pytest.raises(ModelLoadError, match="broken"):
        kit.load("broken")
    assert kit.server.ready()
    kit.server.infer(good, {"x": X}, timeout=10)


def test_a_model_that_is_not_in_the_repository_cannot_be_loaded(kit: Kit) -> None:
    name = f"absent-{uuid.uuid4().hex[:8]}"
    add_model(kit.repository.sources, name)
    settings = kit.repository.write(name, name, Tuning(version=1))
    kit.repository.remove(name)
    with pytest.raises(ModelLoadError, match="absent"):
        kit.server.load(name, settings, timeout=LOAD_SECONDS)


def test_unloading_twice_or_what_never_was_is_fine(kit: Kit) -> None:
    name = kit.load()
    kit.server.unload(name, timeout=10)
    wait_until(lambda: kit.gone(name), "it is unloaded")
    kit.server.unload(name, timeout=10)
    kit.server.unload("never-was", timeout=10)


def test_two_versions_and_two_batches_of_a_model_live_side_by_side(kit: Kit) -> None:
    model = f"m{uuid.uuid4().hex[:8]}"
    add_model(kit.repository.sources, model, {1: "double", 2: "double"})
    for instance, tuning in {
        f"{model}.v1": Tuning(version=1, batch=2),
        f"{model}.v2": Tuning(version=2, batch=8),
    }.items():
        settings = kit.repository.write(instance, model, tuning)
        kit.server.load(instance, settings, timeout=LOAD_SECONDS)
    sizes = {n: kit.server.describe(n).max_batch for n in (f"{model}.v1", f"{model}.v2")}
    assert sizes == {f"{model}.v1": 2, f"{model}.v2": 8}
    for instance in sizes:
        kit.server.infer(instance, {"x": X}, timeout=10)


def test_describing_what_is_not_loaded_says_so(kit: Kit) -> None:
    with pytest.raises(UnavailableError):
        kit.server.describe("never-was")
