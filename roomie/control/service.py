"""`videojam controller`: a controller as a process."""

from __future__ import annotations

import logging

from dataflow.config import Config, TopicNames
from dataflow.errors import BrokerError
from dataflow.signals import stop_on_signals
from dataflow.transport import Transport
from roomie.control.assembly import core_factory, declared_roomie
from roomie.control.controller import Controller, Group
from roomie.control.scaling_types import ForecastArrivals

_log = logging.getLogger("videojam.roomie")


def check_topics(transport: Transport, names: TopicNames) -> None:
    """See that ROOMIE's topics are there.

    Raises:
        BrokerError: one is not.
    """
    admin = transport.admin()
    try:
        there = admin.describe(f"{names.deployment}.")
    finally:
        admin.close()
    wanted = (
        names.deploy,
        names.placements,
        names.workers,
        names.telemetry,
        names.status,
        names.controller,
        names.refused,
        names.capacity,
    )
    missing = [name for name in wanted if name not in there]
    if missing:
        raise BrokerError(
            f"no topic {missing[0]}\n"
            "  remedy: declare the section `roomie` in topics.yaml and run `videojam topics apply`"
        )
    if there[names.deploy].partitions != 1:
        raise BrokerError(
            f"{names.deploy} has {there[names.deploy].partitions} partitions: with more than one, "
            "several controllers would decide at a time\n"
            "  remedy: delete the topic and run `videojam topics apply`"
        )


def build_controller(
    config: Config,
    transport: Transport,
    bootstrap_servers: str,
    name: str,
    *,
    forecast: ForecastArrivals | None = None,
) -> Controller:
    """A controller that joins its group on Kafka with Faust.

    Args:
        config: topics.yaml.
        transport: where the topics are.
        bootstrap_servers: host:port list of the same cluster.
        name: of the controller.
        forecast: of arrivals, for growing before the load comes.

    Raises:
        ConfigError: something is declared wrong.
        MissingDependencyError: something needs a package that is not installed.
    """
    declared = declared_roomie(config)
    names = TopicNames(config.deployment)

    def join(owner: Controller) -> Group:
        from roomie.control.membership import Membership  # noqa: PLC0415 - slow to import

        return Membership(
            bootstrap_servers=bootstrap_servers,
            cluster=config.cluster,
            topic=names.deploy,
            group=f"{names.deployment}.roomie.controllers",
            owner=owner,
            session_timeout=declared.session_timeout,
        )

    return Controller(
        names=names,
        transport=transport,
        make_core=core_factory(config, forecast=forecast),
        join=join,
        name=name,
        tick=declared.tick,
    )


def run_controller(controller: Controller) -> None:
    """Run until SIGTERM or SIGINT."""
    with stop_on_signals(lambda _: controller.stop()):
        controller.run()
    _log.info("%s has left", controller.name)
