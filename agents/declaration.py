"""What topics.yaml says about a function's balancing, as the balancer takes it."""

from __future__ import annotations

from dataclasses import replace

from agents.balancing import (
    Balancer,
    BalancingSettings,
    Forecast,
    Place,
    last_window,
    make_balancer,
)
from dataflow.config import Config, FunctionConfig
from dataflow.errors import ConfigError


def balancing_settings(function: FunctionConfig) -> BalancingSettings:
    """The balancer's parameters that follow from what is declared of a function."""
    declared = function.balancing
    as_printed = declared.rhythm == "thesis"
    base = BalancingSettings.thesis() if as_printed else BalancingSettings()
    limit = declared.bytes_per_second
    drops = function.queue.when_full == "drop-oldest" and not as_printed
    return replace(
        base,
        hop_limit=declared.hop_limit,
        capacity=function.queue.items if drops else None,
        bytes_per_second=None if limit is None else float(limit),
    )


def declared_balancer(
    config: Config,
    function: str,
    *,
    replica: str,
    incarnation: str,
    now: float,
    forecast: Forecast | None = None,
) -> Balancer:
    """The balancer that topics.yaml names for a function, for one replica of it.

    Args:
        config: the declaration.
        function: a function's name in it.
        replica: the replica's name.
        incarnation: which life of it.
        now: seconds since the epoch.
        forecast: arrivals of all replicas in one call; the last window when None.

    Raises:
        ConfigError: it cannot be made; by its key in topics.yaml.
        MissingDependencyError: it needs a package that is not installed.
    """
    declared = config.functions[function]
    settings = balancing_settings(declared)
    place = Place(
        replica=replica,
        incarnation=incarnation,
        now=now,
        forecast=forecast or last_window(settings.slots),
        settings=settings,
        batch=declared.batch.max,
        parameters=declared.balancing.parameters,
    )
    try:
        return make_balancer(declared.balancing_policy, place)
    except ConfigError as error:  # a balancer knows only its own keys
        if error.key is None or not error.key.startswith("balancing."):
            raise
        raise replace(error, key=f"functions.{function}.{error.key}") from error
