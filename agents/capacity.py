"""A replica's part in an overload of its whole group: noticing it, saying so, and shedding."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from agents.balancing import Admission, Balancer, CapacityEvent, Overload, VideoJam, Waiting, shed
from dataflow.config import Config

_LOOK_SECONDS = 1.0


class CapacityWatch:
    """Pure: it is told what happens and when, and answers what is to be done.

    Args:
        balancer: knows the group.
        config: the declaration.
        function: the replica's function.
        replica: its name.
    """

    def __init__(self, balancer: Balancer, *, config: Config, function: str, replica: str) -> None:
        self._balancer = balancer
        self._replica = replica
        self._policy = config.overload.policy
        self._priorities = config.overload.priorities
        self._admission = Admission()
        # With the policy `oldest` importance decides about what waits, not about what may enter.
        by_importance = self._policy == "priority"
        self._overload = Overload(function, priorities=self._priorities if by_importance else None)
        self._due = 0.0
        self._entrances = {
            name: (
                pipeline.steps[0].name,
                tuple(dict.fromkeys(step.function for step in pipeline.steps)),
            )
            for name, pipeline in config.pipelines.items()
            if pipeline.steps[0].function == function
        }
        self._thins = self._policy in ("rate", "priority") and bool(self._entrances)

    @property
    def overloaded_since(self) -> float | None:
        """Since when the group lacks capacity; None when it does not."""
        return self._overload.since

    def hear(self, now: float, event: CapacityEvent) -> None:
        """Some group, perhaps further down a pipeline, lacks capacity or no longer does."""
        self._admission.hear(now, event)

    def admits(self, now: float, pipeline: str, step: str, camera: str) -> bool:
        """Whether a frame may pass; ask once a frame. Only at the first step any may not."""
        if not self._thins:
            return True
        first, functions = self._entrances.get(pipeline, ("", ()))
        return step != first or self._admission.admits(now, camera, functions)

    def look(self, now: float) -> CapacityEvent | None:
        """Once a second, look whether the group lacks capacity.

        Returns:
            What is to be said. Everybody finds the same; one replica says it.
        """
        balancer = self._balancer
        if now < self._due or not isinstance(balancer, VideoJam):
            return None
        self._due = now + _LOOK_SECONDS
        event = self._overload.update(now, balancer.demand(now))
        first = min((self._replica, *balancer.member.table.alive(now)))
        return event if first == self._replica else None

    @property
    def sheds(self) -> bool:
        """Whether what waits too long is to go."""
        return self._policy == "oldest" and self._overload.since is not None

    def too_old(self, now: float, waiting: Sequence[Waiting]) -> tuple[Hashable, ...]:
        """Keys of what is to go: what cannot be done in a window is too old by then."""
        member = self._balancer.member
        seconds = member.settings.slots * member.settings.slot
        return shed(waiting, int(member.mu(now) * seconds), priorities=self._priorities)
