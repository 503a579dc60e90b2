"""Clients of placed instances, with fake servers and topics in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataflow.config import TopicNames
from dataflow.errors import ConfigError
from dataflow.transport.memory import MemoryTransport
from roomie.control.instance_client import ClientSettings, InstanceClient
from roomie.errors import BadRequestError, NoInstanceError, UnavailableError
from roomie.triton.fake import FakeTriton
from roomie.triton.server import Tensor
from tests.roomie.control.client_site import Site, client_site
from tests.roomie.control.kit import Plant, X, placed
from tests.roomie.triton.models import PROGRAMS
from tests.roomie.waiting import wait_until


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with client_site(tmp_path) as found:
        yield found


def test_requests_go_to_ready_instances_by_their_speed(site: Site) -> None:
    site.server("a:1", "m.1")
    site.server("b:1", "m.2")
    site.plant.place(
        "m",
        [
            placed("m.1", "a", ready_at="a:1"),
            placed("m.2", "b", ready_at="b:1"),
            placed("m.3", "c"),
        ],
    )
    client = site.client()
    site.ready(client, 2)
    for _ in range(20):
        np.testing.assert_array_equal(client.infer({"x": X})["y"], 2 * X)
    counts = client.counts()
    assert (counts.answered, counts.failed, counts.moved) == (20, 0, 0)
    assert set(counts.by_instance) == {"m.1", "m.2"}
    assert sorted(site.opened) == ["a:1", "b:1"]


def test_within_one_request_another_instance_is_asked_when_one_goes_away(site: Site) -> None:
    site.server("a:1", "m.1")
    site.server("b:1", "m.2")
    site.plant.place("m", [placed("m.1", "a", ready_at="a:1"), placed("m.2", "b", ready_at="b:1")])
    client = site.client()
    site.ready(client, 2)
    client.infer({"x": X})
    site.servers["a:1"].die()
    for _ in range(10):
        client.infer({"x": X})
    counts = client.counts()
    assert (counts.answered, counts.failed) == (11, 0)
    assert counts.moved >= 1


def test_an_instance_that_is_unloaded_under_a_client_costs_no_request(site: Site) -> None:
    site.server("a:1", "m.1", "m.2")
    site.plant.place("m", [placed("m.1", "a", ready_at="a:1"), placed("m.2", "a", ready_at="a:1")])
    client = site.client()
    site.ready(client, 2)
    site.servers["a:1"].unload("m.1", timeout=5)
    for _ in range(10):
        client.infer({"x": X})
    assert client.counts().failed == 0
    assert client.counts().by_instance.get("m.1", 0) == 0


def test_requests_wait_for_the_first_instance(site: Site) -> None:
    client = site.client()
    answers: list[dict[str, Tensor]] = []
    asking = threading.Thread(target=lambda: answers.append(client.infer({"x": X})))
    asking.start()
    site.server("a:1", "m.1")
    site.plant.place("m", [placed("m.1", "a", ready_at="a:1")])
    asking.join(30)
    np.testing.assert_array_equal(answers[0]["y"], 2 * X)


def test_requests_outlive_the_restart_of_the_only_server(site: Site) -> None:
    site.server("a:1", "m.1")
    site.plant.place("m", [placed("m.1", "a", ready_at="a:1")])
    client = site.client()
    client.infer({"x": X})
    site.servers["a:1"].die()
    answers: list[object] = []
    asking = threading.Thread(target=lambda: answers.append(client.infer({"x": X})))
    asking.start()
    wait_until(lambda: client.counts().moved >= 2, "it has tried")
    site.servers["a:1"].come_back()
    site.load("a:1", "m.1")
    asking.join(30)
    assert len(answers) == 1
    assert client.counts().failed == 0


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda _plant: None, "the model 'm' is not deployed"),
        (lambda plant: plant.place("m", [placed("m.1", "a")]), "its placement has 1 pending"),
        (lambda plant: plant.place("m", []), "its placement has none"),
    ],
)
def test_where_none_is_ready_in_time_it_says_why(
    site: Site, prepare: Callable[[Plant], None], said: str
) -> None:
    prepare(site.plant)
    client = site.client(ClientSettings(wait=0.5))
    with pytest.raises(NoInstanceError, match=said):
        client.infer({"x": X})
    assert client.counts().failed == 1


class Starting(FakeTriton):
    """A server that is not there for some requests, and notes how many ask it at a time."""

    absent = 4
    at_once = 0
    most_at_once = 0
    lock = threading.Lock()

    def infer(self, *asked: Any, **options: Any) -> dict[str, Tensor]:
        with self.lock:
            self.at_once += 1
            missing = self.absent > 0
            self.absent -= 1
            if missing:
                self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if missing:
                threading.Event().wait(0.02)  # so that others could ask meanwhile
                raise UnavailableError("no connection")
            return super().infer(*asked, **options)
        finally:
            with self.lock:
                self.at_once -= 1


def test_a_server_that_is_coming_up_is_tried_by_one_request_at_a_time(site: Site) -> None:
    site.server("a:1", "m.1")
    server = site.servers["a:1"] = Starting(site.folder / "a:1" / "instances", PROGRAMS, url="a:1")
    site.load("a:1", "m.1")
    site.plant.place("m", [placed("m.1", "a", ready_at="a:1")])
    client = site.client()
    site.ready(client, 1)
    client.describe()
    with ThreadPoolExecutor(9) as threads:
        first = threads.submit(client.infer, {"x": X})
        wait_until(lambda: client.counts().moved > 0, "the first request has failed")
        answers = [first, *(threads.submit(client.infer, {"x": X}) for _ in range(8))]
        for answer in answers:
            np.testing.assert_array_equal(answer.result(30)["y"], 2 * X)
    counts = client.counts()
    assert server.most_at_once == 1
    assert (counts.answered, counts.failed, counts.moved) == (9, 0, 4)


def test_without_topics_it_says_what_to_do() -> None:
    with (
        MemoryTransport() as transport,
        InstanceClient(
            "m", transport, TopicNames("none"), settings=ClientSettings(wait=0.3)
        ) as client,
        pytest.raises(NoInstanceError, match="videojam topics apply"),
    ):
        client.infer({"x": X})


def test_an_input_that_no_instance_digests_is_tried_a_few_times_only(site: Site) -> None:
    site.server("a:1", "m.1", "m.2", program="errs")
    site.plant.place("m", [placed("m.1", "a", ready_at="a:1"), placed("m.2", "a", ready_at="a:1")])
    client = site.client()
    with pytest.raises(NoInstanceError, match=r"3 attempts .* it does not add up"):
        client.infer({"x": X})
    stats = site.servers["a:1"].statistics()
    assert sum(model.failures for model in stats.values()) == 3
    assert client.counts().failed == 1


def test_a_wrong_input_is_refused_at_once(site: Site) -> None:
    site.server("a:1", "m.1")
    site.plant.place("m", [placed("m.1", "a", ready_at="a:1")])
    client = site.client()
    with pytest.raises(BadRequestError):
        client.infer({"x": np.ones((2, 9), np.float32)})
    assert client.counts().moved == 0
    client.infer({"x": X})


@pytest.mark.parametrize(
    "faults",
    [
        [OSError("too many open files")],
        [UnavailableError("gone")],
        [UnavailableError("gone"), OSError("too many open files")],
    ],
    ids=["refused", "failed", "refused on trial"],
)
def test_an_instance_that_could_not_be_connected_to_is_asked_again(
    site: Site, monkeypatch: pytest.MonkeyPatch, faults: list[Exception]
) -> None:
    site.server("a:1", "m.1")
    site.plant.place("m", [placed("m.1", "a", ready_at="a:1")])

    def connect(url: str) -> FakeTriton:
        if faults:
            raise faults.pop(0)
        return site.servers[url]

    monkeypatch.setattr(site, "connect", connect)
    refused = sum(isinstance(fault, OSError) for fault in faults)
    moved = len(faults) - refused
    client = site.client()
    for _ in range(refused):
        with pytest.raises(OSError, match="too many"):
            client.infer({"x": X})
    client.infer({"x": X})
    counts = client.counts()
    assert (counts.answered, counts.failed, counts.moved) == (1, refused, moved)


def test_an_instance_that_was_removed_gets_no_more_requests(site: Site) -> None:
    site.server("a:1", "m.1", "m.2")
    site.plant.place("m", [placed("m.1", "a", ready_at="a:1"), placed("m.2", "a", ready_at="a:1")])
    client = site.client()
    site.ready(client, 2)
    site.plant.place("m", [placed("m.2", "a", ready_at="a:1")])
    site.ready(client, 1)
    for _ in range(5):
        client.infer({"x": X})
    assert client.counts().by_instance == {"m.2": 10}


def test_a_patience_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="wait"):
        ClientSettings(wait=0)
