"""Transports: Apache Kafka, and an in-memory one with the same behaviour."""
