"""A Triton server over gRPC, by NVIDIA's client (extra ``triton``)."""

from __future__ import annotations

import logging
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from dataflow.errors import MissingDependencyError
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

_log = logging.getLogger("videojam.roomie")

_CALL_SECONDS = 5.0
_METRICS_SECONDS = 2.0
_PENDING = "nv_inference_pending_request_count"
_CHANNEL: Sequence[tuple[str, int]] = (
    ("grpc.max_send_message_length", 2**31 - 1),
    ("grpc.max_receive_message_length", 2**31 - 1),
    # A server that comes back is noticed within half a second, not after gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    # Clients of one address would share a connection, and one stuck call would hold up all.
    ("grpc.use_local_subchannel_pool", 1),
)
_UNREACHED = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "NOT_FOUND", "UNKNOWN")
"""Statuses of a request that no model has answered."""
_STATES: Mapping[str, ModelState] = {
    "READY": "ready",
    "LOADING": "loading",
    "UNLOADING": "unloading",
}


def _library() -> Any:  # tritonclient publishes no types
    try:
        import tritonclient.grpc as library  # noqa: PLC0415 - optional
    except ImportError as error:
        raise MissingDependencyError(
            "Triton's client is not installed\n  remedy: pip install 'videojam[triton]'"
        ) from error
    return library


class GrpcTriton:
    """See `roomie.triton.server.InferenceServer`.

    Args:
        url: its gRPC address, host:port.
        metrics_url: of its metrics, which tell how many requests wait; not asked when None.
        call_seconds: deadline of calls that a server answers at once.

    Raises:
        MissingDependencyError: the extra ``triton`` is not installed.
    """

    def __init__(
        self, url: str, *, metrics_url: str | None = None, call_seconds: float = _CALL_SECONDS
    ) -> None:
        self._library = _library()
        self._call_seconds = call_seconds
        self._url = url
        self._metrics_url = metrics_url
        self._client = self._library.InferenceServerClient(url, channel_args=list(_CHANNEL))

    @property
    def url(self) -> str:
        """See `InferenceServer`."""
        return self._url

    def ready(self) -> bool:
        """See `InferenceServer`."""
        try:
            return bool(self._client.is_server_ready(client_timeout=self._call_seconds))
        except self._library.InferenceServerException:
            return False

    def index(self) -> Mapping[str, IndexEntry]:
        """See `InferenceServer`."""
        with self._unavailable("list its models"):
            found = self._client.get_model_repository_index(client_timeout=self._call_seconds)
        entries: dict[str, IndexEntry] = {}
        for model in found.models:
            state = _STATES.get(model.state, "unavailable")
            entry = IndexEntry(name=model.name, state=state)
            known = entries.get(model.name)
            # One line a version: a ready one outweighs what is left of another.
            if known is None or (known.state != "ready" and entry.state != "unavailable"):
                entries[model.name] = entry
        return entries

    def load(self, name: str, settings: ModelSettings, *, timeout: float) -> None:
        """See `InferenceServer`."""
        try:
            self._client.load_model(name, config=settings.json, client_timeout=timeout)
        except self._library.InferenceServerException as error:
            status, text = error.status() or "", error.message()
            if "DEADLINE_EXCEEDED" in status:
                raise ModelLoadError(
                    f"{name}: not loaded within {timeout:g} s\n"
                    "  remedy: allow it more time (--load-timeout), or look into the server's log"
                ) from error
            if "UNAVAILABLE" in status or "CANCELLED" in status:
                raise self._gone(f"load {name}", error) from error
            raise ModelLoadError(f"{name}: {text}") from error

    def unload(self, name: str, *, timeout: float) -> None:
        """See `InferenceServer`."""
        with self._unavailable(f"unload {name}"):
            self._client.unload_model(name, client_timeout=timeout)

    def model_ready(self, name: str) -> bool:
        """See `InferenceServer`."""
        with self._unavailable(f"say whether {name} is ready"):
            return bool(self._client.is_model_ready(name, client_timeout=self._call_seconds))

    def statistics(self) -> Mapping[str, ModelStatistics]:
        """See `InferenceServer`."""
        with self._unavailable("tell its statistics"):
            found = self._client.get_inference_statistics(client_timeout=self._call_seconds)
        pending = self._pending()
        return {
            stats.name: _statistics(stats, None if pending is None else pending.get(stats.name, 0))
            for stats in found.model_stats
        }

    def describe(self, name: str) -> ModelDescription:
        """See `InferenceServer`."""
        with self._unavailable(f"describe {name}"):
            config = self._client.get_model_config(name, client_timeout=self._call_seconds).config
        return ModelDescription(
            name=name,
            max_batch=config.max_batch_size,
            inputs=_tensors(config.input),
            outputs=_tensors(config.output),
            parameters={key: value.string_value for key, value in config.parameters.items()},
        )

    def infer(
        self, name: str, inputs: Tensors, *, outputs: Sequence[str] = (), timeout: float
    ) -> dict[str, Tensor]:
        """See `InferenceServer`."""
        library = self._library
        sent = []
        for key, value in inputs.items():
            datatype = _datatype(value)
            tensor = library.InferInput(key, list(value.shape), datatype)
            tensor.set_data_from_numpy(value)
            sent.append(tensor)
        wanted = [library.InferRequestedOutput(key) for key in outputs] or None
        try:
            result = self._client.infer(name, sent, outputs=wanted, client_timeout=timeout)
        except library.InferenceServerException as error:
            if "INVALID_ARGUMENT" in (error.status() or ""):
                raise BadRequestError(
                    f"{name} at {self._url} refuses the input: {error.message()}\n"
                    "  remedy: send what the model's configuration declares"
                ) from error
            raise self._gone(f"run {name}", error) from error
        names = outputs or [output.name for output in result.get_response().outputs]
        return {key: np.asarray(result.as_numpy(key)) for key in names}

    def close(self) -> None:
        """See `InferenceServer`."""
        self._client.close()

    def _pending(self) -> dict[str, int] | None:
        """Requests that wait, by model; None where the server does not tell."""
        if self._metrics_url is None:
            return None
        try:
            with urllib.request.urlopen(self._metrics_url, timeout=_METRICS_SECONDS) as answer:  # noqa: S310 - an operator's own address
                text = answer.read().decode("utf-8", "replace")
            families = list(text_string_to_metric_families(text))
        except (OSError, HTTPException, ValueError) as error:
            # Only this is not known then: the server itself is asked over gRPC.
            _log.debug("no metrics at %s: %s", self._metrics_url, error)
            return None
        pending: dict[str, int] = {}
        for family in families:
            if family.name == _PENDING:
                for sample in family.samples:
                    model = sample.labels.get("model", "")
                    pending[model] = pending.get(model, 0) + int(sample.value)
                return pending
        return pending if _PENDING in text else None

    @contextmanager
    def _unavailable(self, what: str) -> Iterator[None]:
        try:
            yield
        except self._library.InferenceServerException as error:
            raise self._gone(what, error) from error

    def _gone(self, what: str, error: Any) -> UnavailableError:
        status = error.status() or ""
        return UnavailableError(
            f"the server at {self._url} does not {what}: {error.message()}",
            answered=not any(word in status for word in _UNREACHED),
        )


def _datatype(value: Tensor) -> str:
    from tritonclient.utils import np_to_triton_dtype  # noqa: PLC0415 - optional

    name = np_to_triton_dtype(value.dtype)
    if name is None:
        raise BadRequestError(
            f"Triton has no type for {value.dtype}\n  remedy: convert it, for example to float32"
        )
    return str(name)


def _tensors(specs: Any) -> tuple[TensorSpec, ...]:
    names = {number: name for name, number in _library().model_config_pb2.DataType.items()}
    return tuple(
        TensorSpec(
            name=spec.name,
            datatype=_spelt(names[spec.data_type]),
            dims=tuple(spec.dims),
        )
        for spec in specs
    )


def _spelt(name: str) -> str:
    """``TYPE_STRING`` of the configuration is ``BYTES`` in requests, the others as they are."""
    short = name.removeprefix("TYPE_")
    return "BYTES" if short == "STRING" else short


def _statistics(stats: Any, pending: int | None) -> ModelStatistics:
    inference = stats.inference_stats
    by_batch = {
        entry.batch_size: (
            int(entry.compute_infer.count),
            (entry.compute_input.ns + entry.compute_infer.ns + entry.compute_output.ns) * 1e-9,
        )
        for entry in stats.batch_stats
    }
    return ModelStatistics(
        requests=int(inference.success.count),
        failures=int(inference.fail.count),
        items=int(stats.inference_count),
        queue_seconds=inference.queue.ns * 1e-9,
        compute_seconds=sum(seconds for _, seconds in by_batch.values()),
        executions=int(stats.execution_count),
        by_batch=by_batch,
        pending=pending,
    )
