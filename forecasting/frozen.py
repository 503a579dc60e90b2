"""Frozen TensorFlow graphs, run by OpenCV: to compare with networks of before."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from forecasting.errors import ForecasterModelError
from forecasting.windows import Loads, Window


class FrozenGraph:
    """A frozen TensorFlow graph [n, h] -> [n, k] in OpenCV's dnn module.

    Args:
        window: how time is cut.
        file: the ``.pb`` file.

    Raises:
        ForecasterModelError: the file is missing, corrupt, or does not fit the window.
    """

    def __init__(self, window: Window, file: Path) -> None:
        remedy = f"give a frozen graph that takes {window.history} values and gives {window.slots}"
        if not file.is_file():
            raise ForecasterModelError("there is no such graph", file=file, remedy=remedy)
        try:
            self._network = cv2.dnn.readNetFromTensorflow(str(file))
            answer = self.forecast(np.ones((2, window.history), np.float32))
        except cv2.error as error:
            raise ForecasterModelError(
                f"OpenCV cannot run the graph: {str(error).strip()}", file=file, remedy=remedy
            ) from error
        if answer.shape != (2, window.slots):
            raise ForecasterModelError(
                f"the graph answers {answer.shape[1:]}", file=file, remedy=remedy
            )

    def forecast(self, histories: Loads) -> Loads:
        """See `forecasting.base.Forecaster`."""
        if not len(histories):
            return self.forecast(np.zeros((1, histories.shape[1]), np.float32))[:0]
        # the module knows pictures: [n, channels, height, width]
        self._network.setInput(np.ascontiguousarray(histories[:, :, None, None], np.float32))
        return np.array(self._network.forward(), np.float32)
