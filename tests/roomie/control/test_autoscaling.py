"""INFaaS' autoscaling by its ratios, and how autoscalers are found."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow.errors import ConfigError, MissingDependencyError
from roomie.control import autoscaling
from roomie.control.autoscaling import InfaasAutoscaler, available, build_autoscaler
from roomie.control.roomie_autoscaler import RoomieAutoscaler
from roomie.control.scaling_types import InstanceLoad, ModelLoad
from tests.roomie.control.loads import Plant, instance, model, play


def busy(name: str, ratio: float, *, instances: int = 1, speed: float = 100.0) -> ModelLoad:
    """A model whose queue and arrivals come to a ratio: half of it waits, half of it comes."""
    work = ratio * 10 * speed * instances
    return model(
        name,
        *(
            instance(
                f"{name}-{n}",
                speed=speed,
                pending=work / 2 / instances,
                arrivals=work / 20 / instances,
                extra=n > 0,
            )
            for n in range(instances)
        ),
    )


def test_the_most_loaded_model_above_one_and_a_half_gets_an_instance_and_only_it() -> None:
    loads = [busy("a", 1.6), busy("b", 2.0), busy("c", 1.9)]
    (scale,) = InfaasAutoscaler().decide(loads, 0.0)
    assert (scale.model, scale.change, scale.instance) == ("b", 1, None)
    assert "2.00" in scale.reason


def test_at_one_and_a_half_nothing_grows() -> None:
    assert not InfaasAutoscaler().decide([busy("a", 1.5)], 0.0)
    assert InfaasAutoscaler().decide([busy("a", 1.51)], 0.0)


def test_it_looks_every_two_seconds() -> None:
    scaler = InfaasAutoscaler()
    times = [at / 2 for at in range(9) if scaler.decide([busy("a", 3.0)], at / 2)]
    assert times == [0.0, 2.0, 4.0]


def test_arrivals_count_over_ten_seconds() -> None:
    scaler = InfaasAutoscaler()
    # Ten seconds of 100 items/s on one instance of 100: a ratio of 1.
    for at in range(10):
        assert not scaler.decide([model("a", instance(arrivals=100.0))], float(at))
    # Two seconds of 400 among ten: (2 * 400 + 8 * 100) / 1000 = 1.6.
    assert not scaler.decide([model("a", instance(arrivals=400.0))], 10.0)
    assert not scaler.decide([model("a", instance(arrivals=400.0))], 11.0)
    assert scaler.decide([model("a", instance(arrivals=400.0))], 12.0)


def test_below_a_half_the_slowest_that_autoscaling_added_goes() -> None:
    load = model(
        "a",
        instance("base", speed=10.0, arrivals=10.0, extra=False),
        instance("slow", speed=50.0),
        instance("fast", speed=100.0),
    )
    (scale,) = InfaasAutoscaler().decide([load], 0.0)
    assert (scale.change, scale.instance) == (-1, "slow")


@pytest.mark.parametrize(
    ("ratio", "instances", "goes"),
    [(0.49, 2, True), (0.74, 2, True), (0.76, 2, False), (0.79, 3, True), (0.81, 9, False)],
)
def test_below_four_fifths_one_goes_if_the_others_carry_the_load(
    ratio: float, instances: int, goes: bool
) -> None:
    # Of two at 0.76, the one that stays would have 1.52.
    assert bool(InfaasAutoscaler().decide([busy("a", ratio, instances=instances)], 0.0)) is goes


def test_the_last_instance_and_what_autoscaling_has_not_added_stay() -> None:
    idle = [
        model("a", instance("a-0")),
        model("b", instance("b-0", extra=False), instance("b-1", extra=False)),
        model("c", instance("c-0"), instance("c-1"), minimum=2),
    ]
    assert not InfaasAutoscaler().decide(idle, 0.0)


def test_at_its_maximum_with_those_on_their_way_a_model_gets_no_more() -> None:
    load = busy("a", 3.0)
    full = ModelLoad(model="a", instances=load.instances, coming=1, minimum=1, maximum=2)
    # The next most loaded gets its turn.
    (scale,) = InfaasAutoscaler().decide([full, busy("b", 1.7)], 0.0)
    assert scale.model == "b"


def test_of_speeds_that_are_not_known_nothing_follows() -> None:
    unknown = model("a", instance(speed=0.0, pending=1e6))
    assert not InfaasAutoscaler().decide([unknown], 0.0)
    # One of two: it is taken to be like the other.
    load = model("a", instance("x", speed=0.0), instance("y", speed=100.0, pending=3100.0))
    (scale,) = InfaasAutoscaler().decide([load], 0.0)
    assert "1.55" in scale.reason


amounts = st.floats(0, 1e4)


@st.composite
def some_loads(draw: st.DrawFn) -> list[ModelLoad]:
    loads = []
    for n in range(draw(st.integers(1, 4))):
        maximum = draw(st.integers(1, 6))
        count = draw(st.integers(0, maximum))
        kept: list[InstanceLoad] = [
            instance(
                f"m{n}-{k}",
                speed=draw(amounts),
                pending=draw(amounts),
                arrivals=draw(amounts),
                extra=draw(st.booleans()),
            )
            for k in range(count)
        ]
        loads.append(
            model(
                f"m{n}",
                *kept,
                coming=draw(st.integers(0, maximum - count)),
                minimum=draw(st.integers(1, maximum)),
                maximum=maximum,
                shortage=draw(amounts),
                forecast=draw(st.none() | amounts),
            )
        )
    return loads


@pytest.mark.parametrize("name", ["infaas", "none", "roomie"])
@settings(max_examples=40, deadline=None)
@given(st.lists(some_loads(), min_size=1, max_size=6))
def test_whatever_comes_limits_are_kept_and_only_extras_go(
    name: str, history: list[list[ModelLoad]]
) -> None:
    scaler = build_autoscaler(name)
    for turn, loads in enumerate(history):
        by_name = {load.model: load for load in loads}
        scales = scaler.decide(loads, 2.0 * turn)
        for load in loads:
            own = [scale for scale in scales if scale.model == load.model]
            ups = sum(scale.change > 0 for scale in own)
            gone = [scale.instance for scale in own if scale.change < 0]
            assert len(load.instances) + load.coming + ups <= max(
                load.maximum, len(load.instances) + load.coming
            )
            assert not (ups and gone)
            assert len(set(gone)) == len(gone) <= 1
            if gone:
                assert len(load.instances) - len(gone) >= load.minimum
            assert set(gone) <= {i.id for i in load.instances if i.extra}
        assert {scale.model for scale in scales} <= set(by_name)
        assert all(scale.reason for scale in scales)
        if name == "infaas":
            assert sum(scale.change > 0 for scale in scales) <= 1


@settings(max_examples=20, deadline=None)
@given(st.floats(1, 900))
def test_infaas_grows_until_the_ratio_is_met_and_never_past_the_maximum(rate: float) -> None:
    plant = Plant(maximum=8)
    play(InfaasAutoscaler(), [plant], [[rate]] * 200)
    assert rate <= 1.5 * plant.speed * plant.count or plant.count == plant.maximum


def test_all_autoscalers_are_entry_points() -> None:
    assert list(available()) == ["infaas", "none", "roomie"]
    assert isinstance(build_autoscaler("roomie"), RoomieAutoscaler)
    assert build_autoscaler("roomie") is not build_autoscaler("roomie")
    assert build_autoscaler("none").decide([busy("a", 9.0)], 0.0) == ()


def test_an_autoscaler_of_another_name_is_an_error_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'roomie'"):
        build_autoscaler("romie")


def test_an_autoscaler_that_cannot_be_imported_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("broken", "no_such_package:build", autoscaling.GROUP)
    monkeypatch.setattr("dataflow.plugins.entry_points", lambda **_: [broken])
    with pytest.raises(MissingDependencyError, match="no_such_package"):
        build_autoscaler("broken")
