"""Transports: Apache Kafka, and an in-memory one with the same behaviour."""

from dataflow.transport.base import (
    Admin,
    AtomicWriter,
    DeliveryCallback,
    GroupConsumer,
    LatencyCallback,
    Producer,
    Reader,
    RebalanceListener,
    Received,
    Record,
    TopicPartition,
    TopicState,
    Transport,
)

__all__ = [
    "Admin",
    "AtomicWriter",
    "DeliveryCallback",
    "GroupConsumer",
    "LatencyCallback",
    "Producer",
    "Reader",
    "RebalanceListener",
    "Received",
    "Record",
    "TopicPartition",
    "TopicState",
    "Transport",
]
