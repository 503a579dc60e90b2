"""Ridge regression from the history to the next window, in closed form."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from forecasting.base import ForecasterParams
from forecasting.errors import ForecasterModelError, TraceError
from forecasting.traces import Windows
from forecasting.windows import Loads, Window

BUILTIN = Path(__file__).parent / "models" / "linear.npz"
"""Coefficients that ship with the package; see docs/forecasting.md."""


class LinearParams(ForecasterParams):
    """Parameters of `linear`."""

    model: str = "builtin"
    """``builtin``, or an ``.npz`` file that `videojam forecaster train --kind linear` wrote."""


class Linear:
    """A forecast that is linear in the history, without intercept: twice the load, twice as much.

    Args:
        window: how time is cut.
        params: where the coefficients are.

    Raises:
        ForecasterModelError: the file is missing, corrupt, or made for another window.
    """

    Params: ClassVar[type[ForecasterParams]] = LinearParams

    def __init__(self, window: Window, params: LinearParams) -> None:
        file = BUILTIN if params.model == "builtin" else Path(params.model).expanduser()
        self._coefficients = read_coefficients(file, window)

    def forecast(self, histories: Loads) -> Loads:
        """See `forecasting.base.Forecaster`."""
        forecasts: Loads = np.maximum(histories @ self._coefficients, np.float32(0.0))
        return forecasts


def fit_ridge(windows: Windows, *, penalty: float = 0.01) -> Loads:
    """Coefficients that forecast some windows with the least squared error.

    A squared error counts in relation to the load, between what was usual and what came: the spread
    of a count grows with the count.

    Args:
        windows: what was known, and what came.
        penalty: of squared coefficients, relative to the mean squared history.

    Returns:
        float32 [h, k].

    Raises:
        TraceError: there is no load to learn from.
    """
    histories = windows.histories.astype(np.float64)
    targets = windows.targets.astype(np.float64)
    if not histories.any():
        raise TraceError(
            "there is no window with load to learn from",
            remedy="give traces that last longer than two windows and in which vehicles pass",
        )
    usual = histories.sum(axis=1, keepdims=True) / np.maximum(windows.known, 1)[:, None]
    unit = np.sqrt(np.maximum((usual + targets.mean(axis=1, keepdims=True)) / 2, 1.0))
    histories, targets = histories / unit, targets / unit
    gram = histories.T @ histories
    gram += penalty * np.trace(gram) / len(gram) * np.eye(len(gram))
    coefficients: NDArray[np.float64] = np.linalg.solve(gram, histories.T @ targets)
    return coefficients.astype(np.float32)


def write_coefficients(file: Path, coefficients: Loads) -> None:
    """Write what `Linear` reads."""
    with file.open("wb") as stream:
        np.savez_compressed(stream, coefficients=coefficients)


def read_coefficients(file: Path, window: Window) -> Loads:
    """Read what `write_coefficients` wrote, float32 [h, k].

    Raises:
        ForecasterModelError: the file is missing, corrupt, or made for another window.
    """
    remedy = "give a file that `videojam forecaster train --kind linear` wrote"
    try:
        with np.load(file, allow_pickle=False) as stored:
            coefficients = np.asarray(stored["coefficients"], np.float32)
    except OSError as error:
        raise ForecasterModelError(
            f"the coefficients cannot be read: {error}", file=file, remedy=remedy
        ) from error
    except Exception as error:  # a broken archive raises what its layer of the format raises
        raise ForecasterModelError(
            f"this is no file of coefficients: {error}", file=file, remedy=remedy
        ) from error
    shape = (window.history, window.slots)
    if coefficients.shape != shape:
        raise ForecasterModelError(
            f"its coefficients are {coefficients.shape}, the window needs {shape}",
            file=file,
            remedy="train it for this window, or use the window it was trained for",
        )
    if not np.isfinite(coefficients).all():
        raise ForecasterModelError("its coefficients are no numbers", file=file, remedy=remedy)
    return coefficients
