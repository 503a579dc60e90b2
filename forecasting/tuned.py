"""A network whose last layer follows one replica's own load."""

from __future__ import annotations

import threading
from typing import ClassVar

import numpy as np

from forecasting.base import ForecasterParams
from forecasting.finetune import FinetuneSettings, Lessons, Notebook, corrected, learn
from forecasting.last_layer import Activations, Weights, activations
from forecasting.tflite import NetworkParams, TfliteForecaster, open_interpreter
from forecasting.windows import Loads, known_loads


class TunedNetwork:
    """Forecasts the first replica with a last layer of its own, the others as the network does.

    The first row is the replica that forecasts: its load comes from its home cameras, and only its
    own load is measured without delay. `note` what came, `prepare` and `adopt` what was learned;
    between the two, `learn_from` may run in another thread.

    Args:
        network: what is tuned.
        settings: how to learn.

    Raises:
        ForecasterModelError: the network has no last layer that could be learned anew.
    """

    Params: ClassVar[type[ForecasterParams]] = NetworkParams

    def __init__(self, network: TfliteForecaster, settings: FinetuneSettings | None = None) -> None:
        self.network = network
        self.settings = settings or FinetuneSettings()
        self._layer = network.last_layer()
        self._interpreter = open_interpreter(self._layer.content, network.file, 1)
        self._input: int = self._interpreter.get_input_details()[0]["index"]
        self._features: int = self._interpreter.get_output_details()[-1]["index"]
        self._lock = threading.Lock()  # an interpreter serves one call at a time
        self._notebook = Notebook(self.settings)
        self._weights: Weights | None = None

    @property
    def tuned(self) -> bool:
        """Whether a learned layer is in use."""
        return self._weights is not None

    @property
    def levels(self) -> tuple[float, ...]:
        """See `forecasting.base.RiskForecaster`; the quantiles are the network's own throughout."""
        return self.network.levels

    def window_quantiles(self, histories: Loads) -> Loads:
        """See `forecasting.base.RiskForecaster`."""
        return self.network.window_quantiles(histories)

    def forecast(self, histories: Loads) -> Loads:
        """See `forecasting.base.Forecaster`."""
        forecasts = self.network.forecast(histories)
        weights = self._weights
        if weights is not None and len(forecasts):
            given = self._given(histories[:1], forecasts[:1])
            forecasts[0] = corrected(self._layer, weights, given, self.settings)[0]
        return forecasts

    def note(self, history: Loads, came: float) -> None:
        """A window of the replica's own has ended.

        Args:
            history: float [h], as it was when the window began.
            came: items that came in the window.
        """
        known = known_loads(history)[None]
        self._notebook.note(self._given(known, self.network.forecast(known)), came)

    def prepare(self) -> Lessons | None:
        """What there is to learn from; None while it is too little."""
        return self._notebook.lessons()

    def learn_from(self, lessons: Lessons) -> Weights | None:
        """Learn; changes nothing. See `forecasting.finetune.learn`."""
        return learn(self._layer, lessons, self.settings)

    def adopt(self, weights: Weights | None) -> None:
        """Use a learned layer from now on, or the trained one."""
        self._weights = weights

    def _given(self, history: Loads, forecast: Loads) -> Activations:
        with self._lock:
            self._interpreter.set_tensor(self._input, np.ascontiguousarray(history, np.float32))
            self._interpreter.invoke()
            features = self._interpreter.get_tensor(self._features)
        return activations(self._layer, features, forecast)
