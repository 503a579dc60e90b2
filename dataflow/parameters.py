"""Parameters that topics.yaml hands to a plugin, parsed by the plugin's own model."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

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
        raise _explain(error, model, values, where) from error


def _explain(
    error: ValidationError, model: type[Parameters], values: Mapping[str, object], where: str
) -> ConfigError:
    faults = error.errors(include_url=False)
    fault = faults[0]
    path = _path(fault, values)
    message: str = fault["msg"].removeprefix("Value error, ")
    value: object = fault["input"]
    remedies = []
    if fault["type"] == "union_tag_invalid":
        path.append(fault["ctx"]["discriminator"].strip("'"))
        message, value = f"it is none of {fault['ctx']['expected_tags']}", fault["ctx"]["tag"]
    elif fault["type"] == "extra_forbidden":
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


def _path(fault: ErrorDetails, values: Mapping[str, object]) -> list[str]:
    """Where a fault is, in keys that stand in the declaration, or should.

    Pydantic's own path also names which alternative of a union it is about.
    """
    found: list[str] = []
    here: object = values
    for number, part in enumerate(fault["loc"], start=1):
        inside: Mapping[str, object] = {}
        if isinstance(here, Mapping):
            inside = {str(key): value for key, value in here.items()}
        elif isinstance(here, list | tuple):
            inside = {str(index): value for index, value in enumerate(here)}
        lacking = fault["type"] == "missing" and number == len(fault["loc"])
        if str(part) in inside or lacking or part == "[key]":
            found.append(str(part))
            here = inside.get(str(part))
    return found
