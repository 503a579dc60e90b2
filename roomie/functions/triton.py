"""The function ``triton``: a pipeline's step on the instances that ROOMIE has placed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from dataflow.config import Config, TopicNames
from dataflow.errors import ConfigError
from dataflow.functions.base import Detection, FunctionParams, Item
from dataflow.transport.kafka import KafkaTransport
from roomie.control.instance_client import ClientSettings, InstanceClient
from roomie.functions.heads import Head, head_for
from roomie.functions.params import TritonParams
from roomie.triton.server import ModelDescription


class Triton:
    """Finds things with a model that ROOMIE has placed, wherever that is now.

    The pictures of a batch are spread over the model's instances; where one goes away, another one
    is asked for the same pictures.

    Args:
        params: see `TritonParams`.
        client: of the model's instances; closed with the function.

    Raises:
        ConfigError: it was not made by `deployed`, and has no client.
    """

    Params: ClassVar[type[FunctionParams]] = TritonParams

    def __init__(self, params: TritonParams, client: InstanceClient | None = None) -> None:
        if client is None:
            raise ConfigError(
                "the function triton works only within a deployment",
                key="plugin",
                value="triton",
                remedy="run it with `videojam worker`, or give it an InstanceClient",
            )
        self._params = params
        self._client = client
        self._head: tuple[ModelDescription, Head] | None = None

    @classmethod
    def deployed(cls, params: FunctionParams, deployment: Config) -> Self:
        """Make one that follows the placements of a deployment.

        Raises:
            MissingDependencyError: the extra ``triton`` is not installed.
        """
        chosen = TritonParams.model_validate(params)
        from roomie.triton.model_config import protobufs  # noqa: PLC0415 - optional

        protobufs()  # says at the start what would otherwise fail at the first picture
        client = InstanceClient(
            chosen.model,
            KafkaTransport.from_config(deployment),
            TopicNames(deployment.deployment),
            settings=ClientSettings(
                wait=chosen.wait,
                timeout=chosen.timeout,
                attempts=chosen.attempts,
                parallel=chosen.parallel,
            ),
        )
        return cls(chosen, client)

    def process(self, batch: Sequence[Item]) -> Sequence[Sequence[Detection]]:
        """Find things in each item; see `dataflow.functions.base.Function`.

        Raises:
            ImageError: an item's bytes are not an image.
            NoInstanceError: no instance was ready in time, or all that were asked failed.
            BadRequestError: the model does not take what its configuration declares.
            ModelError: the model takes no pictures, or its output is none of the task's.
        """
        images = [item.image for item in batch]
        head = self._current_head()
        answer = self._client.infer_all({head.input: head.prepare(images)}, outputs=head.outputs)
        return head.read(answer, images)

    def close(self) -> None:
        """Release the client."""
        self._client.close()

    def _current_head(self) -> Head:
        described = self._client.describe()
        if self._head is None or not _alike(self._head[0], described):
            self._head = (described, head_for(self._params, described))
        return self._head[1]


def _alike(first: ModelDescription, second: ModelDescription) -> bool:
    """Whether one head serves both; instances of one model may differ in batch and tuning."""
    return (
        first.inputs == second.inputs
        and first.outputs == second.outputs
        and (first.max_batch > 0) == (second.max_batch > 0)
        and all(
            first.parameters.get(key) == second.parameters.get(key) for key in ("layout", "names")
        )
    )
