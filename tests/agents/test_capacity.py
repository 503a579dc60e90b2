"""A replica's part in an overload of its group."""

from __future__ import annotations

from typing import Any

from agents.balancing import CapacityEvent, Queue, VideoJam, Waiting, last_window
from agents.balancing.settings import BalancingSettings
from agents.capacity import CapacityWatch
from dataflow.config import Config
from tests.agents.balancing.rows import row

START = 1000.0


def declared(policy: str, **overload: Any) -> Config:
    return Config.model_validate(
        {
            "version": 1,
            "overload": {"policy": policy, **overload},
            "functions": {"find": {}, "read": {}},
            "pipelines": {
                "p": {
                    "cameras": ["any"],
                    "steps": [{"function": "find", "then": [{"to": "read"}]}, {"function": "read"}],
                }
            },
        }
    )


def swamped(waiting: int = 500, replica: str = "me") -> VideoJam:
    """A replica that does ten items a second, and has many waiting."""
    balancer = VideoJam(
        replica=replica,
        incarnation="i",
        now=START,
        forecast=last_window(10),
        settings=BalancingSettings(),
    )
    balancer.start(START)
    balancer.processed(START, 1, 0.1)
    balancer.tick(START, Queue(waiting=queue(waiting)))
    return balancer


def queue(items: int) -> tuple[Waiting, ...]:
    return tuple(Waiting(key=n, camera=f"cam-{n % 2}") for n in range(items))


def watch(
    policy: str, balancer: VideoJam, function: str = "find", **overload: Any
) -> CapacityWatch:
    config = declared(policy, **overload)
    return CapacityWatch(balancer, config=config, function=function, replica="me")


def test_an_overload_is_said_once_a_second_and_by_one_replica() -> None:
    looking = watch("rate", swamped())
    event = looking.look(START)
    assert event is not None
    assert (event.function, event.ended) == ("find", False)
    assert looking.overloaded_since == START
    assert looking.look(START + 0.5) is None
    assert looking.look(START + 1.0) is not None
    balancer = swamped()
    balancer.heard(START, row("another", START, mu=10.0))
    assert watch("rate", balancer).look(START) is None  # it says so itself


def test_with_the_policy_oldest_what_a_window_cannot_do_goes_fairly() -> None:
    looking = watch("oldest", swamped())
    looking.look(START)
    assert looking.sheds
    gone = looking.too_old(START, queue(500))
    assert len(gone) == 500 - 100  # ten a second for ten seconds stay
    kept = [item for item in queue(500) if item.key not in set(gone)]
    assert sorted({item.camera for item in kept}) == ["cam-0", "cam-1"]
    assert min(item.key for item in kept if isinstance(item.key, int)) >= 400


def test_nothing_is_shed_before_an_overload_is_noticed() -> None:
    assert not watch("oldest", swamped()).sheds


def test_other_policies_shed_nothing_that_waits() -> None:
    for policy in ("none", "rate", "priority"):
        looking = watch(policy, swamped())
        looking.look(START)
        assert not looking.sheds


def test_frames_are_thinned_at_the_first_step_only() -> None:
    event = CapacityEvent(
        function="read", at=START, since=START, needed=20.0, available=10.0, kept={"cam": 0.0}
    )
    for function, step, passes in (("find", "find", False), ("read", "read", True)):
        looking = watch("rate", swamped(), function)
        looking.hear(START, event)
        assert looking.admits(START, "p", step, "cam") is passes
        assert looking.admits(START, "p", step, "another")
        assert looking.admits(START, "unknown", step, "cam")


def test_nobody_is_thinned_unless_it_is_declared() -> None:
    looking = watch("none", swamped())
    looking.hear(
        START,
        CapacityEvent(
            function="find", at=START, since=START, needed=2.0, available=1.0, kept={"cam": 0.0}
        ),
    )
    assert looking.admits(START, "p", "find", "cam")
