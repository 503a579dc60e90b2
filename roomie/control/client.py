"""The SDK of whoever wants models to run: orders out, statuses back.

::

    with RoomieClient(transport, TopicNames("videojam"), source="/me") as roomie:
        order = roomie.deploy(ModelSpec(model="alexnet", instances=2))
        for status in roomie.follow(order, timeout=60):
            print(status.event, status.reason)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from dataflow.config import TopicNames
from dataflow.errors import BrokerError, RecordError, VideojamError
from dataflow.transport import Producer, Reader, Transport
from roomie.control.orders import OrderType, encode_order, new_order
from roomie.control.records import ModelSpec, Order, Status

_SEND_SECONDS = 30.0
_POLL_SECONDS = 0.1


class NoOutcomeError(VideojamError):
    """An order has no outcome yet. It stands: it is acted on whenever that becomes possible."""


class RoomieClient:
    """Sends orders and hears what becomes of them. One thread uses it.

    Args:
        transport: where the topics are.
        names: of the deployment's topics.
        source: CloudEvents source: who asks.
        clock: seconds since the epoch.
        monotonic: seconds of a clock that never jumps.
    """

    def __init__(
        self,
        transport: Transport,
        names: TopicNames,
        *,
        source: str,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._names = names
        self._source = source
        self._clock = clock
        self._monotonic = monotonic
        self._producer: Producer | None = None
        self._reader: Reader | None = None
        self._heard: dict[str, list[Status]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the connections."""
        if self._producer is not None:
            self._producer.close()
        if self._reader is not None:
            self._reader.close()

    def deploy(self, spec: ModelSpec) -> Order:
        """Let a model run; or make it what ``spec`` says, where it runs already.

        Raises:
            RecordError: the order makes no sense.
            BrokerError: the cluster does not take it.
        """
        return self._order("deploy", spec.model, spec=spec)

    def update(self, spec: ModelSpec) -> Order:
        """Bring in another version, or other limits, of a model that runs."""
        return self._order("update", spec.model, spec=spec)

    def scale(self, model: str, instances: int) -> Order:
        """Change how many instances are always wanted."""
        return self._order("scale", model, instances=instances)

    def undeploy(self, model: str) -> Order:
        """Let a model finish what it has, and go."""
        return self._order("undeploy", model)

    def send(self, order: Order) -> None:
        """Send an order, again if need be: the same id is acted on once."""
        if self._producer is None:
            self._producer = self._transport.producer(client_id="roomie-client")
        if self._reader is None:
            # Before the order is sent, so that nothing that is said of it is missed.
            self._reader = self._transport.reader([self._names.status], start="latest")
        outcome: list[BrokerError | None] = []
        self._producer.send(encode_order(self._names, order), outcome.append)
        if self._producer.flush(_SEND_SECONDS):
            raise BrokerError(f"the order {order.id} was not taken within {_SEND_SECONDS:g} s")
        if outcome[0] is not None:
            raise outcome[0]

    def follow(self, order: Order, *, timeout: float) -> Iterator[Status]:
        """What becomes of an order that this client sent, until its outcome.

        Args:
            order: which one.
            timeout: seconds to wait for the outcome.

        Raises:
            NoOutcomeError: there is none by then.
        """
        deadline = self._monotonic() + timeout
        while True:
            for status in self._heard.pop(order.id, ()):
                yield status
                if status.is_outcome:
                    return
            left = deadline - self._monotonic()
            if left <= 0:
                raise NoOutcomeError(
                    f"the {order.type} of {order.model} has no outcome after {timeout:g} s\n"
                    "  remedy: the order stands; see `videojam models`, and whether a controller "
                    "runs (`videojam controller`)"
                )
            self._poll(min(left, _POLL_SECONDS))

    def wait(self, order: Order, *, timeout: float) -> Status:
        """The outcome of an order.

        Raises:
            NoOutcomeError: there is none within ``timeout`` s.
        """
        *_, last = self.follow(order, timeout=timeout)
        return last

    def _order(
        self,
        kind: OrderType,
        model: str,
        *,
        spec: ModelSpec | None = None,
        instances: int | None = None,
    ) -> Order:
        order = new_order(
            kind,
            model,
            source=self._source,
            at=self._clock(),
            spec=spec,
            instances=instances,
        )
        self.send(order)
        return order

    def _poll(self, timeout: float) -> None:
        if self._reader is None:
            return
        for record in self._reader.poll(200, timeout):
            if record.value is None:
                continue
            try:
                status = Status.from_json(record.value)
            except RecordError:
                continue  # of a newer version
            if status.order is not None:
                self._heard.setdefault(status.order, []).append(status)
