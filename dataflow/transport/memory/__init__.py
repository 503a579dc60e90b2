"""The contract of `dataflow.transport.base` inside one process, for tests and notebooks."""

from dataflow.transport.memory.admin import MemoryAdmin
from dataflow.transport.memory.consumer import MemoryGroupConsumer, MemoryReader
from dataflow.transport.memory.log import TOPIC_DEFAULTS
from dataflow.transport.memory.producer import MemoryProducer
from dataflow.transport.memory.transport import MemoryTransport
from dataflow.transport.memory.writer import MemoryAtomicWriter

__all__ = [
    "TOPIC_DEFAULTS",
    "MemoryAdmin",
    "MemoryAtomicWriter",
    "MemoryGroupConsumer",
    "MemoryProducer",
    "MemoryReader",
    "MemoryTransport",
]
