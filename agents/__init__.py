"""VIDEOJAM replicas: the worker around a function."""
