"""ROOMIE's placer: Algorithm 3, and what it adds."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomie.board import Board
from roomie.cluster import ClusterState, Request
from roomie.costs import PairCosts
from roomie.devices import load_devices
from roomie.errors import ClusterError, PlacementError
from roomie.local_search import MoveBudget, SearchSettings
from roomie.placers.base import removal_plan
from roomie.placers.roomie import PRINTED, RoomiePlacer, RoomieSettings
from roomie.plans import predict
from roomie.profiles import ProfileStore
from tests.roomie.kit import A100, cluster, kernel, matrix_costs, profile, running, where

GIB = 1 << 30
SPARSE = {("a", "b"): 1.0, ("b", "a"): 1.0, ("a", "c"): 0.25, ("c", "a"): 0.25, ("b", "c"): 0.5,
          ("c", "b"): 0.5, ("a", "a"): 2.0, ("b", "b"): 2.0, ("c", "c"): 2.0}  # fmt: skip


def ask(*models: str, **options: object) -> list[Request]:
    return [
        Request(id=f"r{i}", model=model, batch=1, **options)  # type: ignore[arg-type] # options of several types
        for i, model in enumerate(models)
    ]


def test_a_request_goes_where_the_mean_drop_is_least() -> None:
    state = cluster(2, on={0: [running("a")], 1: [running("b")]})
    plan = RoomiePlacer(matrix_costs(SPARSE), PRINTED).place(state, ask("c"))
    (decision,) = plan.decisions
    assert decision.gpu == "g0"
    assert "0.2" in plan.explain()
    assert [a.gpu for a in decision.alternatives] == ["g0", "g1"]
    # c and a lose 0.25 / 1.25 each.
    assert predict(plan.state, matrix_costs(SPARSE)).mean_throughput_loss == pytest.approx(0.4 / 3)


def test_an_empty_gpu_comes_before_any_that_interferes() -> None:
    state = cluster(2, on={0: [running("a")]})
    plan = RoomiePlacer(matrix_costs(SPARSE), PRINTED).place(state, ask("c"))
    assert plan.decisions[0].gpu == "g1"


def test_a_gpu_whose_mean_drop_would_reach_lambda_is_left_out() -> None:
    state = cluster(1, on={0: [running("a")]})
    placer = RoomiePlacer(matrix_costs(SPARSE), RoomieSettings(limit=0.5))
    plan = placer.place(state, ask("b"))  # both lose exactly half
    assert [d.gpu for d in plan.decisions] == [None]
    assert "lambda = 0.5" in plan.explain()
    assert plan.state.count == 1
    looser = RoomiePlacer(matrix_costs(SPARSE), RoomieSettings(limit=0.51))
    assert looser.place(state, ask("b")).decisions[0].gpu == "g0"


def test_lambda_may_bound_every_model_instead_of_the_mean() -> None:
    costs = matrix_costs({("a", "b"): 3.0, ("b", "a"): 0.0})  # a loses 3/4, b nothing
    state = cluster(1, on={0: [running("a")]})
    mean = RoomiePlacer(costs, RoomieSettings(limit=0.5))
    worst = RoomiePlacer(costs, RoomieSettings(limit=0.5, limit_on="max"))
    assert mean.place(state, ask("b")).decisions[0].gpu == "g0"
    assert worst.place(state, ask("b")).decisions[0].gpu is None


def test_ties_go_to_fewer_models_then_to_more_free_memory() -> None:
    profiles = [
        profile(name, 1, time_s=1e-3 * (1 + 1e-9 * n), memory=(n + 1) * GIB)
        for n, name in enumerate("abc")
    ]
    costs = matrix_costs({}, profiles=profiles)
    placer = RoomiePlacer(costs, PRINTED)
    state = cluster(2, on={0: [running("a", "x"), running("a", "y")], 1: [running("c")]})
    assert placer.place(state, ask("b")).decisions[0].gpu == "g1"
    state = cluster(2, on={0: [running("c")], 1: [running("a")]})
    assert placer.place(state, ask("b")).decisions[0].gpu == "g1"


def test_memory_is_checked_first_and_a_tenth_stays_free() -> None:
    limit = int(0.9 * A100.memory_bytes)
    for memory, placed in ((limit, True), (limit + 1, False)):
        costs = matrix_costs({("a", "a"): 0.0}, memory=memory)
        plan = RoomiePlacer(costs).place(cluster(1), ask("a"))
        assert (plan.decisions[0].gpu is not None) == placed
        if not placed:
            assert "not enough memory below 90 %" in plan.explain()


def test_a_slice_takes_what_fits_into_its_own_memory() -> None:
    small = load_devices().device("A100-SXM4-40GB/1g.5gb")
    costs = PairCosts(ProfileStore([profile("a", memory=5 * GIB)], load_devices()))
    assert RoomiePlacer(costs).place(cluster(1, device=small), ask("a")).deferred
    assert not RoomiePlacer(costs).place(cluster(1), ask("a")).deferred


def test_a_gpu_takes_no_more_instances_than_declared() -> None:
    costs = matrix_costs({("a", "a"): 0.0})
    plan = RoomiePlacer(costs).place(cluster(2, most=1), ask("a", "a", "a"))
    assert sorted(str(d.gpu) for d in plan.decisions) == ["None", "g0", "g1"]


def batched(latencies_ms: dict[int, float]) -> PairCosts:
    profiles = [profile("a", batch, [kernel(us=1000 * ms)]) for batch, ms in latencies_ms.items()]
    return PairCosts(ProfileStore(profiles, load_devices()))


def test_the_batch_size_with_the_most_throughput_is_chosen_without_an_objective() -> None:
    costs = batched({1: 1.0, 8: 4.0, 32: 20.0})  # 1000, 2000, 1600 items a second
    plan = RoomiePlacer(costs).place(cluster(1), [Request(id="r", model="a")])
    assert str(plan.decisions[0].variant) == "a@8"


def test_the_batch_size_keeps_the_latency_objective_of_the_request_and_of_residents() -> None:
    costs = batched({1: 1.0, 8: 4.0, 32: 20.0})
    request = Request(id="r", model="a", latency_s=0.003)
    plan = RoomiePlacer(costs).place(cluster(1), [request])
    assert str(plan.decisions[0].variant) == "a@1"
    resident = running("a", "old", latency_s=0.0011)  # 1 ms alone: nobody may join
    state = cluster(1, on={0: [resident]})
    plan = RoomiePlacer(costs).place(state, [Request(id="r", model="a")])
    assert plan.deferred
    assert "latency objective" in plan.explain()


def test_the_smallest_batch_that_serves_the_rate_is_enough() -> None:
    costs = batched({1: 1.0, 8: 4.0})
    plan = RoomiePlacer(costs).place(cluster(1), [Request(id="r", model="a", rate=900)])
    assert str(plan.decisions[0].variant) == "a@1"
    plan = RoomiePlacer(costs).place(cluster(1), [Request(id="r", model="a", rate=1500)])
    assert str(plan.decisions[0].variant) == "a@8"


@pytest.mark.parametrize(("spread", "nodes"), [("require", 2), ("prefer", 2), ("none", 1)])
def test_instances_of_a_group_spread_over_nodes(spread: str, nodes: int) -> None:
    # g0 and g1 are one node; without spreading, the nearer empty GPU is taken.
    state = cluster(4, per_node=2)
    plan = RoomiePlacer(matrix_costs(SPARSE)).place(state, ask("a", "a", spread=spread))
    used = {gpu.node for gpu in state.gpus if gpu.id in {d.gpu for d in plan.decisions}}
    assert len(used) == nodes


def test_required_spreading_defers_when_nodes_run_out_and_preferred_does_not() -> None:
    costs = matrix_costs({("a", "a"): 0.1})
    state = cluster(2, per_node=2)
    assert len(RoomiePlacer(costs).place(state, ask("a", "a", spread="require")).deferred) == 1
    assert not RoomiePlacer(costs).place(state, ask("a", "a", spread="prefer")).deferred


def test_a_removable_instance_gives_way_to_one_that_is_not() -> None:
    costs = matrix_costs({("a", "a"): 0.0}, memory=20 * GIB)
    state = cluster(1, on={0: [running("a", "spare", removable=True)]})
    plan = RoomiePlacer(costs).place(state, ask("a"))
    assert [r.instance for r in plan.removals] == ["spare"]
    assert where(plan.state) == {"r0": "g0"}
    # Neither for another removable one, nor when it is forbidden.
    assert RoomiePlacer(costs).place(state, ask("a", removable=True)).deferred
    assert RoomiePlacer(costs, RoomieSettings(evict=False)).place(state, ask("a")).deferred


def test_room_is_made_by_moving_the_instance_that_is_cheapest_to_load() -> None:
    profiles = [
        profile("a", 1, time_s=1e-3, memory=20 * GIB, weights=500),
        profile("b", 1, time_s=1.1e-3, memory=10 * GIB, weights=100),
        profile("c", 1, time_s=1.2e-3, memory=30 * GIB),
    ]
    costs = matrix_costs({}, profiles=profiles)
    # 10 + 20 GiB beside 20 GiB: c fits nowhere until both are together.
    state = cluster(2, on={0: [running("b")], 1: [running("a")]})
    assert RoomiePlacer(costs).place(state, ask("c")).deferred
    placer = RoomiePlacer(costs, RoomieSettings(budget=MoveBudget(moves=1)))
    plan = placer.place(state, ask("c"))
    assert [(m.instance, m.source, m.target, m.weight_bytes) for m in plan.moves] == [
        ("b", "g0", "g1", 100)
    ]
    assert where(plan.state) == {"a": "g1", "b": "g1", "r0": "g0"}
    short = RoomiePlacer(costs, RoomieSettings(budget=MoveBudget(moves=1, bytes=99)))
    assert short.place(state, ask("c")).deferred


def test_rebalancing_after_a_removal_keeps_its_budget() -> None:
    costs = matrix_costs(SPARSE)
    state = cluster(2, on={0: [running("a"), running("b")], 1: [running("c", "gone")]})
    removed = removal_plan("roomie", state, ["gone"], "no longer wanted")
    assert [r.instance for r in removed.removals] == ["gone"]
    for moves, together in ((0, True), (1, False)):
        placer = RoomiePlacer(costs, RoomieSettings(budget=MoveBudget(moves=moves)))
        plan = placer.rebalance(removed.state)
        assert len(plan.moves) == (0 if together else 1)
        found = where(plan.state)
        assert (found["a"] == found["b"]) == together


def test_the_local_search_undoes_what_greed_spoils() -> None:
    # a and d avoid each other's best partner only if the first choice is undone.
    costs = matrix_costs(
        {pair: value for (x, y), value in {
            ("a", "b"): 0.3, ("c", "d"): 3.0, ("a", "c"): 0.4, ("b", "d"): 0.4,
            ("a", "d"): 3.0, ("b", "c"): 3.0,
        }.items() for pair in ((x, y), (y, x))}
    )  # fmt: skip
    state = cluster(2, most=2, on={0: [running("a")], 1: []})
    everything = RoomieSettings(limit=1.0)
    greedy = RoomiePlacer(costs, replace(everything, search=None))
    state = cluster(2, most=2)
    requests = ask("a", "c", "b", "d")
    first = predict(greedy.place(state, requests).state, costs).mean_throughput_loss
    better = RoomiePlacer(costs, everything).place(state, requests)
    assert predict(better.state, costs).mean_throughput_loss <= first
    assert where(better.state)["r0"] == where(better.state)["r1"]


def test_an_id_that_is_taken_is_an_error() -> None:
    placer = RoomiePlacer(matrix_costs(SPARSE))
    state = cluster(1, on={0: [running("a", "r0")]})
    with pytest.raises(ClusterError, match="on g0 already"):
        placer.place(state, ask("b"))
    with pytest.raises(ClusterError, match="asked for twice"):
        placer.place(cluster(1), [*ask("b"), *ask("b")])


def test_a_model_or_batch_without_a_profile_is_an_error_with_those_that_have_one() -> None:
    placer = RoomiePlacer(matrix_costs(SPARSE))
    with pytest.raises(PlacementError, match="profiled models: a, b, c"):
        placer.place(cluster(1), ask("z"))
    with pytest.raises(PlacementError, match="profiled batch sizes: 1"):
        placer.place(cluster(1), [Request(id="r", model="a", batch=3)])


def test_a_state_with_an_instance_that_has_no_profile_is_an_error() -> None:
    costs = PairCosts(ProfileStore([profile("a")], load_devices()))
    xavier = load_devices().device("AGX-Xavier")
    state = cluster(1, device=xavier, on={0: [running("a")]})
    with pytest.raises(PlacementError, match="no profile says what that does on AGX-Xavier"):
        RoomiePlacer(costs).place(state, ask("a"))


def test_unknown_instances_cannot_be_removed() -> None:
    with pytest.raises(ClusterError, match="no such instance"):
        cluster(1).without(["x"])


def test_two_gpus_of_one_id_are_an_error() -> None:
    gpu = cluster(1).gpus[0]
    with pytest.raises(ClusterError, match="two GPUs"):
        ClusterState([gpu, gpu])


steps = st.lists(
    st.tuples(st.sampled_from(["add", "take"]), st.integers(0, 2), st.sampled_from("abc")),
    max_size=14,
)
values = st.floats(0, 3)
matrices = st.fixed_dictionaries(dict.fromkeys(itertools.product("abc", "abc"), values))


@given(matrices, steps)
def test_a_board_that_was_changed_step_by_step_equals_one_made_anew(
    matrix: dict[tuple[str, str], float], changes: list[tuple[str, int, str]]
) -> None:
    costs = matrix_costs(matrix)
    board = Board(cluster(3), costs)
    for number, (what, row, model) in enumerate(changes):
        if what == "add":
            board.add(row, running(model, f"i{number}"))
        elif board.counts[row]:
            board.take(row, 0)
    anew = Board(cluster(3, on=dict(enumerate(board.residents))), costs)
    assert board.losses() == pytest.approx(anew.losses(), abs=1e-12)
    assert board.memory == pytest.approx(anew.memory)
    for variant in range(3):
        ours, theirs = board.try_everywhere(variant), anew.try_everywhere(variant)
        assert ours.increase == pytest.approx(theirs.increase, abs=1e-12)
        assert np.array_equal(ours.fits_memory, theirs.fits_memory)


@given(matrices, steps, st.sampled_from("abc"))
def test_trying_tells_what_adding_does(
    matrix: dict[tuple[str, str], float], changes: list[tuple[str, int, str]], model: str
) -> None:
    costs = matrix_costs(matrix)
    board = Board(cluster(3), costs)
    for number, (what, row, name) in enumerate(changes):
        if what == "add":
            board.add(row, running(name, f"i{number}"))
    trial = board.try_everywhere(costs.index(running(model).variant))
    for row in range(3):
        after = board.copy()
        after.add(row, running(model, "new"))
        assert after.losses()[row] == pytest.approx(trial.loss_sum[row], abs=1e-12)
        assert after.total() - board.total() == pytest.approx(trial.increase[row], abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(
    matrices,
    st.lists(st.sampled_from("abc"), min_size=1, max_size=7),
    st.integers(0, 2),
    st.integers(0, 3),
)
def test_plans_keep_every_limit_and_lose_no_instance(
    matrix: dict[tuple[str, str], float], wanted: list[str], moves: int, seed: int
) -> None:
    costs = matrix_costs(matrix, memory=12 * GIB)  # three a GPU
    state = cluster(3, on={0: [running("a", "old"), running("b", "older", removable=True)]})
    placer = RoomiePlacer(
        costs,
        RoomieSettings(
            limit=0.6, budget=MoveBudget(moves=moves), search=SearchSettings(kicks=4, seed=seed)
        ),
    )
    plan = placer.place(state, ask(*wanted))
    ids = {"old", "older", *(d.request.id for d in plan.decisions if d.gpu is not None)}
    assert set(plan.state.instances) == ids - {r.instance for r in plan.removals}
    assert len(plan.moves) <= moves
    where_now = where(plan.state)
    for decision in plan.decisions:
        assert where_now.get(decision.request.id) == decision.gpu
    for gpu in predict(plan.state, costs).gpus:
        assert gpu.memory_bytes <= gpu.memory_limit_bytes
        losses = [instance.throughput_loss for instance in gpu.instances]
        untouched = {i.instance.id for i in gpu.instances} <= {"old", "older"}
        assert untouched or len(losses) == 1 or np.mean(losses) < 0.6
    assert state.count == 2
    assert placer.place(state, ask(*wanted)).decisions == plan.decisions
