"""How an instance runs: Triton's configuration made from the operator's and from the placement.

The configuration is Triton's own protocol buffer (`tritonclient.grpc.model_config_pb2`), so that
every field an operator writes is understood and kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataflow.errors import MissingDependencyError
from roomie.errors import ModelLoadError

TUNING = "videojam.tuning"
"""Parameter of the configuration that says how an instance was placed: whoever looks at a server
later can tell whether what runs is what is wanted."""
EXECUTIONS = "executions"
"""Resource of Triton's rate limiter: an execution at a time, on one GPU."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What a placement decides about an instance.

    Attributes:
        version: number of the version's folder.
        batch: largest batch that it takes.
        window: seconds that the server waits for a batch to fill.
        gpu: index of the GPU as the server counts them; None for the processor.
        executions: whether it counts against the GPU's most executions at a time.
    """

    version: int
    batch: int = 1
    window: float = 0.0
    gpu: int | None = None
    executions: bool = False

    def __str__(self) -> str:
        """One line, equal for equal tunings."""
        place = "cpu" if self.gpu is None else f"gpu={self.gpu}"
        limited = " limited" if self.executions else ""
        return (
            f"version={self.version} batch={self.batch} window={self.window_us}us {place}{limited}"
        )

    @property
    def window_us(self) -> int:
        """The window in the unit that Triton takes."""
        return round(self.window * 1e6)


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """A whole configuration.

    Attributes:
        json: as the load call takes it.
        text: as ``config.pbtxt``.
        tuning: as written into it.
    """

    json: str = field(repr=False)
    text: str = field(repr=False)
    tuning: str


def protobufs() -> Any:  # tritonclient publishes no types
    """Triton's messages: ``model_config_pb2``.

    Raises:
        MissingDependencyError: the extra ``triton`` is not installed.
    """
    try:
        from tritonclient.grpc import model_config_pb2  # noqa: PLC0415 - optional
    except ImportError as error:
        raise MissingDependencyError(
            "Triton's client is not installed\n  remedy: pip install 'videojam[triton]'"
        ) from error
    return model_config_pb2


def read_config(file: Path) -> Any | None:
    """An operator's configuration; None where there is no such file: Triton then completes it.

    Raises:
        ModelLoadError: it is no configuration that Triton would take.
    """
    messages = protobufs()
    from google.protobuf import text_format  # noqa: PLC0415 - comes with the extra

    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ModelLoadError(
            f"{file} cannot be read ({error})\n  remedy: see that it is a text file you may read"
        ) from error
    try:
        return text_format.Parse(text, messages.ModelConfig())
    except text_format.ParseError as error:
        raise ModelLoadError(
            f"{file}:{error.GetLine() or 1}: {error}\n"
            "  remedy: write it as Triton's model configuration (text form of ModelConfig)"
        ) from error


def instance_config(source: Any | None, name: str, tuning: Tuning, *, origin: str) -> ModelSettings:
    """The configuration of an instance.

    Args:
        source: the operator's, None where there is none.
        name: of the instance.
        tuning: what was placed.
        origin: names the operator's file in errors.

    Raises:
        ModelLoadError: the model does not take what was placed.
    """
    messages = protobufs()
    from google.protobuf import json_format, text_format  # noqa: PLC0415 - comes with the extra

    config = messages.ModelConfig()
    if source is not None:
        config.CopyFrom(source)
        _check_batch(source, tuning, origin)
    config.name = name
    if source is None or source.max_batch_size > 0:
        config.max_batch_size = tuning.batch
    if config.WhichOneof("scheduling_choice") in {None, "dynamic_batching"}:
        _set_batching(config, tuning)
    if not config.HasField("ensemble_scheduling"):
        _set_instances(config, tuning)
    config.version_policy.Clear()
    config.version_policy.specific.versions.append(tuning.version)
    config.parameters[TUNING].string_value = str(tuning)
    return ModelSettings(
        json=json_format.MessageToJson(config, preserving_proto_field_name=True, indent=None),
        text=text_format.MessageToString(config),
        tuning=str(tuning),
    )


def _check_batch(source: Any, tuning: Tuning, origin: str) -> None:
    if tuning.batch > max(1, source.max_batch_size):
        most = (
            f"takes batches of at most {source.max_batch_size}"
            if source.max_batch_size
            else "takes no batches"
        )
        raise ModelLoadError(
            f"{origin}: max_batch_size: the model {most}, but was placed with {tuning.batch}\n"
            "  remedy: deploy it with a smaller batch, or export it with a larger one"
        )


def _set_batching(config: Any, tuning: Tuning) -> None:
    """Fill batches as far as the window allows; what else the operator wrote stays."""
    if config.max_batch_size <= 1:
        config.ClearField("dynamic_batching")
        return
    batching = config.dynamic_batching
    batching.ClearField("preferred_batch_size")
    batching.preferred_batch_size.append(config.max_batch_size)
    batching.max_queue_delay_microseconds = tuning.window_us


def _set_instances(config: Any, tuning: Tuning) -> None:
    """One group on the GPU that was chosen, with as many executions at a time as declared."""
    count = max((group.count for group in config.instance_group), default=1) or 1
    config.ClearField("instance_group")
    group = config.instance_group.add()
    group.count = count
    if tuning.gpu is None:
        group.kind = group.KIND_CPU
    else:
        group.kind = group.KIND_GPU
        group.gpus.append(tuning.gpu)
    if tuning.executions:
        resource = group.rate_limiter.resources.add()
        resource.name, resource.count = EXECUTIONS, 1


def tuning_of(parameters: Mapping[str, str]) -> str | None:
    """How a loaded model was placed; None for one that was not loaded by us."""
    return parameters.get(TUNING)
