"""Plate readers: one small protocol, several engines."""
