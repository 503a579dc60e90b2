"""What a forecaster is."""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from forecasting.windows import Loads


class ForecasterParams(BaseModel):
    """Base of the parameters of a forecaster: unknown keys are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


@runtime_checkable
class Forecaster(Protocol):
    """Forecasts the load of any number of replicas in one call.

    A plugin is a class that is built as ``Plugin(window, params)``, with `Window` and an instance
    of its own ``Params``, and registered as an entry point of the group ``videojam.forecasters``.
    """

    Params: ClassVar[type[ForecasterParams]]

    def forecast(self, histories: Loads) -> Loads:
        """The load of the window that follows each history.

        Args:
            histories: float32 [n, h], items a slot, oldest first; 0 where nothing is known. n may
                be 0.

        Returns:
            float32 [n, k], items a slot.
        """
        ...


@runtime_checkable
class RiskForecaster(Forecaster, Protocol):
    """A forecaster that also says how sure it is."""

    @property
    def levels(self) -> tuple[float, ...]:
        """Ascending probabilities in (0, 1); empty where the loaded model has none."""
        ...

    def window_quantiles(self, histories: Loads) -> Loads:
        """Quantiles of the sum over the next window.

        Args:
            histories: as for `Forecaster.forecast`.

        Returns:
            float32 [n, len(levels)], items a window, ascending along the last axis: with
            probability ``levels[i]`` no more than that will come.
        """
        ...
