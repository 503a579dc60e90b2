"""VIDEOJAM replicas: the worker around a function, and (from the next release) the load balancer."""
