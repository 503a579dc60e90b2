"""Where the project keeps a user's data and its cached downloads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import platformdirs

APPLICATION = "videojam"


def data_home(environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder of the user's data.

    ``$VIDEOJAM_HOME`` if set, else the platform's (``$XDG_DATA_HOME/videojam`` or
    ``~/.local/share/videojam`` on Linux). It is not created here.
    """
    chosen = (os.environ if environ is None else environ).get("VIDEOJAM_HOME")
    return Path(chosen).expanduser() if chosen else platformdirs.user_data_path(APPLICATION)


def cache_home(environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder of what can be downloaded or computed again.

    ``$VIDEOJAM_CACHE`` if set, else the platform's (``$XDG_CACHE_HOME/videojam`` or
    ``~/.cache/videojam`` on Linux). It is not created here.
    """
    chosen = (os.environ if environ is None else environ).get("VIDEOJAM_CACHE")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path(APPLICATION)
