"""The worker agent around its core, with the fake server and topics in memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from dataflow.errors import BrokerError, BufferFullError
from dataflow.transport.memory import MemoryTransport
from roomie.control.agent import TICK_SECONDS, Agent
from roomie.control.serving import ForeignServer
from roomie.errors import DeviceError, ModelLoadError, TritonError
from roomie.triton.fake import FakeTriton
from roomie.triton.server import IndexEntry, InferenceServer, ModelStatistics
from tests.roomie.control.kit import QUICK, Plant, agent_of, answers, placed
from tests.roomie.triton.models import PROGRAMS, add_model
from tests.roomie.waiting import wait_until


@dataclass
class Site:
    plant: Plant
    server: FakeTriton
    sources: Path
    folder: Path

    def agent(self) -> Agent:
        return agent_of(self.plant, ForeignServer(self.server), self.sources, self.folder)

    @contextmanager
    def running(self, agent: Agent | None = None) -> Iterator[Agent]:
        agent = agent or self.agent()
        thread = threading.Thread(target=agent.run)
        thread.start()
        try:
            yield agent
        finally:
            agent.stop()
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    folder, sources = tmp_path / "instances", tmp_path / "models"
    folder.mkdir()
    add_model(sources, "m", {1: "double", 2: "double"})
    add_model(sources, "bad", "broken")
    add_model(sources, "errs", "errs")
    with MemoryTransport() as transport:
        plant = Plant(transport)
        yield Site(plant, FakeTriton(folder, PROGRAMS), sources, folder)
        plant.close()


def test_it_announces_what_it_has_and_says_goodbye(site: Site) -> None:
    with site.running():
        wait_until(lambda: "w" in site.plant.workers.rows(), "it announces itself")
        report = site.plant.workers.rows()["w"]
        assert [gpu.id for gpu in report.gpus] == ["w/0", "w/1"]
        assert report.server_ready
        assert report.node == "n"
        assert report.lease == 2.0
        wait_until(lambda: site.plant.workers.rows()["w"].at > report.at, "it renews its lease")
    wait_until(lambda: "w" not in site.plant.workers.rows(), "its row is deleted")


def test_what_is_placed_serves_and_what_is_removed_goes(site: Site) -> None:
    with site.running():
        site.plant.place("m", [placed("m.1", "w"), placed("m.2", "w", version=2, batch=2)])
        site.plant.wait_for("w", {"m.1": "ready", "m.2": "ready"})
        assert answers(site.server, "m.1")
        assert site.server.describe("m.2").max_batch == 2
        assert (site.plant.instances("w")["m.1"].ready_seconds or -1) >= 0
        site.plant.place("m", [placed("m.2", "w", version=2, batch=2)])
        site.plant.wait_for("w", {"m.2": "ready"})
        assert not site.server.model_ready("m.1")
        site.plant.remove("m")
        site.plant.wait_for("w", {})
        wait_until(lambda: not any(site.folder.iterdir()), "no folder is left")


def test_what_others_keep_in_the_servers_repository_stays(site: Site) -> None:
    add_model(site.folder, "theirs", "double")
    with site.running():
        site.plant.place("m", [placed("m.1", "w")])
        site.plant.wait_for("w", {"m.1": "ready"})
        site.plant.remove("m")
        site.plant.wait_for("w", {})
        wait_until(lambda: not (site.folder / "m.1").exists(), "our own folder is gone")
    assert (site.folder / "theirs" / "1" / "model.py").is_file()


def test_a_change_of_the_window_is_made_in_place(site: Site) -> None:
    with site.running():
        site.plant.place("m", [placed("m.1", "w")])
        site.plant.wait_for("w", {"m.1": "ready"})
        site.plant.place("m", [placed("m.1", "w", window=0.005)])
        wait_until(
            lambda: "5000us" in str(site.server.describe("m.1").parameters), "the window is new"
        )
        assert site.plant.states("w") == {"m.1": "ready"}


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("bad", "there is no program 'broken'"),
        ("errs", "its first inference failed"),
        ("absent", "there is no model 'absent'"),
    ],
)
def test_what_cannot_be_loaded_is_failed_with_the_reason(site: Site, model: str, said: str) -> None:
    with site.running():
        site.plant.place(model, [placed(f"{model}.1", "w")])
        site.plant.place("m", [placed("m.1", "w")])
        site.plant.wait_for("w", {f"{model}.1": "failed", "m.1": "ready"})
        assert said in (site.plant.instances("w")[f"{model}.1"].reason or "")


def test_a_version_that_is_not_there_names_those_that_are(site: Site) -> None:
    with site.running():
        site.plant.place("m", [placed("m.1", "w", version=9)])
        site.plant.wait_for("w", {"m.1": "failed"})
        assert "there is no version 9" in (site.plant.instances("w")["m.1"].reason or "")
        assert "1, 2" in (site.plant.instances("w")["m.1"].reason or "")


def test_a_batch_that_the_model_does_not_take_is_refused_before_the_load(site: Site) -> None:
    with site.running():
        site.plant.place("m", [placed("m.1", "w", batch=64)])
        site.plant.wait_for("w", {"m.1": "failed"})
        assert "batches of at most 8" in (site.plant.instances("w")["m.1"].reason or "")


def test_a_server_that_dies_and_returns_empty_gets_everything_again(site: Site) -> None:
    with site.running():
        site.plant.place("m", [placed("m.1", "w")])
        site.plant.wait_for("w", {"m.1": "ready"})
        site.server.die()
        wait_until(lambda: not site.plant.workers.rows()["w"].server_ready, "it says so")
        assert site.plant.states("w") == {"m.1": "pending"}
        site.server.come_back()
        site.plant.wait_for("w", {"m.1": "ready"})
        assert answers(site.server, "m.1")


def test_one_that_follows_a_dead_agent_uses_what_runs_and_never_says_otherwise(
    site: Site,
) -> None:
    with site.running():
        site.plant.place("m", [placed("m.1", "w"), placed("m.2", "w")])
        site.plant.wait_for("w", {"m.1": "ready", "m.2": "ready"})
    loads: list[str] = []
    site.server._on_load = loads.append
    site.plant.place("m", [placed("m.1", "w")])
    said: list[dict[str, str]] = []
    hear = site.plant.workers.hear

    def noted(key: str, value: bytes | None, at: float) -> None:
        hear(key, value, at)
        said.append(site.plant.states("w"))

    site.plant.workers.hear = noted  # type: ignore[method-assign]
    with site.running():
        wait_until(lambda: {"m.1": "ready"} in said, "it has taken over, and the orphan is gone")
        assert loads == []
        assert all(states.get("m.1") == "ready" for states in said if states)


class Revivable(ForeignServer):
    """A server that is ours: ended, it comes back."""

    def __init__(self, server: FakeTriton) -> None:
        super().__init__(server)
        self._fake = server

    def end(self) -> None:
        self._fake.die()
        self._fake.come_back()


def test_a_server_that_hangs_is_ended_and_loaded_anew(site: Site) -> None:
    settings = replace(QUICK, hung=0.5)
    agent = agent_of(
        site.plant, Revivable(site.server), site.sources, site.folder, settings=settings
    )
    with site.running(agent):
        site.plant.place("m", [placed("m.1", "w")])
        site.plant.wait_for("w", {"m.1": "ready"})
        site.server.die()  # its process goes on, as far as the agent knows
        wait_until(site.server.ready, "it is ended and comes back")
        wait_until(lambda: site.server.model_ready("m.1"), "all is loaded anew")


def test_it_says_that_it_is_there_as_often_as_is_declared_however_long_its_lease(
    site: Site,
) -> None:
    agent = agent_of(site.plant, ForeignServer(site.server), site.sources, site.folder, lease=1e4)
    with site.running(agent):
        wait_until(lambda: "w" in site.plant.workers.rows(), "it announces itself")
        written: set[float] = set()

        def often() -> bool:
            written.add(site.plant.workers.rows()["w"].at)
            return len(written) > 4

        wait_until(often, "it says so again and again")


class Failing:
    """A call that fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.times = 0

    def __call__(self, *_: object, **__: object) -> Any:
        self.times += 1
        raise self._error


def test_a_driver_that_errs_costs_only_what_it_would_have_told(site: Site) -> None:
    driver = Failing(DeviceError("the GPU has fallen off the bus"))
    agent = agent_of(
        site.plant, ForeignServer(site.server), site.sources, site.folder, used_bytes=driver
    )
    with site.running(agent):
        site.plant.place("m", [placed("m.1", "w")])
        site.plant.wait_for("w", {"m.1": "ready"})
        wait_until(lambda: "w" in site.plant.telemetry.rows(), "telemetry goes on without")
        assert site.plant.telemetry.rows()["w"].used_bytes == {}
        wait_until(lambda: driver.times > 1, "it is asked again")


@pytest.mark.parametrize("error", [OSError("too many open files"), HTTPException("half a line")])
def test_a_look_that_fails_is_tried_again_and_the_server_is_not_to_blame(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    settings = replace(QUICK, hung=0.3)
    ended: list[None] = []

    class Ours(ForeignServer):
        def end(self) -> None:
            ended.append(None)

    agent = agent_of(
        site.plant, Ours(site.server), site.sources, site.folder, settings=settings, lease=1.0
    )
    with site.running(agent):
        site.plant.place("m", [placed("m.1", "w")])
        site.plant.wait_for("w", {"m.1": "ready"})
        with monkeypatch.context() as patched:
            counters = Failing(error)
            patched.setattr(site.server, "statistics", counters)
            wait_until(lambda: counters.times > 3, "it looks again")
            heard = site.plant.workers.rows()["w"].at
            wait_until(lambda: site.plant.workers.rows()["w"].at > heard, "its lease is renewed")
        assert not ended
        site.plant.place("m", [placed("m.1", "w"), placed("m.2", "w")])
        site.plant.wait_for("w", {"m.1": "ready", "m.2": "ready"})


@pytest.mark.parametrize("slow", ["index", "statistics"])
def test_a_server_that_is_slow_to_tell_costs_no_lease(
    site: Site, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    answer = getattr(site.server, slow)
    asked, release = threading.Event(), threading.Event()

    def hang() -> object:
        asked.set()
        assert release.wait(60)
        return answer()

    with site.running():
        site.plant.place("m", [placed("m.1", "w")])
        site.plant.wait_for("w", {"m.1": "ready"})
        with monkeypatch.context() as patched:
            patched.setattr(site.server, slow, hang)
            assert asked.wait(30)
            heard = site.plant.workers.rows()["w"]
            wait_until(
                lambda: site.plant.workers.rows()["w"].at > heard.at + 2 * heard.lease,
                "its lease is renewed meanwhile",
            )
        assert not site.plant.workers.rows()["w"].server_ready, "it has not answered for long"
        release.set()
        site.plant.wait_for("w", {"m.1": "ready"})
        site.plant.place("m", [placed("m.1", "w"), placed("m.2", "w")])
        site.plant.wait_for("w", {"m.1": "ready", "m.2": "ready"})


def test_what_a_server_showed_before_it_was_replaced_counts_no_more(site: Site) -> None:
    asked, release = threading.Event(), threading.Event()

    class Slow(FakeTriton):
        def statistics(self) -> Mapping[str, ModelStatistics]:
            found = super().statistics()
            if "m.1" in found:
                asked.set()
                assert release.wait(60)
            return found

    class Replaced(ForeignServer):
        now: InferenceServer = Slow(site.folder, PROGRAMS)
        before: InferenceServer = now

        def tend(self, now: float) -> InferenceServer | None:
            del now
            return self.now

        def died(self) -> bool:
            died, self.before = self.now is not self.before, self.now
            return died

    serving, once = Replaced(site.server), replace(QUICK, attempts=1)
    with site.running(agent_of(site.plant, serving, site.sources, site.folder, settings=once)):
        site.plant.place("m", [placed("m.1", "w")])
        assert asked.wait(30)
        serving.now = site.server
        wait_until(lambda: not site.plant.workers.rows()["w"].server_ready, "it has died")
        release.set()
        site.plant.wait_for("w", {"m.1": "ready"})


def test_a_server_that_cannot_be_tended_or_ended_is_no_end_of_the_agent(site: Site) -> None:
    class Stubborn(ForeignServer):
        faults = 3

        def tend(self, now: float) -> InferenceServer | None:
            if self.faults:
                self.faults -= 1
                raise OSError("no space left on device")
            return super().tend(now)

        def end(self) -> None:
            refused.set()
            raise TritonError("it belongs to another user")

    refused = threading.Event()
    settings = replace(QUICK, hung=0.3)
    serving = Stubborn(site.server)
    agent = agent_of(site.plant, serving, site.sources, site.folder, settings=settings)
    with site.running(agent):
        site.plant.place("m", [placed("m.1", "w")])
        site.plant.wait_for("w", {"m.1": "ready"})
        assert not serving.faults
        site.server.die()
        assert refused.wait(60), "it tries to end it"
        site.server.come_back()
        site.plant.wait_for("w", {"m.1": "ready"})


@pytest.mark.parametrize("error", [BrokerError("no leader"), BufferFullError("1000 wait")])
def test_a_report_that_cannot_be_sent_is_sent_as_soon_as_it_can_and_said_once(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    producer = site.plant.transport.producer(client_id="agent")
    send, broken = producer.send, Failing(error)
    monkeypatch.setattr(site.plant.transport, "producer", lambda **_: producer)
    monkeypatch.setattr(producer, "send", broken)
    with site.running(), caplog.at_level("INFO", "videojam.roomie"):
        wait_until(lambda: broken.times > 3, "it tries, and tries again")
        assert "w" not in site.plant.workers.rows()
        monkeypatch.setattr(producer, "send", send)
        wait_until(lambda: "w" in site.plant.workers.rows(), "it is heard")
        monkeypatch.setattr(producer, "send", broken)
    said = [record.getMessage() for record in caplog.records]
    works = next(n for n, text in enumerate(said) if text.startswith("reporting works again"))
    assert sum(text.startswith("reporting failed") for text in said[:works]) == 1
    assert any(text.startswith("saying goodbye failed") for text in said)


def test_a_folder_that_cannot_be_deleted_does_not_keep_the_agent_busy(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    tried: list[float] = []
    index = site.server.index

    def counted() -> Mapping[str, IndexEntry]:
        looks.append(time.monotonic())
        return index()

    def refuse(*_: object) -> None:
        tried.append(time.monotonic())
        raise PermissionError("read-only file system")

    monkeypatch.setattr(site.server, "index", counted)
    with site.running():
        site.plant.place("m", [placed("m.1", "w")])
        site.plant.wait_for("w", {"m.1": "ready"})
        with monkeypatch.context() as patched:
            patched.setattr("roomie.triton.repository._remove", refuse)
            site.plant.remove("m")
            wait_until(lambda: len(tried) >= 3, "it tries, and tries again")
            between = sum(tried[0] <= look <= tried[2] for look in looks)
            seconds = tried[2] - tried[0]
            assert seconds >= 0.3, "two pauses, the second one twice as long"
            assert between <= 3 + 2 * seconds / TICK_SECONDS, "it looks as often as ever"
        wait_until(lambda: not (site.folder / "m.1").exists(), "then it can")


def test_two_agents_never_work_on_one_server(site: Site) -> None:
    with site.running():
        wait_until(lambda: "w" in site.plant.workers.rows(), "the first one is up")
        with pytest.raises(TritonError, match="another node agent works on"):
            site.agent().run()


def test_telemetry_says_what_was_done(site: Site) -> None:
    with site.running():
        site.plant.place("m", [placed("m.1", "w", batch=2)])
        site.plant.wait_for("w", {"m.1": "ready"})
        heard: list[tuple[int, int, int]] = []
        hear = site.plant.telemetry.hear

        def noted(key: str, value: bytes | None, at: float) -> None:
            hear(key, value, at)
            heard.extend(
                (entry.requests, entry.items, entry.full_executions)
                for entry in site.plant.telemetry.rows()["w"].instances
            )

        site.plant.telemetry.hear = noted  # type: ignore[method-assign]
        for _ in range(5):
            assert answers(site.server, "m.1")
        wait_until(
            lambda: sum(requests for requests, _, _ in heard) >= 5, "five requests are told of"
        )
        assert sum(full for _, _, full in heard) >= 5


def test_a_load_that_hangs_holds_up_nobody_else(site: Site) -> None:
    release = threading.Event()

    def hang(name: str) -> None:
        if name == "m.slow":
            release.wait(30)
            raise ModelLoadError("given up")

    site.server._on_load = hang
    with site.running():
        site.plant.place("m", [placed("m.slow", "w"), placed("m.1", "w")])
        site.plant.wait_for("w", {"m.slow": "loading", "m.1": "ready"})
        release.set()
        site.plant.wait_for("w", {"m.slow": "failed", "m.1": "ready"})
        assert "given up" in (site.plant.instances("w")["m.slow"].reason or "")
        assert QUICK.attempts == 2
