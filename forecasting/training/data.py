"""What networks are trained on: recorded load, changed and mixed, and generated load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecasting.errors import TraceError
from forecasting.generators import GENERATORS
from forecasting.traces import Trace, Windows, join_windows, rolling_origin
from forecasting.windows import Loads, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How much load of which kind.

    Attributes:
        fps: frame rates of the cameras, one drawn for each load.
        recorded: loads drawn from the recorded traces; 0 without traces.
        generated: loads from the generators.
        seconds: shortest and longest generated load.
        slowest: least factor by which a recorded scene is sped up; the speeds are log-uniform.
        fastest: greatest factor.
    """

    fps: tuple[float, ...] = (15.0, 20.0, 25.0)
    recorded: int = 500
    generated: int = 500
    seconds: tuple[float, float] = (30.0, 160.0)
    slowest: float = 0.6
    fastest: float = 2.0


def make_loads(
    traces: Sequence[Trace], window: Window, recipe: Recipe, rng: np.random.Generator
) -> list[Loads]:
    """Loads of many made-up days of the recorded and the generated cameras.

    Half of the recorded ones are single sequences: their beginnings are what a replica meets at
    start-up. A quarter are several sequences one after the other, as of a camera that is moved or
    of video files played in turn; a quarter are sums of cameras that one replica serves, which
    begin and end at different times. Some run backwards.

    Args:
        traces: recorded, for training only.
        window: how time is cut.
        recipe: how many.
        rng: source of randomness.

    Raises:
        TraceError: there is neither a trace nor anything to generate.
    """
    loads = []
    if traces:
        loads += [_recorded(traces, window, recipe, rng) for _ in range(recipe.recorded)]
    names = sorted(GENERATORS)
    for _ in range(recipe.generated):
        name = names[rng.integers(len(names))]
        trace = GENERATORS[name](rng.uniform(*recipe.seconds), rng)
        loads.append(trace.slots(float(rng.choice(recipe.fps)), window.slot_seconds))
    if not loads:
        raise TraceError(
            "there is nothing to learn from", remedy="give traces, or generate load (--generated)"
        )
    return loads


def _recorded(
    traces: Sequence[Trace], window: Window, recipe: Recipe, rng: np.random.Generator
) -> Loads:
    def one() -> Loads:
        trace = traces[int(rng.integers(len(traces)))]
        speed = float(np.exp(rng.uniform(np.log(recipe.slowest), np.log(recipe.fastest))))
        load = trace.slots(float(rng.choice(recipe.fps)), window.slot_seconds, speed=speed)
        return load[::-1] if rng.random() < 0.3 else load

    kind = rng.random()
    if kind < 0.5:
        return one()
    if kind < 0.75:
        return np.concatenate([one() for _ in range(rng.integers(2, 5))])
    cameras = [np.concatenate([one() for _ in range(3)]) for _ in range(rng.integers(2, 5))]
    total = np.zeros(max(len(load) for load in cameras), np.float32)
    for load in cameras:
        late = 0 if rng.random() < 0.5 else int(rng.integers(0, len(total) - len(load) + 1))
        total[late : late + len(load)] += load
    return total


def make_windows(
    traces: Sequence[Trace], window: Window, recipe: Recipe, rng: np.random.Generator
) -> Windows:
    """All windows of `make_loads` before which something had come.

    Raises:
        TraceError: there are none.
    """
    loads = make_loads(traces, window, recipe, rng)
    windows = join_windows([rolling_origin(load, window) for load in loads], window)
    windows = windows.select(np.flatnonzero(windows.histories.max(axis=1)))
    if not len(windows):
        raise TraceError(
            "no window to learn from: the traces are too short, or no vehicle passes",
            remedy=f"give traces longer than {2 * window.seconds:.0f} s, or generate load",
        )
    return windows
