"""Requests of many items, and what clients learn of instances by their time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roomie.control.instance_client import ClientSettings, InstanceClient
from roomie.errors import NoInstanceError, UnavailableError
from roomie.triton.fake import FakeTriton
from roomie.triton.server import ModelDescription, Tensor
from tests.roomie.control.client_site import Site, client_site
from tests.roomie.control.kit import X, placed
from tests.roomie.triton.models import PROGRAMS


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with client_site(tmp_path) as found:
        yield found


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
