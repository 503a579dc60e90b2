"""What a replica knows about its neighbours, and for how long."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.balancing import Relayed, StateTable
from tests.agents.balancing.rows import row


def test_a_row_replaces_another_only_if_its_origin_is_newer() -> None:
    table = StateTable("me")
    assert table.hear(row("a", 5.0, load=5), 5.1)
    assert not table.hear(row("a", 4.0, load=4), 5.2)
    assert not table.hear(row("a", 5.0, load=6), 5.3)
    assert table.hear(row("a", 5.5, load=7), 5.6)
    kept = table.row("a")
    assert kept is not None
    assert kept.load == 7


@given(st.permutations(range(8)), st.lists(st.booleans(), min_size=8, max_size=8))
def test_the_newest_origin_wins_whatever_the_order_and_the_way(
    order: list[int], relayed: list[bool]
) -> None:
    table = StateTable("me")
    for at in order:
        table.hear(row("a", float(at), load=at), 10.0, age=0.5 if relayed[at] else None)
    kept = table.row("a")
    assert kept is not None
    assert kept.load == 7


def test_its_own_row_is_not_taken_from_others() -> None:
    table = StateTable("me")
    assert not table.hear(row("me", 9.0), 9.0)
    assert table.neighbours == ()


def test_a_row_that_is_not_renewed_for_three_seconds_is_left_out() -> None:
    table = StateTable("me")
    table.hear(row("a", 10.0), 10.0)
    assert table.view(13.0, row("me", 13.0)).replicas == ("me", "a")
    assert table.view(13.01, row("me", 13.01)).replicas == ("me",)
    assert table.to_ask(13.01) == ("a",)
    table.hear(row("a", 13.5), 13.5)
    assert table.knows("a", 14.0)


def test_liveness_is_judged_by_the_receivers_clock_however_wrong_the_makers_is() -> None:
    table = StateTable("me")
    table.hear(row("a", 1.0), 1000.0)
    table.hear(row("b", 99_999.0), 1000.0)
    assert table.knows("a", 1002.0)
    assert not table.knows("b", 1004.0)


def test_a_relayed_row_is_as_old_as_the_relaying_replica_says() -> None:
    table = StateTable("me")
    table.hear(row("a", 10.0), 20.0, age=2.5)
    assert table.knows("a", 20.4)
    assert not table.knows("a", 20.6)


def test_a_relayed_row_that_is_no_news_does_not_renew() -> None:
    table = StateTable("me")
    table.hear(row("a", 10.0), 10.0)
    assert not table.hear(row("a", 10.0), 12.9, age=0.0)
    assert not table.knows("a", 13.1)


def test_what_others_send_is_on_its_way_until_the_receiver_has_spoken_again() -> None:
    table = StateTable("me")
    table.hear(row("idle", 10.0, load=0, mu=10.0), 10.0)
    table.hear(row("busy", 10.1, load=50, mu=10.0, sending={"idle": 20}), 10.1)
    view = table.view(10.1, row("me", 10.1, mu=10.0))
    assert dict(zip(view.replicas, view.waiting, strict=True))["idle"] == pytest.approx(19, abs=1)
    table.hear(row("idle", 10.2, load=20, mu=10.0), 10.2)
    view = table.view(10.2, row("me", 10.2, mu=10.0))
    assert dict(zip(view.replicas, view.waiting, strict=True))["idle"] == pytest.approx(20)


def test_without_a_liveness_limit_a_row_lasts_three_windows_and_is_asked_for_before() -> None:
    table = StateTable("me", liveness=None)
    table.hear(row("a", 0.0), 0.0)
    table.end_round()
    assert table.to_ask(10.0) == ()
    table.end_round()
    assert table.to_ask(20.0) == ("a",)
    assert table.knows("a", 20.0)
    table.end_round()
    assert not table.knows("a", 30.0)
    assert table.to_ask(30.0) == ("a",)
    table.hear(row("a", 30.0), 30.0)
    assert table.knows("a", 50.0)


def test_a_row_without_a_rate_is_unknown_but_its_maker_is_alive() -> None:
    table = StateTable("me")
    table.hear(row("a", 1.0, mu=0.0), 1.0)
    assert not table.knows("a", 1.0)
    assert table.alive(1.0) == ("a",)
    assert table.mean_mu(1.0) == 0


def test_the_mean_rate_is_that_of_usable_neighbours() -> None:
    table = StateTable("me")
    table.hear(row("a", 1.0, mu=10.0), 1.0)
    table.hear(row("b", 1.0, mu=20.0), 1.0)
    table.hear(row("c", 1.0, mu=0.0), 1.0)
    assert table.mean_mu(2.0) == 15
    assert table.mean_mu(9.0) == 0


def test_a_replica_that_comes_back_with_a_clock_behind_is_believed_once_it_was_given_up() -> None:
    table = StateTable("me")
    table.hear(row("a", 100.0), 100.0)
    reborn = row("a", 50.0, incarnation="second")
    assert not table.hear(reborn, 101.0)
    assert not table.hear(reborn, 104.0, age=0.0)  # only from itself
    assert not table.hear(row("a", 50.0), 104.0)  # the same process never goes back
    assert table.hear(reborn, 104.0)


def test_the_load_is_carried_on_from_the_row() -> None:
    """Eq 3.1 as corrected: load + lambda * t - mu * t - sent + received, and never below 0."""
    table = StateTable("me")
    table.hear(row("a", 10.0, load=30, mu=10.0, history=(4,) * 50), 10.0)
    table.hear(row("b", 10.0, load=3, mu=10.0, in_flight=2), 10.0)
    own = row("me", 12.0, load=7, in_flight=1, mu=5.0, sending={"a": 5})
    view = table.view(12.0, own)
    assert view.replicas == ("me", "a", "b")
    assert view.waiting.tolist() == pytest.approx([7, 30 + 8 - 20 + 5, 0])
    assert view.busy.tolist() == pytest.approx([8, 30 + 8 - 20 + 5, 0])
    assert view.mus.tolist() == [5, 10, 10]


def test_slots_that_are_not_measured_yet_hold_the_forecast() -> None:
    table = StateTable("me", history=5, slots=3)
    table.hear(row("a", 10.0, history=(1, 2, 3, 4, 5), slot=10), 10.0)
    view = table.view(10.0, row("me", 10.0, slot=10))
    assert view.histories.tolist() == [[0] * 5, [1, 2, 3, 4, 5]]
    table.note_forecasts(view, np.array([[0, 0, 0], [6, 7, 8]], dtype=np.float32))
    later = table.view(12.0, row("me", 12.0, slot=12))
    assert later.histories[1].tolist() == [3, 4, 5, 6, 7]
    table.hear(row("a", 12.0, history=(1, 2, 3, 4, 5, 9, 9), slot=12), 12.0)
    assert table.view(12.0, row("me", 12.0, slot=12)).histories[1].tolist() == [3, 4, 5, 9, 9]


def test_a_short_history_is_zero_where_nothing_is_known() -> None:
    table = StateTable("me", history=5, slots=5)
    table.hear(row("a", 10.0, history=(4, 5)), 10.0)
    view = table.view(10.0, row("me", 10.0, slot=10, history=(7,)))
    assert view.histories.tolist() == [[0, 0, 0, 0, 7], [0, 0, 0, 4, 5]]
    assert view.histories.dtype == np.float32


def test_what_is_relayed_is_what_was_measured_never_a_forecast() -> None:
    table = StateTable("me", history=5, slots=3)
    original = row("a", 10.0, history=(1, 2, 3), load=9)
    table.hear(original, 10.0)
    view = table.view(12.0, row("me", 12.0))
    table.note_forecasts(view, np.full((2, 3), 99, dtype=np.float32))
    table.view(12.5, row("me", 12.5))
    assert table.relay(12.5, 10) == (Relayed(row=original, age=2.5),)


def test_the_freshest_rows_are_relayed_first_and_silent_ones_never() -> None:
    table = StateTable("me")
    for place, name in enumerate("abcde"):
        table.hear(row(name, 1.0), 10.0 + place)
    assert [r.row.replica for r in table.relay(14.5, 2)] == ["e", "d"]
    assert [r.row.replica for r in table.relay(14.5, 9)] == ["e", "d", "c"]


def test_who_said_goodbye_is_forgotten() -> None:
    table = StateTable("me")
    table.hear(row("a", 1.0), 1.0)
    table.forget("a")
    table.forget("never seen")
    assert table.neighbours == table.to_ask(1.0) == ()
    assert table.heard_at("a") is None
