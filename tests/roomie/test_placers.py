"""The other placers, each by what its description says, and the optimum against enumeration."""

from __future__ import annotations

import builtins
import itertools
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow.errors import ConfigError, MissingDependencyError
from roomie.cluster import Request
from roomie.costs import PairCosts
from roomie.devices import load_devices
from roomie.errors import PlacementError
from roomie.placers import available, build_placer
from roomie.placers.optimum import OptimumPlacer, OptimumSettings
from roomie.placers.roomie import RoomiePlacer
from roomie.placers.simple import InfaasPlacer, LeastLoadedPlacer, RandomPlacer
from roomie.placers.usher import UsherPlacer, _Group, _Member, merge_groups, pair_up
from roomie.plans import predict
from roomie.profiles import ProfileStore
from tests.roomie.kit import cluster, kernel, matrix_costs, profile, running, where

GIB = 1 << 30
FLAT = matrix_costs({(x, y): 0.5 for x in "abc" for y in "abc"}, memory=GIB)


def ask(*models: str, **options: object) -> list[Request]:
    return [
        Request(id=f"r{i}", model=model, batch=1, **options)  # type: ignore[arg-type] # options of several types
        for i, model in enumerate(models)
    ]


def test_all_placers_are_entry_points_and_keep_the_interface() -> None:
    assert list(available()) == ["infaas", "least-loaded", "optimum", "random", "roomie", "usher"]
    for name in available():
        placer = build_placer(name, FLAT, seed=1)
        assert placer.name == name
        plan = placer.place(cluster(2), ask("a", "b", "c"))
        assert (plan.placer, len(plan.decisions), plan.state.count) == (name, 3, 3)
        assert where(plan.state) == {d.request.id: d.gpu for d in plan.decisions}
        assert placer.place(cluster(2), ask("a", "b", "c")).decisions == plan.decisions
        assert placer.place(cluster(2), []).state.count == 0


@pytest.mark.parametrize("name", ["infaas", "least-loaded", "random", "roomie", "usher"])
def test_no_placer_exceeds_memory_and_what_finds_no_room_is_deferred(name: str) -> None:
    costs = matrix_costs({("a", "a"): 0.0}, memory=20 * GIB)
    plan = build_placer(name, costs).place(cluster(2), ask("a", "a", "a"))
    assert len(plan.deferred) == 1
    assert "memory" in plan.explain()


def test_a_placer_of_another_name_is_an_error_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'usher'\?"):
        build_placer("ushr", FLAT)


def test_a_placer_that_cannot_be_imported_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    point = EntryPoint("broken", "no_such_module_anywhere:build", "videojam.placers")
    monkeypatch.setattr("dataflow.plugins.entry_points", lambda **_: [point])
    with pytest.raises(MissingDependencyError, match="cannot be imported"):
        build_placer("broken", FLAT)


def test_two_packages_with_one_placer_name_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint("mine", f"{m}:build", "videojam.placers") for m in ("x", "y")]
    monkeypatch.setattr("dataflow.plugins.entry_points", lambda **_: points)
    with pytest.raises(ConfigError, match="two installed packages"):
        available()


def test_infaas_prefers_a_host_of_the_model_whatever_interferes() -> None:
    state = cluster(3, on={1: [running("a")]})
    plan = InfaasPlacer(FLAT).place(state, ask("a", "b"))
    assert [d.gpu for d in plan.decisions] == ["g1", "g0"]


def test_infaas_takes_the_batch_size_with_the_most_throughput() -> None:
    made = [profile("a", 1, [kernel(us=1000)]), profile("a", 8, [kernel(us=2000)])]
    costs = PairCosts(ProfileStore(made, load_devices()))
    plan = InfaasPlacer(costs).place(cluster(1), [Request(id="r", model="a")])
    assert str(plan.decisions[0].variant) == "a@8"


def test_least_loaded_counts_instances() -> None:
    state = cluster(3, on={0: [running("a")], 1: [running("b", "x"), running("b", "y")]})
    plan = LeastLoadedPlacer(FLAT).place(state, ask("c", "c", "c"))
    assert [d.gpu for d in plan.decisions] == ["g2", "g0", "g2"]


def test_random_draws_are_seeded_and_differ_between_seeds() -> None:
    requests = ask(*"abc" * 4)
    drawn = [
        [d.gpu for d in RandomPlacer(FLAT, seed).place(cluster(4), requests).decisions]
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def member(name: str, compute: float, memory: float, row: int | None = None) -> _Member:
    return _Member(name=name, compute=compute, memory=memory, row=row)


def test_usher_merges_the_groups_whose_compute_and_memory_balance_best() -> None:
    groups = [_Group([member("a", 60, 10)]), _Group([member("b", 50, 20)]),
              _Group([member("c", 10, 60)])]  # fmt: skip
    merged = merge_groups(groups, 2)
    assert [sorted(m.name for m in g.members) for g in merged] == [["a", "c"], ["b"]]


def test_usher_pairs_the_heaviest_of_each_kind_then_the_rest() -> None:
    members = [member("c1", 50, 10), member("c2", 40, 10), member("m1", 10, 50),
               member("l1", 30, 30), member("l2", 20, 20)]  # fmt: skip
    partners = pair_up(members)
    assert partners["c1"] == "m1"
    assert partners["l1"] == "c2"
    assert "l2" not in partners


def test_a_model_is_heavy_from_a_ratio_of_one_and_a_fifth() -> None:
    assert member("x", 12, 10).compute_heavy
    assert not member("x", 11.9, 10).compute_heavy
    assert member("x", 10, 12).memory_heavy


def test_usher_puts_a_compute_heavy_model_beside_a_memory_heavy_one() -> None:
    made = [
        profile("busy", 1, [kernel()], memory=GIB),  # fills every SM
        profile("large", 1, [kernel(blocks=8, threads=32)], memory=16 * GIB),
        profile("busy2", 1, [kernel(us=11)], memory=GIB),
    ]
    costs = PairCosts(ProfileStore(made, load_devices()))
    plan = UsherPlacer(costs).place(cluster(2), ask("busy", "busy2", "large"))
    found = where(plan.state)
    assert found["r2"] in (found["r0"], found["r1"])
    assert found["r0"] != found["r1"]


def cheapest(matrix: dict[tuple[str, str], float], models: Sequence[str], gpus: int) -> float:
    """Least sum of throughput losses, by trying everything."""
    best = float("inf")
    for rows in itertools.product(range(gpus), repeat=len(models)):
        total = 0.0
        for i, model in enumerate(models):
            slowdown = sum(
                matrix[model, other]
                for j, other in enumerate(models)
                if j != i and rows[j] == rows[i]
            )
            total += slowdown / (1 + slowdown)
        best = min(best, total)
    return best


matrices = st.fixed_dictionaries(
    {pair: st.floats(0, 3) for pair in itertools.product("abc", "abc")}
)


@settings(deadline=None, max_examples=30)
@given(matrices, st.lists(st.sampled_from("abc"), min_size=1, max_size=6))
def test_the_optimum_is_what_enumeration_finds(
    matrix: dict[tuple[str, str], float], models: list[str]
) -> None:
    costs = matrix_costs(matrix)
    exact = OptimumSettings(most_together=6)
    plan = OptimumPlacer(costs, exact).place(cluster(3), ask(*models))
    found = sum(i.throughput_loss for i in predict(plan.state, costs))
    assert found == pytest.approx(cheapest(matrix, models, 3), abs=1e-6)
    assert "optimal" in plan.notes[0]
    own = RoomiePlacer(costs).place(cluster(3), ask(*models))
    if not own.deferred:
        assert sum(i.throughput_loss for i in predict(own.state, costs)) >= found - 1e-6


def test_the_optimum_builds_on_what_runs_already() -> None:
    costs = matrix_costs({("a", "b"): 1.0, ("b", "a"): 1.0, ("a", "c"): 0.1, ("b", "c"): 0.2,
                          ("c", "a"): 0.1, ("c", "b"): 0.2})  # fmt: skip
    state = cluster(2, on={0: [running("a")], 1: [running("b")]})
    assert OptimumPlacer(costs).place(state, ask("c")).decisions[0].gpu == "g0"


def test_the_optimum_keeps_latency_objectives() -> None:
    costs = matrix_costs({(x, y): 0.5 for x in "ab" for y in "ab"})
    state = cluster(1, on={0: [running("a", latency_s=0.0012)]})
    with pytest.raises(PlacementError, match="keeps memory, counts and latency"):
        OptimumPlacer(costs).place(state, ask("b"))


def test_a_case_that_is_too_large_for_the_optimum_is_refused_at_once() -> None:
    letters = [chr(ord("a") + n) for n in range(26)]
    costs = matrix_costs({(x, y): 0.1 for x in letters for y in letters})
    placer = OptimumPlacer(costs, OptimumSettings(most_together=8))
    with pytest.raises(PlacementError, match="too large to solve exactly"):
        placer.place(cluster(9), ask(*letters))


def test_the_optimum_without_its_solver_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = builtins.__import__

    def absent(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "highspy":
            raise ImportError("not here")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(MissingDependencyError, match=r"videojam\[optimum\]"):
        OptimumPlacer(FLAT).place(cluster(2), ask("a", "b"))
