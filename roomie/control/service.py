"""`videojam controller`: a controller as a process."""

from __future__ import annotations

import logging

from dataflow.config import Config, TopicNames
from dataflow.signals import stop_on_signals
from dataflow.transport import Transport
from roomie.control.assembly import core_factory, declared_roomie
from roomie.control.controller import Controller, Group
from roomie.control.scaling_types import ForecastArrivals

_log = logging.getLogger("videojam.roomie")


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
