"""Plugins as their packages install them, the faulty ones above all."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.balancing import Place, last_window, make_balancer
from dataflow.config.model import BALANCERS
from dataflow.errors import ConfigError, MissingDependencyError, ModelError, VideojamError
from dataflow.functions.registry import load_function
from dataflow.plugins import installed, load_plugin
from evaluation.thesis_case import installed_balancers
from roomie.control.autoscaling import build_autoscaler
from roomie.placers import build_placer
from tests.roomie.kit import matrix_costs

_GROUP = "videojam.tests"

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a distribution ``name`` whose module of that name holds ``source``."""
    made: list[str] = []

    def install(name: str, source: str, target: str = "build", group: str = _GROUP) -> None:
        folder = tmp_path / name
        info = folder / f"{name}-1.2.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[{group}]\nmine = {name}:{target}\n")
        (folder / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(folder)
        made.append(name)

    yield install
    for name in made:
        sys.modules.pop(name, None)


def load(name: str = "mine") -> Any:
    return load_plugin(_GROUP, name, what="widget", interface="a factory", key="widget")


def test_a_plugin_is_what_its_entry_point_names(install: Install) -> None:
    install("widgets_a", "def build():\n    return 7\n")
    assert load()() == 7


def test_an_unknown_name_lists_those_that_there_are(install: Install) -> None:
    install("widgets_a", "")
    with pytest.raises(ConfigError, match="no widget is called 'mien'") as caught:
        load("mien")
    assert caught.value.key == "widget"
    assert caught.value.remedy == "did you mean 'mine'? installed widgets: mine"


def test_an_unknown_name_where_nothing_is_installed() -> None:
    with pytest.raises(ConfigError, match="installed widgets: none"):
        load()


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        ("import surely_not_there", MissingDependencyError, "surely_not_there"),
        ("raise RuntimeError('no licence')", ConfigError, "RuntimeError: no licence"),
        ("biuld = 3", ConfigError, "AttributeError: .*build"),
        ("build = 3", ConfigError, "it is not callable but of type int"),
    ],
)
def test_one_that_is_no_good_is_named_with_its_distribution(
    install: Install, source: str, kind: type[VideojamError], said: str
) -> None:
    install("widgets_a", source)
    with pytest.raises(kind, match=f"'mine'.*widgets_a:build of widgets_a 1.2.*{said}"):
        load()


def test_what_one_raises_on_purpose_stays_as_it_is(install: Install) -> None:
    install("widgets_a", "from dataflow.errors import ModelError\nraise ModelError('no network')")
    with pytest.raises(ModelError, match=r"^no network$"):
        load()


def test_two_of_one_name_are_named_with_their_distributions(install: Install) -> None:
    install("widgets_a", "")
    install("widgets_b", "")
    with pytest.raises(ConfigError, match=r"of widgets_. 1\.2 and widgets_.:build") as caught:
        installed(_GROUP, "widget")
    assert "widgets_a" in str(caught.value)
    assert "widgets_b" in str(caught.value)


@pytest.mark.parametrize(
    ("group", "make"),
    [
        ("functions", load_function),
        (
            "balancers",
            lambda name: make_balancer(
                name, Place(replica="r", incarnation="i", now=0.0, forecast=last_window(1))
            ),
        ),
        ("placers", lambda name: build_placer(name, matrix_costs({}))),
        ("autoscalers", build_autoscaler),
    ],
)
def test_all_kinds_of_plugin_fail_alike(
    install: Install, group: str, make: Callable[[str], object]
) -> None:
    install("widgets_a", "raise RuntimeError('no licence')", group=f"videojam.{group}")
    with pytest.raises(ConfigError, match=r"widgets_a 1\.2.*RuntimeError: no licence"):
        make("mine")
    with pytest.raises(ConfigError, match="did you mean 'mine'"):
        make("mien")


@pytest.mark.parametrize(
    ("group", "make"), [("placers", build_placer), ("autoscalers", build_autoscaler)]
)
def test_what_is_no_factory_says_what_it_should_be(
    install: Install, group: str, make: Callable[..., object]
) -> None:
    install("widgets_a", "build = 3", group=f"videojam.{group}")
    arguments = (matrix_costs({}),) if group == "placers" else ()
    with pytest.raises(ConfigError, match="let it be a factory that takes"):
        make("mine", *arguments)


def test_two_balancers_of_one_name_are_said_where_some_are_compared(install: Install) -> None:
    for name in ("balancers_a", "balancers_b"):
        install(name, "", group=BALANCERS)
    with pytest.raises(ConfigError, match="packages register the balancer 'mine'"):
        installed_balancers("mine", "--balancers")
