"""What learning the last layer from a camera's own load is worth, and what it costs.

    python -m evaluation.benchmarks.finetuning
    python -m evaluation.benchmarks.finetuning --forecaster dense --seconds 3600

Cameras are made up, as no recorded sequence that we have is long enough. Each forecasts its next
window every second, once with the network as it was trained and once with a last layer that is
learned anew every 30 s from the last four minutes; the first half of the time is not counted. The
error is that of the window's sum: total absolute error over the total load.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from evaluation.command import run
from forecasting import Loads, Window, build_forecaster, padded_history
from forecasting.tflite import TfliteForecaster
from forecasting.tuned import TunedNetwork

_WINDOW = Window()
_EVERY = 30
_FPS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One network on one camera.

    Attributes:
        trained: error of the network as it is.
        tuned: error with its last layer learned.
        used: share of the time in which the learned layer was in use.
        learn_ms: median time of learning.
    """

    trained: float
    tuned: float
    used: float
    learn_ms: float


def cameras(seconds: int, rng: np.random.Generator) -> dict[str, Loads]:
    """Items a slot of cameras that each follow a law of their own, float32 [seconds]."""
    slot = np.arange(seconds)

    def seen(vehicles: NDArray[np.float64]) -> Loads:
        return rng.poisson(np.maximum(vehicles, 0.0) * _FPS).astype(np.float32)

    walk = np.cumsum(rng.normal(0.0, 0.4, seconds))
    swing = np.zeros(seconds)
    for place in range(1, seconds):
        swing[place] = 0.8 * swing[place - 1] + rng.normal(0.0, 1.0)
    crowd = np.repeat(rng.poisson(3.0, seconds // 5 + 1), 5)[:seconds].astype(np.float64)
    return {
        "traffic light, 40 s": seen(np.where(slot % 40 < 15, 4.0, 0.8)),
        "traffic light, 60 s": seen(np.where(slot % 60 < 20, 4.0, 0.8)),
        "a train every 3 min": seen(np.where(slot % 180 < 12, 8.0, 0.5)),
        "always 3 vehicles": seen(np.full(seconds, 3.0)),
        "another crowd every 5 s": (_FPS * np.minimum(crowd, 15.0)).astype(np.float32),
        "returns to its mean": seen(4.0 + swing),
        "wanders": seen(4.0 + walk - np.linspace(0.0, walk[-1], seconds)),
    }


def measure(network: TfliteForecaster, load: Loads) -> Outcome:
    """Forecast a camera's windows with and without learning."""
    tuned = TunedNetwork(network)
    slots, history = _WINDOW.slots, _WINDOW.history
    errors = np.zeros(2)
    total = used = counted = 0.0
    learning: list[float] = []
    for now in range(history, len(load) - slots):
        seen = padded_history(load[:now], _WINDOW)[None]
        if now >= len(load) // 2:
            came = float(load[now : now + slots].sum())
            said = np.array([network.forecast(seen).sum(), tuned.forecast(seen.copy()).sum()])
            errors += np.abs(np.maximum(said, 0.0) - came)
            total += came
            used += tuned.tuned
            counted += 1
        tuned.note(
            padded_history(load[: now - slots], _WINDOW), float(load[now - slots : now].sum())
        )
        lessons = tuned.prepare() if now % _EVERY == 0 else None
        if lessons is not None:
            begun = time.perf_counter()
            tuned.adopt(tuned.learn_from(lessons))
            learning.append(time.perf_counter() - begun)
    return Outcome(
        trained=float(errors[0] / total),
        tuned=float(errors[1] / total),
        used=used / counted,
        learn_ms=1e3 * float(np.median(learning)),
    )


def main(
    *,
    forecaster: Annotated[
        list[str] | None, typer.Option(help="Networks; dense and mixture when absent.")
    ] = None,
    seconds: Annotated[int, typer.Option(min=300, help="Length of each camera's load.")] = 1800,
    seed: Annotated[int, typer.Option(min=0, help="Of the load.")] = 0,
) -> None:
    """Measure what learning is worth."""
    table = Table("network", "camera", "trained", "tuned", "ratio", "in use", "learn ms")
    for column in table.columns[2:]:
        column.justify = "right"
    loads = cameras(seconds, np.random.default_rng(seed))
    progress = Console(stderr=True)
    networks = {name: _network(name) for name in forecaster or ["dense", "mixture"]}
    cases = [(name, camera) for name in networks for camera in loads]
    for name, camera in track(cases, "cameras", console=progress, transient=True):
        result = measure(networks[name], loads[camera])
        table.add_row(
            name,
            camera,
            f"{result.trained:.3f}",
            f"{result.tuned:.3f}",
            f"{result.tuned / result.trained:.2f}",
            f"{result.used:.0%}",
            f"{result.learn_ms:.1f}",
        )
    Console().print(table)


def _network(name: str) -> TfliteForecaster:
    network = build_forecaster(name, _WINDOW).forecaster
    if not isinstance(network, TfliteForecaster):
        raise typer.BadParameter(f"{name} is no network", param_hint="--forecaster")
    return network


if __name__ == "__main__":
    run(main)
