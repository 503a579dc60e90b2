"""The shell of a balancer: feeds it what happens, and carries out what it decides.

The balancer itself does no I/O. What it decides is first claimed from the replica's hand, under
the hand's lock, and then sent without it.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from agents.balancing import (
    Action,
    Actions,
    Balancer,
    CapacityEvent,
    Offload,
    PublishState,
    Relayed,
    Row,
    Signal,
)
from agents.capacity import CapacityWatch
from agents.exchange import Exchange, Gone, Message
from agents.hand import Entry, Hand
from agents.outbox import Outbox
from agents.parting import Parting
from agents.showing import Tally, describe_balance
from agents.state import Balance, ForecasterState, ReplicaState
from dataflow.config import Config
from dataflow.errors import BrokerError
from dataflow.moments import steady
from dataflow.tracing import Leaving, Tracing
from dataflow.transport import DeliveryCallback

_log = logging.getLogger("videojam.balancing")

_TICK_SECONDS = 0.05
"""Longest pause between two looks at the queue while something waits and nothing happens."""
_IDLE_SECONDS = 0.15
"""The same while nothing waits: what comes is looked at when it comes."""
_GAP_SECONDS = 0.03
"""Shortest pause between two looks because of what peers say: what is heard meanwhile is looked at
together, which keeps the cost in bounds."""

_SHOW_SECONDS = 0.5
"""How old what people read in a row may be: neighbours decide by early rows, people do not."""


@dataclass(slots=True)
class Outgoing:
    """What has been claimed and is to be sent."""

    offloads: list[tuple[Offload, list[Entry]]] = field(default_factory=list)
    dropped: list[tuple[Entry, str]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)
    capacity: list[CapacityEvent] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to send."""
        return not (self.offloads or self.dropped or self.rows or self.signals or self.capacity)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What people read of the replica, when it was last made."""

    at: float
    balance: Balance
    state: ReplicaState


class Steering:
    """Balances one replica.

    Args:
        balancer: decides.
        exchange: how the others are heard and told.
        hand: the replica's queue; its lock guards the balancer too.
        outbox: where items leave.
        config: the declaration.
        function: the replica's function.
        replica: its name.
        incarnation: this process.
        describe: makes the record of ``F.state`` around the balancing part of it; called without
            the lock.
        finisher: what to do when the last outcome of an open item has been delivered, or cannot.
        drift: how the forecaster does.
        tracing: makes a span of each offload and drop; None for none.
        clock: seconds since the epoch.
        monotonic: seconds of a clock that never jumps.
    """

    def __init__(
        self,
        *,
        balancer: Balancer,
        exchange: Exchange,
        hand: Hand,
        outbox: Outbox,
        config: Config,
        function: str,
        replica: str,
        incarnation: str,
        describe: Callable[[Balance], ReplicaState],
        finisher: Callable[[Entry], DeliveryCallback],
        drift: Callable[[], ForecasterState] | None = None,
        tracing: Tracing | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._balancer = balancer
        self._drift = drift
        self._tracing = tracing
        self._exchange = exchange
        self._hand = hand
        self._outbox = outbox
        self._config = config
        self._function = function
        self._replica = replica
        self._incarnation = incarnation
        self._describe = describe
        self._finisher = finisher
        self._clock = clock
        self._monotonic = monotonic
        # A clock that is set back would stop the rows until it has caught up.
        self._now = steady(clock, monotonic)
        self._started_at = self._now()
        self._stopping = threading.Event()
        self._spread = random.Random(replica)  # noqa: S311 - no secret: which of a peer's partitions
        self._capacity = CapacityWatch(balancer, config=config, function=function, replica=replica)
        self.tally = Tally()
        self._shown: _Shown | None = None
        self._parting = Parting(self.tally)

    # -- life -----------------------------------------------------------------------------------

    def run(self) -> None:
        """Tick until `stop` is called. Runs in a thread of its own."""
        with self._hand.changed:
            outgoing = self.claim(self._balancer.start(self._now()))
        self.send(outgoing)
        while not self._stopping.is_set():
            messages = self._listen()
            with self.tally.spent.counted():
                outgoing = self.tick(messages)
            self.send(outgoing)
        self._exchange.close()

    def _listen(self) -> list[Message]:
        """What the peers say, for at least the shortest and at most the longest pause."""
        messages: list[Message] = []
        began = self._monotonic()
        longest = _TICK_SECONDS if len(self._hand) else _IDLE_SECONDS
        while not self._stopping.is_set():
            passed = self._monotonic() - began
            left = (_GAP_SECONDS if messages else longest) - passed
            if left <= 0:
                break
            with self.tally.spent.counted():
                if messages:
                    self._stopping.wait(left)
                else:
                    messages = self._exchange.poll(left)
                self._outbox.poll()
        return messages

    def stop(self) -> None:
        """Return from `run`."""
        self._stopping.set()

    def tick(self, messages: Sequence[Message]) -> Outgoing:
        """Take in what was heard, and look at the queue."""
        now = self._now()
        with self._hand.changed:
            actions: list[Actions] = [self._hear(now, message) for message in messages]
            table = self._balancer.member.table
            actions += [self._part_from(now, peer) for peer in self._parting.lost(now, table)]
            actions.append(self._balancer.tick(now, self._hand.snapshot()))
            outgoing = self.claim(action for group in actions for action in group)
            event = self._capacity.look(now)
            if event is not None:
                outgoing.capacity.append(event)
            if self._capacity.sheds:
                waiting = self._hand.snapshot().waiting
                entries = self._hand.claim(self._capacity.too_old(now, waiting))
                self.tally.shed += len(entries)
                outgoing.dropped += [(entry, "overload") for entry in entries]
            return outgoing

    # -- what happens; with the hand's lock held ------------------------------------------------

    def admits(self, pipeline: str, step: str, camera: str) -> bool:
        """Whether a frame may pass; ask once a frame. Only at the first step any may not."""
        admitted = self._capacity.admits(self._now(), pipeline, step, camera)
        self.tally.shed += not admitted
        return admitted

    def arrived(self, entries: Sequence[Entry]) -> Outgoing:
        """Items came from upstream, and are in the queue."""
        now = self._now()
        return self._decide(now, self._balancer.arrived(now, [e.waiting for e in entries]))

    def offloaded(self, sender: str, items: int, table: Sequence[Relayed]) -> Outgoing:
        """Items came from a peer, and are in the queue."""
        self.tally.received[sender] += items
        now = self._now()
        return self._decide(now, self._balancer.offloaded(now, sender, items, table))

    def processed(self, items: int, seconds: float) -> Outgoing:
        """The function has done a batch.

        Whoever calls this is to call the function again: it is kept only when nothing waits.
        """
        now = self._now()
        actions = self._balancer.processed(now, items, seconds)
        return self.claim(actions) if len(self._hand) else self._decide(now, actions)

    def _decide(self, now: float, actions: Actions) -> Outgoing:
        """Carry out, and look at the queue at once: a burst is worst while nobody has seen it."""
        with self.tally.spent.counted():
            outgoing = self.claim(actions)
            return self.claim(self._balancer.tick(now, self._hand.snapshot()), outgoing)

    def assigned(self) -> Outgoing:
        """The partitions that are owned have changed."""
        owned = [tp.partition for tp in self._hand.progress.partitions]
        return self.claim(self._balancer.assigned(self._now(), owned))

    def balance(self, *, with_row: bool = False) -> Balance:
        """What it shows of itself, with the row as it is now if need be."""
        return describe_balance(
            self._balancer,
            self.tally,
            now=self._now(),
            policy=self._config.functions[self._function].balancing_policy,
            replica=self._replica,
            overloaded_since=self._capacity.overloaded_since,
            alive_seconds=self._now() - self._started_at,
            drift=self._drift,
            with_row=with_row,
        )

    def claim(self, actions: Iterable[Action], outgoing: Outgoing | None = None) -> Outgoing:
        """Take out of the hand what is to leave; adds to ``outgoing`` if there is one."""
        outgoing = Outgoing() if outgoing is None else outgoing
        for action in actions:
            if isinstance(action, Offload):
                if not action.partitions:  # it has none yet, or none any more
                    self._balancer.failed(self._now(), action.peer, len(action.keys), 0)
                elif entries := self._hand.claim(action.keys):
                    outgoing.offloads.append((action, entries))
            elif isinstance(action, PublishState):
                outgoing.rows[:] = [action.row]  # a newer one says all that an older one said
            else:
                outgoing.signals.append(action.signal)
        return outgoing

    def _hear(self, now: float, message: Message) -> Actions:
        if isinstance(message, Gone):
            return self._part_from(now, message.replica)
        if isinstance(message, ReplicaState):
            if message.replica == self._replica:
                self._check_name(message)
            elif message.balance is not None and message.balance.row is not None:
                return self._balancer.heard(now, message.balance.row)
            return ()
        if isinstance(message, CapacityEvent):
            self._capacity.hear(now, message)
            return ()
        if message.sender == self._replica:
            return ()
        self.tally.signals_heard[message.kind] += 1
        return self._balancer.signalled(now, message)

    def _part_from(self, now: float, peer: str) -> Actions:
        self._parting.part_from(now, peer)
        return self._balancer.gone(now, peer)

    def _check_name(self, state: ReplicaState) -> None:
        if state.incarnation != self._incarnation and state.at > self._started_at:
            _log.error(
                "another process (pid %d on %s) calls itself %s too: give each replica a name "
                "of its own with --replica",
                state.pid,
                state.host,
                state.replica,
            )

    # -- sending; without the lock --------------------------------------------------------------

    def send(self, outgoing: Outgoing) -> None:
        """Send what was claimed. May be called from any thread."""
        if outgoing.is_empty:
            return
        with self.tally.spent.counted():
            if not self._stopping.is_set():  # afterwards the replica has said goodbye
                self._tell(outgoing)
            for offload, entries in outgoing.offloads:
                self._send_offload(offload, entries)
        for entry, reason in outgoing.dropped:
            self.drop(entry, reason)

    def _tell(self, outgoing: Outgoing) -> None:
        for signal in outgoing.signals:
            self.tally.signals_sent[signal.kind] += 1
            self._exchange.send_signal(signal)
        for row in outgoing.rows:
            self._exchange.publish_state(self._around(row))
        for event in outgoing.capacity:
            self._exchange.publish_capacity(event)

    def _around(self, row: Row) -> ReplicaState:
        """The record of a row: what people read in it may be as old as `_SHOW_SECONDS`."""
        with self._hand.changed:
            self.tally.rows += 1
            shown = self._shown
            if (
                shown is not None
                and row.at - shown.at < _SHOW_SECONDS
                and row.partitions == shown.state.partitions
            ):
                balance = shown.balance.model_copy(update={"row": row})
                # Its `at` stays: what is counted in it is of then, and rates are made of both.
                return shown.state.model_copy(update={"queued": row.load, "balance": balance})
            balance = self.balance().model_copy(update={"row": row})
        state = self._describe(balance)
        self._shown = _Shown(row.at, balance, state)
        return state

    def drop(self, entry: Entry, reason: str) -> None:
        """Report that an open item is dropped."""
        with self._hand.changed:
            self.tally.dropped[reason] += 1
        if self._tracing is not None:
            self._tracing.dropped(
                entry.item,
                self._function,
                self._replica,
                reason,
                received=entry.received,
                at=self._clock(),
            )
        self._outbox.send_all([self._outbox.drop(entry.item, reason)], self._finisher(entry))

    def _send_offload(self, offload: Offload, entries: Sequence[Entry]) -> None:
        table = offload.table
        for entry in entries:
            partition = self._spread.choice(offload.partitions)
            leaving = self._trace(offload.peer, entry)
            item = entry.item if leaving is None else leaving.item
            record = self._outbox.offload(item, entry.record, entry.queued, partition, table)
            table = ()  # on the first item only
            took: list[float] = []
            done = self._delivered(offload.peer, entry, took, leaving)
            try:
                self._outbox.send_timed(record, done, took.append)
            except BrokerError as error:
                done(error)  # its headers have grown too large, for example: it stays where it is

    def _trace(self, peer: str, entry: Entry) -> Leaving | None:
        if self._tracing is None:
            return None
        return self._tracing.offload(
            entry.item, self._function, self._replica, peer, entry.received
        )

    def _delivered(
        self, peer: str, entry: Entry, took: Sequence[float], leaving: Leaving | None
    ) -> DeliveryCallback:
        def done(fault: BrokerError | None) -> None:
            now, size = self._now(), entry.waiting.size
            if leaving is not None:
                leaving.ended(self._clock(), fault)
            with self._hand.changed:
                if fault is None:
                    self._hand.finish(entry.progress, entry.record.offset)
                    self.tally.offloaded[peer] += 1
                    self.tally.offloaded_bytes += size
                    seconds = took[0] if took else 0.0  # 0 says nothing
                    self._balancer.delivered(now, peer, 1, size, seconds)
                    return
                evicted = self._hand.put_back(entry)
                self.tally.failed += 1
                self._balancer.failed(now, peer, 1, size)
            _log.warning("an item for %s is back: %s", peer, fault)
            for victim in evicted:
                self.drop(victim, "queue-full")

        return done
