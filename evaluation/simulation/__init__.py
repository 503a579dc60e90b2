"""Discrete-event simulation of replicas that run the production balancers."""
