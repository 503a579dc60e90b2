"""See that ROOMIE's topics are there before anything relies on them."""

from __future__ import annotations

from dataflow.config import TopicNames
from dataflow.errors import BrokerError
from dataflow.transport import Transport


def require_topics(transport: Transport, names: TopicNames, *, decides: bool = False) -> None:
    """See that ROOMIE's topics exist.

    Args:
        transport: where they are.
        names: of the deployment's topics.
        decides: for a controller, which needs all of them, and one partition of orders.

    Raises:
        BrokerError: some are missing, or are not as they have to be.
    """
    wanted = [names.placements, names.workers, names.telemetry]
    if decides:
        wanted += [names.deploy, names.status, names.controller, names.refused, names.capacity]
    admin = transport.admin()
    try:
        there = admin.describe(f"{names.deployment}.")
    finally:
        admin.close()
    missing = [name for name in wanted if name not in there]
    if missing:
        raise BrokerError(
            f"ROOMIE's topics are not there: {', '.join(missing)}\n"
            "  remedy: declare the section `roomie` in topics.yaml and run `videojam topics apply`"
        )
    if decides and there[names.deploy].partitions != 1:
        raise BrokerError(
            f"{names.deploy} has {there[names.deploy].partitions} partitions: with more than one, "
            "several controllers would decide at a time\n"
            "  remedy: delete the topic and run `videojam topics apply`"
        )
