"""The kernel profiles that the benchmarks of ROOMIE stand on, and what they are."""

from __future__ import annotations

import typer

from roomie.devices import DeviceTable
from roomie.profile_files import BUILTIN, load_profiles
from roomie.profiles import ProfileStore


def synthetic_profiles(devices: DeviceTable) -> ProfileStore:
    """The profiles that ship; says on the standard error that no GPU has been measured."""
    store = load_profiles([BUILTIN], devices)
    typer.secho(
        "note: all profiles are synthetic: computed from the networks' layers, none was measured "
        "on a GPU",
        fg="yellow",
        err=True,
    )
    return store
