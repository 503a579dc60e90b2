"""What `videojam validate` can see of a function's balancing without a cluster."""

from __future__ import annotations

from agents.balancing import Place, last_window, make_balancer
from agents.declaration import balancing_settings, faults_of
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
    declared = config.functions[function]
    settings = balancing_settings(declared)
    with faults_of(function):
        make_balancer(
            declared.balancing_policy,
            Place(
                replica="check",
                incarnation="check",
                now=0.0,
                forecast=last_window(settings.slots),
                settings=settings,
                batch=declared.batch.max,
                parameters=declared.balancing.parameters,
            ),
        )
    check_declared_forecast(config, function)
