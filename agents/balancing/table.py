"""The state table: what a replica knows about its neighbours (thesis 3.4.3, baselines "Table").

Rows are what their makers measured. Forecasts live beside them and never in them, so a relayed row
cannot carry a forecast under a measured timestamp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agents.balancing.values import Floats, Histories, Relayed, Row
from forecasting import Window, carried_on, padded_history


@dataclass(slots=True)
class _Entry:
    row: Row
    heard_at: float
    """When its maker is known to have been alive, by our clock."""
    rounds_left: int
    history: Histories
    """float32[h], measured, oldest first."""
    forecast_slot: int = 0
    forecast: Histories | None = None
    """float32[k], from ``forecast_slot`` on."""
    carried: tuple[int, Histories, float] | None = None
    """What was last worked out: the slot, the history up to it, and its last k slots' mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The known replicas at one moment, in the order of ``replicas``.

    Attributes:
        slot: the slot that the histories end before.
        replicas: names; our own is the first.
        rows: the rows behind it.
        waiting: float64[n], items that each is estimated to have waiting.
        busy: float64[n], the same with what is in the function.
        mus: float64[n], items a second.
        known: float32[h] each, arrivals a slot, measured as far as known and forecast from there.
    """

    slot: int
    replicas: tuple[str, ...]
    rows: tuple[Row, ...]
    waiting: Floats
    busy: Floats
    mus: Floats
    known: tuple[Histories, ...]

    @property
    def histories(self) -> Histories:
        """All that is known, float32[n, h]; made when it is asked for, once a slot."""
        return np.stack(self.known)


class StateTable:
    """Rows of the neighbours.

    Args:
        own: name of this replica, whose rows are ignored: it knows itself best.
        slot: length of a slot, seconds.
        slots: k, slots a window.
        history: h, slots of history.
        rounds: windows until a row that is not renewed is unknown; one earlier it is asked for.
        liveness: seconds after which a row that is not renewed is left out of policies; None to
            rely on ``rounds`` alone, as the thesis does.
    """

    def __init__(
        self,
        own: str,
        *,
        slot: float = 1.0,
        slots: int = 10,
        history: int = 50,
        rounds: int = 3,
        liveness: float | None = 3.0,
    ) -> None:
        self._own = own
        self._window = Window(slot_seconds=slot, slots=slots, history=history)
        self._rounds = rounds
        self._liveness = liveness
        self._entries: dict[str, _Entry] = {}

    # -- what is heard --------------------------------------------------------------------------

    def hear(self, row: Row, now: float, *, age: float | None = None) -> bool:
        """Take a row, if it is newer than what is known.

        Only the maker's own timestamps are compared. One exception: a replica that was given up,
        and comes back as another process whose clock is behind, is believed when it says so itself.

        Args:
            row: as its maker made it.
            now: seconds.
            age: for a relayed row, seconds since the relaying replica heard it; None for a row
                that comes from its maker.

        Returns:
            Whether it was taken.
        """
        if row.replica == self._own:
            return False
        old = self._entries.get(row.replica)
        heard_at = now if age is None else now - age
        if old is not None and row.at <= old.row.at:
            reborn = row.incarnation != old.row.incarnation
            if age is not None or not reborn or not self._silent(old, now):
                return False
        history = padded_history(row.history, self._window)
        entry = _Entry(row, heard_at, self._rounds, history)
        if old is not None:
            entry.heard_at = max(heard_at, old.heard_at)
            entry.forecast, entry.forecast_slot = old.forecast, old.forecast_slot
        self._entries[row.replica] = entry
        return True

    def forget(self, replica: str) -> None:
        """It has said goodbye."""
        self._entries.pop(replica, None)

    def end_round(self) -> None:
        """A window has ended: each row is one window older."""
        for entry in self._entries.values():
            entry.rounds_left -= 1

    def __len__(self) -> int:
        return len(self._entries)

    # -- what is known --------------------------------------------------------------------------

    @property
    def neighbours(self) -> tuple[str, ...]:
        """Everybody ever heard of that has not said goodbye, sorted."""
        return tuple(sorted(self._entries))

    def row(self, replica: str) -> Row | None:
        """The row of a neighbour, however old."""
        entry = self._entries.get(replica)
        return None if entry is None else entry.row

    def heard_at(self, replica: str) -> float | None:
        """When a neighbour is last known to have been alive, by our clock."""
        entry = self._entries.get(replica)
        return None if entry is None else entry.heard_at

    def knows(self, replica: str, now: float) -> bool:
        """Whether the row of a neighbour may be used."""
        entry = self._entries.get(replica)
        return entry is not None and self._usable(entry, now)

    def alive(self, now: float) -> tuple[str, ...]:
        """Neighbours that were heard lately, sorted, whether or not their rate is known."""
        return tuple(
            sorted(
                name
                for name, entry in self._entries.items()
                if entry.rounds_left > 0 and not self._silent(entry, now)
            )
        )

    def lost(self, now: float, silence: float) -> tuple[str, ...]:
        """Neighbours that were not heard for longer than ``silence`` seconds, sorted."""
        return tuple(
            sorted(name for name, e in self._entries.items() if now - e.heard_at > silence)
        )

    def to_ask(self, now: float) -> tuple[str, ...]:
        """Neighbours whose state is to be requested, sorted: old rows, and unknown ones."""
        return tuple(
            sorted(
                name
                for name, entry in self._entries.items()
                if entry.rounds_left <= 1 or not self._usable(entry, now)
            )
        )

    def mean_mu(self, now: float) -> float:
        """Mean processing rate of the usable neighbours; 0 without any."""
        rates = [e.row.mu for e in self._entries.values() if self._usable(e, now)]
        return sum(rates) / len(rates) if rates else 0.0

    def relay(self, now: float, most: int) -> tuple[Relayed, ...]:
        """The freshest usable rows, for a signal or an offload."""
        usable = [e for e in self._entries.values() if self._usable(e, now)]
        usable.sort(key=lambda entry: (-entry.heard_at, entry.row.replica))
        return tuple(
            Relayed(row=entry.row, age=max(0.0, now - entry.heard_at)) for entry in usable[:most]
        )

    def _silent(self, entry: _Entry, now: float) -> bool:
        return self._liveness is not None and now - entry.heard_at > self._liveness

    def _usable(self, entry: _Entry, now: float) -> bool:
        return entry.rounds_left > 0 and entry.row.mu > 0 and not self._silent(entry, now)

    # -- what is estimated ----------------------------------------------------------------------

    def view(self, now: float, own: Row) -> View:
        """The group right now (Eq 3.1): rows carried on from when they were heard.

        ``load' = max(0, load + sum(lambda) - mu * elapsed - sent + received)``

        Args:
            now: seconds.
            own: this replica's row, measured now.
        """
        usable = sorted(n for n, entry in self._entries.items() if self._usable(entry, now))
        entries = [self._entries[name] for name in usable]
        slot = own.slot
        carried = [self._carried_on(entry, slot) for entry in entries]
        # Where no forecast is known, what came lately is the best guess of what came since.
        recent = np.array([mean for _, mean in carried], dtype=np.float64)
        recent /= self._window.slot_seconds
        elapsed = np.array([max(0.0, now - e.heard_at) for e in entries], dtype=np.float64)
        mus = np.array([e.row.mu for e in entries], dtype=np.float64)
        change = recent * elapsed - mus * elapsed
        change += self._on_their_way(own, usable)
        waiting = np.array([e.row.load for e in entries], dtype=np.float64)
        in_flight = np.array([e.row.in_flight for e in entries], dtype=np.float64)
        return View(
            slot=slot,
            replicas=(own.replica, *usable),
            rows=(own, *(entry.row for entry in entries)),
            waiting=np.concatenate([[float(own.load)], np.maximum(0.0, waiting + change)]),
            busy=np.concatenate(
                [[float(own.load + own.in_flight)], np.maximum(0.0, waiting + in_flight + change)]
            ),
            mus=np.concatenate([[own.mu], mus]),
            known=(
                padded_history(own.history, self._window),
                *(history for history, _ in carried),
            ),
        )

    def _on_their_way(self, own: Row, usable: Sequence[str]) -> Floats:
        """Items that each neighbour is about to get: from us, and from others as far as we know."""
        coming = dict(own.sending)
        for name in usable:
            sender = self._entries[name]
            for peer, items in sender.row.sending.items():
                receiver = self._entries.get(peer)
                # A row that is newer than the sender's may count them already.
                if receiver is not None and receiver.heard_at <= sender.heard_at:
                    coming[peer] = coming.get(peer, 0) + items
        return np.array([coming.get(name, 0) for name in usable], dtype=np.float64)

    def note_forecasts(self, view: View, forecasts: Histories) -> None:
        """Keep the forecasts of a view: they stand in for measurements until these come."""
        for name, forecast in zip(view.replicas, forecasts, strict=True):
            entry = self._entries.get(name)
            if entry is not None:
                entry.forecast, entry.forecast_slot = forecast, view.slot
                entry.carried = None

    def _carried_on(self, entry: _Entry, slot: int) -> tuple[Histories, float]:
        """Its history up to ``slot``, and the mean of the last k slots.

        The history is shifted left, with forecasts in the place of what is missing.
        """
        if entry.carried is not None and entry.carried[0] == slot:
            return entry.carried[1:]
        slots = self._window.slots
        missing = min(max(0, slot - entry.row.slot), self._window.history)
        if entry.forecast is None:
            history = carried_on(entry.history, missing, entry.history[-slots:])
        else:
            begun = slot - missing - entry.forecast_slot
            history = carried_on(entry.history, missing, entry.forecast, begun)
        entry.carried = (slot, history, float(history[-slots:].mean()))
        return entry.carried[1:]
