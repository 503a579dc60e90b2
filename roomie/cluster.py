"""GPUs, what runs on them, and what is asked for: immutable values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from roomie.devices import Device
from roomie.errors import ClusterError
from roomie.profiles import Variant

Spread = Literal["none", "prefer", "require"]


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU, or a MIG slice, that takes instances.

    Attributes:
        id: unique in the cluster.
        node: the machine that it sits in; GPUs of one node fail together.
        device: its kind.
        max_instances: most instances at a time; None for as many as fit.
    """

    id: str
    node: str
    device: Device
    max_instances: int | None = None


@dataclass(frozen=True, kw_only=True)
class Request:
    """An instance that somebody wants.

    Attributes:
        id: unique among instances.
        model: which network.
        batch: its batch size; None lets the placer choose one.
        rate: items a second that it has to serve; None for as many as it can.
        latency_s: most that an inference may take, interference included; None for no objective.
        removable: it may go when one that is not removable finds no room (a "reserved" instance of
            thesis sec. 5.3.2; the others are its "primitive" ones).
        spread: whether instances of one group keep to different nodes.
        group: whose instances; the model when None.
        duty: share of its time that it is expected to compute. Neighbours feel it for that share
            only, and its own drop counts for as much; 1, which is the thesis' view, where nothing
            is known. Latency objectives are kept as if all were always computing.

    Raises:
        ClusterError: the duty is not above 0, or above 1.
    """

    id: str
    model: str
    batch: int | None = None
    rate: float | None = None
    latency_s: float | None = None
    removable: bool = False
    spread: Spread = "none"
    group: str | None = None
    duty: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.duty <= 1:
            raise ClusterError(
                "a duty is a share of the time",
                key="duty",
                value=self.duty,
                remedy="give more than 0 and at most 1",
            )

    @property
    def spread_group(self) -> str:
        """Instances that `spread` keeps apart."""
        return self.group or self.model


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A request at a batch size, on some GPU.

    Attributes:
        request: what was asked for.
        variant: what runs.
    """

    request: Request
    variant: Variant

    @property
    def id(self) -> str:
        """The request's."""
        return self.request.id


class ClusterState:
    """Which instances are on which GPU. A change makes a new state that shares what is unchanged.

    Args:
        gpus: in a fixed order; their positions index everything else.
        residents: instances of each GPU, in the same order.
        checked: whether ids are known to be unique, which takes time to find out.

    Raises:
        ClusterError: two GPUs, or two instances, have one id.
    """

    def __init__(
        self,
        gpus: Sequence[Gpu],
        residents: Sequence[Sequence[Instance]] | None = None,
        *,
        checked: bool = False,
    ) -> None:
        self.gpus = tuple(gpus)
        self.residents: tuple[tuple[Instance, ...], ...] = (
            ((),) * len(self.gpus) if residents is None else tuple(map(tuple, residents))
        )
        if len(self.residents) != len(self.gpus):
            raise ClusterError("residents must be given for each GPU")
        if not checked:
            _refuse_twice("GPU", (gpu.id for gpu in self.gpus))
            _refuse_twice("instance", (i.id for on in self.residents for i in on))
        self._derived: dict[object, object] = {}

    def derived(self, key: object) -> object | None:
        """What `keep` kept of a pure function of this state; None where it kept nothing."""
        return self._derived.get(key)

    def keep(self, key: object, value: object) -> None:
        """Keep a function's value with this state: it goes when the state goes."""
        self._derived[key] = value

    @cached_property
    def instances(self) -> Mapping[str, tuple[int, Instance]]:
        """GPU position and instance, by instance id."""
        return {i.id: (position, i) for position, on in enumerate(self.residents) for i in on}

    @property
    def count(self) -> int:
        """Instances in the cluster."""
        return sum(map(len, self.residents))

    def with_residents(self, changed: Mapping[int, Sequence[Instance]]) -> ClusterState:
        """The state in which some GPUs hold other instances.

        The caller answers for unique ids: checking them would cost as much as the cluster is large.
        """
        residents = list(self.residents)
        for position, on in changed.items():
            residents[position] = tuple(on)
        return ClusterState(self.gpus, residents, checked=True)

    def without(self, ids: Iterable[str]) -> ClusterState:
        """The state without some instances.

        Raises:
            ClusterError: there is no instance of that id.
        """
        changed: dict[int, list[Instance]] = {}
        for name in ids:
            if name not in self.instances:
                raise ClusterError(
                    "no such instance", key="remove", value=name, remedy="see the state's file"
                )
            position, instance = self.instances[name]
            on = changed.setdefault(position, list(self.residents[position]))
            on.remove(instance)
        return self.with_residents(changed)


def _refuse_twice(what: str, ids: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise ClusterError(
                f"two {what}s have one id", value=name, remedy="give each an id of its own"
            )
        seen.add(name)
