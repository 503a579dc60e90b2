"""Clients of placed instances, with fake servers and topics in memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
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
from roomie.triton.model_config import Tuning
from roomie.triton.repository import InstanceRepository
from roomie.triton.server import ModelDescription, Tensor
from tests.roomie.control.kit import Plant, X, placed
from tests.roomie.triton.models import PROGRAMS, add_model
from tests.roomie.waiting import wait_until

SETTINGS = ClientSettings(wait=20.0, attempts=3)


@dataclass
class Site:
    plant: Plant
    folder: Path
    servers: dict[str, FakeTriton] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)
    clients: list[InstanceClient] = field(default_factory=list)

    def server(self, url: str, *instances: str, program: str = "double", batch: int = 4) -> None:
        """A server with instances of a model that doubles."""
        folder = self.folder / url / "instances"
        folder.mkdir(parents=True)
        server = self.servers[url] = FakeTriton(folder, PROGRAMS, url=url)
        self.load(url, *instances, program=program, batch=batch)
        assert server.ready()

    def load(self, url: str, *instances: str, program: str = "double", batch: int = 4) -> None:
        sources = self.folder / url / "models"
        add_model(sources, program, program, batch=0 if batch == 0 else 8)
        repository = InstanceRepository(sources, self.folder / url / "instances")
        for name in instances:
            settings = repository.write(name, program, Tuning(version=1, batch=max(1, batch)))
            self.servers[url].load(name, settings, timeout=10)

    def connect(self, url: str) -> FakeTriton:
        self.opened.append(url)
        return self.servers[url]

    def client(
        self,
        settings: ClientSettings = SETTINGS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> InstanceClient:
        client = InstanceClient(
            "m",
            self.plant.transport,
            self.plant.names,
            settings=settings,
            connect=self.connect,
            monotonic=monotonic,
        )
        self.clients.append(client)
        return client

    def ready(self, client: InstanceClient, count: int) -> None:
        wait_until(lambda: len(client.instances()) == count, f"{count} instances are known")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with MemoryTransport() as transport:
        plant = Plant(transport)
        found = Site(plant, tmp_path)
        yield found
        for client in found.clients:
            client.close()
        plant.close()


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


def test_many_items_are_cut_and_come_back_in_order(site: Site) -> None:
    site.server("a:1", "m.1", batch=4)
    site.server("b:1", "m.2", batch=2)
    site.plant.place(
        "m",
        [placed("m.1", "a", ready_at="a:1"), placed("m.2", "b", batch=2, ready_at="b:1")],
    )
    client = site.client()
    site.ready(client, 2)
    many = np.arange(13 * 4, dtype=np.float32).reshape(13, 4)
    np.testing.assert_array_equal(client.infer_all({"x": many})["y"], 2 * many)
    assert sum(client.counts().by_instance.values()) == 13
    assert len(client.counts().by_instance) == 2


def test_a_model_without_a_batch_axis_gets_its_items_one_by_one(site: Site) -> None:
    site.server("a:1", "m.1", batch=0)
    site.plant.place("m", [placed("m.1", "a", batch=1, ready_at="a:1")])
    client = site.client()
    many = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(client.infer_all({"x": many})["y"], 2 * many)
    assert client.describe().max_batch == 0


def test_an_array_without_a_batch_axis_is_one_item(site: Site) -> None:
    site.server("a:1", "m.1", batch=0)
    site.plant.place("m", [placed("m.1", "a", batch=1, ready_at="a:1")])
    client = site.client()
    np.testing.assert_array_equal(client.infer({"x": X[0]})["y"], 2 * X[0])
    assert client.counts().by_instance == {"m.1": 1}


def test_a_request_goes_to_an_instance_that_takes_all_of_it(site: Site) -> None:
    site.server("a:1", "m.1", batch=2)
    site.server("b:1", "m.2", batch=8)
    site.plant.place(
        "m",
        [
            placed("m.1", "a", batch=2, speed=1000.0, ready_at="a:1"),
            placed("m.2", "b", batch=8, speed=1.0, ready_at="b:1"),
        ],
    )
    client = site.client()
    site.ready(client, 2)
    many = np.ones((7, 4), np.float32)
    for _ in range(5):
        np.testing.assert_array_equal(client.infer({"x": many})["y"], 2 * many)
    assert client.counts().by_instance == {"m.2": 35}


def test_a_request_that_is_too_large_for_all_is_asked_for_in_pieces(site: Site) -> None:
    site.server("a:1", "m.1", batch=2)
    site.plant.place("m", [placed("m.1", "a", batch=2, ready_at="a:1")])
    client = site.client()
    many = np.arange(20, dtype=np.float32).reshape(5, 4)
    np.testing.assert_array_equal(client.infer({"x": many})["y"], 2 * many)
    counts = client.counts()
    assert (counts.answered, counts.failed, counts.moved) == (3, 0, 0)


def test_pieces_that_are_asked_for_in_turn_are_as_large_as_an_instance_takes(site: Site) -> None:
    site.server("a:1", "m.1", batch=2)
    site.server("b:1", "m.2", batch=4)
    site.plant.place(
        "m",
        [
            placed("m.1", "a", batch=2, ready_at="a:1"),
            placed("m.2", "b", batch=4, ready_at="b:1"),
        ],
    )
    client = site.client()
    site.ready(client, 2)
    many = np.arange(44, dtype=np.float32).reshape(11, 4)
    np.testing.assert_array_equal(client.infer({"x": many})["y"], 2 * many)
    counts = client.counts()
    assert counts.answered == 3
    assert counts.by_instance["m.2"] >= 8


class Clock:
    """A clock that goes on by itself, and further when it is told to."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


class Faltering(FakeTriton):
    """A server whose requests take time by some clock, and of which the first of some get lost."""

    clock: Clock
    outages: list[float]
    """Of each piece: seconds after which it turns out that nobody has answered; 0 for none."""
    seconds = 0.0

    def infer(self, *asked: Any, **options: Any) -> dict[str, Tensor]:
        if self.outages and self.outages[0]:
            self.clock.ahead += self.outages[0]
            self.outages[0] = 0.0
            raise UnavailableError("no connection")
        del self.outages[:1]
        self.clock.ahead += self.seconds
        return super().infer(*asked, **options)


def faltering(site: Site, outages: list[float], seconds: float) -> InstanceClient:
    site.server("a:1", "m.1", batch=2)
    server = Faltering(site.folder / "a:1" / "instances", PROGRAMS, url="a:1")
    server.clock, server.outages, server.seconds = Clock(), outages, seconds
    site.servers["a:1"] = server
    site.load("a:1", "m.1", batch=2)
    site.plant.place("m", [placed("m.1", "a", batch=2, ready_at="a:1")])
    return site.client(ClientSettings(wait=60.0), server.clock)


def test_the_pieces_of_a_request_wait_no_longer_than_all_of_it_may(site: Site) -> None:
    client = faltering(site, [40.0, 40.0, 40.0], 0.0)
    with pytest.raises(NoInstanceError, match="within 60 s"):
        client.infer({"x": np.ones((6, 4), np.float32)})
    assert client.counts().answered == 1


def test_a_request_that_is_being_answered_is_not_waiting(site: Site) -> None:
    client = faltering(site, [0.0, 0.0, 1.0, 1.0], 50.0)
    many = np.ones((8, 4), np.float32)
    np.testing.assert_array_equal(client.infer({"x": many})["y"], 2 * many)


class Distant(FakeTriton):
    """A server whose first call takes long, as it has to be connected to."""

    clock: Clock
    connecting = 30.0

    def describe(self, name: str) -> ModelDescription:
        self.clock.ahead += self.connecting
        self.connecting = 0.0
        return super().describe(name)

    def infer(self, *asked: Any, **options: Any) -> dict[str, Tensor]:
        self.clock.ahead += self.connecting + 0.01
        self.connecting = 0.0
        return super().infer(*asked, **options)


def test_the_time_to_connect_is_no_part_of_an_instances_speed(site: Site) -> None:
    clock = Clock()
    for url, name, connecting in (("a:1", "m.1", 0.0), ("b:1", "m.2", 30.0)):
        site.server(url, name)
        server = Distant(site.folder / url / "instances", PROGRAMS, url=url)
        server.clock, server.connecting = clock, connecting
        site.servers[url] = server
        site.load(url, name)
    site.plant.place("m", [placed("m.1", "a", ready_at="a:1")])
    client = site.client(monotonic=clock)
    client.infer({"x": X})
    site.plant.place("m", [placed("m.1", "a", ready_at="a:1"), placed("m.2", "b", ready_at="b:1")])
    site.ready(client, 2)
    before = client.counts().by_instance
    for _ in range(40):
        client.infer({"x": X})
    got = client.counts().by_instance
    assert got["m.2"] >= 0.4 * 40 * len(X)
    assert sum(got.values()) - sum(before.values()) == 40 * len(X)


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
