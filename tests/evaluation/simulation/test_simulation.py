"""The simulator itself, and the claims that rest on it in short form."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest

from agents.balancing import BALANCERS
from evaluation.simulation.cameras import MAX_OBJECTS, Camera, frames
from evaluation.simulation.cluster import Group
from evaluation.simulation.events import Loop, Rank
from evaluation.simulation.scenarios import Outcome, Scenario, simulate
from evaluation.simulation.values import LinkSpec, ReplicaSpec


def test_equal_times_happen_by_rank_and_then_in_the_order_of_scheduling() -> None:
    loop, seen = Loop(), list[str]()
    for name, time, rank in [
        ("tick", 1.0, Rank.TICK),
        ("data 1", 1.0, Rank.DATA),
        ("later", 2.0, Rank.FAULT),
        ("signal", 1.0, Rank.SIGNAL),
        ("data 2", 1.0, Rank.DATA),
        ("fault", 1.0, Rank.FAULT),
    ]:
        loop.at(time, rank, lambda name=name: seen.append(name))  # type: ignore[misc] # mypy cannot infer a lambda with a default
    loop.run(1.0)
    assert seen == ["fault", "signal", "data 1", "data 2", "tick"]
    assert loop.now == 1.0
    loop.at(0.5, Rank.DATA, lambda: seen.append("of the past"))
    loop.run(3.0)
    assert seen[5:] == ["of the past", "later"]


def test_cameras_send_at_their_rate_with_as_many_objects_as_declared() -> None:
    camera = Camera(name="a", fps=10, objects=3.0, off=(50.0, 60.0))
    sent = list(frames(camera, 1000.0, np.random.default_rng(1)))
    assert len(sent) == pytest.approx(9900, rel=0.01)
    assert not [f for f in sent if 50 <= f.at < 60]
    counts = [len(f.objects) for f in sent]
    assert np.mean(counts) == pytest.approx(3, rel=0.1)
    assert max(counts) <= MAX_OBJECTS
    assert list(frames(camera, 5.0, np.random.default_rng(7))) == list(
        frames(camera, 5.0, np.random.default_rng(7))
    )


def scenario(
    mus: Sequence[float] = (44, 33, 22, 11), cameras: int = 3, **options: object
) -> Scenario:
    """One group of 110 items a second; each camera brings 30 in the mean, in dense traffic 45."""
    values: dict[str, object] = {
        "cameras": tuple(
            Camera(name=f"c{n}", objects=2.0, swing=0.5, phase=3.0) for n in range(cameras)
        ),
        "groups": ([ReplicaSpec(name=f"r{n}", mu=mu) for n, mu in enumerate(mus)],),
        "seconds": 30.0,
        "warm_up": 8.0,
        **options,
    }
    return Scenario(**values)  # type: ignore[arg-type] # checked at run time


@cache
def outcomes(balancer: str) -> tuple[Outcome, Outcome]:
    return simulate(scenario(), balancer, seed=1), simulate(scenario(), balancer, seed=2)


def total(balancer: str, figure: str) -> float:
    return float(sum(getattr(outcome, figure) for outcome in outcomes(balancer)))


@pytest.mark.parametrize("balancer", BALANCERS)
def test_every_item_ends_once_also_when_a_replica_dies_and_comes_back(
    balancer: str,
) -> None:
    produced = sum(
        len(frame.objects)
        for camera, stream in zip(
            scenario().cameras, np.random.SeedSequence(3).spawn(3), strict=True
        )
        for frame in frames(camera, 16.0, np.random.default_rng(stream))
    )

    def kill(groups: list[Group]) -> None:
        groups[0].kill("r0")

    def revive(groups: list[Group]) -> None:
        groups[0].revive("r0", ReplicaSpec(name="r0", mu=25))

    faults = scenario(seconds=16.0, faults=((5.0, kill), (13.0, revive)), capacity=10_000)
    result = simulate(faults, balancer, seed=3)
    assert result.unfinished == 0
    assert result.loss == 0
    assert len(result.responses) == produced


def test_a_run_depends_on_its_seed_only() -> None:
    short = scenario(seconds=4.0, warm_up=0.0)
    first, again, other = (simulate(short, "videojam", seed=seed) for seed in (5, 5, 6))
    assert (first.mean, first.messages, first.offloaded) == (
        again.mean,
        again.messages,
        again.offloaded,
    )
    assert np.array_equal(first.responses, again.responses)
    assert not np.array_equal(first.responses[:50], other.responses[:50])


def test_offloads_take_the_time_that_their_bytes_need() -> None:
    """The same work over a link of 200 kB a second, which two thirds of the items would fill."""
    slow = scenario(seconds=10.0, link=LinkSpec(latency=0.01, bandwidth=2e5), warm_up=0.0)
    fast = scenario(seconds=10.0, warm_up=0.0)
    assert simulate(slow, "wrr").mean > 1.2 * simulate(fast, "wrr").mean
    assert simulate(slow, "videojam").offloaded_bytes < simulate(fast, "videojam").offloaded_bytes


def test_at_the_knee_videojam_beats_no_balancing_twice() -> None:
    assert total("videojam", "mean") * 2 < total("none", "mean")
    assert total("videojam", "loss") <= total("none", "loss")


def test_at_the_knee_videojam_beats_weighted_round_robin_by_a_quarter() -> None:
    assert total("videojam", "mean") * 1.25 < total("wrr", "mean")
    assert total("videojam", "loss") <= total("wrr", "loss")


def test_at_the_knee_videojam_is_close_to_seeing_every_queue_for_a_fraction_of_the_cost() -> None:
    assert total("videojam", "mean") < 1.3 * total("jsq", "mean")
    assert total("videojam", "messages") * 4 < total("jsq", "messages")
    assert total("videojam", "offloaded_bytes") * 2 < total("jsq", "offloaded_bytes")
