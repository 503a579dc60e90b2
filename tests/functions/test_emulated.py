from __future__ import annotations

import time
from importlib.metadata import entry_points
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dataflow.errors import ConfigError
from dataflow.functions.base import Function, Item
from dataflow.functions.emulated import (
    ConstantObjects,
    Emulated,
    EmulatedParams,
    TrafficObjects,
    seconds_for_batch,
    spin_cpu,
)
from dataflow.images import encode_jpeg
from dataflow.parameters import parse_parameters

JPEG = encode_jpeg(np.zeros((90, 160, 3), np.uint8))


def items(count: int, *, camera: str = "cam", start: int = 0) -> list[Item]:
    return [
        Item(camera=camera, sequence=start + i, captured_at=0.0, data=JPEG) for i in range(count)
    ]


class Sleeper:
    def __init__(self) -> None:
        self.slept: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


def emulated(sleeper: Sleeper | None = None, **params: object) -> Emulated:
    return Emulated(EmulatedParams.model_validate(params), sleep=sleeper or Sleeper())


def test_it_is_registered_and_implements_the_interface() -> None:
    (entry,) = entry_points(group="videojam.functions", name="emulated")
    assert entry.load() is Emulated
    assert isinstance(emulated(), Function)


def test_a_constant_time_is_slept_once_a_batch() -> None:
    sleeper = Sleeper()
    function = emulated(sleeper, service={"mean": 0.02}, batching={"fixed": 0.5, "per_item": 0.25})
    function.process(items(1))
    function.process(items(4))
    assert sleeper.slept == pytest.approx([0.015, 0.03])


@pytest.mark.parametrize(
    ("distribution", "cv"),
    [("constant", 0.0), ("exponential", 1.0), ("lognormal", 0.5), ("gamma", 0.5)],
)
def test_the_service_time_has_the_declared_mean_and_variation(distribution: str, cv: float) -> None:
    function = emulated(service={"distribution": distribution, "mean": 0.02, "cv": cv or 0.3})
    times = np.array([function.service_seconds([item]) for item in items(6000)])
    assert times.min() >= 0
    assert times.mean() == pytest.approx(0.02, rel=0.05)
    assert times.std() / times.mean() == pytest.approx(cv, abs=0.05)


@pytest.mark.parametrize(
    ("size", "seconds"),
    [(1, 0.010), (2, 0.014), (3, 0.017), (4, 0.020), (6, 0.026), (8, 0.032)],
)
def test_measured_batch_times_are_interpolated_and_extrapolated(size: int, seconds: float) -> None:
    function = emulated(per_batch_size={1: 0.01, 2: 0.014, 4: 0.02})
    assert function.service_seconds(items(size)) == pytest.approx(seconds)


@given(
    st.dictionaries(st.integers(1, 64), st.floats(1e-4, 1.0), min_size=1, max_size=6),
    st.integers(1, 200),
)
def test_batch_times_never_shrink_with_the_batch(declared: dict[int, float], size: int) -> None:
    times = dict(zip(sorted(declared), sorted(declared.values()), strict=True))
    assert 0 < seconds_for_batch(times, size) <= seconds_for_batch(times, size + 1) + 1e-12
    for known, seconds in times.items():
        assert seconds_for_batch(times, known) == pytest.approx(seconds)


def test_decreasing_batch_times_are_refused() -> None:
    with pytest.raises(ValidationError, match="must not decrease"):
        emulated(per_batch_size={1: 0.02, 2: 0.01})


@pytest.mark.parametrize(
    "params",
    [
        {"service": {"mean": 0}},
        {"service": {"distribution": "normal"}},
        {"objects_per_item": -1},
        {"objects_per_item": True},
        {"objects_per_item": {"distribution": "from", "probabilities": [0.5, 0.2]}},
        {"objects_per_item": {"distribution": "poisson", "mean": 2, "lambda": 2}},
        {"objects_per_item": {"distribution": "traffic", "swing": 1.5}},
        {"objects_per_item": {"distribution": "traffic", "phase": 0}},
        {"batching": {"fixed": 0, "per_item": 0}},
        {"per_batch_size": {}},
        {"per_batch_size": {0: 0.1}},
        {"speed": 0},
        {"unknown": 1},
    ],
)
def test_wrong_parameters_are_refused(params: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        EmulatedParams.model_validate(params)


@pytest.mark.parametrize(
    ("objects", "key", "value", "said"),
    [
        ({"distribution": "poisson", "mean": 2000}, "mean", 2000, "less than or equal to 1000"),
        ({"distribution": "poisson"}, "mean", None, "add 'mean'"),
        ({"distribution": "traffic", "swung": 1}, "swung", None, "unknown parameter"),
        ({"distribution": "from", "probabilities": [0.5, -1]}, "probabilities.1", -1, "greater"),
        ({"distribution": "from", "probabilities": [0.5]}, None, None, "they must sum to 1"),
        ({"distribution": "normal"}, "distribution", "normal", "none of 'constant', 'poisson'"),
        ({"count": -1}, "count", -1, "greater than or equal to 0"),
        (-1, None, -1, "greater than or equal to 0"),
        ("many", None, "many", "valid dictionary"),
    ],
)
def test_a_fault_of_the_objects_is_of_the_declared_distribution_and_where_it_stands(
    objects: object, key: str | None, value: object, said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        parse_parameters(EmulatedParams, {"objects_per_item": objects}, "parameters")
    where = "parameters.objects_per_item"
    assert caught.value.key == (where if key is None else f"{where}.{key}")
    assert caught.value.value == value
    assert "more fault" not in str(caught.value)


def test_a_wrong_key_of_a_table_is_told_as_such() -> None:
    with pytest.raises(ConfigError, match="greater than or equal to 1") as caught:
        parse_parameters(EmulatedParams, {"per_batch_size": {0: 0.1}}, "parameters")
    assert caught.value.key == "parameters.per_batch_size.0.[key]"


def test_a_mapping_without_a_distribution_is_a_constant() -> None:
    params = EmulatedParams.model_validate({"objects_per_item": {"count": 3}})
    assert params.objects_per_item == ConstantObjects(count=3)


def test_a_throttled_device_takes_longer() -> None:
    function = emulated(service={"mean": 0.02})
    function.speed = 0.5
    assert function.service_seconds(items(1)) == pytest.approx(0.04)
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="speed"):
            function.speed = wrong
    assert function.speed == 0.5


@given(
    st.integers(0, 2**40),
    st.text(max_size=20),
    st.integers(0, 2**40),
    st.sampled_from(
        [
            3,
            {"distribution": "poisson", "mean": 2.5},
            {"distribution": "from", "probabilities": [0.2, 0.3, 0.5]},
            {"distribution": "traffic"},
        ]
    ),
)
def test_any_replica_finds_the_same_in_the_same_time(
    seed: int, camera: str, sequence: int, objects: object
) -> None:
    declared: dict[str, Any] = {
        "seed": seed,
        "objects_per_item": objects,
        "service": {"distribution": "gamma", "mean": 0.01},
    }
    one, two = emulated(**declared), emulated(**declared)
    batch = items(3, camera=camera, start=sequence)
    two.process(items(7, camera="another"))  # what a replica did before does not matter
    assert one.process(batch) == two.process(batch)
    assert one.process(batch[1:2])[0] == two.process(batch)[1]
    assert one.service_seconds(batch) == two.service_seconds(batch)


def test_seed_camera_and_sequence_each_change_the_draw() -> None:
    base = emulated(seed=1).process(items(1))[0]
    assert emulated(seed=2).process(items(1))[0] != base
    assert emulated(seed=1).process(items(1, camera="b"))[0] != base
    assert emulated(seed=1).process(items(1, start=1))[0] != base


@given(st.integers(0, 40), st.integers(0, 1000))
def test_boxes_lie_in_the_image_and_apart(count: int, sequence: int) -> None:
    function = emulated(objects_per_item=count, kind="vehicle", label="car")
    found = function.process(items(1, start=sequence))[0]
    assert len(found) == count
    for index, detection in enumerate(found):
        box = detection.box
        assert detection.kind == "vehicle"
        assert detection.label == "car"
        assert 0 <= detection.score <= 1
        assert box.w > 0
        assert box.h > 0
        assert box.x >= 0
        assert box.y >= 0
        assert box.x + box.w <= 160 + 1e-9
        assert box.y + box.h <= 90 + 1e-9
        assert all(box.iou(other.box) == 0 for other in found[index + 1 :])


def test_poisson_and_listed_numbers_of_objects_follow_their_distribution() -> None:
    poisson = emulated(objects_per_item={"distribution": "poisson", "mean": 2.0})
    counts = np.array([len(found) for found in poisson.process(items(3000))])
    assert counts.mean() == pytest.approx(2.0, abs=0.12)
    assert counts.var() == pytest.approx(2.0, abs=0.25)
    listed = emulated(objects_per_item={"distribution": "from", "probabilities": [0.25, 0.0, 0.75]})
    counts = np.array([len(found) for found in listed.process(items(3000))])
    assert set(counts) == {0, 2}
    assert (counts == 2).mean() == pytest.approx(0.75, abs=0.03)


def test_traffic_has_its_mean_and_comes_in_phases() -> None:
    def counts(**declared: float) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        traffic = TrafficObjects.model_validate(
            {"distribution": "traffic", "most": 100, **declared}
        )
        return np.array(traffic.counts(np.random.default_rng(1), 30_000))

    bursty = counts(mean=3.0, swing=0.8, phase=90, dwell=8)
    assert bursty.mean() == pytest.approx(3.0, abs=0.35)
    near = np.corrcoef(bursty[:-1], bursty[1:])[0, 1]
    far = np.corrcoef(bursty[:-1000], bursty[1000:])[0, 1]
    assert near > 0.8  # a frame looks like the one before
    assert abs(far) < 0.2  # and not like one long before
    even = counts(mean=3.0, swing=0.0, phase=90, dwell=8)
    assert even.var() == pytest.approx(3.0, abs=0.4)  # Poisson
    assert bursty.var() > 2 * even.var()
    assert counts(mean=50.0, most=20).max() == 20


def test_the_objects_found_are_those_of_the_traffic() -> None:
    function = emulated(objects_per_item={"distribution": "traffic", "most": 6})
    found = [len(objects) for objects in function.process(items(200, start=1000))]
    assert max(found) <= 6
    assert len(set(found)) > 2
    # Across the border of two blocks, too, it is the camera and the frame that decide.
    assert [len(function.process(items(1, start=n))[0]) for n in range(1000, 1200)] == found


def test_images_are_not_decoded() -> None:
    function = emulated(objects_per_item=2)
    batch = [Item(camera="c", sequence=0, captured_at=0.0, data=b"\x00" * 1000)]
    assert len(function.process(batch)[0]) == 2
    whole = items(1)
    function.process(whole)
    assert "image" not in whole[0].__dict__


def test_spinning_uses_the_processor_and_is_chosen_by_parameter() -> None:
    spun = Sleeper()
    slept = Sleeper()
    params = EmulatedParams.model_validate({"wait": "spin", "service": {"mean": 0.03}})
    Emulated(params, sleep=slept, spin=spun).process(items(1))
    assert spun.slept == pytest.approx([0.03])
    assert slept.slept == []
    before = time.thread_time()
    spin_cpu(0.02)
    assert time.thread_time() - before >= 0.02
