"""Trains forecasters on the sequences of all folds but one, and forecasts those of that one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from forecasting import Loads, Window
from forecasting.linear import fit_ridge
from forecasting.scoring import Forecast
from forecasting.traces import Trace, rolling_origin
from forecasting.training.data import Recipe, make_windows
from forecasting.training.fit import FitSettings, fit, predict
from forecasting.training.networks import DenseNetwork, MixtureNetwork
from forecasting.windows import known_loads

_LEAST_MEAN = 2.0  # items a slot; emptier sequences have no relative error to speak of
_RATES = {"mixture": 3e-3, "dense": 1e-3}

Pairs = dict[str, dict[str, list[tuple[Loads, Loads]]]]
"""By forecaster and sequence: sums that were forecast, and sums that came."""


def train_fold(traces: list[Trace], window: Window, epochs: int, seed: int) -> dict[str, Forecast]:
    """Everything that learns, trained on these sequences."""
    windows = make_windows(traces, window, Recipe(generated=1500), np.random.default_rng(seed))
    coefficients = fit_ridge(windows)
    found: dict[str, Forecast] = {"linear": lambda histories: histories @ coefficients}
    makers: dict[str, Callable[[Window], Any]] = {
        "mixture": MixtureNetwork,
        "dense": DenseNetwork,
    }
    for name, make in makers.items():
        torch.manual_seed(seed)
        network = make(window)
        settings = FitSettings(seed=seed, epochs=epochs, learning_rate=_RATES[name])
        fit(network, windows, settings)
        found[name] = _forecast_of(network)
    return found


def _forecast_of(network: Any) -> Forecast:
    return lambda histories: predict(network, histories)[0]


def cross_validate(
    traces: list[Trace],
    fixed: dict[str, Forecast],
    window: Window,
    *,
    fps: float,
    folds: int,
    epochs: int,
    seed: int,
) -> Pairs:
    """Forecasts of every window of every sequence, by models that never saw the sequence."""
    torch.set_num_threads(1)
    pairs: Pairs = {}
    for fold in range(folds):
        learn = [trace for number, trace in enumerate(traces) if number % folds != fold]
        known = fixed | train_fold(learn, window, epochs, seed)
        for trace in traces[fold::folds]:
            windows = rolling_origin(trace.slots(fps, window.slot_seconds), window)
            for name, forecast in known.items() if len(windows) else ():
                said = known_loads(forecast(windows.histories)).sum(axis=1)
                found = pairs.setdefault(name, {}).setdefault(trace.name, [])
                found.append((said, windows.targets.sum(axis=1)))
    return pairs


def summary(by_sequence: dict[str, list[tuple[Loads, Loads]]], slots: int) -> tuple[float, ...]:
    """Error over the total load; over the sequences' own loads, averaged; root mean square."""
    all_said, all_came, own = [], [], []
    for parts in by_sequence.values():
        said = np.concatenate([part[0] for part in parts]).astype(np.float64)
        came = np.concatenate([part[1] for part in parts]).astype(np.float64)
        all_said.append(said)
        all_came.append(came)
        if came.mean() > _LEAST_MEAN * slots:
            own.append(np.abs(said - came).sum() / came.sum())
    wrong = np.concatenate(all_said) - np.concatenate(all_came)
    load = np.concatenate(all_came)
    return (
        float(np.abs(wrong).sum() / load.sum()),
        float(np.mean(own)),
        float(np.sqrt((wrong**2).mean()) / load.mean()),
    )
