"""Emulated GPUs, and how long batches of any size take on them."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.serving.sharing import Sharing
from evaluation.simulation.events import Loop, Rank
from roomie.devices import Device
from roomie.profiles import ProfileStore, Variant
from roomie.tables import KernelTable, kernel_table

_EXACT = 1e-12
"""Seconds by which ends may miss each other from rounding alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """A model on a kind of GPU.

    Attributes:
        seconds: of a batch of n items alone, at n; between profiled sizes on a straight line.
        shape: at n, the index of the variant whose kernels stand for such a batch: the smallest
            profiled batch that holds it.
        weight_bytes: what an instance loads.
    """

    seconds: tuple[float, ...]
    shape: tuple[int, ...]
    weight_bytes: int


class Hardware:
    """What batches of some models take on one kind of GPU.

    Args:
        store: profiles.
        device: the kind.
        models: which ones.
    """

    def __init__(self, store: ProfileStore, device: Device, models: Sequence[str]) -> None:
        self.device = device
        self.timings: dict[str, Timing] = {}
        tables: dict[int, KernelTable] = {}
        for model in models:
            sizes = store.batches(model, device)
            profiles = [store.find(Variant(model, size), device) for size in sizes]
            known = [profile for profile in profiles if profile is not None]
            first = len(tables)
            for profile in known:
                tables[len(tables)] = kernel_table(profile)
            counts = np.arange(sizes[-1] + 1)
            seconds = np.interp(counts, sizes, [profile.inference_time_s for profile in known])
            shapes = first + np.searchsorted(sizes, np.maximum(counts, 1))
            self.timings[model] = Timing(
                seconds=tuple(seconds.tolist()),
                shape=tuple(shapes.tolist()),
                weight_bytes=known[0].weight_bytes,
            )
        self.sharing = Sharing(tables)


class EmulatedGpu:
    """Runs batches of several instances at a time, each slower the more there are.

    All that compute advance at one speed (see `sharing`), so their ends keep their order: a clock
    that counts seconds of computing alone, and slows down, tells them.

    Args:
        loop: the clock of the simulation.
        sharing: how much it slows down.
    """

    def __init__(self, loop: Loop, sharing: Sharing) -> None:
        self._loop = loop
        self._sharing = sharing
        self._running: list[tuple[float, int, int, Callable[[], None]]] = []
        self._own = 0.0
        self._since = 0.0
        self._stretch = 1.0
        self._turn = 0
        self._started = 0
        self._busy_s = 0.0

    def busy_s(self) -> float:
        """Seconds in which it has computed anything so far."""
        self._advance()
        return self._busy_s

    def run(self, shape: int, seconds: float, done: Callable[[], None]) -> None:
        """Start a batch.

        Args:
            shape: index of the variant whose kernels it is.
            seconds: that it takes alone.
            done: called at its end.
        """
        self._advance()
        self._started += 1
        heapq.heappush(self._running, (self._own + seconds, self._started, shape, done))
        self._plan()

    def _advance(self) -> None:
        passed = self._loop.now - self._since
        self._since = self._loop.now
        if self._running:
            self._busy_s += passed
            self._own += passed / self._stretch

    def _plan(self) -> None:
        self._turn += 1
        if not self._running:
            return
        self._stretch = self._sharing.stretch(tuple(sorted([entry[2] for entry in self._running])))
        turn = self._turn
        end = self._loop.now + (self._running[0][0] - self._own) * self._stretch
        self._loop.at(end, Rank.DATA, lambda: self._finish(turn))

    def _finish(self, turn: int) -> None:
        if turn != self._turn:
            return  # another batch has started or ended since: a later plan counts
        self._advance()
        # The first is done now, whatever rounding says.
        self._own = max(self._own, self._running[0][0])
        ended = []
        while self._running and self._running[0][0] <= self._own + _EXACT:
            ended.append(heapq.heappop(self._running)[3])
        self._plan()
        for done in ended:
            done()
