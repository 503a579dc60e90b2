"""The balancer of the thesis, chapter 3: forecasts, one common policy, signals.

Two ways to run it, see `BalancingSettings`. As printed, a policy is made every 10 s and executed
until the next. By default it is made anew each slot, and in between whenever a row or the queue
turns out other than expected; the forecast still reaches k slots.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agents.balancing.actions import Action, Actions, Offload, SendSignal
from agents.balancing.dispatcher import Dispatcher, Peer
from agents.balancing.links import Links
from agents.balancing.member import MemberBalancer
from agents.balancing.overload import Demand
from agents.balancing.policy import Policy, compute_policy
from agents.balancing.settings import BalancingSettings
from agents.balancing.signals import CongestionRisk, InformationRequest, Signal, StateUpdate
from agents.balancing.table import View
from agents.balancing.values import (
    MAX_CAMERAS,
    Floats,
    Forecast,
    Histories,
    Queue,
    Relayed,
    Row,
    Waiting,
)

_SMALL_GROUP = 100
"""Replicas up to which a policy costs next to nothing, some 0.2 ms."""
_FASTER = 1.25
"""A peer that is faster by less does not do an item earlier, its delivery included."""
_SMALLEST_ERROR = 2.0
"""Items by which a prediction may always be off: a relative error of one or two items is none."""


class VideoJam(MemberBalancer):
    """One replica's balancer.

    Args:
        replica: its name.
        incarnation: which life of it.
        now: seconds.
        forecast: arrivals of all replicas in one call.
        settings: see there.
    """

    def __init__(
        self,
        *,
        replica: str,
        incarnation: str,
        now: float,
        forecast: Forecast,
        settings: BalancingSettings,
    ) -> None:
        super().__init__(replica=replica, incarnation=incarnation, now=now, settings=settings)
        self._forecast = forecast
        self._links = Links()
        self._dispatcher = Dispatcher(settings, self._links)
        self._policy: Policy | None = None
        self._policy_slot = self._window = self._member.monitor.slot_of(now)
        self._stale = True
        self._came = False
        """Whether something has come that no policy has counted yet."""
        self._forecasts: tuple[int, tuple[str, ...], Histories] | None = None
        self._received: dict[str, int] = {}
        self._warned: set[str] = set()
        self._table_sent: set[str] = set()

    # -- what it shows --------------------------------------------------------------------------

    @property
    def policy(self) -> Policy | None:
        """The policy of the whole group, as this replica sees it; None before the first."""
        return self._policy

    @property
    def coming(self) -> float | None:
        """Items a second forecast to come here over the next k slots; None before a forecast."""
        if self._forecasts is None:
            return None
        _, _, forecasts = self._forecasts  # our own is the first
        return float(forecasts[0].sum()) / (self._settings.slots * self._settings.slot)

    def demand(self, now: float) -> Demand:
        """What the whole known group has to do in the next k slots, against what it can do."""
        view = self._member.view(now, most_cameras=MAX_CAMERAS)
        seconds = self._settings.slots * self._settings.slot
        cameras: dict[str, float] = {}
        for row in view.rows:
            for camera, rate in row.cameras.items():
                cameras[camera] = cameras.get(camera, 0.0) + rate
        return Demand(
            waiting=float(view.waiting.sum()),
            arriving=float(self._forecasts_of(view).sum()) / seconds,
            available=float(view.mus.sum()),
            seconds=seconds,
            cameras=cameras,
        )

    @property
    def links(self) -> Links:
        """Estimates of the links to the peers."""
        return self._links

    # -- events ---------------------------------------------------------------------------------

    def heard(self, now: float, row: Row) -> Actions:
        """Take the row; the next tick sees to what follows."""
        self._stale |= self._member.heard(now, row)
        return ()

    def gone(self, now: float, replica: str) -> Actions:
        """Forget it: no quota for it outlives the next tick."""
        self._member.gone(replica)
        self._links.forget(replica)
        self._dispatcher.limit(replica, 0)
        self._stale = True
        return ()

    def signalled(self, now: float, signal: Signal) -> Actions:
        """Take its table, and do what it asks for."""
        if signal.sender == self._me:
            return ()
        self._stale |= self._member.heard_relayed(now, signal.table)
        if signal.to not in (None, self._me):
            return ()
        if isinstance(signal, CongestionRisk):
            self._dispatcher.limit(signal.sender, signal.expected)
        elif isinstance(signal, InformationRequest):
            return self._update(now, signal.sender)
        return ()

    def arrived(self, now: float, items: Sequence[Waiting]) -> Actions:
        """Count them; the next tick decides about them."""
        self._came = True
        return super().arrived(now, items)

    def offloaded(self, now: float, sender: str, items: int, table: Sequence[Relayed]) -> Actions:
        """Work is always accepted; what it says about the others' plans is checked."""
        changed = self._member.heard_relayed(now, table)
        self._member.offloaded(sender, items)
        policy = self._policy
        settings = self._settings
        fresh = policy is not None and now - policy.at < settings.react and not settings.as_printed
        if not fresh and (changed or self._dispatcher.peers):
            policy = self._compute(now, self._member.view(now))
            if not settings.as_printed:  # else the running offload goes on under its own policy
                self._adopt(now, policy)
        self._received[sender] = self._received.get(sender, 0) + items
        if policy is None:
            return ()
        if not any(transfer.sender == sender for transfer in policy.sent_to(self._me)):
            return self._warn(now, sender, policy)
        return self._check_prediction(now, sender, policy)

    def delivered(self, now: float, peer: str, items: int, size: int, seconds: float) -> Actions:
        """Measure the link."""
        self._dispatcher.acknowledged(size)
        self._links.delivered(now, peer, size, seconds)
        return ()

    def failed(self, now: float, peer: str, items: int, size: int) -> Actions:
        """The items are back; the peer has not got them."""
        self._dispatcher.acknowledged(size)
        self._dispatcher.returned(peer, items)
        self._member.returned(peer, items)
        return ()

    def tick(self, now: float, queue: Queue) -> Actions:
        """Publish, ask, decide and offload, as far as each is due."""
        member = self._member
        member.queue = queue
        member.monitor.advance(now)
        actions: list[Action] = [*self._end_windows(now)]
        news = member.is_news(now)
        actions += member.publish_if_due(now)
        view: View | None = None
        if self._policy_is_due(now, news=news):
            view = self._member.view(now)
            self._adopt(now, self._compute(now, view))
        if self._dispatcher.peers:
            actions += self._offload(now, queue, view or self._member.view(now))
        return tuple(actions)

    # -- windows and policies -------------------------------------------------------------------

    def _end_windows(self, now: float) -> list[Action]:
        """At the end of each window, rows age, and old ones are asked for."""
        window = self._member.monitor.slot // self._settings.slots
        ended, self._window = window - self._window, window
        if ended <= 0:
            return []
        self._member.table.end_round()
        return [
            SendSignal(
                signal=InformationRequest(
                    sender=self._me,
                    incarnation=self._member.incarnation,
                    to=name,
                    at=now,
                    table=self._member.relay(now),
                )
            )
            for name in self._member.table.to_ask(now)
        ]

    def _policy_is_due(self, now: float, *, news: bool) -> bool:
        settings = self._settings
        slot = self._member.monitor.slot
        settled = now - slot * settings.slot >= settings.settle
        if slot // settings.period != self._policy_slot // settings.period and settled:
            return True
        if self._policy is None:
            return self._stale
        if settings.as_printed or not self._may_hand_on(now):
            return False
        size = len(self._policy.replicas)
        if self._came and size <= _SMALL_GROUP:
            return True  # objects of one frame come within a millisecond, and each has to go on
        backlog = len(self._member.queue.waiting) > 1
        due = backlog or news or self._stale or self._somebody_fell_silent(now)
        # A policy costs time in proportion to the group: large ones react less often.
        return due and now - self._policy.at >= settings.react * max(1.0, size / _SMALL_GROUP)

    def _may_hand_on(self, now: float) -> bool:
        """Whether anything waits that somebody else might do earlier.

        What waits alone is taken at once, and is done here first unless a peer is faster.
        """
        queue = self._member.queue
        if not queue.waiting or self._policy is None:
            return False
        alone = len(queue.waiting) == 1 and not queue.in_flight
        fastest = float(self._policy.mus.max()) if len(self._policy.mus) else 0.0
        return not alone or fastest > _FASTER * self._member.mu(now)

    def _somebody_fell_silent(self, now: float) -> bool:
        knows = self._member.table.knows
        return any(not knows(peer, now) for peer in self._dispatcher.peers)

    def _compute(self, now: float, view: View) -> Policy:
        settings = self._settings
        forecasts = self._forecasts_of(view)
        return compute_policy(
            at=now,
            window=settings.lookahead * settings.slot,
            replicas=view.replicas,
            # As printed, what is in the function is nobody's load any more.
            waiting=view.waiting if settings.as_printed else view.busy,
            forecast=self._ahead(forecasts),
            mus=view.mus,
            least=settings.least,
            most=settings.most,
            late=settings.late,
        )

    def _ahead(self, forecasts: Histories) -> Floats:
        """Items expected within the lookahead."""
        whole = int(self._settings.lookahead)
        part = self._settings.lookahead - whole
        expected: Floats = forecasts[:, :whole].sum(axis=1, dtype=np.float64)
        if part:
            expected += part * forecasts[:, whole]
        return expected

    def _forecasts_of(self, view: View) -> Histories:
        """One batched call a slot, and another when somebody joins."""
        known = self._forecasts
        if known is not None and known[0] == view.slot and known[1] == view.replicas:
            return known[2]
        forecasts = np.maximum(self._forecast(np.maximum(view.histories, 0)), 0)
        self._member.table.note_forecasts(view, forecasts)
        self._forecasts = (view.slot, view.replicas, forecasts)
        return forecasts

    def _adopt(self, now: float, policy: Policy) -> None:
        self._policy = policy
        slot = self._member.monitor.slot
        if slot != self._policy_slot:
            self._received.clear()
            self._warned.clear()
            self._table_sent.clear()
        self._policy_slot = slot
        self._stale = self._came = False
        self._dispatcher.adopt(policy.sent_by(self._me), now, policy.window)

    # -- offloading -----------------------------------------------------------------------------

    def _offload(self, now: float, queue: Queue, view: View) -> list[Action]:
        peers = {
            name: Peer(busy=float(busy), mu=float(mu))
            for name, busy, mu in zip(view.replicas, view.busy, view.mus, strict=True)
            if name != self._me
        }
        due = self._dispatcher.due(now, queue, mu=self._member.mu(now), peers=peers)
        actions: list[Action] = []
        for peer, keys in sorted(due.items()):
            row = self._member.table.row(peer)
            if row is None:
                continue
            first = peer not in self._table_sent
            self._table_sent.add(peer)
            self._member.sent(now, peer, len(keys))
            actions.append(
                Offload(
                    peer=peer,
                    partitions=row.partitions,
                    keys=keys,
                    table=self._member.relay(now) if first else (),
                )
            )
        if due:
            gone = {key for keys in due.values() for key in keys}
            self._member.queue = Queue(
                waiting=tuple(item for item in queue.waiting if item.key not in gone),
                in_flight=queue.in_flight,
            )
        return actions

    # -- judging what comes ---------------------------------------------------------------------

    def _warn(self, now: float, sender: str, policy: Policy) -> Actions:
        """Unexpected work: stop it, unless there is room for it anyway."""
        if sender in self._warned or not self._is_at_risk(policy):
            return ()
        self._warned.add(sender)
        risk = CongestionRisk(
            sender=self._me,
            incarnation=self._member.incarnation,
            to=sender,
            at=now,
            table=self._member.relay(now),
            expected=policy.expected_from(sender, self._me),
        )
        return (SendSignal(signal=risk),)

    def _is_at_risk(self, policy: Policy) -> bool:
        """As printed, whenever the work was not expected.

        When policies follow each other within milliseconds, tables differ by what is on its way,
        and only a replica that has more than its share is at risk.
        """
        return self._settings.as_printed or bool(policy.sent_by(self._me))

    def _check_prediction(self, now: float, sender: str, policy: Policy) -> Actions:
        predicted = policy.expected_from(sender, self._me)
        actual = self._received[sender]
        off = abs(predicted - actual)
        if off <= _SMALLEST_ERROR or off <= self._settings.error * predicted:
            return ()
        if self._settings.as_printed and actual < predicted:
            return ()  # the rest of the window's quota may still come
        if not self._settings.as_printed:
            # Neighbours read every row: one that has news serves as the update, at its own pace.
            self._stale = True
            return self._member.publish_if_due(now)
        return self._update(now, sender)

    def _update(self, now: float, to: str) -> Actions:
        update = StateUpdate(
            sender=self._me,
            incarnation=self._member.incarnation,
            to=to,
            at=now,
            table=self._member.relay(now),
        )
        return (SendSignal(signal=update),)


def last_window(slots: int) -> Forecast:
    """The thesis' forecaster for YOLO: the next window is like the last.

    Args:
        slots: k.
    """

    def forecast(histories: Histories) -> Histories:
        return histories[:, -slots:]

    return forecast
