"""The worker agent where what it works with fails, or is slow."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from dataflow.errors import BrokerError, BufferFullError
from roomie.control.agent import TICK_SECONDS
from roomie.control.serving import ForeignServer
from roomie.errors import DeviceError, TritonError
from roomie.triton.fake import FakeTriton
from roomie.triton.server import IndexEntry, InferenceServer, ModelStatistics
from tests.roomie.control.agent_site import Site, agent_site
from tests.roomie.control.kit import QUICK, agent_of, placed
from tests.roomie.triton.models import PROGRAMS
from tests.roomie.waiting import wait_until


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with agent_site(tmp_path) as found:
        yield found


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
