"""Placing by how busy instances are: neighbours count for the time that they compute."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomie.board import Board
from roomie.cluster import ClusterState, Instance, Request
from roomie.errors import ClusterError
from roomie.placers.roomie import RoomiePlacer, RoomieSettings
from roomie.plans import predict
from roomie.profiles import Variant
from tests.roomie.kit import cluster, matrix_costs, running, where

COSTS = matrix_costs(
    {("a", "a"): 1.0, ("a", "b"): 1.0, ("b", "a"): 1.0, ("b", "b"): 1.0, ("c", "a"): 0.2}
)


def ask(model: str = "a", name: str = "new", **options: object) -> Request:
    return Request(id=name, model=model, batch=1, **options)  # type: ignore[arg-type] # options of several types


def test_a_neighbour_slows_for_the_share_of_the_time_that_it_computes() -> None:
    state = cluster(1, on={0: [running("a", "busy", duty=0.8), running("b", "idle", duty=0.1)]})
    found = {p.instance.id: p for p in predict(state, COSTS)}
    assert found["busy"].slowdown == pytest.approx(0.1)
    assert found["idle"].slowdown == pytest.approx(0.8)
    # At its worst, whatever the others do on average.
    assert found["busy"].latency_s == pytest.approx(2e-3)


def test_by_default_all_always_compute_as_the_thesis_has_it() -> None:
    state = cluster(1, on={0: [running("a", "x"), running("b", "y")]})
    assert [p.slowdown for p in predict(state, COSTS)] == [1.0, 1.0]


def test_an_instance_goes_beside_idle_ones_rather_than_beside_a_busy_one() -> None:
    idle = [running("b", f"idle-{n}", duty=0.05) for n in range(3)]
    state = cluster(2, on={0: [running("a", "busy", duty=0.9)], 1: idle})
    for search in (None, RoomieSettings().search):
        placer = RoomiePlacer(COSTS, RoomieSettings(search=search))
        plan = placer.place(state, [ask(duty=0.9), ask("c", "other", duty=0.5)])
        assert where(plan.state)["new"] == "g1"


def test_lambda_lets_in_more_instances_that_do_little() -> None:
    for duty, fits in ((1.0, 0), (0.1, 3)):
        on = {0: [running("a", f"r{n}", duty=duty) for n in range(2)]}
        plan = RoomiePlacer(COSTS).place(
            cluster(1, on=on), [ask(name=f"n{n}", duty=duty) for n in range(3)]
        )
        assert 3 - len(plan.deferred) == fits


def test_latency_objectives_hold_while_all_neighbours_compute() -> None:
    state = cluster(1, on={0: [running("a", "idle", duty=0.05)]})
    plan = RoomiePlacer(COSTS).place(state, [ask("b", latency_s=1.5e-3, duty=0.05)])
    assert plan.deferred
    plan = RoomiePlacer(COSTS).place(state, [ask("b", latency_s=2.5e-3, duty=0.05)])
    assert not plan.deferred


@pytest.mark.parametrize("duty", [0.0, -0.1, 1.1, float("nan")])
def test_a_duty_that_is_no_share_is_refused(duty: float) -> None:
    with pytest.raises(ClusterError, match="duty"):
        ask(duty=duty)


duties = st.floats(0.01, 1.0)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), duties), min_size=1, max_size=9),
    st.sampled_from("abc"),
    duties,
)
def test_a_board_kept_up_to_date_is_the_board_made_anew(
    members: list[tuple[str, int, float]], model: str, duty: float
) -> None:
    placed = [
        (row, running(name, f"i{n}", duty=share)) for n, (name, row, share) in enumerate(members)
    ]
    board = Board(cluster(3), COSTS)
    for row, instance in placed:
        board.add(row, instance)
    gone = placed[len(placed) // 2]
    board.take(gone[0], board.slot_of(gone[0], gone[1].id))
    kept = [entry for entry in placed if entry is not gone]
    fresh = Board(cluster(3, on={row: [i for r, i in kept if r == row] for row in range(3)}), COSTS)
    for name in ("slowdown", "felt", "duty"):
        ours = np.sort(getattr(board, name), axis=1)
        theirs = np.sort(getattr(fresh, name), axis=1)
        width = min(ours.shape[1], theirs.shape[1])
        np.testing.assert_allclose(ours[:, -width:], theirs[:, -width:], atol=1e-9)
    index = COSTS.index(Variant(model, 1))
    trial = fresh.try_everywhere(index, None, duty)
    for row in range(3):
        after = fresh.copy()
        after.add(row, Instance(request=ask(model, duty=duty), variant=Variant(model, 1)))
        assert after.losses()[row] == pytest.approx(trial.loss_sum[row], abs=1e-9)
        assert after.losses()[row] - fresh.losses()[row] == pytest.approx(
            trial.increase[row], abs=1e-9
        )
        assert trial.mean[row] <= 1


def test_the_local_search_counts_as_the_board_does() -> None:
    rng = np.random.default_rng(5)
    requests = [
        ask(str(rng.choice(list("abc"))), f"n{n}", duty=float(rng.uniform(0.05, 1)))
        for n in range(8)
    ]
    limits = RoomieSettings(limit=1.0)
    searched = RoomiePlacer(COSTS, limits).place(cluster(3), requests)
    greedy = RoomiePlacer(COSTS, dataclasses.replace(limits, search=None)).place(
        cluster(3), requests
    )

    def total(state: ClusterState) -> float:
        return Board(state, COSTS).total()

    assert total(searched.state) <= total(greedy.state) + 1e-9
