"""`videojam validate`: topics.yaml and what it says of functions, without a cluster."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import typer

from cli.common import (
    DEFAULT_CONFIG,
    EXIT_ERROR,
    ConfigOption,
    locating,
    print_error,
    stdout,
    with_examples,
)
from dataflow.config import declared_topics, load_config
from dataflow.errors import VideojamError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from dataflow.config import Config


def validate(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Check topics.yaml and all that it names."""
    settings = load_config(config)
    refuse(check_functions(config, settings) + check_roomie(config, settings))
    stdout().print(
        f"{config}: {len(settings.functions)} functions, {len(settings.pipelines)} pipelines, "
        f"{len(declared_topics(settings))} topics: valid",
        markup=False,
    )


validate.__doc__ = with_examples(
    "Check topics.yaml, and all that its functions and ROOMIE are to use; needs no cluster.\n\n"
    "Every plugin is imported, no function is started, every forecaster forecasts once, and kernel "
    "profiles are read. Exit code 0: all is well; 1: not.",
    "videojam validate",
    "videojam validate --config city.yaml",
)


def refuse(faults: Sequence[VideojamError]) -> None:
    """Print faults, if there are any, and end the command."""
    for fault in faults:
        print_error(fault)
    if faults:
        raise typer.Exit(EXIT_ERROR)


def check_functions(file: Path, config: Config) -> list[VideojamError]:
    """Faults of the functions, at most one of each plugin and one of each balancing.

    Args:
        file: where ``config`` was read, for lines.
        config: the declaration.
    """
    from agents.check import check_balancing
    from dataflow.functions.registry import check_function

    checks: list[Callable[[], object]] = []
    for name, function in config.functions.items():
        checks.append(partial(check_function, name, function))
        checks.append(partial(check_balancing, config, name))
    return _faults(checks, file)


def check_roomie(file: Path, config: Config) -> list[VideojamError]:
    """Faults of what the section ``roomie`` names: placer, profiles, autoscaler, forecaster.

    Args:
        file: where ``config`` was read, for lines.
        config: the declaration.
    """
    if config.roomie is None:
        return []
    from cli.controller import declared_forecast
    from roomie.control.assembly import build_planner, declared_autoscaler

    checks = (build_planner, declared_autoscaler, declared_forecast)
    return _faults([partial(check, config.roomie) for check in checks], file)


def _faults(checks: Iterable[Callable[[], object]], file: Path) -> list[VideojamError]:
    """What goes wrong in each of these."""
    faults: list[VideojamError] = []
    for check in checks:
        try:
            with locating(file):
                check()
        except VideojamError as error:
            faults.append(error)
    return faults
