"""Errors of ROOMIE, below the tree of `dataflow.errors`.

VideojamError
├── ConfigError
│   ├── DeviceError     a GPU whose limits we do not know, or a device table that is wrong
│   ├── ProfileError    a profile or a trace is malformed: file, line, field, remedy
│   └── ClusterError    cluster.yaml or a workload contradicts itself or the profiles
└── PlacementError      a placer cannot decide: no profile, too large for it, no answer in time
"""

from __future__ import annotations

from dataflow.errors import ConfigError, VideojamError


class DeviceError(ConfigError):
    """A GPU is unknown, or a table of devices contradicts itself."""


class ProfileError(ConfigError):
    """A profile or a trace cannot be used. ``key`` names the field of the line."""


class ClusterError(ConfigError):
    """A cluster or a workload contradicts itself, or names what does not exist."""


class PlacementError(VideojamError):
    """A placer cannot decide. The message ends with the remedy."""
