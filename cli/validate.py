"""`videojam validate`: topics.yaml and what it says of functions, without a cluster."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import typer

from cli.common import DEFAULT_CONFIG, EXIT_ERROR, ConfigOption, located, print_error, stdout
from dataflow.config import declared_topics, load_config
from dataflow.errors import ConfigError, VideojamError

if TYPE_CHECKING:
    from pathlib import Path

    from dataflow.config import Config


def validate(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Check topics.yaml, its functions' parameters, balancers and forecasters; needs no cluster.

    Every plugin is imported, no function is started, and every forecaster forecasts once. Exit
    code 0: all is well; 1: not.
    """
    settings = load_config(config)
    faults = check_functions(config, settings)
    for fault in faults:
        print_error(fault)
    if faults:
        raise typer.Exit(EXIT_ERROR)
    stdout().print(
        f"{config}: {len(settings.functions)} functions, {len(settings.pipelines)} pipelines, "
        f"{len(declared_topics(settings))} topics: valid",
        markup=False,
    )


def check_functions(file: Path, config: Config) -> list[VideojamError]:
    """Faults of the functions, at most one of each plugin and one of each balancing.

    Args:
        file: where ``config`` was read, for lines.
        config: the declaration.
    """
    from agents.check import check_balancing
    from dataflow.functions.registry import check_function

    faults: list[VideojamError] = []
    for name, function in config.functions.items():
        for check in (
            partial(check_function, name, function),
            partial(check_balancing, config, name),
        ):
            try:
                check()
            except ConfigError as error:
                faults.append(located(error, file))
            except VideojamError as error:
                faults.append(error)
    return faults
