"""What was asked of the control plane and acknowledged, and whether it has been kept. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from roomie.control.book import OUTCOME_OF
from roomie.control.records import Order, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a model should be.

    Attributes:
        version: that serves.
        instances: how many.
    """

    version: int
    instances: int


class Ledger:
    """Orders that the broker has acknowledged, in their order."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self._wishes: dict[str, Wish] = {}

    def acknowledged(self, order: Order, *, succeeds: bool = True) -> Order:
        """Note one.

        Args:
            order: as sent.
            succeeds: whether it is to become true; one for a version that cannot serve is not.
        """
        self.orders.append(order)
        if not succeeds:
            return order
        if order.type == "undeploy":
            self._wishes.pop(order.model, None)
        elif order.spec is not None:
            self._wishes[order.model] = Wish(
                version=order.spec.version, instances=order.spec.instances
            )
        elif order.instances is not None:
            known = self._wishes[order.model]
            self._wishes[order.model] = Wish(version=known.version, instances=order.instances)
        return order

    def wishes(self) -> dict[str, Wish]:
        """What all of them come to, by model."""
        return dict(self._wishes)


def broken_promises(orders: Sequence[Order], statuses: Iterable[Status]) -> list[str]:
    """Orders that were lost, acted on twice, or ended otherwise than they should; a sentence each.

    Args:
        orders: that were acknowledged, and are to succeed.
        statuses: all that was ever said.
    """
    outcomes: dict[str, list[Status]] = defaultdict(list)
    for status in statuses:
        if status.is_outcome and status.order is not None:
            outcomes[status.order].append(status)
    found = []
    for order in orders:
        said = outcomes.get(order.id, [])
        what = f"the {order.type} of {order.model}"
        if not said:
            found.append(f"{what} was acknowledged and has no outcome")
        elif len(said) > 1:
            found.append(f"{what} has {len(said)} outcomes: {', '.join(s.event for s in said)}")
        elif said[0].event != OUTCOME_OF[order.type]:
            found.append(f"{what} ended as {said[0].event}: {said[0].reason}")
    return found
