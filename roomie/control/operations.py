"""What an agent's actions do to its server, and what it sees there."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from roomie.control.agent_values import Action, AgentSettings, Load, Seen, Unload, Verify
from roomie.errors import InferenceError, ModelLoadError, UnavailableError
from roomie.triton.model_config import tuning_of
from roomie.triton.repository import InstanceRepository
from roomie.triton.server import (
    InferenceServer,
    ModelDescription,
    ModelStatistics,
    Tensor,
    TensorSpec,
)

_log = logging.getLogger("videojam.roomie")

_UNLOAD_SECONDS = 30.0
_DTYPES: Mapping[str, str] = {
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "BOOL": "bool",
}


def perform(
    action: Action, server: InferenceServer, repository: InstanceRepository, settings: AgentSettings
) -> None:
    """Do what the core decided.

    Raises:
        InferenceError: it cannot be done; says why.
    """
    match action:
        case Load(id=name, wanted=wanted):
            configuration = repository.write(name, wanted.model, wanted.tuning)
            server.load(name, configuration, timeout=settings.load_seconds)
        case Verify(id=name):
            verify(server, name, timeout=settings.verify_seconds)
        case Unload(id=name):
            server.unload(name, timeout=_UNLOAD_SECONDS)
        case _:
            repository.remove(action.id)


def verify(server: InferenceServer, name: str, *, timeout: float) -> None:
    """See that an instance answers: a real inference, where its inputs tell what one looks like.

    An input with an open side, or of text, is nothing that could be made up: a model of such is
    only asked whether it is ready. What ``model_warmup`` of its configuration says, Triton runs.

    Raises:
        ModelLoadError: it does not answer as it should.
    """
    if not server.model_ready(name):
        raise ModelLoadError(f"{name}: the server does not call it ready after the load")
    inputs = blank_inputs(server.describe(name))
    if inputs is None:
        return
    try:
        server.infer(name, inputs, timeout=timeout)
    except InferenceError as error:
        raise ModelLoadError(f"{name}: its first inference failed: {error}") from error


def blank_inputs(model: ModelDescription) -> dict[str, Tensor] | None:
    """A batch of one, all zeros; None where the model does not tell what it takes."""
    if not model.inputs or not all(_fixed(spec) for spec in model.inputs):
        return None
    lead = (1,) if model.max_batch else ()
    return {
        spec.name: np.zeros((*lead, *spec.dims), _DTYPES[spec.datatype]) for spec in model.inputs
    }


def _fixed(spec: TensorSpec) -> bool:
    return spec.datatype in _DTYPES and all(side > 0 for side in spec.dims)


class Watch:
    """Looks at a server, asking of each loaded model only once how it was placed.

    Args:
        repository: whose instances are ours.
    """

    def __init__(self, repository: InstanceRepository) -> None:
        self._repository = repository
        self._tunings: dict[str, str | None] = {}
        self.statistics: Mapping[str, ModelStatistics] = {}
        """Of the last look."""

    def forget(self, name: str) -> None:
        """Its tuning may have changed."""
        self._tunings.pop(name, None)

    def look(self, server: InferenceServer) -> dict[str, Seen] | None:
        """What the server has; None if it does not answer."""
        try:
            index = server.index()
            self.statistics = server.statistics()
            loaded = {name for name, entry in index.items() if entry.state == "ready"}
            self._tunings = {n: t for n, t in self._tunings.items() if n in loaded}
            for name in loaded - set(self._tunings):
                self._tunings[name] = tuning_of(server.describe(name).parameters)
        except UnavailableError as error:
            _log.debug("no look at the server: %s", error)
            return None
        seen = {}
        for name, entry in index.items():
            counted = self.statistics.get(name, ModelStatistics())
            tuning = self._tunings.get(name)
            seen[name] = Seen(
                state=entry.state,
                ours=tuning is not None or self._repository.has(name),
                tuning=tuning,
                activity=counted.requests + counted.failures,
                pending=counted.pending,
            )
        return seen
