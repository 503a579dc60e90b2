"""Networks in TFLite format, run by LiteRT (``ai-edge-litert``)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from forecasting.base import ForecasterParams
from forecasting.errors import ForecasterModelError, MissingExtraError
from forecasting.last_layer import LastLayer, NoLastLayerError, find_last_layer
from forecasting.windows import Loads, Window

MODELS = Path(__file__).parent / "models"
"""Networks that ship with the package, each with its card; see docs/forecasting.md."""

_MOST_ROWS = 1024
"""Replicas in one call of the network; more go through in pieces, for which memory is reused."""
_USUAL_LEVELS = {3: (0.1, 0.5, 0.9)}
_TRIAL_ROWS = 3
_CARD = ".json"
_CHATTER = b"INFO: Created TensorFlow Lite XNNPACK delegate"
"""LiteRT's native code says this on stderr, where a replica's log may be JSON line by line."""
_REMEDY = "give a float32 network [n, h] -> [n, k], such as `videojam forecaster train` writes"


class NetworkParams(ForecasterParams):
    """Parameters of `dense` and of `mixture`."""

    model: str = "builtin"
    """``builtin``, or a ``.tflite`` file."""

    threads: Annotated[int, Field(ge=1, le=64)] = 1
    """Threads of the runtime; more than one pays for thousands of replicas only."""


class TfliteForecaster:
    """A network [n, h] -> [n, k], perhaps with a second output [n, q]: quantiles of the sum.

    The runtime's tensors are resized when the number of replicas changes, and only then.

    Args:
        window: how time is cut.
        params: which network.

    Raises:
        ForecasterModelError: the file is missing, corrupt, or does not fit the window.
        MissingExtraError: the runtime is not installed.
    """

    Params: ClassVar[type[ForecasterParams]] = NetworkParams
    builtin: ClassVar[Path]
    """The network that ``model: builtin`` means."""

    def __init__(self, window: Window, params: NetworkParams) -> None:
        self._file = self.builtin if params.model == "builtin" else Path(params.model).expanduser()
        self._window = window
        self._lock = threading.Lock()  # an interpreter serves one call at a time
        card = _read_card(self._file)
        self._content = _read(self._file, card.get("sha256"))
        self._interpreter = open_interpreter(self._content, self._file, params.threads)
        self._rows = 0
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) not in {1, 2}:
            raise self._unfit(f"it has {len(inputs)} inputs and {len(outputs)} outputs")
        for detail in (*inputs, *outputs):
            if detail["dtype"] is not np.float32:
                raise self._unfit(f"its tensor {detail['name']} is {detail['dtype'].__name__}")
        self._input: int = inputs[0]["index"]
        shape = tuple(int(side) for side in inputs[0]["shape"])
        if len(shape) != 2 or shape[1] != window.history:
            raise self._unfit(f"it takes {shape}, the window has a history of {window.history}")
        self._output, self._quantiles = self._find_outputs(outputs)
        self.levels = () if self._quantiles is None else self._find_levels(card.get("levels"))
        self._try()

    def forecast(self, histories: Loads) -> Loads:
        """See `forecasting.base.Forecaster`."""
        return self._run(histories, self._output, self._window.slots)

    def window_quantiles(self, histories: Loads) -> Loads:
        """See `forecasting.base.RiskForecaster`."""
        if self._quantiles is None:
            return np.zeros((len(histories), 0), np.float32)
        return self._run(histories, self._quantiles, len(self.levels))

    @property
    def file(self) -> Path:
        """The network's."""
        return self._file

    def last_layer(self) -> LastLayer:
        """The layer that the forecasts come from; see `forecasting.finetune`.

        Raises:
            ForecasterModelError: the network has none that could be learned anew.
        """
        try:
            return find_last_layer(self._content, self._output)
        except (NoLastLayerError, ImportError) as error:
            raise ForecasterModelError(
                f"the network cannot be fine-tuned: {error}",
                file=self._file,
                remedy="use the float32 `dense` or `mixture`, or leave fine-tuning off",
            ) from error

    def _run(self, histories: Loads, output: int, width: int) -> Loads:
        count = len(histories)
        answer = np.empty((count, width), np.float32)
        with self._lock:
            for start in range(0, count, _MOST_ROWS):
                piece = histories[start : start + _MOST_ROWS]
                rows = len(piece)
                if start and rows < _MOST_ROWS:  # as large as those before: nothing to resize
                    padded = np.zeros((_MOST_ROWS, histories.shape[1]), np.float32)
                    padded[:rows] = piece
                    piece = padded
                self._resize(len(piece))
                self._interpreter.set_tensor(self._input, np.ascontiguousarray(piece, np.float32))
                self._interpreter.invoke()
                answer[start : start + rows] = self._interpreter.get_tensor(output)[:rows]
        return answer

    def _resize(self, rows: int) -> None:
        if rows != self._rows:
            self._rows = 0  # whatever fails from here on, the next call begins anew
            self._interpreter.resize_tensor_input(self._input, [rows, self._window.history])
            self._interpreter.allocate_tensors()
            self._rows = rows

    def _find_outputs(self, outputs: list[dict[str, Any]]) -> tuple[int, int | None]:
        widths = [int(detail["shape"][-1]) for detail in outputs]
        slots = self._window.slots
        if slots not in widths:
            raise self._unfit(f"it answers {widths} values, the window has {slots} slots")
        forecast = widths.index(slots)
        others = [index for index in range(len(outputs)) if index != forecast]
        quantiles = outputs[others[0]]["index"] if others else None
        return outputs[forecast]["index"], quantiles

    def _find_levels(self, stored: object) -> tuple[float, ...]:
        """Probabilities of the quantiles: those of the card; the usual ones without a card."""
        details = self._interpreter.get_output_details()
        shape = next(entry["shape"] for entry in details if entry["index"] == self._quantiles)
        width = int(shape[-1])
        levels = _USUAL_LEVELS.get(width, ()) if stored is None else stored
        if (
            not isinstance(levels, list | tuple)
            or len(levels) != width
            or not all(isinstance(level, float) and 0 < level < 1 for level in levels)
        ):
            raise ForecasterModelError(
                f"the network answers {width} quantiles, its card has the levels {levels!r}",
                file=self._file.with_suffix(_CARD),
                remedy="restore the card that was written with the network",
            )
        return tuple(levels)

    def _try(self) -> None:
        """Forecast something, so that what is wrong shows at the start.

        A network whose batch was fixed when it was converted may give the first row's answer to
        all: the same histories, alone and together, must be answered alike.
        """
        ramp = np.linspace(1.0, 9.0, self._window.history, dtype=np.float32)
        trial = np.stack([np.roll(ramp, 7 * row) * (row + 1) for row in range(_TRIAL_ROWS)])
        try:
            together = self.forecast(trial)
            alone = np.concatenate(
                [self.forecast(trial[row : row + 1]) for row in range(len(trial))]
            )
        except Exception as error:  # LiteRT raises whatever its wrapper maps its codes to
            raise self._unfit(f"it cannot be run: {error}") from error
        if not np.isfinite(together).all():
            raise self._unfit("it answers what is no number")
        if not np.allclose(together, alone, rtol=1e-2, atol=1e-2 * float(np.abs(alone).max())):
            raise self._unfit(
                "it answers otherwise for several replicas at once than for each of them"
            )

    def _unfit(self, why: str) -> ForecasterModelError:
        return ForecasterModelError(
            f"the network does not fit: {why}", file=self._file, remedy=_REMEDY
        )


class Dense(TfliteForecaster):
    """The thesis' network (sec. 3.5.1): h -> 512 ReLU -> k, on raw counts."""

    builtin = MODELS / "dense.tflite"


class Mixture(TfliteForecaster):
    """A small network that weighs means over the near and the far past; see docs/forecasting.md."""

    builtin = MODELS / "mixture.tflite"


def _read_card(file: Path) -> dict[str, Any]:
    """The card beside a network; empty where there is none.

    Raises:
        ForecasterModelError: it is no card.
    """
    card = file.with_suffix(_CARD)
    if not card.exists():
        return {}
    try:
        stored = json.loads(card.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ForecasterModelError(
            f"the network's card cannot be read: {error}",
            file=card,
            remedy="restore the card that was written with the network, or remove it",
        ) from error
    return stored if isinstance(stored, dict) else {}


def _read(file: Path, sha256: str | None) -> bytes:
    """A network's file.

    Raises:
        ForecasterModelError: it is missing, or not what its card describes.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ForecasterModelError(
            f"the network cannot be read: {error.strerror or error}", file=file, remedy=_REMEDY
        ) from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        # flipped bits in a weight pass every check of the format
        raise ForecasterModelError(
            "the network is not the one that its card describes: it is damaged, or was replaced",
            file=file,
            remedy=f"restore it, or remove {file.with_suffix(_CARD).name} if it was replaced",
        )
    # LiteRT checks the structure, but only if the identifier is there
    if len(content) < 8 or content[4:8] != b"TFL3":
        raise ForecasterModelError("this is no TFLite file", file=file, remedy=_REMEDY)
    return content


def open_interpreter(content: bytes, file: Path, threads: int) -> Any:  # LiteRT's stubs lack much
    """An interpreter of a network, ready for one history.

    Args:
        content: the TFLite file.
        file: where it comes from, for messages.
        threads: of the runtime.

    Raises:
        ForecasterModelError: it is corrupt.
        MissingExtraError: the runtime is not installed.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - absent on some systems
    except ImportError as error:
        raise MissingExtraError(
            f"LiteRT, which runs the networks, cannot be imported: {error}",
            remedy="pip install ai-edge-litert, or choose `last-window`, `ewma` or `linear`",
        ) from error
    try:
        with _without_chatter():
            interpreter = Interpreter(model_content=content, num_threads=threads)
            interpreter.allocate_tensors()
    except Exception as error:  # LiteRT raises whatever its wrapper maps its codes to
        raise ForecasterModelError(
            f"the network is corrupt, or needs operations that LiteRT lacks: {error}",
            file=file,
            remedy=_REMEDY,
        ) from error
    return interpreter


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """Holds stderr back, and passes on all but the one line that native code writes unasked."""
    with contextlib.ExitStack() as stack:
        try:
            usual = os.dup(2)
        except OSError:  # no stderr
            yield
            return
        stack.callback(os.close, usual)
        held = stack.enter_context(tempfile.TemporaryFile())
        sys.stderr.flush()
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(usual, 2)
            held.seek(0)
            for line in held:
                if not line.startswith(_CHATTER):
                    os.write(2, line)
