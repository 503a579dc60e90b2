"""An inference server in this process, with the behaviour of Triton: for tests without one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from roomie.errors import BadRequestError, ModelLoadError, UnavailableError
from roomie.triton.model_config import ModelSettings
from roomie.triton.server import (
    IndexEntry,
    ModelDescription,
    ModelState,
    ModelStatistics,
    Tensor,
    Tensors,
    TensorSpec,
)

Program = Callable[[Tensors], dict[str, Tensor]]
"""What a fake model computes; an exception of it is the model's."""
PROGRAM = "program"
"""Parameter of a configuration that names the program."""


@dataclass
class _Loaded:
    description: ModelDescription
    program: Program
    statistics: ModelStatistics = field(default_factory=ModelStatistics)
    taking: bool = True
    running: int = 0


class FakeTriton:
    """See `roomie.triton.server.InferenceServer`.

    Args:
        folder: its model repository; what lies there can be loaded.
        programs: what models compute, by the name that their configuration's parameter
            ``program`` gives; a load fails where there is none of that name.
        on_load: called in each load with the model's name, for tests: it may wait, or raise
            `ModelLoadError`.
    """

    def __init__(
        self,
        folder: Path,
        programs: Mapping[str, Program],
        *,
        on_load: Callable[[str], None] = lambda _name: None,
        url: str = "fake:1",
    ) -> None:
        self._folder = folder
        self._programs = programs
        self._on_load = on_load
        self._url = url
        self._change = threading.Condition()
        self._loaded: dict[str, _Loaded] = {}
        self._loading: set[str] = set()
        self._up = True
        self._life = 0

    @property
    def url(self) -> str:
        """See `InferenceServer`."""
        return self._url

    def die(self) -> None:
        """End as a crash would: nothing stays loaded."""
        with self._change:
            self._up = False
            self._life += 1
            self._loaded.clear()
            self._loading.clear()
            self._change.notify_all()

    def vanish(self) -> None:
        """Be out of reach: what is loaded stays."""
        with self._change:
            self._up = False

    def come_back(self) -> None:
        """Answer again, with what is still loaded."""
        with self._change:
            self._up = True

    def ready(self) -> bool:
        """See `InferenceServer`."""
        return self._up

    def index(self) -> Mapping[str, IndexEntry]:
        """See `InferenceServer`."""
        with self._answering():
            names = {entry.name for entry in self._folder.iterdir() if entry.is_dir()}
            return {
                name: IndexEntry(name=name, state=self._state(name))
                for name in sorted(names | set(self._loaded))
            }

    def load(self, name: str, settings: ModelSettings, *, timeout: float) -> None:
        """See `InferenceServer`."""
        with self._answering():
            if not (self._folder / name).is_dir():
                raise ModelLoadError(
                    f"{name}: failed to load, it is not in the model repository {self._folder}"
                )
            self._loading.add(name)
            life = self._life
        try:
            fresh = self._read(name, settings, timeout)
        except ModelLoadError:
            with self._answering():
                self._loading.discard(name)
            raise
        with self._answering():
            if life != self._life:
                raise UnavailableError(f"the server at {self._url} died meanwhile")
            self._loading.discard(name)
            self._loaded[name] = fresh

    def _read(self, name: str, settings: ModelSettings, timeout: float) -> _Loaded:
        began = time.monotonic()
        self._on_load(name)
        if time.monotonic() - began > timeout:
            raise ModelLoadError(f"{name}: not loaded within {timeout:g} s")
        config = json.loads(settings.json)
        parameters = {
            key: value.get("string_value", "")
            for key, value in config.get("parameters", {}).items()
        }
        program = self._programs.get(parameters.get(PROGRAM, ""))
        if program is None:
            raise ModelLoadError(f"{name}: there is no program {parameters.get(PROGRAM)!r}")
        return _Loaded(
            ModelDescription(
                name=name,
                max_batch=config.get("max_batch_size", 0),
                inputs=_specs(config.get("input", [])),
                outputs=_specs(config.get("output", [])),
                parameters=parameters,
            ),
            program,
        )

    def unload(self, name: str, *, timeout: float) -> None:
        """See `InferenceServer`."""
        with self._answering():
            model = self._loaded.get(name)
            if model is None:
                return
            model.taking = False
            self._change.wait_for(lambda: not model.running, timeout)
            if self._loaded.get(name) is model:
                del self._loaded[name]

    def model_ready(self, name: str) -> bool:
        """See `InferenceServer`."""
        with self._answering():
            return self._state(name) == "ready"

    def statistics(self) -> Mapping[str, ModelStatistics]:
        """See `InferenceServer`."""
        with self._answering():
            return {name: model.statistics for name, model in self._loaded.items()}

    def describe(self, name: str) -> ModelDescription:
        """See `InferenceServer`."""
        with self._answering():
            return self._taking(name).description

    def infer(
        self, name: str, inputs: Tensors, *, outputs: Sequence[str] = (), timeout: float
    ) -> dict[str, Tensor]:
        """See `InferenceServer`."""
        with self._answering():
            model = self._taking(name)
            size = _check(model.description, inputs)
            model.running += 1
        began = time.monotonic()
        failure: Exception | None = None
        answer: dict[str, Tensor] = {}
        try:
            answer = model.program(inputs)
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            failure = error
        took = time.monotonic() - began
        with self._change:
            model.running -= 1
            model.statistics = _counted(model.statistics, size, took, failed=failure is not None)
            self._change.notify_all()
            if not self._up:
                raise UnavailableError(f"the server at {self._url} died meanwhile")
        if failure is not None:
            raise UnavailableError(
                f"the server at {self._url} does not run {name}: {failure}", answered=True
            )
        if took > timeout:
            raise UnavailableError(f"{name} at {self._url} has not answered within {timeout:g} s")
        return {key: answer[key] for key in outputs} if outputs else dict(answer)

    def close(self) -> None:
        """See `InferenceServer`."""

    def _state(self, name: str) -> ModelState:
        model = self._loaded.get(name)
        if model is not None:
            return "ready" if model.taking else "unloading"
        return "loading" if name in self._loading else "unavailable"

    def _taking(self, name: str) -> _Loaded:
        model = self._loaded.get(name)
        if model is None or not model.taking:
            raise UnavailableError(f"the server at {self._url} has no model {name} that is ready")
        return model

    def _answering(self) -> threading.Condition:
        """The lock, of a server that is up."""
        if not self._up:
            raise UnavailableError(f"the server at {self._url} does not answer")
        return self._change


def _specs(entries: Sequence[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            name=entry["name"],
            datatype=entry["data_type"].removeprefix("TYPE_"),
            dims=tuple(int(size) for size in entry["dims"]),
        )
        for entry in entries
    )


def _check(model: ModelDescription, inputs: Tensors) -> int:
    """The batch size of inputs that fit the model.

    Raises:
        BadRequestError: they do not.
    """
    size = 1
    for spec in model.inputs:
        value = inputs.get(spec.name)
        if value is None:
            raise BadRequestError(f"{model.name}: the input {spec.name!r} is missing")
        shape = value.shape
        if model.max_batch:
            size, shape = (shape[0] if shape else 0), shape[1:]
            if not 1 <= size <= model.max_batch:
                raise BadRequestError(f"{model.name}: a batch of {size}, not 1..{model.max_batch}")
        fits = len(shape) == len(spec.dims) and all(
            dim in {-1, side} for dim, side in zip(spec.dims, shape, strict=True)
        )
        if not fits:
            raise BadRequestError(f"{model.name}: {spec.name!r} of shape {list(np.shape(value))}")
    return size


def _counted(
    before: ModelStatistics, size: int, seconds: float, *, failed: bool
) -> ModelStatistics:
    if failed:
        return ModelStatistics(
            **{**vars(before), "failures": before.failures + 1, "pending": before.pending}
        )
    count, took = before.by_batch.get(size, (0, 0.0))
    return ModelStatistics(
        requests=before.requests + 1,
        failures=before.failures,
        items=before.items + size,
        queue_seconds=before.queue_seconds,
        compute_seconds=before.compute_seconds + seconds,
        executions=before.executions + 1,
        by_batch={**before.by_batch, size: (count + 1, took + seconds)},
        pending=0,
    )
