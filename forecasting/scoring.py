"""How well forecasters do on load they were never trained on: rolling origin, and four regimes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from forecasting.errors import TraceError
from forecasting.traces import Trace, Windows, join_windows, rolling_origin
from forecasting.windows import Loads, Window, known_loads

Forecast = Callable[[Loads], Loads]
"""Histories [n, h] to forecasts [n, k]."""

Regime = Literal["quiet", "rising", "falling", "bursty"]
REGIMES: tuple[Regime, ...] = get_args(Regime)
"""What the load did, as `regimes` tells."""

By = Literal["past", "future"]
"""Whether a window's regime is told by the window before the forecast, or from that to the one
after it."""

_CHANGE = 0.2
"""Relative change that counts: the thesis' threshold of a prediction error (sec. 3.5)."""
_BURSTY = 0.5
"""Spread about its trend, relative to its mean, from which a window is bursty."""
_TROUBLED = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Errors of one forecaster over some windows.

    Attributes:
        windows: how many.
        mae: mean absolute error of a slot, items.
        rmse: root of the mean squared error of a slot, items.
        mase: ``mae`` over the mean absolute difference of two slots of the measured load that
            follow each other: what forecasting one slot ahead by the last one would cost.
        sum_error: total absolute error of the windows' sums over the total load; what the
            balancer acts on.
        sum_relative: mean over the windows of |forecast - came| / max(came, 1), of their sums.
        sum_rmse: root mean squared error of the windows' sums over their mean.
        bias: total of the windows' signed errors over the total load.
        off: share of windows whose sum is off by more than 20 % of the forecast: those for which
            the thesis' replicas correct each other.
    """

    windows: int
    mae: float
    rmse: float
    mase: float
    sum_error: float
    sum_relative: float
    sum_rmse: float
    bias: float
    off: float


def score(forecasts: Loads, targets: Loads, *, step: float) -> Score:
    """Compare forecasts with what came.

    Args:
        forecasts: float32 [n, k].
        targets: float32 [n, k].
        step: mean absolute difference of two slots that follow each other, items.

    Raises:
        TraceError: there is nothing to compare.
    """
    if not len(targets):
        raise TraceError(
            "no window to score",
            remedy="give traces that last longer than two windows",
        )
    errors = forecasts.astype(np.float64) - targets
    came = targets.astype(np.float64).sum(axis=1)
    wrong = errors.sum(axis=1)
    total = max(float(came.sum()), 1e-9)
    mae = float(np.abs(errors).mean())
    return Score(
        windows=len(targets),
        mae=mae,
        rmse=float(np.sqrt((errors**2).mean())),
        mase=mae / max(step, 1e-9),
        sum_error=float(np.abs(wrong).sum()) / total,
        sum_relative=float((np.abs(wrong) / np.maximum(came, 1.0)).mean()),
        sum_rmse=float(np.sqrt((wrong**2).mean())) / (total / len(came)),
        bias=float(wrong.sum()) / total,
        off=float((np.abs(wrong) > _TROUBLED * np.maximum(came + wrong, 1.0)).mean()),
    )


def regimes(histories: Loads, slots: int) -> NDArray[np.str_]:
    """What the load did in the last window, which is known when the forecast is made.

    Classes by what came afterwards would flatter the last window: it is right by definition where
    nothing changed.

    Args:
        histories: float32 [n, h].
        slots: k.

    Returns:
        [n], each one of `REGIMES`: ``bursty`` if the last window's slots spread by more than half
        of their mean about its trend; else ``rising`` or ``falling`` if its trend moves by more
        than 20 % of its mean from one half to the other; else ``quiet``.
    """
    last = histories[:, -slots:].astype(np.float64)
    mean = np.maximum(last.mean(axis=1), 1e-9)
    time = np.arange(slots) - (slots - 1) / 2
    slope = last @ time / max(float((time**2).sum()), 1.0)
    around = last - last.mean(axis=1, keepdims=True) - slope[:, None] * time
    spread = np.sqrt((around**2).mean(axis=1)) / mean
    change = slope * slots / 2 / mean
    return np.select(
        [spread > _BURSTY, change > _CHANGE, change < -_CHANGE],
        ["bursty", "rising", "falling"],
        "quiet",
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exam:
    """Windows of traces, and how their load moves from slot to slot.

    Attributes:
        windows: the problems.
        step: mean absolute difference of two slots that follow each other, items.
        regimes: [n], the regime of each problem.
    """

    windows: Windows
    step: float
    regimes: NDArray[np.str_]


def outcomes(windows: Windows, slots: int) -> NDArray[np.str_]:
    """What the load did from the last window to the next, which nobody knows beforehand.

    Returns:
        [n], each one of `REGIMES`: ``bursty`` if the next window's slots spread by more than half
        of their mean about its trend; else ``rising`` or ``falling`` if its sum differs by more
        than 20 % from the last one's; else ``quiet``.
    """
    before = windows.histories[:, -slots:].sum(axis=1, dtype=np.float64)
    after = windows.targets.sum(axis=1, dtype=np.float64)
    burst = regimes(windows.targets, slots) == "bursty"
    return np.select(
        [burst, after > before * (1 + _CHANGE), after < before * (1 - _CHANGE)],
        ["bursty", "rising", "falling"],
        "quiet",
    )


def prepare(
    traces: Sequence[Trace], window: Window, *, fps: float, stride: int = 1, by: By = "past"
) -> Exam:
    """Rolling-origin windows of all traces at one frame rate.

    Args:
        traces: never trained on.
        window: how time is cut.
        fps: frames a second of the cameras.
        stride: slots between two origins.
        by: how regimes are told.

    Raises:
        TraceError: all traces are too short.
    """
    loads = [trace.slots(fps, window.slot_seconds) for trace in traces]
    windows = join_windows([rolling_origin(load, window, stride=stride) for load in loads], window)
    if not len(windows):
        longest = max((trace.seconds for trace in traces), default=0.0)
        raise TraceError(
            f"the longest of {len(traces)} sequences lasts {longest:.0f} s, and a forecast needs "
            f"{2 * window.seconds:.0f} s: one window to know and one to compare",
            remedy="give longer traces",
        )
    steps = np.concatenate([np.abs(np.diff(load)) for load in loads])
    return Exam(
        windows=windows,
        step=float(steps.mean()),
        regimes=(
            regimes(windows.histories, window.slots)
            if by == "past"
            else outcomes(windows, window.slots)
        ),
    )


def examine(forecast: Forecast, exam: Exam, window: Window) -> dict[str, Score]:
    """Scores of one forecaster.

    Args:
        forecast: histories to forecasts.
        exam: what `prepare` made.
        window: how time is cut.

    Returns:
        By group: ``all``, the regimes, ``settled`` (the whole history was measured) and
        ``start-up`` (it was not). Groups without windows are absent.
    """
    windows = exam.windows
    forecasts = known_loads(forecast(windows.histories))
    settled = windows.known >= window.history
    groups: dict[str, NDArray[np.bool_]] = {"all": np.ones(len(windows), np.bool_)}
    groups |= {regime: exam.regimes == regime for regime in REGIMES}
    groups |= {"settled": settled, "start-up": ~settled}
    return {
        name: score(forecasts[chosen], windows.targets[chosen], step=exam.step)
        for name, chosen in groups.items()
        if chosen.any()
    }


def compare(
    forecasters: Mapping[str, Forecast],
    traces: Sequence[Trace],
    window: Window,
    *,
    fps: float,
    by: By = "past",
) -> dict[str, dict[str, Score]]:
    """`examine` several forecasters on the same windows, by name."""
    exam = prepare(traces, window, fps=fps, by=by)
    return {name: examine(forecast, exam, window) for name, forecast in forecasters.items()}
