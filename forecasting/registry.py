"""Forecasters by name: entry points of the group ``videojam.forecasters``, loaded on demand."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from forecasting.base import Forecaster, ForecasterParams
from forecasting.errors import (
    ForecasterModelError,
    ForecasterSettingsError,
    ForecastingError,
    MissingExtraError,
)
from forecasting.finetune import FinetuneSettings
from forecasting.guard import GuardedForecaster
from forecasting.naive import LastWindow
from forecasting.windows import Window

_log = logging.getLogger("videojam.forecasting")

GROUP = "videojam.forecasters"
"""Entry-point group of forecasters."""

DEFAULT = "mixture"
"""The forecaster that ships and forecasts best; see docs/forecasting.md."""

PARAMETERS = "forecaster_parameters"
"""Under which key a forecaster's own settings are declared, in errors."""

WhenBroken = Literal["error", "last-window"]
"""What a forecaster becomes whose model cannot be used: nothing, or the last window."""


def available() -> dict[str, EntryPoint]:
    """All installed forecasters by name, sorted; nothing is imported.

    Raises:
        ForecasterSettingsError: two installed packages register different ones under one name.
    """
    found: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise ForecasterSettingsError(
                f"two installed packages register a forecaster {point.name!r}: "
                f"{other.value} and {point.value}",
                remedy="uninstall one of them",
            )
    return found


def load_forecaster(name: str) -> Any:
    """The class of a forecaster: built with a `Window` and an instance of its ``Params``.

    Raises:
        ForecasterSettingsError: no forecaster has that name, it cannot be imported, or what is
            registered is none.
    """
    known = available()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ForecasterSettingsError(
            f"no forecaster is called {name!r}",
            key="forecaster",
            remedy=f"{hint}installed: {', '.join(known) or 'none'}",
        )
    point = known[name]
    try:
        plugin = point.load()
    except ForecastingError:
        raise
    except Exception as error:
        raise ForecasterSettingsError(
            f"the forecaster {name!r} ({point.value}) cannot be loaded: "
            f"{type(error).__name__}: {error}",
            key="forecaster",
            remedy="install what it needs, correct it, or name another one",
        ) from error
    params = getattr(plugin, "Params", None)
    if not callable(getattr(plugin, "forecast", None)) or not (
        isinstance(params, type) and issubclass(params, ForecasterParams)
    ):
        raise ForecasterSettingsError(
            f"{name!r} ({point.value}) is no forecaster: it lacks forecast(), or Params as a "
            "subclass of ForecasterParams",
            key="forecaster",
            remedy="implement forecasting.base.Forecaster",
        )
    return plugin


def build_forecaster(
    name: str = DEFAULT,
    window: Window | None = None,
    parameters: Mapping[str, object] | None = None,
    *,
    when_broken: WhenBroken = "error",
    finetune: FinetuneSettings | None = None,
) -> GuardedForecaster:
    """Make a forecaster that is ready, and that will not fail while it runs.

    Args:
        name: its entry point.
        window: how time is cut; the thesis' by default.
        parameters: its own settings.
        when_broken: what to do if its model is missing, corrupt, or of another shape, or cannot
            be run here: raise, or warn and forecast that the next window is like the last.
        finetune: how the network's last layer learns from the first replica's load; None to leave
            it as it was trained. See `forecasting.tuned.TunedNetwork`.

    Returns:
        The forecaster, guarded.

    Raises:
        ForecasterSettingsError: the name or a parameter is wrong, whatever ``when_broken`` says:
            that is a mistake of the declaration and not of a file. So is fine-tuning what is no
            network.
        ForecasterModelError: the model cannot be used, and ``when_broken`` is ``error``.
        MissingExtraError: what runs it is not installed, and ``when_broken`` is ``error``.
    """
    window = window or Window()
    plugin = load_forecaster(name)
    try:
        params = plugin.Params.model_validate(dict(parameters or {}))
    except ValidationError as error:
        raise _explain(error, plugin.Params, name) from error
    try:
        forecaster = _make(plugin, window, params, name)
        if finetune is not None:
            forecaster = _tuned(forecaster, finetune, name)
        return GuardedForecaster(forecaster, window, name=name)
    except (ForecasterModelError, MissingExtraError) as error:
        if when_broken == "error":
            raise
        _log.warning("%s cannot be used, forecasting the last window instead: %s", name, error)
        stand_in = LastWindow(window, ForecasterParams())
        return GuardedForecaster(stand_in, window, name="last-window", stands_in_for=name)


def check_forecaster(
    name: str = DEFAULT,
    window: Window | None = None,
    parameters: Mapping[str, object] | None = None,
    *,
    when_broken: WhenBroken = "error",
    finetune: FinetuneSettings | None = None,
) -> None:
    """See that a forecaster can be made, and that it answers [n, k] to [n, h].

    Args:
        name: as for `build_forecaster`.
        window: likewise.
        parameters: likewise.
        when_broken: likewise; ``last-window`` makes a warning of all that is no mistake of the
            declaration.
        finetune: likewise.

    Raises:
        ForecasterSettingsError: as `build_forecaster`.
        ForecasterModelError: the model cannot be used or does not fit the window, and
            ``when_broken`` is ``error``.
        MissingExtraError: what runs it is not installed, and ``when_broken`` is ``error``.
    """
    window = window or Window()
    guarded = build_forecaster(name, window, parameters, when_broken=when_broken, finetune=finetune)
    try:
        # more than one replica, for an answer of another shape may be right for one
        for replicas in (1, 3):
            _try(guarded.forecaster, window, replicas, name)
    except ForecasterModelError as error:
        if when_broken == "error":
            raise
        _log.warning("the last window will be forecast instead: %s", error)


def _try(forecaster: Forecaster, window: Window, replicas: int, name: str) -> None:
    ramp = np.linspace(0.0, 9.0, window.history, dtype=np.float32)
    trial = np.tile(ramp, (replicas, 1))
    fits = f"name one for histories of {window.history} slots and windows of {window.slots}"
    try:
        answer = np.asarray(forecaster.forecast(trial), np.float32)
    except Exception as error:
        raise ForecasterModelError(
            f"{name} cannot forecast from {trial.shape}: {type(error).__name__}: {error}",
            remedy=fits,
        ) from error
    wanted = (replicas, window.slots)
    if answer.shape != wanted:
        raise ForecasterModelError(
            f"{name} answers {answer.shape} to {trial.shape} where {wanted} is wanted", remedy=fits
        )
    if not np.isfinite(answer).all():
        raise ForecasterModelError(f"{name} answers what is no number", remedy="mend it")


def _make(plugin: Any, window: Window, params: ForecasterParams, name: str) -> Forecaster:
    try:
        forecaster: Forecaster = plugin(window, params)
    except ForecastingError:
        raise
    except Exception as error:
        raise ForecasterModelError(
            f"{name} cannot be made: {type(error).__name__}: {error}",
            remedy="correct it, or name another one",
        ) from error
    return forecaster


def _tuned(forecaster: Forecaster, settings: FinetuneSettings, name: str) -> Forecaster:
    # the runtime of networks is imported where one is used, and only there
    from forecasting.tflite import TfliteForecaster  # noqa: PLC0415
    from forecasting.tuned import TunedNetwork  # noqa: PLC0415

    if not isinstance(forecaster, TfliteForecaster):
        raise ForecasterSettingsError(
            f"{name} is no network: there is no last layer to fine-tune",
            key="forecaster_finetune",
            remedy="leave it off, or name `mixture` or `dense`",
        )
    return TunedNetwork(forecaster, settings)


def _explain(
    error: ValidationError, model: type[ForecasterParams], name: str
) -> ForecasterSettingsError:
    faults = error.errors(include_url=False)
    fault = faults[0]
    path = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    remedy = f"parameters of {name}: {', '.join(sorted(model.model_fields)) or 'none'}"
    if fault["type"] == "extra_forbidden":
        message = "unknown parameter"
        near = difflib.get_close_matches(path, list(model.model_fields), n=1)
        if near:
            remedy = f"did you mean {near[0]!r}? {remedy}"
    return ForecasterSettingsError(
        message, key=f"{PARAMETERS}.{path}", value=fault["input"], remedy=remedy
    )
