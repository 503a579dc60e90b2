"""Functions by name: entry points of the group ``videojam.functions``, loaded on demand."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import cast

from dataflow.config.model import Config, FunctionConfig
from dataflow.errors import ConfigError
from dataflow.functions.base import DeployedFunction, Function, FunctionParams
from dataflow.parameters import parse_parameters
from dataflow.plugins import installed, load_plugin

GROUP = "videojam.functions"
"""Entry-point group of function plugins."""

_INTERFACE = ("process", "close")
_STATEFUL = ("snapshot", "restore", "forget")


def available() -> dict[str, EntryPoint]:
    """All installed function plugins by name, sorted; nothing is imported.

    Raises:
        ConfigError: two installed distributions register different plugins under one name.
    """
    return installed(GROUP, "function plugin")


def load_function(name: str, *, key: str | None = None) -> type[Function]:
    """The class of a plugin.

    Args:
        name: the plugin's entry point.
        key: where in topics.yaml the name stands, for error messages.

    Raises:
        ConfigError: no plugin has that name, or what is registered is not a function.
        MissingDependencyError: the plugin needs a package that is not installed.
    """
    plugin = load_plugin(
        GROUP,
        name,
        what="function plugin",
        interface="a class that implements dataflow.functions.base.Function",
        key=key,
        fault=_lacks,
    )
    return cast(type[Function], plugin)


def _lacks(plugin: object) -> str | None:
    lacking = [method for method in _INTERFACE if not callable(getattr(plugin, method, None))]
    params = getattr(plugin, "Params", None)
    if not (isinstance(params, type) and issubclass(params, FunctionParams)):
        lacking.append("Params (a subclass of FunctionParams)")
    return f"it lacks {', '.join(lacking)}" if lacking else None


def is_stateful(plugin: type[Function]) -> bool:
    """Whether the class implements `dataflow.functions.base.StatefulFunction`."""
    return all(callable(getattr(plugin, method, None)) for method in _STATEFUL)


def check_function(
    name: str, config: FunctionConfig, *, key_path: str | None = None
) -> tuple[type[Function], FunctionParams]:
    """Load a declared function's plugin and validate its declaration, building nothing.

    Args:
        name: the function's name in topics.yaml.
        config: its declaration.
        key_path: where the declaration stands; ``functions.<name>`` when None.

    Returns:
        The class and its validated parameters.

    Raises:
        ConfigError: the plugin is unknown or broken, a parameter is wrong, or ``stateful``
            contradicts the plugin.
        MissingDependencyError: the plugin needs a package that is not installed.
    """
    where = key_path or f"functions.{name}"
    plugin = load_function(config.plugin or name, key=f"{where}.plugin" if config.plugin else where)
    if config.stateful != is_stateful(plugin):
        right = str(not config.stateful).lower()
        raise ConfigError(
            f"the plugin {config.plugin or name!r} keeps "
            + ("no state" if config.stateful else "state for each camera"),
            key=f"{where}.stateful",
            value=config.stateful,
            remedy=f"declare stateful: {right}",
        )
    return plugin, parse_parameters(plugin.Params, config.parameters, f"{where}.parameters")


def build_function(
    name: str,
    config: FunctionConfig,
    *,
    key_path: str | None = None,
    deployment: Config | None = None,
) -> Function:
    """Make a declared function, ready to process; arguments and errors as `check_function`.

    Args:
        name: as for `check_function`.
        config: likewise.
        key_path: likewise.
        deployment: given to those that ask for it (`dataflow.functions.base.DeployedFunction`).

    Raises:
        VideojamError: whatever the plugin's constructor raises on purpose, such as `ModelError`.
    """
    plugin, params = check_function(name, config, key_path=key_path)
    if deployment is not None and callable(getattr(plugin, "deployed", None)):
        return cast(type[DeployedFunction], plugin).deployed(params, deployment)
    return cast(Callable[[FunctionParams], Function], plugin)(params)
