"""The worker agent around its core, with the fake server and topics in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from roomie.control.serving import ForeignServer
from roomie.errors import ModelLoadError, TritonError
from roomie.triton.fake import FakeTriton
from tests.roomie.control.agent_site import Site, agent_site
from tests.roomie.control.kit import QUICK, agent_of, answers, placed
from tests.roomie.triton.models import add_model
from tests.roomie.waiting import wait_until


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with agent_site(tmp_path) as found:
        yield found


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
