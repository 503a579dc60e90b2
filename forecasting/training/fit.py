"""Training loop: seeded, with progress and early stopping."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from forecasting.traces import Windows
from forecasting.training.networks import LEVELS, MixtureNetwork
from forecasting.windows import Loads

_ABSOLUTE_WEIGHT = 1.0
"""Of the absolute beside the squared error: squares ask for the mean of what may come, which a
camera that is mostly empty never sees; absolute errors for the median, which misses bursts."""
_SLOTS_WEIGHT = 0.1
_BUSY_POWER = 0.5
"""Busy cameras count more, as their errors move more items; less than in proportion, as they are
few."""
_PREDICT_ROWS = 4096

Progress = Callable[[int, int, float], None]
"""Told after each epoch: epochs done, most epochs, validation error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """How to train.

    Attributes:
        seed: of weights and order.
        epochs: most.
        steps: batches in an epoch.
        batch: windows in a batch.
        learning_rate: the highest; it falls to 0 along a cosine.
        weight_decay: of matrices.
        patience: epochs without a better validation error after which training ends.
    """

    seed: int = 0
    epochs: int = 40
    steps: int = 40
    batch: int = 256
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    patience: int = 12


def fit(
    network: Any,
    windows: Windows,
    settings: FitSettings,
    *,
    validation: Windows | None = None,
    epochs: int | None = None,
    progress: Progress | None = None,
) -> int:
    """Train a network in place.

    Args:
        network: a `DenseNetwork` or `MixtureNetwork`.
        windows: to learn from.
        settings: how.
        validation: windows whose error decides when to stop and which weights to keep; None
            trains for all ``epochs`` and keeps the last weights.
        epochs: after how many to end, in place of those of the settings.
        progress: told after each epoch.

    Returns:
        The epoch whose weights the network has now, from 1.
    """
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    histories = torch.from_numpy(windows.histories)
    targets = torch.from_numpy(windows.targets)
    busy = _busyness(windows)
    groups = [
        {"params": [p for p in network.parameters() if p.ndim > 1]},
        {"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(
        groups, lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    last = epochs or settings.epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=last * settings.steps
    )
    best, best_epoch = np.inf, 0
    weights = copy.deepcopy(network.state_dict())
    for epoch in range(1, last + 1):
        network.train()
        for _ in range(settings.steps):
            chosen = torch.from_numpy(rng.integers(0, len(windows), settings.batch))
            loss = _loss(network, histories[chosen], targets[chosen], busy[chosen])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
        error = np.nan if validation is None else sum_error(network, validation)
        if progress is not None:
            progress(epoch, last, error)
        if validation is None:
            best_epoch = epoch
        elif error < best:
            best, best_epoch = error, epoch
            weights = copy.deepcopy(network.state_dict())
        elif epoch - best_epoch >= settings.patience:
            break
    if validation is not None:
        network.load_state_dict(weights)
    network.eval()
    return best_epoch


def predict(network: Any, histories: Loads) -> tuple[Loads, Loads | None]:
    """Forecasts [n, k] and, if the network has them, quantiles [n, q]."""
    network.eval()
    forecasts, quantiles = [], []
    with torch.no_grad():
        for start in range(0, max(len(histories), 1), _PREDICT_ROWS):
            answer = network(torch.from_numpy(histories[start : start + _PREDICT_ROWS]))
            if isinstance(answer, tuple):
                answer, spread = answer
                quantiles.append(spread.numpy())
            forecasts.append(answer.numpy())
    return np.concatenate(forecasts), np.concatenate(quantiles) if quantiles else None


def sum_error(network: Any, windows: Windows) -> float:
    """Total absolute error of the windows' sums over the total load."""
    forecasts = np.maximum(predict(network, windows.histories)[0], 0.0).sum(axis=1)
    came = windows.targets.sum(axis=1)
    return float(np.abs(forecasts - came).sum() / max(float(came.sum()), 1e-9))


def _busyness(windows: Windows) -> Any:
    """Weights of the problems, [n, 1], about 1."""
    level: NDArray[np.float64] = windows.histories.sum(axis=1) / np.maximum(windows.known, 1)
    relative = np.clip(level / max(float(level.mean()), 1e-9), 0.05, 20.0) ** _BUSY_POWER
    return torch.from_numpy(relative.astype(np.float32)[:, None])


def _loss(network: Any, histories: Any, targets: Any, busy: Any) -> Any:
    """Relative errors of the window's sum and of its slots; pinball loss of quantiles."""
    answer = network(histories)
    forecasts, quantiles = answer if isinstance(network, MixtureNetwork) else (answer, None)
    slots = targets.shape[1]
    known = (torch.cumsum(histories, dim=1) > 0).sum(dim=1, keepdim=True)
    before = histories.sum(dim=1, keepdim=True) / known.clamp(min=1) * slots
    came = targets.sum(dim=1, keepdim=True)
    # between what was usual and what came: the latter alone would make empty windows all that
    # matters, the former alone rising ones
    unit = (before + came) / 2 + 1e-3
    said = forecasts.sum(dim=1, keepdim=True)
    wrong = (said - came) / unit
    loss = busy * (wrong**2 + _ABSOLUTE_WEIGHT * wrong.abs())
    loss = loss + _SLOTS_WEIGHT * busy * (
        (forecasts - targets).abs().sum(dim=1, keepdim=True) / unit
    )
    if quantiles is not None:
        levels = torch.tensor(LEVELS)
        short = (came - quantiles) / unit
        loss = loss + torch.maximum(levels * short, (levels - 1) * short).sum(dim=1, keepdim=True)
    return loss.mean()
