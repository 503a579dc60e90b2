"""Cameras, messages, topics and functions: everything between a lens and a result."""
