"""From torch to TFLite, float and int8, and whether both say the same."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from forecasting.errors import ForecasterModelError, MissingExtraError
from forecasting.tflite import Mixture, NetworkParams
from forecasting.training.fit import predict
from forecasting.windows import Loads, Window

FLOAT_TOLERANCE = 1e-3
"""Greatest difference of the converted network, relative to the greatest forecast."""
INT8_TOLERANCE = 0.1
"""The same of the network with int8 weights."""

_INT8_SUFFIX = ".int8.tflite"


def int8_file(file: Path) -> Path:
    """Where the int8 variant of a network goes: beside it."""
    return file.with_suffix(_INT8_SUFFIX)


def convert(network: Any, window: Window, file: Path) -> None:
    """Write a network as TFLite, float32.

    Args:
        network: trained.
        window: how time is cut.
        file: to write.

    Raises:
        MissingExtraError: litert-torch is not installed.
        ForecasterModelError: it cannot be converted.
    """
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # the converter looks for accelerators otherwise
    try:
        import litert_torch  # noqa: PLC0415 - heavy and optional
    except ImportError as error:
        raise _missing("litert-torch", error) from error
    sample = torch.ones(1, window.history)
    try:
        with _quiet():
            litert_torch.convert(network.eval(), (sample,)).export(str(file))
    except Exception as error:  # the converter raises what its layers raise
        raise ForecasterModelError(
            f"the network cannot be converted: {type(error).__name__}: {error}",
            file=file,
            remedy="use the version of litert-torch that the extra `train` installs",
        ) from error


def quantise(file: Path) -> Path:
    """Write the int8 variant of a TFLite network: int8 weights, float32 in and out.

    Loads have no natural range that an int8 input could have, so activations are quantised as they
    come.

    Returns:
        The file, beside ``file``.

    Raises:
        MissingExtraError: ai-edge-quantizer, which litert-torch brings, is not installed.
        ForecasterModelError: it cannot be quantised.
    """
    try:
        from ai_edge_quantizer import quantizer, recipe  # noqa: PLC0415 - heavy and optional
    except ImportError as error:
        raise _missing("ai-edge-quantizer", error) from error
    target = int8_file(file)
    try:
        with _quiet():
            result = quantizer.Quantizer(str(file), recipe.dynamic_wi8_afp32()).quantize()
            result.export_model(str(target), overwrite=True)
    except Exception as error:  # as above
        raise ForecasterModelError(
            f"the network cannot be quantised: {type(error).__name__}: {error}",
            file=file,
            remedy="train without --int8",
        ) from error
    return target


def compare_with_torch(
    network: Any, file: Path, window: Window, histories: Loads, *, tolerance: float
) -> float:
    """Run a converted network beside the one that it came from.

    Args:
        network: in torch.
        file: as TFLite.
        window: how time is cut.
        histories: float32 [n, h], to compare on.
        tolerance: greatest difference allowed, relative to the greatest forecast.

    Returns:
        The greatest difference, relative to the greatest forecast.

    Raises:
        ForecasterModelError: they differ by more, or the file cannot be run.
    """
    # any network runs through this class: it only adds the file that `builtin` means
    converted = Mixture(window, NetworkParams(model=str(file)))
    forecasts, quantiles = predict(network, histories)
    pairs = [(converted.forecast(histories), forecasts)]
    if quantiles is not None:
        pairs.append((converted.window_quantiles(histories), quantiles))
    worst = max(
        float(np.abs(ours - theirs).max() / max(float(np.abs(theirs).max()), 1e-9))
        for ours, theirs in pairs
    )
    if not worst <= tolerance:
        raise ForecasterModelError(
            f"the converted network differs from the one in torch by {worst:.2g} of the greatest "
            f"forecast; {tolerance:g} is allowed",
            file=file,
            remedy="use the version of litert-torch that the extra `train` installs",
        )
    return worst


def _missing(package: str, error: ImportError) -> MissingExtraError:
    return MissingExtraError(
        f"{package}, which converts networks, cannot be imported: {error}",
        remedy="pip install 'videojam[train]'",
    )


@contextlib.contextmanager
def _quiet() -> Any:
    """Without the converters' chatter; what goes wrong comes as an exception."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
