"""What topics.yaml says about a function's balancing, as the balancer takes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

from agents.balancing import BalancingSettings
from dataflow.config import BalancingConfig
from dataflow.errors import ConfigError


def balancing_settings(balancing: BalancingConfig) -> BalancingSettings:
    """The balancer's parameters that follow from a declaration."""
    base = BalancingSettings.thesis() if balancing.rhythm == "thesis" else BalancingSettings()
    limit = balancing.bytes_per_second
    return BalancingSettings(
        **{
            **asdict(base),
            "hop_limit": balancing.hop_limit,
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
