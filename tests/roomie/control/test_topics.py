"""ROOMIE's topics have to be there."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from dataflow.config import TopicNames, declared_topics
from dataflow.errors import BrokerError
from dataflow.transport.memory import MemoryTransport
from roomie.control.topics import require_topics
from tests.roomie.control.plant import create_topics, declare


def test_missing_ones_are_named_with_the_remedy(tmp_path: Path) -> None:
    _, config = declare(tmp_path, "memory:1")
    names = TopicNames(config.deployment)
    with MemoryTransport() as transport:
        with pytest.raises(BrokerError, match=r"placements(.*\n.*)videojam topics apply"):
            require_topics(transport, names)
        create_topics(transport, config)
        require_topics(transport, names)
        require_topics(transport, names, decides=True)


def test_a_controller_needs_one_partition_of_orders_and_all_topics(tmp_path: Path) -> None:
    _, config = declare(tmp_path, "memory:1")
    names = TopicNames(config.deployment)
    with MemoryTransport() as transport:
        admin = transport.admin()
        for spec in declared_topics(config):
            if spec.name != names.status:
                several = 2 if spec.name == names.deploy else spec.partitions
                admin.create(replace(spec, partitions=several))
        require_topics(transport, names)
        with pytest.raises(BrokerError, match=re.escape(names.status)):
            require_topics(transport, names, decides=True)
        admin.create(next(s for s in declared_topics(config) if s.name == names.status))
        with pytest.raises(BrokerError, match="has 2 partitions"):
            require_topics(transport, names, decides=True)
        admin.close()
