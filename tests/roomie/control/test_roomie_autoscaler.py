"""ROOMIE's autoscaler: named invariants, and what each of its rules does."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomie.control.roomie_autoscaler import RoomieAutoscaler, RoomieScaling
from roomie.control.scaling_types import ModelLoad, Scale
from tests.roomie.control.loads import Plant, instance, model, play


def ups(scales: list[Scale]) -> int:
    return sum(scale.change > 0 for scale in scales)


def decide(load: ModelLoad, now: float = 0.0) -> list[Scale]:
    return list(RoomieAutoscaler().decide([load], now))


# -- growing ------------------------------------------------------------------------------------


def test_a_model_grows_before_it_saturates() -> None:
    assert not decide(model("m", instance(arrivals=74.0)))
    (scale,) = decide(model("m", instance(arrivals=76.0)))
    assert (scale.model, scale.change, scale.instance) == ("m", 1, None)
    assert "76 items/s come" in scale.reason


def test_a_backlog_asks_for_instances_though_little_comes() -> None:
    assert not decide(model("m", instance(arrivals=10.0, pending=100.0)))
    assert ups(decide(model("m", instance(arrivals=10.0, pending=300.0)))) == 2


def test_a_forecast_asks_for_instances_before_anything_comes() -> None:
    (scale,) = decide(model("m", instance(arrivals=10.0), forecast=100.0))
    assert "100 are forecast" in scale.reason
    # One that is below what comes already does not hold it back.
    assert ups(decide(model("m", instance(arrivals=100.0), forecast=0.0))) == 1


def test_a_shortage_of_its_users_asks_for_instances() -> None:
    scales = decide(model("m", instance(arrivals=50.0), shortage=100.0))
    assert ups(scales) == 1
    assert "100 are lacking" in scales[0].reason


def test_what_is_on_its_way_counts() -> None:
    assert ups(decide(model("m", instance(arrivals=140.0)))) == 1
    assert not decide(model("m", instance(arrivals=140.0), coming=1))


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0, 500), st.floats(0, 500), st.floats(0, 500), st.integers(1, 4), st.integers(0, 3)
)
def test_more_shortage_never_asks_for_fewer_instances(
    arrivals: float, less: float, more: float, count: int, coming: int
) -> None:
    less, more = sorted((less, more))
    serving = [instance(f"i{n}", arrivals=arrivals / count) for n in range(count)]
    asked = [
        ups(decide(model("m", *serving, coming=coming, shortage=lacking)))
        for lacking in (less, more)
    ]
    assert asked[0] <= asked[1]


def test_a_speed_next_to_nothing_is_no_reason_to_fail() -> None:
    scales = decide(model("m", instance(speed=5e-324, arrivals=1e4), maximum=3))
    assert ups(scales) == 2


def test_the_most_pressed_model_is_served_first() -> None:
    loads = [model("a", instance(arrivals=80.0)), model("b", instance(arrivals=95.0))]
    assert [scale.model for scale in RoomieAutoscaler().decide(loads, 0.0)] == ["b", "a"]


# -- limits and hysteresis ----------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.floats(0, 2000),
    st.floats(5, 300),
    st.tuples(st.integers(1, 3), st.integers(3, 12)),
    st.floats(0, 8),
    st.sampled_from([0.5, 1.0, 2.0]),
)
def test_a_constant_load_is_answered_by_a_bounded_number_of_changes(
    rate: float, speed: float, limits: tuple[int, int], delay: float, step: float
) -> None:
    minimum, maximum = limits
    plant = Plant(speed=speed, minimum=minimum, maximum=maximum, delay_s=delay)
    changes = play(RoomieAutoscaler(), [plant], [[rate]] * round(240 / step), step_s=step)
    # Up to the top once, because of the backlog of the first seconds, and down once.
    assert len(changes) <= 2 * (maximum - minimum)
    up_after_down = [
        at
        for at, scale in changes
        if scale.change > 0 and any(s.change < 0 and t <= at for t, s in changes)
    ]
    assert not up_after_down
    # And in the end it serves what comes, if its limit lets it.
    assert rate <= speed * len(plant.serving) or plant.count == maximum


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1500), min_size=20, max_size=120), st.integers(1, 3))
def test_under_any_load_limits_are_kept_and_what_is_always_wanted_stays(
    rates: list[float], minimum: int
) -> None:
    plant = Plant(minimum=minimum, maximum=6)
    play(RoomieAutoscaler(), [plant], [[rate] for rate in rates])
    assert sum(not extra for extra in plant.serving.values()) == minimum


def test_after_a_peak_the_surplus_goes_one_by_one_and_only_after_calm() -> None:
    plant = Plant()
    # It rises slowly: no backlog makes it grow past what it needs.
    rising = [[50.0 + 5.0 * second] for second in range(60)]
    changes = play(RoomieAutoscaler(), [plant], [*rising, *[[10.0]] * 200])
    downs = [at for at, scale in changes if scale.change < 0]
    calm = RoomieScaling().calm_s
    assert plant.count == 1
    assert downs[0] >= 60 + calm - 1
    assert all(later - at >= calm for at, later in pairwise(downs))


def test_thresholds_that_would_flap_are_refused() -> None:
    with pytest.raises(ValueError, match="flaps"):
        RoomieScaling(low=0.8, high=0.7)


# -- room ---------------------------------------------------------------------------------------


def test_a_model_that_finds_no_place_gets_that_of_one_that_can_do_without() -> None:
    scaler = RoomieAutoscaler()
    starved = model("starved", instance("s", arrivals=300.0))
    donor = model("donor", instance("d1", extra=False, arrivals=60.0), instance("d2"))
    first = scaler.decide([starved, donor], 0.0)
    assert {scale.model for scale in first} == {"starved"}
    second = scaler.decide([starved, donor], 2.0)
    assert (second[0].model, second[0].instance) == ("donor", "d2")
    assert "makes room for starved" in second[0].reason
    assert {scale.model for scale in second[1:]} == {"starved"}


def test_nobody_gives_up_an_instance_that_it_would_ask_for_again() -> None:
    scaler = RoomieAutoscaler()
    starved = model("starved", instance("s", arrivals=300.0))
    donor = model("donor", instance("d1", extra=False, arrivals=80.0), instance("d2"))
    for turn in range(20):
        assert all(scale.change > 0 for scale in scaler.decide([starved, donor], 2.0 * turn))


def test_one_whose_place_is_coming_is_not_starved() -> None:
    scaler = RoomieAutoscaler()
    donor = model("donor", instance("d1", extra=False, arrivals=60.0), instance("d2"))
    scaler.decide([model("m", instance("s", arrivals=300.0)), donor], 0.0)
    on_its_way = model("m", instance("s", arrivals=300.0), coming=1)
    assert all(scale.change > 0 for scale in scaler.decide([on_its_way, donor], 2.0))


# -- trial --------------------------------------------------------------------------------------


def try_one(
    scaler: RoomieAutoscaler, start: float, *, after: float, other: float = 100.0
) -> list[Scale]:
    """A model of 100 items/s asks for one and gets it; both then serve ``after`` together."""
    before = model("m", instance("m-1", extra=False, arrivals=90.0))
    bystander = model("z", instance("z-1", extra=False))
    scaler.decide([before, bystander], start)
    both = model(
        "m",
        instance("m-1", speed=after / 2, extra=False, arrivals=45.0),
        instance(f"m-{start:g}", speed=after / 2, arrivals=45.0),
        maximum=2,
    )
    bystander = model("z", instance("z-1", speed=other, extra=False))
    decided: list[Scale] = []
    for turn in range(1, 7):
        decided += scaler.decide([both, bystander], start + 2.0 * turn)
    return decided


def test_an_instance_that_does_not_help_goes_and_the_next_try_waits_longer_each_time() -> None:
    scaler = RoomieAutoscaler()
    (gone,) = try_one(scaler, 10.0, after=102.0)
    assert (gone.change, gone.instance) == (-1, "m-10")
    assert "did not help" in gone.reason
    alone = model("m", instance("m-1", extra=False, arrivals=90.0))
    assert not scaler.decide([alone], 40.0)
    assert scaler.decide([alone], 51.0)
    (again,) = try_one(scaler, 60.0, after=102.0)
    assert "60 s" in again.reason


def test_an_instance_that_helps_stays() -> None:
    assert not try_one(RoomieAutoscaler(), 10.0, after=150.0)


def test_an_instance_is_not_blamed_for_what_slows_everybody() -> None:
    assert not try_one(RoomieAutoscaler(), 10.0, after=100.0, other=60.0)


def test_what_is_past_is_forgotten() -> None:
    scaler = RoomieAutoscaler()
    for turn in range(500):
        scaler.decide([model("m", instance(extra=False, arrivals=10.0))], 2.0 * turn)
    assert len(scaler._memories["m"].needs) <= 12
    scaler.decide([], 2000.0)
    assert not scaler._memories
