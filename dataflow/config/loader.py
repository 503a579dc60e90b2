"""Reading topics.yaml, with errors that name file, line, key, value and remedy."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from dataflow.config.model import Config
from dataflow.errors import ConfigError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

_SHOWN_OF_SECURITY = ("protocol", "sasl_mechanism")
"""Keys under cluster.security whose wrong values are shown."""

Declared = TypeVar("Declared", bound=BaseModel)

Lines = dict[tuple[str | int, ...], int]
"""1-based line of each key path."""


def load_config(path: Path | str, *, environment: Mapping[str, str] = os.environ) -> Config:
    """Read and validate topics.yaml.

    Args:
        path: the file.
        environment: where ``${NAME}`` values under ``cluster`` come from.

    Raises:
        ConfigError: the file is missing, is not YAML, or declares something wrong.
    """
    file = Path(path)
    text = _read(file, "run `videojam init` to write one, or name yours with --config FILE")
    return parse_config(text, file=file, environment=environment)


def parse_config(
    text: str, *, file: Path | None = None, environment: Mapping[str, str] = os.environ
) -> Config:
    """Validate the text of a topics.yaml; see `load_config`."""
    data, lines = _parse_yaml(text, file)
    if not isinstance(data, dict):
        raise ConfigError(
            "the file must be a mapping with the keys version, functions and pipelines",
            file=file,
            line=1,
        )
    expanded = data
    if isinstance(data.get("cluster"), dict):
        cluster = _expand(data["cluster"], ("cluster",), environment, file, lines)
        expanded = {**data, "cluster": cluster}
    try:
        return Config.model_validate(expanded)
    except ValidationError as error:
        # Not "from error": a traceback would print it, and with it parts of secret values.
        raise _explain(error, data, file, lines, Config) from None


def load_declaration(path: Path | str, model: type[Declared], *, remedy: str) -> Declared:
    """Read and validate another YAML or JSON file, with the errors of topics.yaml.

    Args:
        path: the file.
        model: what it declares. Unlike in topics.yaml, environment variables are not expanded.
        remedy: what to do where there is no such file.

    Raises:
        ConfigError: the file is missing, is not YAML, or declares something wrong.
    """
    file = Path(path)
    text = _read(file, remedy)
    data, lines = _parse_yaml(text, file)
    if not isinstance(data, dict):
        required = [name for name, field in model.model_fields.items() if field.is_required()]
        raise ConfigError(
            "the file must be a mapping",
            file=file,
            line=1,
            remedy=f"required keys: {', '.join(required) or 'none'}; "
            f"known keys: {', '.join(model.model_fields)}",
        )
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _explain(error, data, file, lines, model) from None


def locate(file: Path, key: str) -> int | None:
    """1-based line of a dotted key path in a file that a loader of this module has accepted.

    Returns:
        The line of the key, or of the nearest key above it; None where there is none.
    """
    _, lines = _parse_yaml(file.read_text(encoding="utf-8"), file)
    return _line(tuple(int(part) if part.isdigit() else part for part in key.split(".")), lines)


def _read(file: Path, remedy: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError("no such file", file=file, remedy=remedy) from error
    except OSError as error:
        raise ConfigError(
            f"cannot be read: {error.strerror}", file=file, remedy="see who may read it: ls -l"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"cannot be read: {error}", file=file, remedy="save it as text in UTF-8"
        ) from error


def _parse_yaml(text: str, file: Path | None) -> tuple[Any, Lines]:
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        raise ConfigError(
            f"not valid YAML: the character {chr(error.character)!r} is not allowed",
            file=file,
            line=text.count("\n", 0, error.position) + 1,
            remedy="remove it, or write it as an escape in double quotes",
        ) from error
    try:
        node = loader.get_single_node()
        lines: Lines = {}
        if node is None:
            return None, lines
        _collect(node, (), lines, file)
        return loader.construct_document(node), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(
            f"not valid YAML: {error.problem or error.context}",
            file=file,
            line=None if mark is None else mark.line + 1,
            remedy="check indentation, colons and quotes on and above this line",
        ) from error
    except RecursionError as error:
        raise ConfigError(
            "nested too deeply, or an alias that contains itself",
            file=file,
            remedy="write the values out, without an alias that leads back to itself",
        ) from error
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which leaks ValueError for a wrong number or date."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            raise yaml.constructor.ConstructorError(
                None, None, str(error), node.start_mark
            ) from error


def _collect(node: yaml.Node, path: tuple[str | int, ...], lines: Lines, file: Path | None) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            line = key.start_mark.line + 1
            if name in seen:
                raise ConfigError(
                    "the key stands here twice",
                    file=file,
                    line=line,
                    key=".".join(map(str, (*path, name))),
                    remedy="remove one of the two",
                )
            seen.add(name)
            lines[(*path, name)] = line
            _collect(value, (*path, name), lines, file)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _collect(value, (*path, index), lines, file)


def _expand(
    value: Any,
    path: tuple[str | int, ...],
    environment: Mapping[str, str],
    file: Path | None,
    lines: Lines,
) -> Any:
    if isinstance(value, dict):
        return {
            key: _expand(inner, (*path, str(key)), environment, file, lines)
            for key, inner in value.items()
        }
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in environment:
            raise ConfigError(
                f"the environment variable {name} is not set",
                file=file,
                line=lines.get(path),
                key=".".join(map(str, path)),
                remedy=f"export {name}=... before starting videojam",
            )
        return environment[name]

    return _VARIABLE.sub(replace, value)


def _explain(
    error: ValidationError, data: Any, file: Path | None, lines: Lines, root: type[BaseModel]
) -> ConfigError:
    """The first fault as one ConfigError; the count of the others goes into the remedy."""
    faults = error.errors(include_url=False)
    fault = faults[0]
    path = _real_path(fault["loc"], data)
    message = fault["msg"].removeprefix("Value error, ")
    remedy = _remedy(fault["type"], path, root)
    inside = re.match(r"^((?:[\w-]+\.)+[\w-]+): ", message)
    if inside is not None:
        path = tuple(int(p) if p.isdigit() else p for p in inside.group(1).split("."))
        message = message[inside.end() :]
    if fault["type"] == "extra_forbidden":
        message = "unknown key"
    elif fault["type"] == "missing":
        message = "a required key is missing"
    elif fault["type"] in ("model_type", "dict_type"):
        message = "must be a mapping of keys to values"
        remedy = "write {} for all defaults" if fault["input"] is None else remedy
    elif fault["type"] == "string_pattern_mismatch":
        message = "is not a name"
        remedy = "use lower-case letters, digits and, between them, hyphens; at most 63 characters"
    value = _value_at(path, data) if fault["type"] not in ("extra_forbidden", "missing") else None
    if "[key]" in fault["loc"]:
        value = path[-1]
    if isinstance(value, str) and _VARIABLE.search(value):
        # As written: what the environment holds may be a secret, and pydantic may quote it.
        message = message.partition(":")[0]
    if path[:2] == ("cluster", "security") and path[-1] not in _SHOWN_OF_SECURITY:
        value = None  # a secret is never printed
    if len(faults) > 1:
        more = f"{len(faults) - 1} more fault(s) follow this one"
        remedy = more if remedy is None else f"{remedy}; {more}"
    return ConfigError(
        message,
        file=file,
        line=_line(path, lines),
        key=".".join(map(str, path)) or None,
        value=value,
        remedy=remedy,
    )


def _value_at(path: tuple[str | int, ...], data: Any) -> Any:
    """The scalar that stands at ``path`` in the file."""
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return None if isinstance(data, dict | list) else data


def _real_path(loc: tuple[int | str, ...], data: Any) -> tuple[str | int, ...]:
    """The location without what pydantic adds to it (``[key]``, names of union members)."""
    path: list[str | int] = []
    here = data
    for position, part in enumerate(loc):
        if part == "[key]":
            continue
        if isinstance(here, dict) and part not in here and position < len(loc) - 1:
            continue
        path.append(part)
        if isinstance(here, dict):
            here = here.get(part)
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
        else:
            here = None
    return tuple(path)


def _line(path: tuple[str | int, ...], lines: Lines) -> int | None:
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path)


def _remedy(kind: str, path: tuple[str | int, ...], root: type[BaseModel]) -> str | None:
    if kind == "extra_forbidden":
        known = _known_keys(path[:-1], root)
        near = difflib.get_close_matches(str(path[-1]), known, n=1)
        if near:
            return f"did you mean {near[0]!r}?"
        return f"known keys here: {', '.join(known)}" if known else "remove it"
    if kind == "missing":
        return f"add {path[-1]!r}"
    if kind == "value_error":
        return None  # our own validators say what to do
    meaning = _meaning(path, root)
    return None if meaning is None else f"{path[-1]}: {meaning}"


def _known_keys(path: tuple[str | int, ...], root: type[BaseModel]) -> list[str]:
    """The fields of the model that stands at ``path``, found by walking the annotations."""
    model: Any = root
    for part in path:
        model = _member(model, part)
        if model is None:
            return []
    return sorted(model.model_fields) if _is_model(model) else []


def _meaning(path: tuple[str | int, ...], root: type[BaseModel]) -> str | None:
    """What the key at ``path`` stands for, from the model."""
    model: Any = root
    for part in path[:-1]:
        model = _member(model, part)
    if not path or not _is_model(model) or str(path[-1]) not in model.model_fields:
        return None
    description: str | None = model.model_fields[str(path[-1])].description
    return description


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _member(annotation: Any, part: str | int) -> Any:
    if _is_model(annotation):
        info = annotation.model_fields.get(str(part))
        return None if info is None else _strip(info.annotation)
    arguments: tuple[Any, ...] = getattr(annotation, "__args__", ())
    origin = getattr(annotation, "__origin__", None)
    if origin is dict:
        return _strip(arguments[1])
    if origin in (tuple, list):
        return _strip(arguments[0])
    return None


def _strip(annotation: Any) -> Any:
    """The one informative member of an optional type."""
    arguments = [a for a in getattr(annotation, "__args__", ()) if a is not type(None)]
    if getattr(annotation, "__origin__", None) is None and len(arguments) == 1:
        return arguments[0]
    return annotation
