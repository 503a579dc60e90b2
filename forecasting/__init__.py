"""Load forecasting for VIDEOJAM replicas: windows, histories, forecasters, training, scoring.

Importing it brings no network runtime; torch is only imported by `forecasting.training`.
"""

from forecasting.base import Forecaster, ForecasterParams, RiskForecaster
from forecasting.finetune import FinetuneSettings
from forecasting.guard import GuardedForecaster
from forecasting.online import Drift, OnlineForecaster, OnlineSettings
from forecasting.registry import (
    DEFAULT,
    WhenBroken,
    available,
    build_forecaster,
    check_forecaster,
)
from forecasting.windows import Loads, Window, carried_on, padded_history

__all__ = [
    "DEFAULT",
    "Drift",
    "FinetuneSettings",
    "Forecaster",
    "ForecasterParams",
    "GuardedForecaster",
    "Loads",
    "OnlineForecaster",
    "OnlineSettings",
    "RiskForecaster",
    "WhenBroken",
    "Window",
    "available",
    "build_forecaster",
    "carried_on",
    "check_forecaster",
    "padded_history",
]
