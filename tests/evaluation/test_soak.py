"""The soak of the replicas in short: every kind of harm once, on a broker that is killed too."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from evaluation.accounts import Totals
from evaluation.benchmarks.soak import Harm, Sample, Soaked, at_random, soak
from evaluation.kafka import temporary_broker
from evaluation.testbed import ReplicaPlan

REPLICAS = [
    ReplicaPlan(function="yolo", name="yolo-0", speed=1.0),
    ReplicaPlan(function="yolo", name="yolo-1", speed=0.5),
    ReplicaPlan(function="ocr", name="ocr-0", speed=1.0),
    ReplicaPlan(function="ocr", name="ocr-1", speed=0.75),
]


@pytest.mark.broker
@pytest.mark.timeout(300)
def test_no_frame_is_unaccounted_for_whatever_happens(tmp_path: Path) -> None:
    said: list[str] = []
    with temporary_broker() as broker:
        result = soak(
            broker,
            tmp_path,
            replicas=REPLICAS,
            cameras=2,
            seconds=30.0,
            seed=3,
            harms=iter(("kill", "stop", "broker", "leave")),
            say=said.append,
        )
    assert result.totals.produced > 300
    assert result.accounted, (result.totals, said)
    assert result.unique > 300
    assert result.harms.keys() >= {"kill", "stop", "broker"}, said


def outcome(samples: list[Sample], **totals: int) -> Soaked:
    return Soaked(
        totals=Totals(
            produced=totals.get("produced", 0),
            processed=totals.get("processed", 0),
            dead=totals.get("dead", 0),
            open=totals.get("open", 0),
        ),
        unique=0,
        repeated=0,
        harms={},
        samples={("ocr-0", 7): samples, ("ocr-3", 8): samples},
    )


def test_a_frame_that_has_not_ended_is_unaccounted_for() -> None:
    assert outcome([], produced=9, processed=8, dead=1).accounted
    assert not outcome([], produced=9, processed=8).accounted
    assert not outcome([], produced=9, processed=8, open=1).accounted


def test_growth_is_told_of_replicas_that_are_old_enough() -> None:
    growing = [Sample(age=age, megabytes=100 + age / 20, threads=9) for age in range(0, 600, 10)]
    ((name, trend),) = outcome(growing).trends().items()
    assert name == "ocr-0"
    assert trend.growth == pytest.approx(3.0)
    assert trend.leaking
    young = outcome(growing[:15]).trends()["ocr-0"]
    assert not young.leaking
    assert str(young) == "too young to tell growth, 9 to 9 threads"
    assert outcome(growing[:12]).trends() == {}
    start_up = [
        Sample(age=age, megabytes=min(age, 100), threads=9 + age % 4) for age in range(0, 600, 10)
    ]
    steady = outcome(start_up).trends()["ocr-0"]
    assert steady.growth == pytest.approx(0.0, abs=1e-9)
    assert (steady.fewest, steady.most) == (9, 11)
    assert not steady.leaking


def test_harm_is_of_every_kind_and_the_same_for_one_seed() -> None:
    first, second = (at_random(np.random.default_rng(1)) for _ in range(2))
    drawn = [next(first) for _ in range(200)]
    assert set(drawn) == set(get_args(Harm))
    assert drawn == [next(second) for _ in range(200)]
