"""Groups of replicas: queues, servers and links are emulated, the balancers are the real ones."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from agents.balancing import (
    Actions,
    Balancer,
    Offload,
    PublishState,
    Queue,
    Relayed,
    Row,
    SendSignal,
    Signal,
    decode_signal,
)
from evaluation.simulation.events import Loop, Rank
from evaluation.simulation.values import Books, Item, LinkSpec, ReplicaSpec

_TICK = 0.05
"""Seconds between ticks of a shell; it also ticks when items come, go or are done."""
_SESSION = 6.0
"""Seconds until the partitions of a dead replica are adopted: the group's session timeout."""


class Node:
    """One replica: a queue, a server, a link, and a balancer.

    Args:
        spec: see there.
        group: it belongs to.
        partition: of the work topic, which it owns.
        generator: its own.
    """

    def __init__(
        self, spec: ReplicaSpec, group: Group, partition: int, generator: np.random.Generator
    ) -> None:
        self.spec = spec
        self.queue: list[Item] = []
        self.in_flight: list[Item] = []
        self.alive = False
        self._group = group
        self._partition = partition
        self._generator = generator
        self._life = 0
        self._link_free = 0.0
        self._sending: dict[Hashable, Item] = {}
        self._balancer: Balancer | None = None

    @property
    def balancer(self) -> Balancer:
        """Of its current life."""
        if self._balancer is None:
            raise RuntimeError(f"{self.spec.name} was never started")
        return self._balancer

    # -- life -----------------------------------------------------------------------------------

    def start(self, spec: ReplicaSpec | None = None) -> None:
        """Begin a life, perhaps at another speed."""
        now = self._group.loop.now
        self.spec = self.spec if spec is None else spec
        self._life += 1
        self.alive = True
        self._balancer = self._group.make_balancer(self.spec, f"life-{self._life}", now)
        self._do(self.balancer.start(now))
        self._do(self.balancer.assigned(now, (self._partition,)))
        self._tick_forever(self._life)

    def die(self) -> list[Item]:
        """End at once; what was not finished is not committed, and comes back."""
        self.alive = False
        unfinished = [*self.in_flight, *self.queue, *self._sending.values()]
        self.queue, self.in_flight, self._sending = [], [], {}
        return unfinished

    def _tick_forever(self, life: int) -> None:
        if self.alive and life == self._life:
            self.tick()
            loop = self._group.loop
            loop.at(loop.now + _TICK, Rank.TICK, lambda: self._tick_forever(life))

    # -- events ---------------------------------------------------------------------------------

    def receive(
        self, items: Sequence[Item], sender: str | None = None, table: Sequence[Relayed] = ()
    ) -> None:
        """Items from upstream, or from a peer."""
        now = self._group.loop.now
        self.queue += items
        if sender is None:
            self._do(self.balancer.arrived(now, [item.work for item in items]))
        else:
            self._do(self.balancer.offloaded(now, sender, len(items), table))
        self.tick()
        full = len(self.queue) - self._group.capacity
        if full > 0:
            self._group.books.dropped += full
            del self.queue[:full]

    def hear(self, row: Row) -> None:
        """A row from a peer."""
        if self.alive:
            self._do(self.balancer.heard(self._group.loop.now, row))

    def signalled(self, signal: Signal) -> None:
        """A signal from a peer."""
        if self.alive:
            self._do(self.balancer.signalled(self._group.loop.now, signal))
            self.tick()

    def tick(self) -> None:
        """Let the balancer look at the queue, then the function take a batch."""
        now = self._group.loop.now
        waiting = tuple([item.work for item in self.queue])
        self._do(self.balancer.tick(now, Queue(waiting=waiting, in_flight=len(self.in_flight))))
        self._take()

    # -- the function ---------------------------------------------------------------------------

    def _take(self) -> None:
        if self.in_flight or not self.queue:
            return
        spec = self.spec
        batch = self.queue[: spec.batch]
        del self.queue[: len(batch)]
        self.in_flight = batch
        full = spec.batch / spec.mu
        mean = full * (spec.overhead + (1 - spec.overhead) * len(batch) / spec.batch)
        spread = np.sqrt(np.log1p(spec.jitter**2))
        seconds = mean * float(self._generator.lognormal(-(spread**2) / 2, spread))
        loop, life = self._group.loop, self._life
        loop.at(loop.now + seconds, Rank.DATA, lambda: self._finish(batch, seconds, life))

    def _finish(self, batch: list[Item], seconds: float, life: int) -> None:
        if not self.alive or life != self._life:
            return
        self.in_flight = []
        self._do(self.balancer.processed(self._group.loop.now, len(batch), seconds))
        self._group.finished(batch)
        self.tick()

    # -- actions --------------------------------------------------------------------------------

    def _do(self, actions: Actions) -> None:
        group = self._group
        for action in actions:
            if isinstance(action, Offload):
                self._offload(action)
            elif isinstance(action, PublishState):
                row = action.row
                group.books.rows += 1
                group.books.control_bytes += len(row.model_dump_json())
                group.broadcast(self, lambda node, row=row: node.hear(row))  # type: ignore[misc] # mypy cannot infer a lambda with a default
            elif isinstance(action, SendSignal):
                data = action.signal.encode()
                signal = decode_signal(data)  # as every receiver does
                group.books.signals += 1
                group.books.control_bytes += len(data)
                group.broadcast(self, lambda node, signal=signal: node.signalled(signal))  # type: ignore[misc] # as above

    def _offload(self, action: Offload) -> None:
        group, loop = self._group, self._group.loop
        wanted = set(action.keys)
        by_key = {item.work.key: item for item in self.queue if item.work.key in wanted}
        items = [by_key[key] for key in action.keys if key in by_key]
        if not items:
            return
        self.queue = [item for item in self.queue if item.work.key not in wanted]
        size = sum(item.size for item in items)
        group.books.offloads += 1
        group.books.offloaded += len(items)
        group.books.offloaded_bytes += size
        began, life = loop.now, self._life
        for place, item in enumerate(items):
            self._sending[item.work.key] = item
            self._link_free = max(self._link_free, began) + item.size / group.link.bandwidth
            table = action.table if place == 0 else ()
            loop.at(
                self._link_free + group.link.latency,
                Rank.DATA,
                lambda item=item, table=table: self._arrived_at(  # type: ignore[misc] # as above
                    action.peer, item, table, began, life
                ),
            )

    def _arrived_at(
        self, peer: str, item: Item, table: Sequence[Relayed], began: float, life: int
    ) -> None:
        """The broker has it: the original is committed, and the peer fetches it."""
        if life != self._life or item.work.key not in self._sending:
            return  # the sender died before it was acknowledged: it is delivered again
        del self._sending[item.work.key]
        loop = self._group.loop
        self._group.deliver(peer, item.offloaded(), self.spec.name, table)
        seconds = loop.now + self._group.link.latency - began

        def acknowledge() -> None:
            if self.alive and life == self._life:
                self._do(self.balancer.delivered(loop.now, peer, 1, item.size, seconds))

        loop.at(loop.now + self._group.link.latency, Rank.SIGNAL, acknowledge)


MakeBalancer = Callable[[ReplicaSpec, str, float, "Group"], Balancer]
"""Replica, incarnation, now, group -> its balancer."""


class Group:
    """The replicas of one function.

    Args:
        loop: the clock.
        specs: its replicas.
        make: makes the balancer of each.
        books: to write to.
        link: of every replica.
        capacity: items that a queue holds; the oldest go when there are more.
        seed: of the service times.
        passed: what becomes of finished items; None for the last group.
    """

    def __init__(
        self,
        *,
        loop: Loop,
        specs: Sequence[ReplicaSpec],
        make: MakeBalancer,
        books: Books,
        link: LinkSpec,
        capacity: int = 150,
        seed: int = 0,
        passed: Callable[[Item], None] | None = None,
    ) -> None:
        self.loop = loop
        self.books = books
        self.link = link
        self.capacity = capacity
        self._make = make
        self._passed = passed
        streams = np.random.SeedSequence(seed).spawn(len(specs))
        self.nodes = [
            Node(spec, self, place, np.random.default_rng(stream))
            for place, (spec, stream) in enumerate(zip(specs, streams, strict=True))
        ]
        self._by_name = {node.spec.name: node for node in self.nodes}
        self._homes: dict[str, int] = {}
        self._orphans: dict[str, list[Item]] = {}
        self._owners = {node.spec.name: node for node in self.nodes}

    def make_balancer(self, spec: ReplicaSpec, incarnation: str, now: float) -> Balancer:
        """For one life of a replica."""
        return self._make(spec, incarnation, now, self)

    def start(self) -> None:
        """All replicas."""
        for node in self.nodes:
            node.start()

    def broadcast(self, sender: Node, tell: Callable[[Node], None]) -> None:
        """To all other replicas, by way of the broker: two hops."""
        for node in self.nodes:
            if node is not sender:
                self.loop.at(
                    self.loop.now + 2 * self.link.latency,
                    Rank.SIGNAL,
                    lambda node=node: tell(node),  # type: ignore[misc] # mypy cannot infer a lambda with a default
                )

    # -- items ----------------------------------------------------------------------------------

    def enter(self, items: Sequence[Item]) -> None:
        """Items of one camera come from upstream, to its home."""
        camera = items[0].camera
        home = self._homes.setdefault(camera, len(self._homes) % len(self.nodes))
        self.books.produced += len(items)
        self.deliver_all(self.nodes[home].spec.name, items)

    def deliver(self, name: str, item: Item, sender: str, table: Sequence[Relayed]) -> None:
        """An offloaded item reaches the partition of a replica."""
        owner = self._owners[name]
        if owner.alive:
            owner.receive([item], sender, table)
        else:
            self._orphans.setdefault(name, []).append(item)

    def deliver_all(self, name: str, items: Sequence[Item]) -> None:
        """Items from upstream reach the partition of a replica."""
        owner = self._owners[name]
        if owner.alive:
            owner.receive(items)
        else:
            self._orphans.setdefault(name, []).extend(items)

    def finished(self, batch: Sequence[Item]) -> None:
        """Items have been processed."""
        for item in batch:
            if self._passed is None:
                self.books.done.append((item.captured, self.loop.now))
            else:
                self._passed(item)

    # -- faults ---------------------------------------------------------------------------------

    def kill(self, name: str) -> None:
        """A replica dies; after the session timeout somebody adopts its partition."""
        node = self._by_name[name]
        self._orphans.setdefault(name, []).extend(node.die())
        self.loop.at(self.loop.now + _SESSION, Rank.FAULT, lambda: self._adopt(name))

    def _adopt(self, name: str) -> None:
        if self._owners[name].alive:
            return
        alive = [node for node in self.nodes if node.alive]
        if not alive:
            return
        owner = alive[self.nodes.index(self._by_name[name]) % len(alive)]
        self._owners[name] = owner
        self._hand_over(name, owner)

    def revive(self, name: str, spec: ReplicaSpec | None = None) -> None:
        """It comes back and gets its partition again."""
        node = self._by_name[name]
        self._owners[name] = node
        node.start(spec)
        self._hand_over(name, node)

    def _hand_over(self, name: str, owner: Node) -> None:
        orphans = self._orphans.pop(name, [])
        if orphans:
            owner.receive(orphans)
