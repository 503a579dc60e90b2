"""The fields of one JSON line, each checked for type and range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roomie.errors import ProfileError


class Fields:
    """The fields of one line. What is wrong is a `ProfileError` with file, line and field.

    Args:
        file: of the line.
        line: its number, from 1.
        record: what it holds.
    """

    def __init__(self, file: Path, line: int, record: Mapping[str, Any]) -> None:
        self.file = file
        self.line = line
        self.record = record

    def error(self, message: str, key: str, remedy: str | None = None) -> ProfileError:
        """An error at a field."""
        value = self.record.get(key)
        return ProfileError(
            message,
            file=self.file,
            line=self.line,
            key=key,
            value=value if isinstance(value, str | int | float) else None,
            remedy=remedy,
        )

    def known(self, names: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
        """Refuse fields of other names, and the lack of one that is not optional."""
        for name in self.record:
            if name not in names:
                raise self.error("unknown field", name, f"known fields: {', '.join(names)}")
        for name in names:
            if name not in self.record and name not in optional:
                raise self.error("a required field is missing", name, f"add {name!r}")

    def text(self, key: str, *, optional: bool = False) -> str:
        """Text, not empty unless optional."""
        value = self.record.get(key, "" if optional else None)
        if not isinstance(value, str) or not (value or optional):
            raise self.error("must be text", key)
        return value

    def choice(self, key: str, choices: tuple[Any, ...]) -> Any:
        """One of some words."""
        value = self.text(key)
        if value not in choices:
            raise self.error("not one of the choices", key, f"one of {', '.join(choices)}")
        return value

    def integer(self, key: str, *, least: int) -> int:
        """A whole number of at least ``least``."""
        value = self.record[key]
        if type(value) is not int or value < least:
            raise self.error(f"must be a whole number of at least {least}", key)
        return value

    def positive(self, key: str) -> float:
        """A finite number above 0."""
        value = self.record[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error("must be a number", key)
        if not math.isfinite(value) or value <= 0:
            raise self.error("must be above 0", key)
        return float(value)

    def triple(self, key: str) -> tuple[int, int, int]:
        """Three whole numbers of at least 1."""
        value = self.record[key]
        if not (
            isinstance(value, list)
            and len(value) == 3
            and all(type(part) is int and part >= 1 for part in value)
        ):
            raise self.error("must be three whole numbers of at least 1", key)
        return value[0], value[1], value[2]
