"""Several records into Apache Kafka as one, by one writer of a name at a time: transactions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import Producer as ConfluentProducer

from dataflow.errors import BrokerError, FencedError
from dataflow.transport.base import Record
from dataflow.transport.kafka_errors import broker_error
from dataflow.transport.kafka_metadata import NoAnswerError, ask_partitions
from dataflow.transport.kafka_records import DeliveryReport, produce

_FENCED = {
    KafkaError._FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_ID_MAPPING,
}
_STATE_ERRORS = {KafkaError._STATE, KafkaError._FATAL}
"""What is wrong is the transaction or the client, not the record: taking it back tells more."""
_TAKEN_BACK = {
    KafkaError._PURGE_QUEUE,
    KafkaError._PURGE_INFLIGHT,
    KafkaError._MSG_TIMED_OUT,
}
"""Deliveries that failed because the attempt did."""
_PAUSE_SECONDS = 0.05
_CALL_SECONDS = 5.0
"""Longest single wait inside librdkafka: between two, the deadline is looked at."""


class KafkaAtomicWriter:
    """See `dataflow.transport.base.AtomicWriter`.

    Args:
        settings: librdkafka's.
        name: of the writer; a new one of that name shuts out those before it.
        timeout: seconds to wait for the cluster.
        make: the client, from its settings.

    Raises:
        BrokerError: no answer in time, or a refusal.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        name: str,
        timeout: float,
        *,
        make: Callable[[dict[str, Any]], ConfluentProducer] = ConfluentProducer,
    ) -> None:
        self._name = name
        self._servers = str(settings["bootstrap.servers"])
        self._over: FencedError | None = None
        self._partitions: dict[str, int] = {}
        """Of the topics that have been written to."""
        self._producer = make(dict(settings))
        deadline = time.monotonic() + timeout
        what = f"opening the writer {name}"
        fault = self._retry(self._producer.init_transactions, deadline, what)
        if fault is not None:
            raise broker_error(fault, what)

    def write(self, records: Sequence[Record], timeout: float) -> None:
        """Write all records, or none."""
        if self._over is not None:
            raise FencedError(str(self._over))
        deadline = time.monotonic() + timeout
        for record in records:
            self._check(record, deadline)
        while True:
            try:
                self._attempt(records, deadline)
            except _AbortedError as error:
                if time.monotonic() + _PAUSE_SECONDS > deadline:
                    raise BrokerError(
                        f"writing as {self._name}: not written within {timeout:g} s: {error}"
                    ) from error
                time.sleep(_PAUSE_SECONDS)
            else:
                return

    def close(self) -> None:
        """Give up what is not written, and release."""
        self._producer.purge()
        self._producer.poll(0)

    def _check(self, record: Record, deadline: float) -> None:
        """See that there is such a topic, which the client itself finds out by waiting for it."""
        wanted = record.partition or 0
        count = self._partitions.get(record.topic, 0)
        if not 0 <= wanted < count:  # the first time, or perhaps partitions were added
            count = self._partitions[record.topic] = self._ask_partitions(record.topic, deadline)
        if not 0 <= wanted < count:
            raise BrokerError(f"writing to {record.topic}: no partition {wanted}, it has {count}")

    def _ask_partitions(self, topic: str, deadline: float) -> int:
        while True:
            left = deadline - time.monotonic()
            try:
                found = ask_partitions(
                    self._producer,
                    topic,
                    servers=self._servers,
                    what=f"writing to {topic}",
                    timeout=max(0.1, min(_CALL_SECONDS, left)),
                )
            except NoAnswerError:
                if time.monotonic() + _PAUSE_SECONDS > deadline:
                    raise
            else:
                return len(found)
            time.sleep(_PAUSE_SECONDS)

    def _attempt(self, records: Sequence[Record], deadline: float) -> None:
        refused: list[BrokerError] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None and not error.retriable() and error.code() not in _TAKEN_BACK:
                refused.append(broker_error(error, f"writing to {message.topic()}"))

        try:
            self._producer.begin_transaction()
        except KafkaException as error:
            self._take_back(error.args[0], deadline, refused)
        for record in records:
            self._produce(record, delivered, deadline, refused)
        what = f"writing as {self._name}"
        fault = self._retry(self._producer.commit_transaction, deadline, what)
        if fault is not None:
            self._take_back(fault, deadline, refused)

    def _produce(
        self,
        record: Record,
        delivered: DeliveryReport,
        deadline: float,
        refused: list[BrokerError],
    ) -> None:
        while True:
            try:
                produce(self._producer, record, delivered)
            except BufferError:
                if time.monotonic() > deadline:
                    full = BrokerError(f"writing to {record.topic}: the local buffer is full")
                    self._abort(deadline)
                    raise full from None
                self._producer.poll(_PAUSE_SECONDS)  # makes room as the broker takes them
            except KafkaException as error:
                fault = error.args[0]
                if fault.code() not in _FENCED | _STATE_ERRORS and not fault.retriable():
                    refused.append(broker_error(fault, f"writing to {record.topic}"))
                self._take_back(fault, deadline, refused)
            else:
                return

    def _retry(
        self, call: Callable[[float], object], deadline: float, what: str
    ) -> KafkaError | None:
        """Call until it is done; what may be called again is, until the deadline.

        Returns:
            Why the transaction has to be taken back; None when the call is done.

        Raises:
            FencedError: another writer of this name has taken over.
            BrokerError: a refusal, or no answer by the deadline.
        """
        while True:
            left = deadline - time.monotonic()
            try:
                call(max(0.1, min(_CALL_SECONDS, left)))
            except KafkaException as error:
                fault: KafkaError = error.args[0]
                if _was_fenced(fault):
                    raise self._fenced(fault) from error
                if fault.txn_requires_abort():
                    return fault
                if not fault.retriable() or time.monotonic() + _PAUSE_SECONDS > deadline:
                    raise broker_error(fault, what) from error
                time.sleep(_PAUSE_SECONDS)
            else:
                return None

    def _take_back(
        self, fault: KafkaError, deadline: float, refused: Sequence[BrokerError]
    ) -> NoReturn:
        """End an attempt: so that it can be made again, or for good.

        Raises:
            FencedError: another writer of this name has taken over.
            BrokerError: a record is refused, as it would be the next time.
            _AbortedError: it may be tried again.
        """
        if _was_fenced(fault):
            raise self._fenced(fault)
        if fault.fatal():
            raise broker_error(fault, f"writing as {self._name}")
        self._abort(deadline)
        if refused:
            raise refused[0]
        raise _AbortedError(fault.str())

    def _abort(self, deadline: float) -> None:
        what = f"taking back what {self._name} wrote"
        fault = self._retry(self._producer.abort_transaction, deadline, what)
        if fault is not None:
            raise broker_error(fault, what)

    def _fenced(self, fault: KafkaError) -> FencedError:
        self._over = FencedError(
            f"another writer called {self._name} has taken over: {fault.str()}; nothing was written"
        )
        return self._over


class _AbortedError(Exception):
    """The transaction was taken back; it may be tried again."""


def _was_fenced(fault: KafkaError) -> bool:
    # A fatal error may wrap the code that says why.
    return fault.code() in _FENCED or (fault.fatal() and "fenced" in fault.str().lower())
