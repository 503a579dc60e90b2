"""Rendered scenes, benchmarks and training of the shipped networks."""
