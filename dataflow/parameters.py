"""Parameters that topics.yaml hands to a plugin, parsed by the plugin's own model."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from dataflow.errors import ConfigError


class Parameters(BaseModel):
    """Base of all models of parameters: unknown keys are an error, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


_Model = TypeVar("_Model", bound=Parameters)


def parse_parameters(model: type[_Model], values: Mapping[str, object], where: str) -> _Model:
    """Parameters as the plugin's model wants them.

    Args:
        model: of the parameters.
        values: as they were declared.
        where: key path under which they stand.

    Raises:
        ConfigError: the first fault, by its key; the remedy counts those that follow.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise _explain(error, model, where) from error


def _explain(error: ValidationError, model: type[Parameters], where: str) -> ConfigError:
    faults = error.errors(include_url=False)
    fault = faults[0]
    path = [str(part) for part in fault["loc"]]
    message: str = fault["msg"].removeprefix("Value error, ")
    value: object = fault["input"]
    remedies = []
    if fault["type"] == "extra_forbidden":
        message, value = "unknown parameter", None
        known = sorted(model.model_fields) if len(path) == 1 else []
        near = difflib.get_close_matches(path[-1], known, n=1)
        if near:
            remedies.append(f"did you mean {near[0]!r}?")
        elif len(path) == 1:
            remedies.append(f"its parameters: {', '.join(known) or 'none'}")
    elif fault["type"] == "missing":
        message, value = "a required parameter is missing", None
        remedies.append(f"add {path[-1]!r}")
    if len(faults) > 1:
        remedies.append(f"{len(faults) - 1} more fault(s) follow this one")
    return ConfigError(
        message,
        key=".".join([where, *path]),
        value=None if isinstance(value, dict | list | Parameters) else value,
        remedy="; ".join(remedies) or None,
    )
