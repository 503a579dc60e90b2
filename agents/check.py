"""What `videojam validate` can see of a function's balancing without a cluster."""

from __future__ import annotations

from agents.declaration import declared_balancer
from agents.forecast import check_declared_forecast
from dataflow.config import Config


def check_balancing(config: Config, function: str) -> None:
    """See that a declared balancer, and the forecaster that it needs, can be made and work.

    Args:
        config: the declaration.
        function: a function's name in it.

    Raises:
        ConfigError: one of them cannot; by its key.
        MissingDependencyError: the balancer needs a package that is not installed.
    """
    declared_balancer(config, function, replica="check", incarnation="check", now=0.0)
    check_declared_forecast(config, function)
