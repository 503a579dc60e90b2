"""Plugins of one kind: the entry points of a group, looked up by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

from dataflow.errors import ConfigError


def installed(group: str, what: str) -> dict[str, EntryPoint]:
    """All plugins of a group by name, sorted; nothing is imported.

    Args:
        group: of entry points.
        what: one of its plugins is called in messages, with its article.

    Raises:
        ConfigError: two installed distributions register different plugins under one name.
    """
    found: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise ConfigError(
                f"two installed packages register {what} {point.name!r}: "
                f"{other.value} and {point.value}",
                remedy="uninstall one of them",
            )
    return found


def remedy_for(name: str, known: Mapping[str, EntryPoint], plural: str) -> str:
    """What to do about a name that no plugin has.

    Args:
        name: as written.
        known: the plugins that there are.
        plural: what they are called.
    """
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}installed {plural}: {', '.join(known) or 'none'}"
