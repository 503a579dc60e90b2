"""Instances of models on emulated GPUs, and who of a model's instances gets a request."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from evaluation.serving.hardware import EmulatedGpu, Timing
from evaluation.simulation.events import Loop, Rank
from roomie.profiles import Variant

_NEWEST = 0.5
"""Weight of the last span in what an instance is measured to serve."""
_LATELY_S = 10.0
"""Over which arrivals are averaged: a second alone says little of slow models."""


@dataclass(slots=True)
class Meter:
    """What an instance did since it was last read.

    Attributes:
        came: items.
        answered: items.
        batches: that were run.
        compute_s: of its batches, interference included.
        alone_s: that they would have taken alone.
    """

    came: int = 0
    answered: int = 0
    batches: int = 0
    compute_s: float = 0.0
    alone_s: float = 0.0


class Emulated:
    """An instance: a queue, a batch on the GPU, and the batching window of its server.

    Args:
        name: unique.
        variant: model, and its largest batch.
        gpu: where it runs.
        timing: of its model there.
        speed: items a second that it is expected to serve.
        extra: whether autoscaling added it.
        loop: the clock.
        sent_at: of each request, seconds.
        patience_s: a request that has waited longer is not served any more.
        answer: called with the requests of a finished batch.
        idle: called when it has nothing left to do.
    """

    def __init__(
        self,
        *,
        name: str,
        variant: Variant,
        gpu: EmulatedGpu,
        timing: Timing,
        speed: float,
        extra: bool,
        loop: Loop,
        sent_at: list[float],
        patience_s: float,
        answer: Callable[[list[int]], None],
        idle: Callable[[Emulated], None],
    ) -> None:
        self.name = name
        self.variant = variant
        self.extra = extra
        self.speed = speed
        self.stretch = 1.0
        self.window_s = 0.0
        self.rate = 0.0
        self.ready = False
        self.draining = False
        self.queue: deque[int] = deque()
        self.meter = Meter()
        self.credit = 0.0
        self._gpu = gpu
        self._timing = timing
        self._loop = loop
        self._sent_at = sent_at
        self._patience_s = patience_s
        self._answer = answer
        self._idle = idle
        self._busy = False
        self._known_s = 1e-9
        self._timer = -math.inf

    @property
    def resting(self) -> bool:
        """Whether it has nothing to do."""
        return not self._busy and not self.queue

    def receive(self, request: int) -> None:
        """A request comes."""
        self.queue.append(request)
        self.meter.came += 1
        if not self._busy:
            self._serve()

    def read_meter(self, seconds: float) -> Meter:
        """What it did in so many seconds since the last time; ``speed`` and ``rate`` follow."""
        read, self.meter = self.meter, Meter()
        came = read.came / seconds
        self.rate += (came - self.rate) * min(1.0, seconds / self._known_s)
        self._known_s = min(_LATELY_S, self._known_s + seconds)
        if read.alone_s > 0:
            now = read.compute_s / read.alone_s
            self.stretch += _NEWEST * (now - self.stretch)
            batch = self.variant.batch
            self.speed = batch / (self._timing.seconds[batch] * self.stretch)
        return read

    def _serve(self) -> None:
        queue, now, batch = self.queue, self._loop.now, self.variant.batch
        while queue and now - self._sent_at[queue[0]] > self._patience_s:
            queue.popleft()
        if not queue:
            self._idle(self)
            return
        count = len(queue)
        if count < batch:
            due = self._sent_at[queue[0]] + self.window_s
            # A draining server waits for nobody.
            if now < due - 1e-9 and not self.draining:
                if due != self._timer:
                    self._timer = due
                    self._loop.at(due, Rank.DATA, lambda: self._due(due))
                return
            taken = list(queue)
            queue.clear()
        else:
            taken = [queue.popleft() for _ in range(batch)]
            count = batch
        self._busy = True
        alone = self._timing.seconds[count]
        self._gpu.run(self._timing.shape[count], alone, lambda: self._finish(taken, now, alone))

    def _due(self, due: float) -> None:
        if due == self._timer and not self._busy:
            self._serve()

    def _finish(self, taken: list[int], began: float, alone: float) -> None:
        self._busy = False
        self.meter.answered += len(taken)
        self.meter.batches += 1
        self.meter.compute_s += self._loop.now - began
        self.meter.alone_s += alone
        self._answer(taken)
        self._serve()


class Door:
    """Where requests for one model come in: smooth weighted round robin by expected speed.

    Attributes:
        open: instances that are ready, in the order in which they became so.
        waiting: requests that came while there was none.
    """

    def __init__(self) -> None:
        self.open: list[Emulated] = []
        self.waiting: list[int] = []

    def enter(self, request: int) -> None:
        """A request comes; it waits here while no instance is ready."""
        if len(self.open) == 1:
            self.open[0].receive(request)
            return
        if not self.open:
            self.waiting.append(request)
            return
        total = 0.0
        best = self.open[0]
        for instance in self.open:
            total += instance.speed
            instance.credit += instance.speed
            if instance.credit > best.credit:
                best = instance
        best.credit -= total
        best.receive(request)

    def admit(self, instance: Emulated) -> None:
        """An instance is ready."""
        for other in self.open:
            other.credit = 0.0
        self.open.append(instance)
        waiting, self.waiting = self.waiting, []
        for request in waiting:
            self.enter(request)

    def leave(self, instance: Emulated) -> None:
        """An instance gets no more requests."""
        self.open.remove(instance)
