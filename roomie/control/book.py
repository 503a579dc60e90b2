"""The placements while they are being changed, and what comes of a change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dataflow.errors import RecordError
from roomie.control.records import (
    OpenOrder,
    Order,
    OrderMemory,
    PlacedInstance,
    Placement,
    Status,
)

ORDERS_KEPT = 500
"""Ids of orders that are remembered, of all models."""
_ORDERS_KEPT_BY_MODEL = 32

OUTCOME_OF = {"deploy": "ready", "update": "rolled-out", "scale": "scaled", "undeploy": "removed"}
"""How an order of each type ends when all goes well."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What is to be written after an event, all of it or nothing.

    Attributes:
        placements: by model, in the order in which they are to be written: first those by which
            instances only go. None takes the record away.
        statuses: in the order in which they happened.
        memory: of orders, where it has changed.
        refusal: why the order was refused, where it was.
    """

    placements: tuple[tuple[str, Placement | None], ...] = ()
    statuses: tuple[Status, ...] = ()
    memory: OrderMemory | None = None
    refusal: RecordError | None = None

    def __bool__(self) -> bool:
        return bool(self.placements or self.statuses or self.memory)


class Book:
    """Placements by model, with what has changed since the last `close`."""

    def __init__(self) -> None:
        self._placements: dict[str, Placement] = {}
        self._before: dict[str, Placement | None] = {}
        self._statuses: list[Status] = []
        self._ids: dict[str, None] = {}
        self._memory_changed = False

    # -- reading ----------------------------------------------------------------------------------

    def __contains__(self, model: str) -> bool:
        return model in self._placements

    def __getitem__(self, model: str) -> Placement:
        return self._placements[model]

    def models(self) -> tuple[str, ...]:
        """All of them, sorted."""
        return tuple(sorted(self._placements))

    def instances(self) -> Iterator[tuple[Placement, PlacedInstance]]:
        """All of all models."""
        for model in self.models():
            placement = self._placements[model]
            for instance in placement.instances:
                yield placement, instance

    @property
    def changed(self) -> bool:
        """Whether anything has been written since the last `close`."""
        return bool(self._before)

    def knows_order(self, order: str) -> bool:
        """Whether it has been acted on, or refused."""
        return order in self._ids or any(order in p.orders for p in self._placements.values())

    # -- writing ----------------------------------------------------------------------------------

    def restore(self, placement: Placement) -> None:
        """Take what a controller wrote."""
        self._placements[placement.spec.model] = placement

    def remember(self, ids: Sequence[str]) -> None:
        """Take ids of orders that a controller wrote."""
        self._ids.update(dict.fromkeys(ids))

    def put(self, placement: Placement) -> None:
        """Replace, or begin, a model's placement."""
        model = placement.spec.model
        self._before.setdefault(model, self._placements.get(model))
        self._placements[model] = placement

    def drop(self, model: str) -> None:
        """Take a model's placement away."""
        self._before.setdefault(model, self._placements.get(model))
        del self._placements[model]

    def edit(self, model: str, **changes: Any) -> Placement:
        """Change fields of a placement; returns the new one."""
        placement = self._placements[model].model_copy(update=changes)
        self.put(placement)
        return placement

    def edit_instances(self, model: str, ids: Sequence[str], **changes: Any) -> None:
        """Change fields of some of a model's instances."""
        wanted = set(ids)
        self.edit(
            model,
            instances=tuple(
                i.model_copy(update=changes) if i.id in wanted else i
                for i in self._placements[model].instances
            ),
        )

    def drop_instances(self, model: str, ids: Sequence[str]) -> None:
        """Take instances out."""
        gone = set(ids)
        kept = tuple(i for i in self._placements[model].instances if i.id not in gone)
        self.edit(model, instances=kept)

    def drain(self, model: str, ids: Sequence[str], now: float) -> None:
        """Let instances finish what they have, and go."""
        going = [i.id for i in self[model].instances if i.id in set(ids) and i.state != "draining"]
        if going:
            self.edit_instances(model, going, state="draining", since=now, replaces=None)

    def give_up_extras(self, model: str, count: int = 1) -> None:
        """Let autoscaling want so many instances fewer."""
        self.edit(model, extra=max(0, self[model].extra - count))

    def say(
        self,
        model: str,
        event: str,
        reason: str,
        now: float,
        *,
        order: str | None = None,
        instances: Sequence[str] = (),
    ) -> None:
        """Note why something was done."""
        self._statuses.append(
            Status.model_validate(
                {
                    "model": model,
                    "order": order,
                    "event": event,
                    "reason": reason,
                    "instances": tuple(instances),
                    "at": now,
                }
            )
        )

    # -- orders -----------------------------------------------------------------------------------

    def note_order(self, order: str) -> None:
        """Remember an order's id."""
        self._ids[order] = None
        while len(self._ids) > ORDERS_KEPT:
            del self._ids[next(iter(self._ids))]
        self._memory_changed = True

    def open(self, order: Order, now: float) -> None:
        """Accept an order of a model that has a placement."""
        placement = self[order.model]
        self.note_order(order.id)
        self.edit(
            order.model,
            orders=(*placement.orders, order.id)[-_ORDERS_KEPT_BY_MODEL:],
            open=(*placement.open, OpenOrder(id=order.id, type=order.type, at=now)),
        )

    def end(self, model: str, order: str, event: str, reason: str, now: float) -> None:
        """Give an open order its outcome; nothing happens to one that is not open."""
        placement = self[model]
        if any(o.id == order for o in placement.open):
            self.edit(model, open=tuple(o for o in placement.open if o.id != order))
            self.say(model, event, reason, now, order=order)

    def supersede(self, model: str, by: Order, now: float, *, only: str | None = None) -> None:
        """End the open orders that another one makes pointless: all, or those of one type."""
        for order in self[model].open:
            if only is None or order.type == only:
                reason = f"the {by.type} {by.id} came after it"
                self.end(model, order.id, "superseded", reason, now)

    # -- what comes of it -------------------------------------------------------------------------

    def close(self, refusal: RecordError | None = None) -> Step:
        """What has changed since the last time, as it is to be written."""
        written: list[tuple[bool, str, Placement | None]] = []
        for model, before in sorted(self._before.items()):
            after = self._placements.get(model)
            if after is None:
                if before is not None:
                    written.append((False, model, None))
                continue
            if after == before:
                continue
            old = 0 if before is None else before.generation
            after = after.model_copy(update={"generation": old + 1})
            self._placements[model] = after
            known = set() if before is None else {i.id for i in before.instances}
            grows = any(i.id not in known for i in after.instances)
            written.append((grows, model, after))
        step = Step(
            placements=tuple((m, p) for _, m, p in sorted(written, key=lambda w: w[:2])),
            statuses=tuple(self._statuses),
            memory=OrderMemory(ids=tuple(self._ids)) if self._memory_changed else None,
            refusal=refusal,
        )
        self._before, self._statuses, self._memory_changed = {}, [], False
        return step
