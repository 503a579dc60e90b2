"""Leases, windows, shortages, places without a profile, and what topics.yaml declares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dataflow.config import Config, TopicNames, declared_topics, parse_config
from dataflow.config.roomie import RoomieConfig
from dataflow.errors import ConfigError, RecordError
from roomie.cluster import Request
from roomie.control.assembly import build_planner, declared_roomie, models_of_functions
from roomie.control.capacity import CapacityReport, Shortages
from roomie.control.fake import FakeWorker
from roomie.control.fallback import fall_back
from roomie.control.fleet import Fleet, Site
from roomie.control.metrics import ControllerCollector
from roomie.control.records import GpuReport, InstanceTelemetry, ModelSpec, Status, Telemetry
from roomie.control.settings import ControlSettings
from roomie.control.sight import Sight
from roomie.control.spots import Wanted
from roomie.control.windows import Totals, Windows
from tests.roomie.control.world import World


class TestFleet:
    def _fleet(self) -> Fleet:
        fleet = Fleet(patience=2.5)
        for name in ("a", "b"):
            fleet.hear(FakeWorker(name).report(100.0), 100.0)
        return fleet

    def test_a_lease_is_over_when_it_is_over(self) -> None:
        fleet = self._fleet()
        fleet.hear(FakeWorker("b").report(104.0), 104.0)
        assert fleet.expire(105.0, 105.0) == ()
        assert [r.worker for r in fleet.expire(105.5, 105.5)] == ["a"]
        assert "a" not in fleet
        assert [s.worker for s in fleet.sites()] == ["b"]

    def test_leases_begin_anew_after_deafness(self) -> None:
        fleet = self._fleet()
        states = []
        for now, heard in ((200.0, 100.0), (200.5, 200.4)):
            assert fleet.expire(now, heard) == ()
            states.append(fleet.deaf)
        assert states == [True, False]
        assert fleet.expire(205.0, 205.0) == ()
        assert len(fleet.expire(206.0, 206.0)) == 2

    def test_clocks_of_workers_may_be_wrong(self) -> None:
        fleet = Fleet(patience=2.5)
        fleet.hear(FakeWorker("a").report(7.0), 1000.0)
        assert fleet.expire(1004.0, 1004.0) == ()
        assert fleet.sites()[0].usable

    def test_a_gpu_that_two_workers_claim_is_counted_once(self) -> None:
        fleet = self._fleet()
        claim = FakeWorker("c").report(100.0)
        fleet.hear(claim.model_copy(update={"gpus": (GpuReport(id="a/0", device="?"),)}), 100.0)
        assert [(s.gpu.id, s.worker) for s in fleet.sites()] == [("a/0", "a"), ("b/0", "b")]

    def test_old_reports_are_not_placed_on_until_heard(self) -> None:
        fleet = Fleet(patience=2.5)
        fleet.restore(FakeWorker("a").report(100.0), 1000.0)
        fleet.restore(FakeWorker("b").report(990.0), 1000.0)
        assert [s.usable for s in fleet.sites()] == [False, True]
        assert fleet.hear(FakeWorker("a").report(100.5), 1000.5)
        assert [s.usable for s in fleet.sites()] == [True, True]
        assert not fleet.hear(FakeWorker("a").report(101.0), 1001.0)


def telemetry(at: float, requests: int, *, pending: int = 0, failures: int = 0) -> Telemetry:
    part = InstanceTelemetry(
        id="i",
        requests=requests,
        failures=failures,
        items=2 * requests,
        queue_seconds=0.1,
        compute_seconds=0.5,
        executions=requests,
        pending=pending,
    )
    return Telemetry(worker="w", at=at, seconds=1.0, instances=(part,))


class TestWindows:
    def test_totals_are_of_the_window_alone(self) -> None:
        windows = Windows()
        for second in range(1, 11):
            windows.hear(telemetry(second, 10, pending=second), float(second))
        totals = windows.totals("i", 6.0)
        assert (totals.seconds, totals.requests, totals.items) == (4.0, 40, 80)
        assert (totals.pending, totals.grown) == (10, 4)
        assert totals.arrivals_per_s == pytest.approx((80 + 4 * 2) / 4)
        assert totals.execution_s == pytest.approx(0.05)
        assert totals.speed == pytest.approx(40.0)
        assert windows.totals("other", 0.0).arrivals_per_s == 0.0

    def test_what_is_old_or_gone_is_forgotten(self) -> None:
        windows = Windows()
        windows.hear(telemetry(1.0, 10), 1.0)
        windows.hear(telemetry(500.0, 20), 500.0)
        assert windows.totals("i", 0.0).requests == 20
        windows.keep_only([])
        assert windows.totals("i", 0.0).requests == 0

    def test_what_waited_before_the_longest_window_is_known(self) -> None:
        windows = Windows(100.0)
        for second in range(1, 202):
            windows.hear(telemetry(second, 10, pending=second), float(second))
        totals = windows.totals("i", 101.0)
        assert (totals.seconds, totals.grown) == (100.0, 100)

    def test_the_sums_of_several_are_those_of_all_their_telemetry(self) -> None:
        windows = Windows()
        windows.hear(telemetry(1.0, 10, pending=3), 1.0)
        windows.hear(telemetry(2.0, 20, pending=5, failures=2), 2.0)
        one = windows.totals("i", 0.0)
        both = Totals.of([one, one])
        assert (both.seconds, both.requests, both.failures, both.items) == (2.0, 60, 4, 120)
        assert (both.executions, both.pending, both.grown) == (60, 10, 10)
        assert both.compute_seconds == pytest.approx(2.0)
        assert Totals.of([]) == Totals()

    def test_arrivals_by_second_sum_to_what_came(self) -> None:
        windows = Windows()
        windows.hear(telemetry(10.5, 10, pending=3), 10.5)
        windows.hear(telemetry(11.5, 10, pending=0), 11.5)
        slots = windows.arrivals(["i"], 12.0)
        assert len(slots) == 50
        assert sum(slots) == pytest.approx(40.0)
        assert slots[-1] == pytest.approx(0.5 * 14)
        assert all(s == 0 for s in slots[:47])


class TestShortages:
    def test_they_are_of_the_model_that_a_function_calls_and_of_now(self) -> None:
        shortages = Shortages({"detect": "yolo"})
        shortages.hear(CapacityReport(function="detect", needed=30, available=10), 100.0)
        shortages.hear(CapacityReport(function="yolo", needed=3, available=1), 100.0)
        assert shortages.of("yolo", 101.0) == 22.0
        assert shortages.of("detect", 101.0) == 0.0
        assert shortages.of("yolo", 110.0) == 0.0
        shortages.hear(CapacityReport(function="detect", needed=1, available=9), 111.0)
        assert shortages.of("yolo", 111.0) == 0.0

    def test_an_end_ends_it(self) -> None:
        shortages = Shortages()
        shortages.hear(CapacityReport(function="f", needed=30, available=10), 1.0)
        shortages.hear(CapacityReport(function="f", needed=0, available=9, ended=True), 2.0)
        assert shortages.of("f", 2.0) == 0.0

    def test_what_is_no_event_is_said(self) -> None:
        with pytest.raises(RecordError, match="needed"):
            CapacityReport.from_json(b'{"function": "f", "needed": "much"}')


class TestFallback:
    def _place(self, spec: dict[str, Any], need: int, residents: list[Any]) -> Any:
        sites = [
            Site(gpu=GpuReport(id=f"w{n}/0", device="?"), worker=f"w{n}", node=f"n{n}", usable=True)
            for n in range(2)
        ]
        wanted = Wanted(id="new", spec=ModelSpec(model="m", **spec), reserved=True)
        return fall_back(
            wanted,
            batch=1,
            need=need,
            sites=sites,
            limits={"w0/0": 100.0, "w1/0": None},
            residents=residents,
        )

    def _resident(self, gpu: int, name: str, size: int, **wanted: Any) -> Any:
        request = Request(id=name, model=name, group=name, **wanted)
        return (f"w{gpu}/0", f"n{gpu}", request, size)

    def test_the_fewest_instances_win(self) -> None:
        spot, gone = self._place({}, 10, [self._resident(0, "x", 10)])
        assert (spot.gpu, gone) == ("w1/0", ())
        spot, _ = self._place({}, 10, [self._resident(1, "x", 10)])
        assert spot.gpu == "w0/0"

    def test_memory_whose_size_is_not_known_limits_nothing(self) -> None:
        spot, _ = self._place({}, 10**9, [])
        assert spot.gpu == "w1/0"

    def test_one_that_may_go_is_not_asked_to_where_there_is_room(self) -> None:
        spot, gone = self._place({}, 60, [self._resident(0, "x", 60, removable=True)])
        assert (spot.gpu, gone) == ("w1/0", ())

    def test_nodes_are_kept_apart(self) -> None:
        here = [self._resident(1, "m", 1), self._resident(0, "x", 50)]
        spot, _ = self._place({"spread": "prefer"}, 10, here)
        assert spot.gpu == "w0/0"
        everywhere = [self._resident(0, "m", 1), self._resident(1, "m", 1)]
        assert "keep apart" in self._place({"spread": "require"}, 10, everywhere)


DECLARED: dict[str, Any] = {
    "version": 1,
    "functions": {
        "detect": {"plugin": "triton", "parameters": {"model": "yolo"}},
        "read": {"plugin": "plate-ocr"},
    },
    "pipelines": {"p": {"cameras": ["any"], "steps": [{"function": "detect"}]}},
}


def config(**roomie: Any) -> Config:
    return Config.model_validate({**DECLARED, "roomie": roomie})


class TestDeclaration:
    def test_without_the_section_there_are_no_topics_of_roomie(self) -> None:
        plain = Config.model_validate(DECLARED)
        assert not [s.name for s in declared_topics(plain) if ".roomie." in s.name]
        with pytest.raises(ConfigError, match="ROOMIE is not declared"):
            declared_roomie(plain)

    def test_with_it_there_are_all_with_one_partition_each(self) -> None:
        declared = config()
        names = TopicNames(declared.deployment)
        specs = {s.name: s for s in declared_topics(declared) if ".roomie." in s.name}
        compacted = {names.placements, names.workers, names.controller}
        others = {names.deploy, names.telemetry, names.status, names.refused}
        assert set(specs) == compacted | others
        assert {s.partitions for s in specs.values()} == {1}
        for name, spec in specs.items():
            assert (spec.configs["cleanup.policy"] == "compact") == (name in compacted)

    def test_a_lease_must_outlast_a_late_report(self) -> None:
        with pytest.raises(ConfigError, match="less than two reports") as caught:
            parse_config(
                "version: 1\nfunctions: {f: {}}\n"
                "pipelines: {p: {cameras: [c], steps: [{function: f}]}}\n"
                "roomie: {lease: 1s, report: 1s}\n"
            )
        assert caught.value.key == "roomie.lease"

    def test_the_core_decides_as_declared(self) -> None:
        declared = RoomieConfig.model_validate({"ready_timeout": "7s", "probation": 0, "lease": 4})
        settings = ControlSettings.from_config(declared)
        assert (settings.ready_timeout, settings.probation, settings.lease) == (7.0, 0.0, 4.0)

    def test_functions_that_call_a_model_are_known(self) -> None:
        assert models_of_functions(config()) == {"detect": "yolo"}

    def test_a_wrong_placer_or_folder_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="no placer is called"):
            build_planner(RoomieConfig(placer="nobody"))
        with pytest.raises(ConfigError, match="no such folder"):
            build_planner(RoomieConfig(profiles=(str(tmp_path / "none"),)))

    def test_other_placers_may_be_declared(self) -> None:
        assert build_planner(RoomieConfig(placer="least-loaded")).fault(
            ModelSpec(model="alexnet", batch=3)
        )


class TestMetrics:
    def test_they_show_what_the_controller_does(self) -> None:
        world = World(2)
        sight = Sight()
        collector = ControllerCollector(
            sight.glance, deployment="d", controller="c", started_at=5.0
        )
        standing = {m.name: m for m in collector.collect()}
        assert standing["videojam_roomie_active"].samples[0].value == 0
        assert "videojam_roomie_workers" not in standing
        world.run(1)
        world.deploy(instances=2)
        world.settle()
        for step in world.steps:
            sight.wrote(step, 0.25)
        sight.look(world.core)
        shown = {m.name: m for m in collector.collect()}
        assert shown["videojam_roomie_active"].samples[0].value == 1
        assert shown["videojam_roomie_workers"].samples[0].value == 2
        (states,) = shown["videojam_roomie_instances"].samples
        assert (states.labels["model"], states.labels["state"], states.value) == (
            "small",
            "ready",
            2.0,
        )
        outcomes = shown["videojam_roomie_outcomes"].samples
        assert [(s.labels["event"], s.value) for s in outcomes] == [("ready", 1.0)]
        written = shown["videojam_roomie_seconds"].samples
        assert written[0].value == pytest.approx(0.25 * len(world.steps))

    def test_a_status_is_an_outcome_only_of_an_order(self) -> None:
        plain = Status(model="m", event="ready", reason="", at=1.0)
        assert not plain.is_outcome
        assert plain.model_copy(update={"order": "1"}).is_outcome
