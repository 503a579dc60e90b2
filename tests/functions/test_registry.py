"""Plugins by name, and what is said about wrong ones."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import ClassVar

import pytest
from pydantic import Field

from dataflow.config import FunctionConfig
from dataflow.errors import ConfigError, MissingDependencyError
from dataflow.functions import registry
from dataflow.functions.base import Detection, FunctionParams, Item
from dataflow.functions.registry import available, build_function, check_function, load_function


class CounterParams(FunctionParams):
    size: int = Field(ge=1)
    threshold: float = 0.5


class Counter:
    Params: ClassVar[type[FunctionParams]] = CounterParams

    def __init__(self, params: CounterParams) -> None:
        self.params = params

    def process(self, batch: Sequence[Item]) -> Sequence[Sequence[Detection]]:
        return [()] * len(batch)

    def close(self) -> None:
        pass


class StatefulCounter(Counter):
    def snapshot(self, camera: str) -> bytes | None:
        del camera
        return None

    def restore(self, camera: str, state: bytes) -> None:
        pass

    def forget(self, camera: str) -> None:
        pass


class NoFunction:
    pass


MODULE = __name__


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Entry points of the group, by name; a test may add more."""
    points = {
        "counter": f"{MODULE}:Counter",
        "stateful-counter": f"{MODULE}:StatefulCounter",
        "no-function": f"{MODULE}:NoFunction",
        "no-attribute": f"{MODULE}:Absent",
        "no-package": "surely_not_installed.detector:Detector",
        "broken": "tests_broken_plugin:Detector",
    }

    def entry_points(*, group: str) -> list[EntryPoint]:
        assert group == "videojam.functions"
        return [EntryPoint(name, value, group) for name, value in points.items()]

    monkeypatch.setattr("dataflow.plugins.entry_points", entry_points)
    return points


@pytest.mark.usefixtures("plugins")
def test_plugins_are_listed_without_importing_them() -> None:
    assert "broken" in available()
    assert list(available()) == sorted(available())


@pytest.mark.usefixtures("plugins")
def test_a_function_is_built_with_its_validated_parameters() -> None:
    function = build_function("counter", FunctionConfig(parameters={"size": 3}))
    assert isinstance(function, Counter)
    assert function.params == CounterParams(size=3)


@pytest.mark.usefixtures("plugins")
def test_a_function_may_have_another_name_than_its_plugin() -> None:
    config = FunctionConfig(plugin="counter", parameters={"size": 3})
    assert isinstance(build_function("people", config), Counter)


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    ("parameters", "key", "said"),
    [
        ({"size": "many"}, "functions.counter.parameters.size", "got 'many'"),
        ({"size": 0}, "functions.counter.parameters.size", "greater than or equal to 1"),
        ({}, "functions.counter.parameters.size", "missing"),
        ({"size": 1, "treshold": 0.1}, "functions.counter.parameters.treshold", "'threshold'"),
        ({"size": 1, "zzz": 0.1}, "functions.counter.parameters.zzz", "size, threshold"),
        ({"size": 0, "zzz": 1}, "functions.counter.parameters.size", "1 more fault"),
    ],
)
def test_a_wrong_parameter_is_named_by_its_key(
    parameters: dict[str, object], key: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        build_function("counter", FunctionConfig(parameters=parameters))
    assert caught.value.key == key
    assert said in str(caught.value)


@pytest.mark.usefixtures("plugins")
def test_an_unknown_plugin_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        check_function("people", FunctionConfig(plugin="conter"))
    assert caught.value.key == "functions.people.plugin"
    assert "did you mean 'counter'?" in (caught.value.remedy or "")
    assert "stateful-counter" in (caught.value.remedy or "")


@pytest.mark.usefixtures("plugins")
def test_a_plugin_that_lacks_a_package_says_which() -> None:
    with pytest.raises(MissingDependencyError, match="surely_not_installed"):
        load_function("no-package")


def test_a_plugin_that_fails_to_import_says_why(
    plugins: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    del plugins

    def fail(self: EntryPoint) -> ModuleType:
        raise RuntimeError(f"no licence for {self.name}")

    monkeypatch.setattr(EntryPoint, "load", fail)
    with pytest.raises(ConfigError, match="RuntimeError: no licence for broken"):
        load_function("broken")


@pytest.mark.usefixtures("plugins")
def test_a_plugin_whose_class_is_absent_is_refused() -> None:
    with pytest.raises(ConfigError, match="Absent"):
        load_function("no-attribute")


@pytest.mark.usefixtures("plugins")
def test_what_is_no_function_is_told_what_it_lacks() -> None:
    with pytest.raises(ConfigError, match="process, close, Params"):
        load_function("no-function")


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    ("plugin", "stateful", "remedy"),
    [("counter", True, "stateful: false"), ("stateful-counter", False, "stateful: true")],
)
def test_stateful_must_say_what_the_plugin_is(plugin: str, stateful: bool, remedy: str) -> None:
    config = FunctionConfig(parameters={"size": 1}, stateful=stateful)
    with pytest.raises(ConfigError) as caught:
        check_function(plugin, config)
    assert caught.value.key == f"functions.{plugin}.stateful"
    assert remedy in (caught.value.remedy or "")
    right = config.model_copy(update={"stateful": not stateful})
    assert check_function(plugin, right)[1] == CounterParams(size=1)


def test_two_packages_with_one_plugin_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint("twice", f"{name}:F", registry.GROUP) for name in ("a", "b")]
    monkeypatch.setattr("dataflow.plugins.entry_points", lambda *, group: points)  # noqa: ARG005 - the name is the keyword
    with pytest.raises(ConfigError, match="a:F and b:F"):
        available()


def test_every_plugin_that_ships_keeps_the_interface() -> None:
    names = available()
    assert "background-subtraction" in names
    for name in names:
        assert load_function(name).Params.model_config["extra"] == "forbid"
