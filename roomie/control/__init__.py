"""ROOMIE's control plane: deploy events on Kafka become model instances on Triton servers."""

from roomie.control.client import NoOutcomeError, RoomieClient

__all__ = ["NoOutcomeError", "RoomieClient"]
