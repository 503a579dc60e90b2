"""What every balancer does alike: measure itself, follow the others, publish its row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agents.balancing.actions import Actions, PublishState, SendSignal
from agents.balancing.monitor import Monitor
from agents.balancing.settings import BalancingSettings
from agents.balancing.signals import InformationRequest
from agents.balancing.table import StateTable, View
from agents.balancing.transit import Transit
from agents.balancing.values import MAX_CAMERAS, Queue, Relayed, Row, Waiting

_SMALL_GROUP = 10
"""Neighbours up to which news is told as often as `BalancingSettings.news_gap` allows."""


class Member:
    """One replica of a group.

    Args:
        replica: its name.
        incarnation: which life of it.
        now: seconds.
        settings: see there.
    """

    def __init__(
        self, *, replica: str, incarnation: str, now: float, settings: BalancingSettings
    ) -> None:
        self.replica = replica
        self.incarnation = incarnation
        self.settings = settings
        self.partitions: tuple[int, ...] = ()
        self.queue = Queue()
        self.monitor = Monitor(now, slot=settings.slot, history=settings.history)
        self.table = StateTable(
            replica,
            slot=settings.slot,
            slots=settings.slots,
            history=settings.history,
            rounds=settings.rounds,
            liveness=settings.liveness,
        )
        self._received: dict[str, int] = {}
        self._transits: dict[str, Transit] = {}
        self._published: Row | None = None
        self._published_rate = 0.0

    def arrived(self, now: float, items: Sequence[Waiting]) -> None:
        """Items came from upstream."""
        self.monitor.arrived(
            now,
            len(items),
            sum(item.size for item in items),
            cameras=[item.camera for item in items if item.camera],
        )

    def offloaded(self, sender: str, items: int) -> None:
        """Items came from a peer."""
        self._received[sender] = self._received.get(sender, 0) + items

    def sent(self, now: float, peer: str, items: int) -> None:
        """Items left for a peer."""
        self._transits.setdefault(peer, Transit(self.replica)).sent(now, items)

    def returned(self, peer: str, items: int) -> None:
        """Items did not reach a peer and are back."""
        if peer in self._transits:
            self._transits[peer].returned(items)

    def heard(self, now: float, row: Row, *, age: float | None = None) -> bool:
        """A row came from its maker, or was relayed ``age`` s after the relayer heard it."""
        if not self.table.hear(row, now, age=age):
            return False
        self._transits.setdefault(row.replica, Transit(self.replica)).heard(row)
        return True

    def heard_relayed(self, now: float, rows: Iterable[Relayed]) -> bool:
        """Rows of somebody else's table came; True if any was news."""
        taken = [self.heard(now, relayed.row, age=relayed.age) for relayed in rows]
        return any(taken)

    def gone(self, replica: str) -> None:
        """A neighbour said goodbye, or has been silent for so long that it will not any more."""
        self.table.forget(replica)
        self._transits.pop(replica, None)
        self._received.pop(replica, None)

    def view(self, now: float, *, most_cameras: int = 0) -> View:
        """The group right now, with what is on its way.

        Args:
            now: seconds.
            most_cameras: in this replica's own row.
        """
        return self.table.view(now, self.row(now, most_cameras=most_cameras))

    def _sending(self, now: float) -> dict[str, int]:
        on_their_way = {peer: transit.on_its_way(now) for peer, transit in self._transits.items()}
        return {peer: items for peer, items in on_their_way.items() if items}

    def mu(self, now: float) -> float:
        """Its own rate, or the mean of its neighbours' until it has one; 0 if nobody has."""
        own = self.monitor.mu
        return self.table.mean_mu(now) if own is None else own

    def row(self, now: float, *, most_cameras: int = MAX_CAMERAS) -> Row:
        """Its row right now.

        Args:
            now: seconds.
            most_cameras: whose rates are counted up, which costs more than all the rest.
        """
        self.monitor.advance(now)
        return Row(
            replica=self.replica,
            incarnation=self.incarnation,
            at=now,
            load=len(self.queue.waiting),
            in_flight=self.queue.in_flight,
            mu=self.mu(now),
            slot=self.monitor.slot,
            history=self.monitor.history,
            partitions=self.partitions,
            received=self._received,
            sending=self._sending(now),
            item_bytes=round(self.monitor.item_bytes, 1),
            cameras=self.monitor.cameras(most_cameras) if most_cameras else {},
        )

    def relay(self, now: float) -> tuple[Relayed, ...]:
        """Its row, and those of the others that it knows best."""
        own = Relayed(row=self.row(now), age=0.0)
        return (own, *self.table.relay(now, self.settings.relay_rows))

    def publish(self, now: float) -> Actions:
        """The action that publishes its row."""
        row = self.row(now)
        recent = row.history[-self.settings.slots :]
        self._published = row
        self._published_rate = sum(recent) / len(recent) / self.settings.slot if recent else 0.0
        return (PublishState(row=row),)

    def publish_if_due(self, now: float) -> Actions:
        """Its row, if it is time for one or if there is news."""
        last = self._published
        if last is None:
            return self.publish(now)
        passed = now - last.at
        beat = self.settings.heartbeat
        # Rows leave at the start of a slot, so that all of a slot's are there when it has settled.
        new_slot = self.monitor.slot_of(now) != self.monitor.slot_of(last.at)
        due = beat is not None and (passed >= beat or (new_slot and passed >= beat / 2))
        # Everybody reads every row: in a large group each tells less often, so that what a replica
        # has to read does not grow with it.
        gap = self.settings.news_gap * max(1.0, len(self.table) / _SMALL_GROUP)
        if due or (passed >= gap and self.is_news(now)):
            return self.publish(now)
        return ()

    def is_news(self, now: float) -> bool:
        """Whether its queue is far from what the others must believe."""
        last = self._published
        if last is None:
            return True
        believed = max(
            0.0, last.load + last.in_flight + (self._published_rate - last.mu) * (now - last.at)
        )
        off = abs(len(self.queue.waiting) + self.queue.in_flight - believed)
        mu = self.mu(now)
        return off >= self.settings.news_items and off > self.settings.news_seconds * mu


class MemberBalancer:
    """What all balancers do alike with what they are told.

    Args:
        replica: its name.
        incarnation: which life of it.
        now: seconds.
        settings: see there.
    """

    def __init__(
        self, *, replica: str, incarnation: str, now: float, settings: BalancingSettings
    ) -> None:
        self._me = replica
        self._settings = settings
        self._member = Member(replica=replica, incarnation=incarnation, now=now, settings=settings)

    @property
    def member(self) -> Member:
        """Monitor and state table."""
        return self._member

    def start(self, now: float) -> Actions:
        """Announce the replica, and ask the others for their rows."""
        request = InformationRequest(
            sender=self._me,
            incarnation=self._member.incarnation,
            at=now,
            table=self._member.relay(now),
        )
        return (*self._member.publish(now), SendSignal(signal=request))

    def assigned(self, now: float, partitions: Sequence[int]) -> Actions:
        """Tell the others where to offload to."""
        self._member.partitions = tuple(sorted(partitions))
        return self._member.publish(now)

    def arrived(self, now: float, items: Sequence[Waiting]) -> Actions:
        """Count them."""
        self._member.arrived(now, items)
        return ()

    def processed(self, now: float, items: int, seconds: float) -> Actions:
        """Measure mu."""
        self._member.monitor.processed(now, items, seconds)
        return ()
