"""Values of options as people write them: sizes, durations, names."""

from __future__ import annotations

import re

from dataflow.config.units import parse_duration
from dataflow.errors import ConfigError

_BARE_NUMBER = re.compile(r"\d+(\.\d*)?|\.\d+", re.ASCII)


def size(key: str, text: str) -> int:
    """Bytes: ``2GiB`` is 2 * 2^30, ``2GB`` is 2 * 10^9.

    Args:
        key: option, for errors.
        text: as written.

    Raises:
        ConfigError: it is no size.
    """
    from roomie.units import parse_size

    try:
        return parse_size(text)
    except ValueError as error:
        raise ConfigError(
            str(error), key=key, value=text, remedy="for example 1.2GiB or 900MB"
        ) from error


def seconds(key: str, text: str) -> float:
    """Seconds: ``50ms``, ``5m``, or a bare number of seconds.

    Args:
        key: option, for errors.
        text: as written.

    Raises:
        ConfigError: it is no duration.
    """
    try:
        return parse_duration(float(text) if _BARE_NUMBER.fullmatch(text) else text)
    except ValueError as error:
        raise ConfigError(
            str(error), key=key, value=text, remedy="for example 50ms or 5m"
        ) from error


def identifier(key: str, text: str) -> str:
    """The name of a process or a machine, as ROOMIE's records carry it.

    Args:
        key: option, for errors.
        text: as written.

    Raises:
        ConfigError: it has other characters, or is too long.
    """
    from pydantic import TypeAdapter, ValidationError

    from roomie.control.records import Id

    try:
        return str(TypeAdapter(Id).validate_python(text))
    except ValidationError as error:
        raise ConfigError(
            "not a name: it may have letters, digits and the characters . _ / : - "
            "(at most 128 in all), and begins with a letter or a digit",
            key=key,
            value=text,
            remedy=f"give another one with {key}",
        ) from error
