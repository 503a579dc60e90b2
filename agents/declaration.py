"""What topics.yaml says about a function's balancing, as the balancer takes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

from agents.balancing import BalancingSettings
from dataflow.config import FunctionConfig
from dataflow.errors import ConfigError


def balancing_settings(function: FunctionConfig) -> BalancingSettings:
    """The balancer's parameters that follow from what is declared of a function."""
    declared = function.balancing
    as_printed = declared.rhythm == "thesis"
    base = BalancingSettings.thesis() if as_printed else BalancingSettings()
    limit = declared.bytes_per_second
    drops = function.queue.when_full == "drop-oldest" and not as_printed
    return BalancingSettings(
        **{
            **asdict(base),
            "hop_limit": declared.hop_limit,
            "capacity": function.queue.items if drops else None,
            "bytes_per_second": None if limit is None else float(limit),
        }
    )


@contextmanager
def faults_of(function: str) -> Iterator[None]:
    """Lets errors of a balancer, which knows only its own keys, tell whose balancer it is."""
    try:
        yield
    except ConfigError as error:
        if error.key is None or not error.key.startswith("balancing."):
            raise
        raise replace(error, key=f"functions.{function}.{error.key}") from error
