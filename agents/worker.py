"""`videojam worker`: one replica as a process."""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2

from agents.assembly import build_engine
from agents.caller import StalledError
from agents.engine import Engine
from agents.exchange import Exchange
from agents.forecast import declared_forecast
from dataflow.config import Config, TopicNames
from dataflow.functions.registry import build_function
from dataflow.signals import stop_on_signals
from dataflow.tracing import tracing_from_environment
from dataflow.transport.kafka import KafkaTransport
from dataflow.transport.waiting import wait_for_broker

_log = logging.getLogger("videojam.worker")

EXIT_STALLED = 75
"""Exit code after a hung call (EX_TEMPFAIL): start the worker again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What the command line says.

    Attributes:
        function: name of the function in topics.yaml.
        replica: name in the group; made from host and process when None.
        wait_for_broker: seconds to wait for a cluster that does not answer at the start.
        metrics_port: where Prometheus finds metrics; 0 for any port, None for none.
        metrics_address: where to listen for it; empty for all addresses.
    """

    function: str
    replica: str | None = None
    wait_for_broker: float = 60.0
    metrics_port: int | None = None
    metrics_address: str = ""

    @property
    def name(self) -> str:
        """The replica's name, made up or not."""
        return self.replica or f"{self.function}-{socket.gethostname()}-{os.getpid()}"


def run_worker(config: Config, options: WorkerOptions) -> None:
    """Work until SIGTERM or SIGINT; a second one does not wait for what is in hand.

    Raises:
        VideojamError: the worker cannot start, or cannot go on; nothing it had is lost.
    """
    cv2.setNumThreads(1)  # replicas are the parallelism
    function = build_function(
        options.function, config.functions[options.function], deployment=config
    )
    transport = KafkaTransport.from_config(config)
    wait_for_broker(transport, options.wait_for_broker)
    tracing = tracing_from_environment(f"videojam.{options.function}")
    incarnation = uuid.uuid4().hex[:12]
    replica = options.name
    forecast = declared_forecast(config, options.function)
    engine = build_engine(
        config=config,
        name=options.function,
        function=function,
        transport=transport,
        replica=replica,
        incarnation=incarnation,
        forecast=forecast,
        drift=None if forecast is None else forecast.current_state,
        exchange=_exchange(config, options.function, transport, replica, incarnation),
        tracing=tracing,
    )
    _log.info("%s works on %s at %s", replica, options.function, transport.bootstrap_servers)
    try:
        with (
            stop_on_signals(lambda _: engine.stop()),
            _metrics(engine, config, options, replica),
        ):
            engine.run()
    except StalledError as fault:
        # The hung call holds its thread for ever; leaving the process is the only way to end it.
        _log.critical("%s: exiting", fault)
        logging.shutdown()
        os._exit(EXIT_STALLED)
    finally:
        if tracing is not None:
            tracing.close()


@contextmanager
def _metrics(
    engine: Engine, config: Config, options: WorkerOptions, replica: str
) -> Iterator[None]:
    """Serve metrics meanwhile, if they are asked for."""
    if options.metrics_port is None:
        yield
        return
    from agents.metrics import ReplicaCollector  # noqa: PLC0415 - off by default
    from dataflow.metrics import serve_metrics  # noqa: PLC0415 - likewise

    collector = ReplicaCollector(
        engine.glance,
        deployment=config.deployment,
        function=options.function,
        replica=replica,
        started_at=time.time(),
    )
    where = (options.metrics_port, options.metrics_address)
    with serve_metrics(collector, *where, key="--metrics-port"):
        yield


def _exchange(
    config: Config, function: str, transport: KafkaTransport, replica: str, incarnation: str
) -> Exchange | None:
    """What topics.yaml asks for; None for the direct one."""
    if config.functions[function].balancing.exchange == "direct":
        return None
    from agents.control import FaustExchange  # noqa: PLC0415 - slow to import

    return FaustExchange(
        bootstrap_servers=transport.bootstrap_servers,
        cluster=config.cluster,
        names=TopicNames(config.deployment),
        function=function,
        replica=replica,
        incarnation=incarnation,
    )
