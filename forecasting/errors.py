"""Every error that the package raises on purpose. It imports nothing of ours, hence its own tree.

ForecastingError
├── ForecasterSettingsError  a window, a name or a parameter is wrong: key, value, remedy
├── TraceError               a load trace cannot be read: file, line, remedy
├── ForecasterModelError     a model is missing, corrupt, or of another shape: file, remedy
└── MissingExtraError        an optional package is absent; says what to install
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(eq=False)
class ForecastingError(Exception):
    """Base of all errors of forecasting.

    Attributes:
        message: what is wrong, one sentence.
        file: the file, or None where no file is to blame.
        line: 1-based line of the file, or None where it is not known.
        key: the parameter or column, or None.
        value: the offending value, or None.
        remedy: what to do about it.
    """

    message: str
    file: Path | None = None
    line: int | None = None
    key: str | None = None
    value: object = None
    remedy: str | None = None

    def __str__(self) -> str:
        where = "" if self.file is None else str(self.file)
        if self.line is not None:
            where += f":{self.line}"
        text = ": ".join(part for part in (where, self.key, self.message) if part)
        if self.value is not None:
            text += f" (got {self.value!r})"
        return text if self.remedy is None else f"{text}\n  remedy: {self.remedy}"


class ForecasterSettingsError(ForecastingError):
    """A window, a forecaster's name or one of its parameters is wrong."""


class TraceError(ForecastingError):
    """A trace of load cannot be read, or holds nothing to learn from."""


class ForecasterModelError(ForecastingError):
    """A model file is missing, corrupt, or does not fit the window."""


class MissingExtraError(ForecastingError):
    """An optional package is absent."""
