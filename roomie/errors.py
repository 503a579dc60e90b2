"""Errors of ROOMIE, below the tree of `dataflow.errors`.

VideojamError
├── ConfigError
│   ├── DeviceError     a GPU whose limits we do not know, or a device table that is wrong
│   ├── ProfileError    a profile or a trace is malformed: file, line, field, remedy
│   └── ClusterError    cluster.yaml or a workload contradicts itself or the profiles
├── PlacementError      a placer cannot decide: no profile, too large for it, no answer in time
└── InferenceError      an inference server, or what was asked of it, failed
    ├── TritonError         `videojam triton` cannot install, start, stop or find its server
    ├── ModelLoadError      a model's folder or configuration cannot be used, or its load failed
    ├── UnavailableError    the server, or the instance on it, does not answer: another one may
    ├── BadRequestError     an input that no instance of the model would take
    └── NoInstanceError     no instance of a model was ready in time, or all of them failed
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


class InferenceError(VideojamError):
    """An inference server, or what was asked of it, failed."""


class TritonError(InferenceError):
    """The Triton server of `videojam triton` cannot be installed, started, stopped or found."""


class ModelLoadError(InferenceError):
    """A model's folder or configuration cannot be used, or the server failed to load it."""


class UnavailableError(InferenceError):
    """The server, or the instance on it, does not answer, or failed; another one may do better.

    Attributes:
        answered: whether the instance answered, with an error of the model.
    """

    def __init__(self, message: str, *, answered: bool = False) -> None:
        super().__init__(message)
        self.answered = answered


class BadRequestError(InferenceError):
    """The server refuses an input that no instance of the model would take."""


class NoInstanceError(InferenceError):
    """No instance of a model was ready in time, or all that were have failed."""
