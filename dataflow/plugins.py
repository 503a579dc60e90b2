"""Plugins of one kind: the entry points of a group, looked up and loaded by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from dataflow.errors import ConfigError, MissingDependencyError, VideojamError


def installed(group: str, what: str) -> dict[str, EntryPoint]:
    """All plugins of a group by name, sorted; nothing is imported.

    Args:
        group: of entry points.
        what: one of its plugins is called in messages.

    Raises:
        ConfigError: two installed distributions register different plugins under one name.
    """
    found: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise ConfigError(
                f"two installed packages register the {what} {point.name!r}: "
                f"{_origin(other)} and {_origin(point)}",
                remedy="uninstall one of them",
            )
    return found


def remedy_for(name: str, known: Mapping[str, EntryPoint], what: str) -> str:
    """What to do about a name that no plugin has.

    Args:
        name: as written.
        known: the plugins that there are.
        what: one of them is called.
    """
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}installed {what}s: {', '.join(known) or 'none'}"


def _factory_lacks(plugin: object) -> str | None:
    return None if callable(plugin) else f"it is not callable but of type {type(plugin).__name__}"


def load_plugin(
    group: str,
    name: str,
    *,
    what: str,
    interface: str,
    key: str | None = None,
    fault: Callable[[object], str | None] = _factory_lacks,
) -> Any:
    """What a plugin's entry point names.

    Args:
        group: of entry points.
        name: of the plugin.
        what: one of the group's plugins is called in messages, for example ``placer``.
        interface: what it has to implement, for the remedy of one that does not.
        key: where in topics.yaml, or by which option, it was named.
        fault: says why an object is no such plugin, None if it is one; by default it must be
            callable, as a factory is.

    Returns:
        The object, as far as ``fault`` can tell one of the interface.

    Raises:
        ConfigError: no plugin has that name, two have, it fails when it is imported, or it is of
            another kind.
        MissingDependencyError: it needs a package that is not installed.
        VideojamError: whatever it raises on purpose when it is imported.
    """
    known = installed(group, what)
    if name not in known:
        raise ConfigError(
            f"no {what} is called {name!r}", key=key, remedy=remedy_for(name, known, what)
        )
    point = known[name]
    called = f"the {what} {name!r} ({_origin(point)})"
    try:
        plugin = point.load()
    except VideojamError:
        raise
    except ImportError as error:
        raise MissingDependencyError(
            f"{called} cannot be imported: {error}\n"
            "  remedy: install what it needs into this environment, then try again"
        ) from error
    except Exception as error:
        raise ConfigError(
            f"{called} cannot be loaded: {type(error).__name__}: {error}",
            key=key,
            remedy="correct it, or name another one",
        ) from error
    wrong = fault(plugin)
    if wrong is not None:
        raise ConfigError(f"{called} is none: {wrong}", key=key, remedy=f"let it be {interface}")
    return plugin


def _origin(point: EntryPoint) -> str:
    """Which object of which distribution: whose fault it is, and what to uninstall."""
    if point.dist is None:  # made by hand, as tests do
        return point.value
    return f"{point.value} of {point.dist.name} {point.dist.version}"
