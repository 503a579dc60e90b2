"""What is asked of an inference server: load, unload, look, infer.

Two implementations keep this contract, checked by one conformance suite: `GrpcTriton` (any Triton
server with explicit model control) and `FakeTriton` (this process only, for tests).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from roomie.triton.model_config import ModelSettings

Tensor: TypeAlias = NDArray[np.generic]
Tensors: TypeAlias = Mapping[str, Tensor]

ModelState: TypeAlias = Literal["ready", "loading", "unloading", "unavailable"]


@dataclass(frozen=True, kw_only=True)
class IndexEntry:
    """A model in the server's repository.

    Attributes:
        name: of the model.
        state: of its version that was loaded last; ``unavailable`` for one that never was.
    """

    name: str
    state: ModelState


@dataclass(frozen=True, kw_only=True)
class ModelStatistics:
    """What a model did since it was loaded: counters that begin anew with each load.

    Attributes:
        requests: answered well.
        failures: answered with an error, those that were cancelled among them.
        items: inferred: requests times their batch sizes.
        queue_seconds: sum over requests of the time that they waited.
        compute_seconds: sum over executions of the time that they took.
        executions: batches run.
        by_batch: executions and the seconds that they took in all, by batch size.
        pending: requests that wait now; None where the server does not tell.
    """

    requests: int = 0
    failures: int = 0
    items: int = 0
    queue_seconds: float = 0.0
    compute_seconds: float = 0.0
    executions: int = 0
    by_batch: Mapping[int, tuple[int, float]] = field(default_factory=dict)
    pending: int | None = None


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """An input or an output of a model.

    Attributes:
        name: of the tensor.
        datatype: as Triton's protocol spells it: ``FP32``, ``UINT8``, ...
        dims: without the batch axis; -1 for any size.
    """

    name: str
    datatype: str
    dims: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """A loaded model.

    Attributes:
        name: of the model.
        max_batch: largest batch; 0 where the model has no batch axis.
        inputs: in the order of its configuration.
        outputs: likewise.
        parameters: free text of its configuration.
    """

    name: str
    max_batch: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: Mapping[str, str]


class InferenceServer(Protocol):
    """A server. Any thread may call; all methods raise `UnavailableError` if it does not answer."""

    @property
    def url(self) -> str:
        """Where it is."""
        ...

    def ready(self) -> bool:
        """Whether it answers and takes requests. Never fails."""
        ...

    def index(self) -> Mapping[str, IndexEntry]:
        """Models of its repository, by name."""
        ...

    def load(self, name: str, settings: ModelSettings, *, timeout: float) -> None:
        """Load a model of the repository, or change how a loaded one runs.

        The configuration replaces the one in the repository. A loaded model keeps answering until
        the changed one is ready, and goes on as it was if that fails.

        Args:
            name: folder in the repository.
            settings: its configuration.
            timeout: seconds to wait for it.

        Raises:
            ModelLoadError: the server cannot load it; says why.
        """
        ...

    def unload(self, name: str, *, timeout: float) -> None:
        """Unload a model; requests that it has are answered first. One that is not there is fine.

        Returns when it takes no new requests; the index may say ``unloading`` for a while.
        """
        ...

    def model_ready(self, name: str) -> bool:
        """Whether a model takes requests."""
        ...

    def statistics(self) -> Mapping[str, ModelStatistics]:
        """What loaded models did, by name."""
        ...

    def describe(self, name: str) -> ModelDescription:
        """What a loaded model takes and gives.

        Raises:
            UnavailableError: it is not loaded.
        """
        ...

    def infer(
        self, name: str, inputs: Tensors, *, outputs: Sequence[str] = (), timeout: float
    ) -> dict[str, Tensor]:
        """Run a model on a batch.

        Args:
            name: a loaded model.
            inputs: by name, with the batch axis.
            outputs: which to return; all when empty.
            timeout: seconds to wait.

        Raises:
            UnavailableError: it is not loaded, failed, or has not answered in time.
            BadRequestError: the inputs do not fit the model.
        """
        ...

    def close(self) -> None:
        """Release the connection."""
        ...
