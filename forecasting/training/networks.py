"""The networks.

Their graphs hold nothing that fixes the number of replicas (no slice, no reshape), so that one
converted network forecasts any number at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from forecasting.windows import Window

LEVELS = (0.1, 0.5, 0.9)
"""Probabilities of the quantiles that `MixtureNetwork` answers."""

_SPANS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50)
_LEAST_SCALE = 1e-3  # items a slot; keeps an empty history from dividing by zero
_INPUT_UNIT = 64.0  # items; what the raw network's weights are initialised for


class DenseNetwork(nn.Module):
    """The thesis' network: h -> 512 ReLU -> k, on raw counts (sec. 3.5.1, baselines.md sec. 1).

    Args:
        window: how time is cut.
        hidden: units of the hidden layer.
    """

    def __init__(self, window: Window, hidden: int = 512) -> None:
        super().__init__()
        self.hidden = nn.Linear(window.history, hidden)
        self.output = nn.Linear(hidden, window.slots)
        with torch.no_grad():
            # raw counts go in and come out: the usual initialisation is for inputs of about 1
            self.hidden.weight /= _INPUT_UNIT
            self.output.weight *= _INPUT_UNIT

    def forward(self, histories: Any) -> Any:
        """Float [n, h] to [n, k]."""
        return self.output(torch.relu(self.hidden(histories)))


class MixtureNetwork(nn.Module):
    """Weighs means over the newest 1, 2, 3, 5, ... slots, and nothing at all, against each other.

    The history is divided by its mean over the slots that are known (all from the first load on),
    so twice the load gives twice the forecast. A small network sees the means and how much of each
    span is known, and answers softmax weights, whose mixture is the level of the next window, and a
    factor between 1/e and e for each slot. A forecast is thus a level that was really seen, bent:
    it cannot run away. A second head answers quantiles of the window's sum.

    Args:
        window: how time is cut.
        hidden: units of the hidden layers.
    """

    def __init__(self, window: Window, hidden: int = 24) -> None:
        super().__init__()
        spans = [span for span in _SPANS if span <= window.history]
        members = len(spans) + 1
        sums = np.zeros((members, window.history), np.float32)
        for row, span in enumerate(spans):
            sums[row, -span:] = 1.0
        lengths = np.array([*spans, 1], np.float32)
        older = np.triu(np.ones((window.history, window.history), np.float32))
        self.slots = window.slots
        self.register_buffer("older", torch.from_numpy(older))
        self.register_buffer("sums", torch.from_numpy(sums.T.copy()))
        self.register_buffer("shares", torch.from_numpy((sums.T / lengths).copy()))
        self.first = nn.Linear(2 * members, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.weights = nn.Linear(hidden, members)
        self.shape = nn.Linear(hidden, window.slots)
        self.spread = nn.Linear(hidden, hidden)
        self.quantiles = nn.Linear(hidden, len(LEVELS))
        with torch.no_grad():
            # begins as: mostly the newest slot, hardly ever nothing
            for layer in (self.weights, self.shape, self.quantiles):
                layer.weight.zero_()
                layer.bias.zero_()
            self.weights.bias[0] = 2.0
            self.weights.bias[-1] = -2.0

    def forward(self, histories: Any) -> Any:
        """Float [n, h] to forecasts [n, k] and quantiles of the window's sum [n, q]."""
        known = torch.clamp((histories > 0).to(histories.dtype) @ self.older, 0.0, 1.0)
        count = torch.clamp(known.sum(dim=1, keepdim=True), min=1.0)
        scale = histories.sum(dim=1, keepdim=True) / count + _LEAST_SCALE
        means = (histories / scale) @ self.sums / torch.clamp(known @ self.sums, min=1.0)
        seen = torch.cat([torch.log(means + 1.0), known @ self.shares], dim=1)
        inner = torch.relu(self.second(torch.relu(self.first(seen))))
        mixture = torch.softmax(self.weights(inner), dim=1)
        level = (mixture * means).sum(dim=1, keepdim=True)
        forecasts = level * torch.exp(torch.tanh(self.shape(inner)))
        # the spread is learned around the forecast and does not disturb it
        spread = self.quantiles(torch.relu(self.spread(inner.detach())))
        middle = forecasts.detach().sum(dim=1, keepdim=True)
        quantiles = torch.relu(middle + self.slots * spread)
        return forecasts * scale, quantiles * scale


def count_parameters(network: Any) -> int:
    """Numbers that were learned."""
    return sum(parameter.numel() for parameter in network.parameters())
