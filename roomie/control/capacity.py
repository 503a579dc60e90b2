"""Which models' users lack capacity, by VIDEOJAM's events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from roomie.control.records import Record

_FRESH_SECONDS = 5.0
"""Events come each second while an overload lasts: without news, it is over."""

Finite = Annotated[float, Field(allow_inf_nan=False)]


class CapacityReport(Record):
    """What ROOMIE reads of an event on the capacity topic."""

    function: str
    """Whose replicas together lack capacity."""
    needed: Finite
    """Items a second that would have to be processed."""
    available: Finite
    """Items a second that can be."""
    ended: bool = False
    """Whether it is over."""


class Shortages:
    """Items a second that are lacking, by model.

    Args:
        models: the model that a function of topics.yaml calls; functions that are not named call
            the model of their own name, if any.
    """

    def __init__(self, models: Mapping[str, str] | None = None) -> None:
        self._models = dict(models or {})
        self._heard: dict[str, tuple[float, float]] = {}

    def hear(self, report: CapacityReport, at: float) -> None:
        """Take an event, as of a time."""
        if report.ended:
            self._heard.pop(report.function, None)
        else:
            self._heard[report.function] = at, max(0.0, report.needed - report.available)

    def of(self, model: str, now: float) -> float:
        """What the users of a model lack."""
        return sum(
            lacking
            for function, (at, lacking) in self._heard.items()
            if self._models.get(function, function) == model and now - at <= _FRESH_SECONDS
        )
