"""The controller's parts, as topics.yaml declares them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from dataflow.config import Config
from dataflow.config.roomie import RoomieConfig
from dataflow.errors import ConfigError
from roomie.control.autoscaling import build_autoscaler
from roomie.control.batching import batching_window
from roomie.control.core import Core
from roomie.control.placing import Planner
from roomie.control.scaling_types import Autoscaler, ForecastArrivals
from roomie.control.settings import ControlSettings
from roomie.costs import PairCosts
from roomie.devices import load_devices
from roomie.local_search import MoveBudget, SearchSettings
from roomie.placers import Placer, build_placer
from roomie.placers.roomie import RoomiePlacer, RoomieSettings
from roomie.profile_files import load_profiles

_TRITON = "triton"


def declared_roomie(config: Config, file: Path | None = None) -> RoomieConfig:
    """The section ``roomie``.

    Raises:
        ConfigError: there is none.
    """
    if config.roomie is None:
        raise ConfigError(
            "ROOMIE is not declared",
            file=file,
            key="roomie",
            remedy="add the section `roomie: {}` and run `videojam topics apply`",
        )
    return config.roomie


def build_planner(config: RoomieConfig) -> Planner:
    """Who finds places, with its profiles read.

    Raises:
        ConfigError: the placer, the devices or the profiles are wrong.
        MissingDependencyError: the placer needs a package that is not installed.
    """
    with _faults_of("roomie.devices"):
        devices = load_devices(None if config.devices is None else Path(config.devices))
    with _faults_of("roomie.profiles"):
        costs = PairCosts(load_profiles(list(config.profiles), devices))
    placer: Placer
    if config.placer == "roomie":
        size = None if config.move_size is None else float(config.move_size)
        placer = RoomiePlacer(
            costs,
            RoomieSettings(
                budget=MoveBudget(moves=config.moves, bytes=size),
                search=SearchSettings(seed=config.seed),
            ),
        )
    else:
        with _faults_of("roomie.placer"):
            placer = build_placer(config.placer, costs, seed=config.seed)
    return Planner(placer, costs, devices)


def core_factory(config: Config, *, forecast: ForecastArrivals | None = None) -> Callable[[], Core]:
    """What makes a new core for each term of a controller.

    Args:
        config: topics.yaml, with a section ``roomie``.
        forecast: of arrivals, for growing before the load comes.

    Raises:
        ConfigError: something that is declared does not exist.
        MissingDependencyError: something needs a package that is not installed.
    """
    declared = declared_roomie(config)
    planner = build_planner(declared)
    settings = ControlSettings.from_config(declared)
    functions = models_of_functions(config)
    declared_autoscaler(declared)  # what is wrong is known before the first term

    def make() -> Core:
        return Core(
            planner,
            settings,
            autoscaler=declared_autoscaler(declared),
            batching=batching_window if declared.batching_every else None,
            forecast=forecast,
            functions=functions,
        )

    return make


def declared_autoscaler(config: RoomieConfig) -> Autoscaler | None:
    """Who decides on growing and shrinking; None for nobody.

    Raises:
        ConfigError: no autoscaler has that name.
        MissingDependencyError: it needs a package that is not installed.
    """
    policy = config.autoscaling.policy
    if policy == "none":
        return None
    with _faults_of("roomie.autoscaling.policy"):
        return build_autoscaler(policy)


@contextmanager
def _faults_of(key: str) -> Iterator[None]:
    """Names the key of topics.yaml in errors that name no place in a file of their own."""
    try:
        yield
    except ConfigError as error:
        if error.file is not None and (error.line is not None or error.key is not None):
            raise
        told = error.message if error.file is None else f"{error.file}: {error.message}"
        raise replace(error, message=told, file=None, key=key) from error


def models_of_functions(config: Config) -> Mapping[str, str]:
    """Which model each function calls: that of its parameter ``model`` if it is of ``triton``."""
    return {
        name: str(function.parameters.get("model", name))
        for name, function in config.functions.items()
        if (function.plugin or name) == _TRITON
    }
