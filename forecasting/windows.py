"""Slots, windows and what is known of everybody's load. Pure: times are arguments.

Time is cut into slots of ``slot_seconds``; ``slots`` of them make a window, and a forecaster looks
back over ``history`` slots (thesis sec. 3.4.3: delta, k, h). The load of a slot is the number of
items that came from upstream in it, those dropped included and those offloaded by neighbours left
out, so that a forecast is about the demand and not about what balancing made of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forecasting.errors import ForecasterSettingsError

Loads = NDArray[np.float32]
"""Items a slot; the last axis is time, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How time is cut. The defaults are the thesis' (Table 3.1).

    Attributes:
        slot_seconds: length of a slot in seconds, delta.
        slots: slots in a window, k: as many are forecast.
        history: slots that a forecaster sees, h >= k.

    Raises:
        ForecasterSettingsError: a value is out of range.
    """

    slot_seconds: float = 1.0
    slots: int = 10
    history: int = 50

    def __post_init__(self) -> None:
        if not self.slot_seconds > 0:
            raise ForecasterSettingsError(
                "a slot lasts longer than 0 seconds", key="slot_seconds", value=self.slot_seconds
            )
        if self.slots < 1:
            raise ForecasterSettingsError(
                "a window has at least one slot", key="slots", value=self.slots
            )
        if self.history < self.slots:
            raise ForecasterSettingsError(
                f"the history holds at least one window ({self.slots} slots)",
                key="history",
                value=self.history,
                remedy="a multiple of the window, such as 5 windows",
            )

    @property
    def seconds(self) -> float:
        """Length of a window in seconds."""
        return self.slot_seconds * self.slots


class SlotCounter:
    """Counts what comes from upstream in each slot of the running window.

    Count every item that upstream sends, those included that are dropped at once; leave out what
    neighbours offload.

    Args:
        window: how time is cut.
        started: when the first window begins, seconds of a monotonic clock.
    """

    def __init__(self, window: Window, started: float) -> None:
        self._window = window
        self._started = started
        self._counts: Loads = np.zeros(window.slots, np.float32)

    @property
    def ends(self) -> float:
        """When the running window ends."""
        return self._started + self._window.seconds

    def count(self, at: float, items: int = 1) -> None:
        """``items`` came at ``at``; what is outside of the window counts in its nearest slot."""
        slot = int((at - self._started) // self._window.slot_seconds)
        self._counts[min(max(slot, 0), self._window.slots - 1)] += items

    def close(self) -> Loads:
        """End the running window and begin the next where it ended.

        Returns:
            float32 [k], items a slot.
        """
        counts = self._counts
        self._counts = np.zeros(self._window.slots, np.float32)
        self._started = self.ends
        return counts


class LoadBook:
    """The load histories of a replica and of its neighbours, by name.

    A history is float32 [h], whose newest k slots are the forecast of the running window. At the
    end of a window:

    1. `measured` overwrites the forecast with what came, for oneself;
    2. `histories` are forecast in one call;
    3. `roll` shifts them left by a window, and the forecasts become their newest slots.

    So the history of a neighbour runs on its own forecasts until `neighbour_state` brings its next
    state. What is not known is 0 (baselines.md sec. 1).

    Args:
        window: how time is cut.
    """

    def __init__(self, window: Window) -> None:
        self.window = window
        self._rows: dict[str, int] = {}
        self._table: Loads = np.zeros((0, window.history), np.float32)
        self._states: dict[str, tuple[float, Loads]] = {}

    @property
    def replicas(self) -> tuple[str, ...]:
        """Who is known; the order of `histories` and of `roll`."""
        return tuple(self._rows)

    def __contains__(self, replica: object) -> bool:
        return replica in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def measured(self, replica: str, slots: ArrayLike) -> None:
        """What came in the window that ends, in place of what had been forecast for it.

        Args:
            replica: who; becomes known if it was not.
            slots: items in each of the k slots.

        Raises:
            ForecasterSettingsError: not k values.
        """
        values = self._checked(slots, self.window.slots, replica)
        row = self._row_of(replica)  # may replace the table
        self._table[row, -self.window.slots :] = values

    def neighbour_state(self, replica: str, slots: ArrayLike, at: float) -> bool:
        """A neighbour's own history, from its state.

        Args:
            replica: who; becomes known if it was not.
            slots: its h slots, the newest k of which are its own forecast of its running window.
            at: when the neighbour measured this, seconds of its clock: compared only with other
                times of the same neighbour.

        Returns:
            Whether it was taken: a state that is not newer than the one we hold is not.

        Raises:
            ForecasterSettingsError: not h values.
        """
        values = self._checked(slots, self.window.history, replica)
        known = self._states.get(replica)
        if known is not None and at <= known[0]:
            return False
        row = self._row_of(replica)  # may replace the table
        self._table[row] = values
        self._states[replica] = (at, values)
        return True

    def state(self, replica: str) -> tuple[float, Loads] | None:
        """What a neighbour last said itself, and when: the only thing to tell third parties of it.

        Its `history` runs on forecasts of ours, which under the neighbour's time would pass for
        measured.

        Returns:
            Its time, and float32 [h]; None if it never said anything.
        """
        known = self._states.get(replica)
        return None if known is None else (known[0], known[1].copy())

    def forget(self, replica: str) -> None:
        """The replica has left; nothing happens if it was not known."""
        if replica not in self._rows:
            return
        names = [name for name in self._rows if name != replica]
        self._table = self._table[[self._rows[name] for name in names]]
        self._rows = {name: row for row, name in enumerate(names)}
        self._states.pop(replica, None)

    def histories(self) -> Loads:
        """All histories, float32 [n, h], in the order of `replicas`; a copy, nothing below 0."""
        return self._table[: len(self._rows)].copy()

    def history(self, replica: str) -> Loads:
        """One history, float32 [h]; what a state tells the neighbours.

        Raises:
            KeyError: the replica is not known.
        """
        history: Loads = self._table[self._rows[replica]].copy()
        return history

    def expected(self, replica: str) -> Loads:
        """The forecast of the running window, float32 [k].

        Raises:
            KeyError: the replica is not known.
        """
        return self.history(replica)[-self.window.slots :]

    def roll(self, forecasts: Loads) -> None:
        """Begin the next window.

        Args:
            forecasts: float [n, k], in the order of `replicas`. What is below 0 or no number
                becomes 0.

        Raises:
            ForecasterSettingsError: not n x k values.
        """
        count, slots = len(self._rows), self.window.slots
        if np.shape(forecasts) != (count, slots):
            raise ForecasterSettingsError(
                f"{count} replicas need forecasts of {count} x {slots} slots",
                key="forecasts",
                value=np.shape(forecasts),
            )
        table = self._table[:count]
        table[:, :-slots] = table[:, slots:].copy()  # the two overlap
        table[:, -slots:] = known_loads(forecasts)

    def _row_of(self, replica: str) -> int:
        row = self._rows.get(replica)
        if row is None:
            row = self._rows[replica] = len(self._rows)
            if row >= len(self._table):  # doubled, so that n newcomers cost O(n) copies in all
                spare = np.zeros((max(4, row), self.window.history), np.float32)
                self._table = np.concatenate([self._table, spare])
            self._table[row] = 0.0
        return row

    @staticmethod
    def _checked(slots: ArrayLike, count: int, replica: str) -> Loads:
        values = np.asarray(slots, np.float32)
        if values.shape != (count,):
            raise ForecasterSettingsError(
                f"a load of {count} slots is expected",
                key=replica,
                value=values.shape,
                remedy="all replicas of a function use one window: compare their settings",
            )
        return known_loads(values)


def known_loads(values: ArrayLike) -> Loads:
    """Loads as forecasters take and give them: what is unknown (below 0, or no number) is 0."""
    loads = np.asarray(values, np.float32)
    return np.where(np.isfinite(loads) & (loads > 0), loads, np.float32(0.0))


def padded_history(loads: Sequence[float] | NDArray[np.generic], window: Window) -> Loads:
    """The newest h slots of a load, 0 where it is shorter: what a replica knows at start-up.

    Args:
        loads: items a slot, oldest first.
        window: how time is cut.

    Returns:
        float32 [h].
    """
    history = np.zeros(window.history, np.float32)
    newest = np.asarray(loads, np.float32)[-window.history :]
    if len(newest):
        history[-len(newest) :] = newest
    return history
