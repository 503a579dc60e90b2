"""`videojam validate`: topics.yaml and its functions' parameters, without a cluster."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from cli.common import DEFAULT_CONFIG, EXIT_ERROR, ConfigOption, print_error, stdout
from dataflow.config import declared_topics, load_config, locate
from dataflow.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    from pathlib import Path

    from dataflow.config import Config


def validate(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Check topics.yaml and the parameters of its functions; needs no cluster.

    Every function's plugin is imported, but none is started. Exit code 0: all is well; 1: not.
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


def check_functions(file: Path, config: Config) -> list[ConfigError | MissingDependencyError]:
    """Faults of the functions' plugins and parameters, at most one a function.

    Args:
        file: where ``config`` was read, for lines.
        config: the declaration.
    """
    from dataflow.functions.registry import (
        check_function,
    )

    faults: list[ConfigError | MissingDependencyError] = []
    for name, function in config.functions.items():
        try:
            check_function(name, function)
        except ConfigError as error:
            line = None if error.key is None else locate(file, error.key)
            faults.append(replace(error, file=file, line=line))
        except MissingDependencyError as error:
            faults.append(error)
    return faults
