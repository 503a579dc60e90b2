"""Several records into Apache Kafka as one, by one writer of a name at a time: transactions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import Producer as ConfluentProducer

from dataflow.errors import BrokerError, FencedError
from dataflow.transport.base import Record
from dataflow.transport.kafka_errors import broker_error

_FENCED = {
    KafkaError._FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_ID_MAPPING,
}
_PAUSE_SECONDS = 0.05
_CALL_SECONDS = 5.0
"""Longest single wait inside librdkafka: between two, the deadline is looked at."""


class KafkaAtomicWriter:
    """See `dataflow.transport.base.AtomicWriter`.

    Args:
        settings: librdkafka's.
        name: of the writer; a new one of that name shuts out those before it.
        timeout: seconds to wait for the cluster.

    Raises:
        BrokerError: no answer in time, or a refusal.
    """

    def __init__(self, settings: Mapping[str, Any], name: str, timeout: float) -> None:
        self._name = name
        self._over: FencedError | None = None
        self._producer = ConfluentProducer(dict(settings))
        deadline = time.monotonic() + timeout
        self._retry(self._producer.init_transactions, deadline, f"opening the writer {name}")

    def write(self, records: Sequence[Record], timeout: float) -> None:
        """Write all records, or none."""
        if self._over is not None:
            raise FencedError(str(self._over))
        deadline = time.monotonic() + timeout
        what = f"writing as {self._name}"
        while True:
            try:
                self._attempt(records, deadline, what)
            except _AbortedError:
                if time.monotonic() + _PAUSE_SECONDS > deadline:
                    raise BrokerError(f"{what}: not written within {timeout:g} s") from None
                time.sleep(_PAUSE_SECONDS)
            else:
                return

    def close(self) -> None:
        """Give up what is not written, and release."""
        self._producer.purge()
        self._producer.poll(0)

    def _attempt(self, records: Sequence[Record], deadline: float, what: str) -> None:
        failed: list[KafkaError] = []
        try:
            self._producer.begin_transaction()
            for record in records:
                self._producer.produce(
                    record.topic,
                    record.value,
                    record.key,
                    -1 if record.partition is None else record.partition,
                    headers=list(record.headers),
                    on_delivery=lambda error, _: failed.append(error) if error else None,
                )
        except (KafkaException, BufferError) as error:
            self._abort(error, deadline, what)
        try:
            self._retry(self._producer.commit_transaction, deadline, what)
        except _CommitError as error:
            self._abort(error.cause, deadline, what, failed)

    def _retry(self, call: Callable[[float], object], deadline: float, what: str) -> None:
        """Call until it is done; what may be called again is, until the deadline."""
        while True:
            left = deadline - time.monotonic()
            try:
                call(max(0.1, min(_CALL_SECONDS, left)))
            except KafkaException as error:
                fault = error.args[0]
                if fault.code() in _FENCED or (fault.fatal() and _was_fenced(fault)):
                    raise self._fenced(fault) from error
                if fault.txn_requires_abort():
                    raise _CommitError(error) from error
                if not fault.retriable() or time.monotonic() + _PAUSE_SECONDS > deadline:
                    raise broker_error(fault, what) from error
                time.sleep(_PAUSE_SECONDS)
            else:
                return

    def _abort(
        self,
        error: KafkaException | BufferError,
        deadline: float,
        what: str,
        failed: Sequence[KafkaError] = (),
    ) -> None:
        """End an attempt: so that it can be made again, or for good."""
        fault = error.args[0] if isinstance(error, KafkaException) else None
        if fault is not None and (fault.code() in _FENCED or fault.fatal()):
            if fault.code() in _FENCED or _was_fenced(fault):
                raise self._fenced(fault) from error
            raise broker_error(fault, what) from error
        self._retry(self._producer.abort_transaction, deadline, what)
        for reason in failed:
            if not reason.retriable() and reason.code() not in (
                KafkaError._PURGE_QUEUE,
                KafkaError._PURGE_INFLIGHT,
                KafkaError._MSG_TIMED_OUT,
            ):
                raise broker_error(reason, what) from error
        raise _AbortedError from error

    def _fenced(self, fault: KafkaError) -> FencedError:
        self._over = FencedError(
            f"another writer called {self._name} has taken over: {fault.str()}; nothing was written"
        )
        return self._over


class _AbortedError(Exception):
    """The transaction was taken back; it may be tried again."""


class _CommitError(Exception):
    """The transaction has to be taken back."""

    def __init__(self, cause: KafkaException) -> None:
        super().__init__(cause)
        self.cause = cause


def _was_fenced(fault: KafkaError) -> bool:
    # A fatal error may wrap the code that says why.
    return "fenced" in fault.str().lower()
