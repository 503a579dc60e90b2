"""Invariants of the controller's core, whatever happens in whatever order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from hypothesis import event, given, settings
from hypothesis import strategies as st

from roomie.control.book import Step
from roomie.control.records import ModelSpec, Placement
from tests.roomie.control.world import NETS, World, memory_is_kept

Happening = Callable[[World], object]

specs = st.builds(
    lambda version, instances, reserved, batch: {
        "version": version,
        "instances": instances,
        "reserved": reserved,
        "batch": batch,
    },
    version=st.integers(1, 3),
    instances=st.integers(1, 3),
    reserved=st.booleans(),
    batch=st.sampled_from([None, 1, 4]),
)
models = st.sampled_from([*NETS, "unprofiled"])


def _of_unprofiled(model: str, spec: dict[str, object]) -> dict[str, object]:
    return {**spec, "memory_bytes": 6 << 30} if model == "unprofiled" else spec


def _scale(model: str, instances: int) -> Happening:
    return lambda w: w.order("scale", model, instances=instances)


def _restart_worker(number: int) -> Happening:
    def restart(world: World) -> None:
        for worker in list(world.workers.values())[number : number + 1]:
            worker.restart()

    return restart


def _die(number: int) -> Happening:
    def die(world: World) -> None:
        # One always stays: with none, there is nothing to be said.
        for name in list(world.workers)[1:][number : number + 1]:
            del world.workers[name]

    return die


orders: st.SearchStrategy[Happening] = st.one_of(
    st.builds(lambda m, s: lambda w: w.deploy(m, **_of_unprofiled(m, s)), models, specs),
    st.builds(lambda m, s: lambda w: w.update(m, **_of_unprofiled(m, s)), models, specs),
    st.builds(_scale, models, st.integers(1, 4)),
    st.builds(lambda m: lambda w: w.order("undeploy", m), models),
)
troubles: st.SearchStrategy[Happening] = st.one_of(
    st.builds(lambda n: lambda w: w.join(f"new{n}"), st.integers(0, 2)),
    st.builds(_restart_worker, st.integers(0, 2)),
    st.builds(_die, st.integers(0, 2)),
)
passing: st.SearchStrategy[Happening] = st.builds(
    lambda s: lambda w: w.run(s), st.sampled_from([0.5, 1.0, 3.0, 7.0])
)


def _deploy(model: str, spec: dict[str, object]) -> Happening:
    return lambda w: w.deploy(model, **_of_unprofiled(model, spec))


beginnings = st.lists(models, min_size=2, max_size=4, unique=True).flatmap(
    lambda chosen: st.tuples(*(st.builds(_deploy, st.just(m), specs) for m in chosen))
)
"""Some models, deployed one after the other."""


def _histories(
    *kinds: st.SearchStrategy[Happening], most: int
) -> st.SearchStrategy[list[Happening]]:
    return st.builds(
        lambda first, rest: [_pass, *first, _pass, *rest],
        beginnings,
        st.lists(st.one_of(*kinds), min_size=1, max_size=most),
    )


def _pass(world: World) -> None:
    world.run(2.0)


histories = _histories(orders, orders, passing, troubles, most=12)
quiet_histories = _histories(orders, passing, most=5)
"""In which no worker comes or goes."""

few = settings(max_examples=20)


def _play(history: list[Happening], world: World | None = None) -> World:
    world = world or World(2)
    for happening in history:
        happening(world)
    return world


@few
@given(history=histories)
def test_no_gpu_is_given_more_than_its_memory_holds(history: list[Happening]) -> None:
    world = World(2)
    world.watchers.append(lambda: memory_is_kept(world))
    _play(history, world)
    world.settle(120)


@few
@given(history=histories)
def test_each_order_gets_exactly_one_outcome_unless_it_waits_for_room(
    history: list[Happening],
) -> None:
    world = _play(history)
    world.settle(120)
    outcomes = Counter(s.order for s in world.statuses if s.is_outcome)
    waiting = {o.id for p in world.table.values() for o in p.open}
    accepted = {s.order for s in world.statuses if s.event in ("accepted", "refused")}
    assert set(outcomes) | waiting == accepted
    assert not set(outcomes) & waiting
    assert set(outcomes.values()) <= {1}
    for placement in world.table.values():
        if placement.open:
            assert placement.deferred is not None, "it waits for nothing else"


@few
@given(history=histories, data=st.data())
def test_an_order_sent_twice_is_acted_on_once(
    history: list[Happening], data: st.DataObject
) -> None:
    world = World(2)
    real = world.core.order
    sent: list[tuple[object, ...]] = []

    def twice(order, now):  # type: ignore[no-untyped-def]
        step = real(order, now)
        sent.append((order, now))
        return step

    world.core.order = twice  # type: ignore[method-assign]
    _play(history, world)
    if not sent:
        return
    order, _ = data.draw(st.sampled_from(sent))
    if data.draw(st.booleans()):
        world.restart()
        real = world.core.order
    before = dict(world.table)
    step = real(order, world.now)  # type: ignore[arg-type]
    world.write(step)
    assert [s.event for s in step.statuses] == ["repeated"]
    assert world.table == before


@few
@given(history=histories)
def test_those_that_keep_their_place_are_never_displaced(history: list[Happening]) -> None:
    world = World(2)

    reserved: set[str] = set()

    def watch() -> None:
        for status in world.steps[-1].statuses:
            if "needs its room" in status.reason:
                # Unless this very step's order has made them removable.
                kept = {n for n in reserved if world.table[n.partition(".")[0]].spec.reserved}
                assert not set(status.instances) & kept
                displaced.update(status.instances)
        reserved.clear()
        reserved.update(i.id for i in world.instances() if i.reserved)

    displaced: set[str] = set()
    world.watchers.append(watch)
    _play(history, world)
    world.settle(120)
    event(f"displaced: {len(displaced) > 0}")


def _final(world: World) -> dict[str, tuple[int, int, int, str]]:
    world.settle(200)
    return world.shape()


@settings(max_examples=12)
@given(history=quiet_histories)
def test_a_restart_after_any_step_comes_to_the_same_placements(history: list[Happening]) -> None:
    # With room for all: where room is scarce, limits of time decide, and who was away forgives.
    plain = _final(_play(history, World(3, gpu_gb=200)))
    restarted = World(3, gpu_gb=200)
    depth = 0

    def restart() -> None:
        nonlocal depth
        if depth == 0:  # not while the new one resumes
            depth = 1
            restarted.restart()
            depth = 0

    restarted.watchers.append(restart)
    assert _final(_play(history, restarted)) == plain


@settings(max_examples=12)
@given(
    history=quiet_histories,
    cut=st.integers(0, 40),
    kept=st.integers(0, 3),
)
def test_a_step_that_was_written_in_part_comes_to_the_same_instances(
    history: list[Happening], cut: int, kept: int
) -> None:
    """Transactions write a step whole; nothing breaks where a broker could not do that."""
    world = World(3)
    world.watchers.append(lambda: memory_is_kept(world))
    real = world.write
    seen = 0

    def torn(step: Step) -> Step:
        nonlocal seen
        if step and len(step.placements) > 1:
            seen += 1
            if seen == cut % 5 + 1 and kept < len(step.placements):
                part = Step(placements=step.placements[:kept], memory=step.memory)
                real(part)
                world.restart()
                return part
        return real(step)

    world.write = torn  # type: ignore[method-assign]
    _play(history, world)
    world.settle(200)
    for placement in world.table.values():
        counts = Counter(i.state for i in placement.instances)
        wanted = placement.spec.instances
        assert counts == {"ready": wanted} or placement.deferred is not None


@few
@given(
    instances=st.integers(1, 3),
    happenings=st.lists(
        st.one_of(
            passing,
            st.builds(
                lambda v: lambda w: w.update("small", version=v, instances=2), st.integers(2, 4)
            ),
            st.just(lambda w: w.restart()),
        ),
        max_size=8,
    ),
    fails=st.sets(st.integers(2, 4)),
)
def test_a_rollout_never_has_fewer_instances_serving_than_wanted(
    instances: int, happenings: list[Happening], fails: set[int]
) -> None:
    world = World(3, fault=lambda i: "broken" if i.version in fails else None)
    world.deploy("small", instances=instances)
    world.settle()
    wanted = min(instances, 2)

    def watch() -> None:
        assert len(world.ready("small")) >= wanted, world.table["small"]

    watch()
    world.watchers.append(watch)
    for happening in happenings:
        happening(world)
    world.settle(120)
    assert world.table["small"].spec.version not in fails


def test_generations_and_records_survive_the_wire() -> None:
    world = World(1)
    world.deploy("small", instances=2)
    world.settle()
    placement = world.table["small"]
    assert Placement.from_json(placement.to_json()) == placement
    assert isinstance(placement.spec, ModelSpec)
