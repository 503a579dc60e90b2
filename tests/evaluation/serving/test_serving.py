"""The serving simulator: what it must not lose, and that policies do in it what they are for."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from evaluation.serving.cases import Outcome, Policy, ServingCase
from evaluation.serving.controlled import serve_controlled
from evaluation.serving.direct import serve
from evaluation.serving.hardware import Hardware
from evaluation.serving.traffic import Traffic, draw_traffic, gaussian_rates, popularity
from roomie.costs import PairCosts
from roomie.devices import load_devices
from roomie.profiles import ProfileStore
from tests.roomie.kit import A100, kernel, profile


def small_case(**settings: object) -> ServingCase:
    store = ProfileStore(
        [
            profile(name, batch, [kernel(us=100.0 * factor * (3 + batch))], time_s=None)
            for name, factor in (("a", 1), ("b", 2), ("c", 5))
            for batch in (1, 4, 8)
        ],
        load_devices(),
    )
    models = ("a", "b", "c")
    case = ServingCase(
        models=models,
        gpus=3,
        hardware=Hardware(store, A100, models),
        costs=PairCosts(store),
        most=4,
        patience_s=2.0,
    )
    return dataclasses.replace(case, **settings)  # type: ignore[arg-type] # options of several types


def some_traffic(rate: float, *, seconds: int = 20, seed: int = 0) -> Traffic:
    generator = np.random.default_rng(seed)
    rates = gaussian_rates(seconds=seconds, mean=rate, variation=0.2, generator=generator)
    return draw_traffic(rates, popularity(3, 1.0, generator), generator)


def one(name: str = "roomie", placer: str = "roomie", autoscaler: str = "roomie") -> Policy:
    return Policy(name=name, placer=placer, autoscaler=autoscaler)


def test_a_request_alone_takes_its_profile_s_time() -> None:
    at = np.arange(10, dtype=np.float64)
    traffic = Traffic(at_s=at, model=np.zeros(10, np.intp), seconds=10)
    outcome = serve(small_case(), one(autoscaler="none"), traffic)
    assert outcome.response_s == pytest.approx([400e-6] * 10)
    assert outcome.processed == 1
    assert outcome.utilisation == pytest.approx(10 * 400e-6 / 30)


def test_requests_that_wait_are_served_in_batches() -> None:
    traffic = Traffic(at_s=np.zeros(9), model=np.zeros(9, np.intp), seconds=1)
    outcome = serve(small_case(), one(autoscaler="none"), traffic)
    # The first alone; the other eight together: 400 us, then 1100 us.
    assert sorted(outcome.response_s) == pytest.approx([400e-6] + [1500e-6] * 8)


def test_windows_let_batches_fill_where_an_objective_leaves_time() -> None:
    traffic = some_traffic(900, seed=3)
    runs = {
        windows: serve(small_case(latency_s=0.5, windows=windows), one(autoscaler="none"), traffic)
        for windows in (True, False)
    }
    assert runs[True].mean_s > runs[False].mean_s
    assert runs[True].utilisation < runs[False].utilisation
    assert runs[True].quantile_s(0.95) < 0.5


@pytest.mark.parametrize(
    ("placer", "autoscaler"),
    list(itertools.product(["roomie", "infaas", "usher"], ["roomie", "infaas", "none"])),
)
def test_every_request_is_answered_or_given_up_and_runs_repeat_exactly(
    placer: str, autoscaler: str
) -> None:
    traffic = some_traffic(2500, seconds=5)
    policy = one("x", placer, autoscaler)
    first, second = (serve(small_case(), policy, traffic, seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.response_s, second.response_s)
    assert first.changes == second.changes
    assert 0 < first.processed <= 1
    assert first.sent == len(traffic)
    assert (first.response_s > 0).all()
    assert (first.response_s <= 2.0).all()
    assert first.utilisation <= 1
    lost = first.sent - len(first.response_s)
    assert first.mean_with_lost_s == pytest.approx(
        (first.response_s.sum() + 2.0 * lost) / first.sent
    )


def test_overload_is_given_up_and_autoscaling_serves_more_of_it() -> None:
    traffic = some_traffic(8000, seconds=6)
    case = small_case(patience_s=0.5)
    runs: dict[str, Outcome] = {
        name: serve(case, one(name, "roomie", name), traffic) for name in ("none", "roomie")
    }
    assert runs["none"].processed < 0.9
    assert runs["roomie"].processed > runs["none"].processed
    assert runs["roomie"].changes.ups > 0
    assert runs["none"].changes.ups == 0


def test_surplus_goes_when_the_load_has() -> None:
    heavy, light = some_traffic(5000, seconds=8), some_traffic(20, seconds=60)
    traffic = Traffic(
        at_s=np.concatenate([heavy.at_s, light.at_s + 8]),
        model=np.concatenate([heavy.model, light.model]),
        seconds=68,
    )
    outcome = serve(small_case(), one(), traffic)
    assert outcome.changes.downs >= 1
    assert outcome.changes.instances[-1] < max(outcome.changes.instances)


def test_a_model_without_a_place_waits_for_one() -> None:
    # One GPU with room for two: the third model's requests are given up.
    case = small_case(gpus=1)
    big = ProfileStore(
        [dataclasses.replace(p, memory_bytes=15 << 30) for p in case.costs.store], load_devices()
    )
    case = dataclasses.replace(case, costs=PairCosts(big))
    traffic = some_traffic(50, seconds=5)
    outcome = serve(case, one("x", "least-loaded", "none"), traffic)
    assert set(outcome.model) == {0, 1}
    assert outcome.processed < 1


# -- under the controller's core ----------------------------------------------------------------


@pytest.mark.parametrize("placer", ["roomie", "infaas"])
def test_under_the_core_every_request_is_answered_and_models_grow_and_shrink(placer: str) -> None:
    heavy, light = some_traffic(5000, seconds=12), some_traffic(20, seconds=60)
    traffic = Traffic(
        at_s=np.concatenate([heavy.at_s, light.at_s + 12]),
        model=np.concatenate([heavy.model, light.model]),
        seconds=72,
    )
    policy = one("x", placer, "roomie")
    first = serve_controlled(small_case(), policy, traffic)
    np.testing.assert_array_equal(
        first.response_s, serve_controlled(small_case(), policy, traffic).response_s
    )
    assert first.changes.ups >= 1
    assert first.changes.downs >= 1
    assert first.processed > 0.5
    assert first.response_s.min() == pytest.approx(400e-6)


def test_under_the_core_an_idle_cluster_changes_nothing() -> None:
    outcome = serve_controlled(small_case(), one(), some_traffic(20, seconds=30))
    assert outcome.processed == 1
    assert (outcome.changes.ups, outcome.changes.downs, outcome.changes.refused) == (0, 0, 0)
    assert set(outcome.changes.instances) == {3}
