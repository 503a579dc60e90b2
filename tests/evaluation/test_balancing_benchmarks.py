"""Balancers on a real Kafka: what the tables and plots say of runs, and the whole in short."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.accounts import End, Totals
from evaluation.benchmarks import balancing, recovery
from evaluation.benchmarks.balancing import Figures, comparison, draw, summarise
from evaluation.errors import MeasurementError
from tests.evaluation.commands import end_of


def figures(mean: float) -> Figures:
    return Figures(
        mean=mean,
        p95=2 * mean,
        first_mean=mean / 2,
        loss=0.01,
        messages_per_second=10.0,
        control_bytes_per_second=1000.0,
        offloaded_per_second=5.0,
        offloaded_mb=1.0,
        cpu_of_balancing=0.02,
        cpu_of_worker=0.1,
    )


@pytest.mark.parametrize(("base", "ratios"), [("direct", "1.00 3.00"), ("faust", "0.33 1.00")])
def test_ratios_are_the_medians_of_those_to_the_base_within_each_round(
    base: str, ratios: str
) -> None:
    runs = {
        "direct": [figures(0.1), figures(0.2), figures(4.0)],
        "faust": [figures(0.3), figures(0.6), figures(4.0)],
    }
    table = comparison(3, runs, base)
    column = next(column for column in table.columns if column.header == f"x {base}")
    assert " ".join(str(cell) for cell in column.cells) == ratios
    assert [len(list(column.cells)) for column in table.columns] == [2] * 11


def test_a_run_without_a_frame_after_the_warm_up_says_what_to_change() -> None:
    early = End(identity="a", captured=1.0, first=1.1, finished=1.2, replicas=("r",))
    with pytest.raises(MeasurementError, match="remedy: more --seconds"):
        summarise([early], Totals(), 10.0, [], 0.0)


def test_plots_are_drawn_also_of_one_number_of_cameras(tmp_path: Path) -> None:
    draw({4: {"wrr": [figures(0.1)], "videojam": [figures(0.2)]}}, tmp_path / "knee.png")
    recovery.draw({"wrr": [(0.0, 0.1), (1.0, 0.2)]}, tmp_path / "recovery.svg")
    assert (tmp_path / "knee.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "recovery.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--cameras", "0"], "whole numbers from 1"),
        (["--cameras", "3,x"], "whole numbers from 1"),
        (["--balancers", "wrr,nobody"], "'nobody' is none of"),
        (["--seconds", "-1"], "--seconds"),
        (["--plot", "knee.gif"], "a plot ends in"),
    ],
)
def test_what_is_wrong_is_told_before_a_broker_is_started(arguments: list[str], says: str) -> None:
    ended = end_of(balancing.compare, *arguments)
    assert ended.code == 2
    assert says in ended.err
    assert not ended.out


def test_rounds_run_every_way_on_the_same_load_in_an_order_that_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runs = []

    def run_once(servers: str, folder: Path, keys: dict[str, str], **load: object) -> Figures:
        runs.append((servers, folder.name, keys["exchange"], load))
        return figures(float(len(runs)))

    monkeypatch.setattr(balancing, "run_once", run_once)
    found = balancing.measure(
        {way: {"exchange": way} for way in ("direct", "faust")},
        "host:1",
        tmp_path,
        cameras=3,
        rounds=2,
        seconds=20.0,
        seed=7,
        say=lambda _: None,
    )
    assert [(name, way) for _, name, way, _ in runs] == [
        ("3-0-direct", "direct"),
        ("3-0-faust", "faust"),
        ("3-1-faust", "faust"),
        ("3-1-direct", "direct"),
    ]
    assert [load for *_, load in runs] == [
        {"cameras": 3, "seconds": 20.0, "seed": seed} for seed in (7, 7, 8, 8)
    ]
    assert {way: [run.mean for run in each] for way, each in found.items()} == {
        "direct": [1, 4],
        "faust": [2, 3],
    }
