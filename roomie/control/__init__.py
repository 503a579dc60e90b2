"""ROOMIE's control plane: deploy events on Kafka become model instances on Triton servers."""
