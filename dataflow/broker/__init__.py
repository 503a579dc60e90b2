"""A real Apache Kafka on this machine, started with nothing but pip.

from dataflow.broker import BrokerSettings, EmbeddedBroker

with EmbeddedBroker(BrokerSettings(data_dir=Path("data"), port=0)) as broker:
    print(broker.bootstrap_servers)
"""

from dataflow.broker.embedded import BrokerState, EmbeddedBroker
from dataflow.broker.settings import BrokerSettings

__all__ = ["BrokerSettings", "BrokerState", "EmbeddedBroker"]
