"""Putting a replica together from its declaration."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict

from agents.balancing import Forecast
from agents.declaration import declared_balancer
from agents.engine import Engine
from agents.exchange import DirectExchange, Exchange
from agents.state import Balance, ForecasterState, ReplicaState
from agents.status import ReplicaStatus
from dataflow.config import Config, TopicNames
from dataflow.functions.base import Function
from dataflow.moments import steady
from dataflow.tracing import Tracing
from dataflow.transport import Transport


def build_engine(
    *,
    config: Config,
    name: str,
    function: Function,
    transport: Transport,
    replica: str,
    incarnation: str | None = None,
    forecast: Forecast | None = None,
    exchange: Exchange | None = None,
    drift: Callable[[], ForecasterState] | None = None,
    tracing: Tracing | None = None,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> Engine:
    """One replica of one function, with the balancer that topics.yaml declares.

    Args:
        config: the declaration.
        name: the function's name in it.
        function: the plugin; the engine closes it.
        transport: where records come from and go to.
        replica: this replica's name, unique in the group.
        incarnation: this process's own name; made up when None.
        forecast: arrivals of all replicas in one call; the last window when None.
        exchange: how the peers are heard and told; through ``transport`` when None.
        drift: how the forecaster does.
        tracing: makes a span of each stage and offload; None for none.
        clock: seconds since the epoch.
        monotonic: seconds of a clock that never jumps.
    """
    life = incarnation or uuid.uuid4().hex[:12]
    now = steady(clock, monotonic)
    started_at = now()
    balancer = declared_balancer(
        config, name, replica=replica, incarnation=life, now=started_at, forecast=forecast
    )

    def describe(status: ReplicaStatus, balance: Balance) -> ReplicaState:
        return ReplicaState(
            **asdict(status),
            replica=replica,
            incarnation=life,
            function=name,
            host=socket.gethostname(),
            pid=os.getpid(),
            at=now(),
            started_at=started_at,
            balance=balance,
        )

    return Engine(
        config=config,
        name=name,
        function=function,
        transport=transport,
        replica=replica,
        incarnation=life,
        balancer=balancer,
        exchange=exchange
        or DirectExchange(
            transport,
            TopicNames(config.deployment),
            name,
            replica,
            clock=clock,
            monotonic=monotonic,
        ),
        describe=describe,
        drift=drift,
        tracing=tracing,
        clock=clock,
        monotonic=monotonic,
    )
