"""A real request load through `InstanceClient`: open, so that a stall delays no later request."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from dataflow.config import TopicNames
from dataflow.transport import Transport
from evaluation.control_plane.models import INPUT, version_of
from evaluation.control_plane.requests import Request
from evaluation.waiting import wait_until
from roomie.control.instance_client import ClientSettings, InstanceClient

SETTINGS = ClientSettings()
"""Of the clients: as a user gets them who says nothing."""


class Load:
    """Requests to some models at a steady rate, from when it is entered.

    Each request is due at its time, whatever became of the ones before; its response time counts
    from then.

    Args:
        models: which are asked, in turns.
        rate: requests a second to each.
        transport: where the topics are.
        names: of them.
        clock: seconds of the run.
    """

    def __init__(
        self,
        models: Collection[str],
        *,
        rate: float,
        transport: Transport,
        names: TopicNames,
        clock: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._pause = 1.0 / (rate * len(models))
        self._clients = {model: InstanceClient(model, transport, names) for model in models}
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._done: list[Request] = []
        # As many as may be under way when nobody answers; a thread is made when one is needed.
        most = math.ceil(rate * (SETTINGS.wait + SETTINGS.timeout + 1.0)) * len(models)
        self._executor = ThreadPoolExecutor(most, thread_name_prefix="request")
        self._thread = threading.Thread(target=self._run, name="load")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        # What is under way ends within its client's patience, and before its client does.
        self._executor.shutdown(wait=True, cancel_futures=True)
        for client in self._clients.values():
            client.close()

    def finish(self) -> list[Request]:
        """Send no more, wait for what is under way, and tell what became of all of them."""
        self._stopping.set()
        self._thread.join()
        self._executor.shutdown(wait=True)
        return self.done()

    def done(self) -> list[Request]:
        """What has ended so far, in that order."""
        with self._lock:
            return list(self._done)

    def wait_for_answers(self, models: Collection[str], seconds: float) -> None:
        """Wait until each of these models has answered.

        Raises:
            MeasurementError: one has not in time.
        """
        wait_until(
            lambda: set(models) <= {r.model for r in self.done() if not r.failed},
            f"not all of {', '.join(models)} have answered",
            seconds=seconds,
            pause=lambda: time.sleep(0.1),
        )

    def _run(self) -> None:
        due, number = self._clock(), 0
        models = list(self._clients)
        while not self._stopping.wait(max(0.0, due - self._clock())):
            self._executor.submit(self._ask, models[number % len(models)], due)
            due, number = due + self._pause, number + 1

    def _ask(self, model: str, due: float) -> None:
        version: int | None = None
        error: str | None = None
        try:
            version = version_of(self._clients[model].infer({"x": INPUT}))
        except Exception as fault:  # noqa: BLE001 - whatever it is, a user would have met it
            error = f"{type(fault).__name__}: {fault}"
        done = Request(model=model, sent=due, ended=self._clock(), version=version, error=error)
        with self._lock:
            self._done.append(done)
