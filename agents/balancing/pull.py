"""Competing consumers on Kafka: whoever has room asks for work.

A partition belongs to one member of the group, so replicas cannot all read one queue. Instead the
items wait at the replica that owns their partition, and a replica that could start on more asks
whoever has most waiting, with a `WorkRequest`; the owner answers by offloading its oldest items.
The group then behaves as one queue, at the price of a signal and a transfer an item.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from agents.balancing.actions import Action, Actions, Offload, SendSignal
from agents.balancing.baselines import NoBalancing
from agents.balancing.settings import BalancingSettings
from agents.balancing.signals import Signal, WorkRequest
from agents.balancing.values import Queue, Relayed


class SharedQueue(NoBalancing):
    """Pulls work when it runs dry, and gives work to those that ask.

    Args:
        replica: its name.
        incarnation: which life of it.
        now: seconds.
        settings: see there.
        reserve: items that a replica wants waiting, so that its function never runs dry; one
            batch, at least one.
        patience: seconds until an unanswered request is made again.
    """

    def __init__(
        self,
        *,
        replica: str,
        incarnation: str,
        now: float,
        settings: BalancingSettings,
        reserve: int = 1,
        patience: float = 0.2,
    ) -> None:
        super().__init__(replica=replica, incarnation=incarnation, now=now, settings=settings)
        self._reserve = reserve
        self._patience = patience
        self._asked_at: float | None = None
        self._wanted: dict[str, int] = {}

    def offloaded(self, now: float, sender: str, items: int, table: Sequence[Relayed]) -> Actions:
        """The answer to a request."""
        self._asked_at = None
        return super().offloaded(now, sender, items, table)

    def signalled(self, now: float, signal: Signal) -> Actions:
        """Note who asks; the next tick has the queue to give from."""
        if isinstance(signal, WorkRequest) and signal.to == self._me:
            self._wanted[signal.sender] = signal.room
        return super().signalled(now, signal)

    def tick(self, now: float, queue: Queue) -> Actions:
        """Give to those that asked, and ask if there is room."""
        actions: list[Action] = [*super().tick(now, queue)]
        spare = (
            item for item in queue.waiting[self._reserve :] if item.hops < self._settings.hop_limit
        )
        for peer, room in list(self._wanted.items()):
            row = self._member.table.row(peer)
            keys = tuple(item.key for item in islice(spare, room))
            if row is not None and keys:
                del self._wanted[peer]
                actions.append(
                    Offload(
                        peer=peer,
                        partitions=row.partitions,
                        keys=keys,
                        table=self._member.relay(now),
                    )
                )
        if not self._wanted:
            actions += self._ask(now, queue)
        # Nothing to give now: they ask again, perhaps somebody else.
        self._wanted.clear()
        return tuple(actions)

    def _ask(self, now: float, queue: Queue) -> Actions:
        room = self._reserve - len(queue.waiting)
        waits = self._asked_at is not None and now - self._asked_at < self._patience
        if room <= 0 or waits:
            return ()
        view = self._member.view(now)
        longest = max(range(1, len(view.replicas)), key=view.waiting.__getitem__, default=0)
        if not longest or view.waiting[longest] < 1:
            return ()
        self._asked_at = now
        request = WorkRequest(
            sender=self._me,
            incarnation=self._member.incarnation,
            to=view.replicas[longest],
            at=now,
            room=room,
        )
        return (SendSignal(signal=request),)
