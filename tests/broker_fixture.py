"""The real Apache Kafka of a test session, as a pytest plugin.

It never skips: where the broker cannot start, the tests that need it fail with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dataflow.broker import BrokerSettings, EmbeddedBroker


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """One running broker, shared by all tests of the session: use topic names of your own."""
    data_dir = tmp_path_factory.mktemp("kafka")
    with EmbeddedBroker(BrokerSettings(data_dir=data_dir, port=0)) as broker:
        yield broker
