"""Load forecasting for VIDEOJAM replicas: windows, histories, forecasters, training, scoring.

Importing it brings no network runtime; torch is only imported by `forecasting.training`.
"""

from forecasting.base import Forecaster, ForecasterParams, RiskForecaster
from forecasting.guard import GuardedForecaster
from forecasting.online import Drift, OnlineForecaster, OnlineSettings
from forecasting.registry import DEFAULT, WhenBroken, available, build_forecaster
from forecasting.windows import LoadBook, Loads, SlotCounter, Window, padded_history

__all__ = [
    "DEFAULT",
    "Drift",
    "Forecaster",
    "ForecasterParams",
    "GuardedForecaster",
    "LoadBook",
    "Loads",
    "OnlineForecaster",
    "OnlineSettings",
    "RiskForecaster",
    "SlotCounter",
    "WhenBroken",
    "Window",
    "available",
    "build_forecaster",
    "padded_history",
]
