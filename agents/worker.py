"""`videojam worker`: one replica as a process: its engine, its control plane, and their ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass

import cv2

from agents.caller import StalledError
from agents.control import ControlPlane
from agents.engine import Engine
from agents.state import ReplicaState
from dataflow.config import Config, TopicNames
from dataflow.errors import BrokerError
from dataflow.functions.registry import build_function
from dataflow.transport import Record
from dataflow.transport.kafka import KafkaTransport

_log = logging.getLogger("videojam.worker")

_CHECK_SECONDS = 5.0
"""Deadline of one look whether the cluster answers."""

EXIT_STALLED = 75
"""Exit code after a hung call (EX_TEMPFAIL): start the worker again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What the command line says.

    Attributes:
        function: name of the function in topics.yaml.
        replica: name in the group; made from host and process when None.
        wait_for_broker: seconds to wait for a cluster that does not answer at the start.
    """

    function: str
    replica: str | None = None
    wait_for_broker: float = 60.0


def run_worker(config: Config, options: WorkerOptions) -> None:
    """Work until SIGTERM or SIGINT.

    Raises:
        VideojamError: the worker cannot start, or cannot go on; nothing it had is lost.
    """
    cv2.setNumThreads(1)  # replicas are the parallelism
    function = build_function(options.function, config.functions[options.function])
    transport = KafkaTransport.from_config(config)
    wait_for_broker(transport, options.wait_for_broker)
    incarnation = uuid.uuid4().hex[:12]
    replica = options.replica or f"{options.function}-{socket.gethostname()}-{os.getpid()}"
    engine = Engine(
        config=config,
        name=options.function,
        function=function,
        transport=transport,
        replica=replica,
    )
    started_at = time.time()

    def row() -> ReplicaState:
        return ReplicaState(
            **asdict(engine.status()),
            replica=replica,
            incarnation=incarnation,
            function=options.function,
            host=socket.gethostname(),
            pid=os.getpid(),
            at=time.time(),
            started_at=started_at,
        )

    control = ControlPlane(
        bootstrap_servers=transport.bootstrap_servers,
        cluster=config.cluster,
        names=TopicNames(config.deployment),
        function=options.function,
        replica=replica,
        incarnation=incarnation,
        row=row,
    )
    _log.info("%s works on %s at %s", replica, options.function, transport.bootstrap_servers)
    asyncio.run(_run(engine, control))
    _say_goodbye(transport, TopicNames(config.deployment).state(options.function), replica)


async def _run(engine: Engine, control: ControlPlane) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, engine.stop)
    controlling = asyncio.create_task(control.run())
    try:
        await _in_thread(engine.run)
    except StalledError as fault:
        # The hung call holds its thread for ever; leaving the process is the only way to end it.
        _log.critical("%s: exiting", fault)
        logging.shutdown()
        os._exit(EXIT_STALLED)
    finally:
        controlling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await controlling


async def _in_thread(call: Callable[[], None]) -> None:
    """Run ``call`` in a thread that does not keep the process alive."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(fault: BaseException | None) -> None:
        if done.cancelled():
            return
        if fault is None:
            done.set_result(None)
        else:
            done.set_exception(fault)

    def run() -> None:
        fault: BaseException | None = None
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - carried over to the loop
            fault = error
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            loop.call_soon_threadsafe(settle, fault)

    threading.Thread(target=run, name="engine", daemon=True).start()
    await done


def wait_for_broker(transport: KafkaTransport, seconds: float) -> None:
    """Wait for the cluster to answer.

    Raises:
        BrokerError: it has not answered for ``seconds`` s.
    """
    deadline = time.monotonic() + seconds
    pause = 0.2
    while True:
        try:
            transport.check(_CHECK_SECONDS)
        except BrokerError as error:
            if time.monotonic() + pause > deadline:
                raise
            _log.warning("%s; trying again", str(error).splitlines()[0])
            time.sleep(pause)
            pause = min(2 * pause, 5.0)
        else:
            return


def _say_goodbye(transport: KafkaTransport, topic: str, replica: str) -> None:
    """Remove the row of a replica that leaves in order."""
    producer = transport.producer(client_id=replica)
    with contextlib.suppress(BrokerError):
        producer.send(Record(topic=topic, key=replica.encode(), value=None))
    producer.close(2.0)
