"""The controller between topics, in memory: terms, writes and what is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import pytest

from dataflow.config import Config, TopicNames
from dataflow.errors import BrokerError
from dataflow.transport import AtomicWriter, Received, Record, TopicPartition
from dataflow.transport.memory import MemoryTransport
from roomie.control.book import Step
from roomie.control.client import NoOutcomeError, RoomieClient
from roomie.control.controller import Controller, Group
from roomie.control.core import Core
from roomie.control.orders import encode_order, new_order
from roomie.control.owner import ResignedError
from roomie.control.records import ModelSpec, Order, Placement, Status
from tests.roomie.control.plant import (
    Log,
    Node,
    Running,
    create_topics,
    declare,
    fake_worker,
    make_core,
    wait_until,
)


class MemoryGroup:
    """The group of controllers as the memory transport has it, in place of Faust's."""

    def __init__(self, transport: MemoryTransport, names: TopicNames, owner: Controller) -> None:
        self._owner = owner
        self._stopping = threading.Event()
        self._rejoin = threading.Event()
        self._transport, self._names = transport, names
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        if partitions:
            self._owner.assigned()

    def on_revoked(self, partitions: Collection[TopicPartition]) -> None:
        if partitions:
            self._owner.revoked().wait(5)

    on_lost = on_revoked

    def rejoin(self) -> None:
        self._rejoin.set()

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(20)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._rejoin.clear()
            member = self._transport.consumer("controllers", [self._names.deploy], self)
            while not self._stopping.is_set() and not self._rejoin.is_set():
                for record in member.poll(1, 0.02):
                    try:
                        self._owner.obey(record).result(20)
                    except ResignedError:
                        break
                    member.commit({record.topic_partition: record.offset + 1}, wait=True)
            member.close()


@pytest.fixture
def declared(tmp_path: Path) -> Config:
    return declare(tmp_path, "memory:1")[1]


@pytest.fixture
def names(declared: Config) -> TopicNames:
    return TopicNames(declared.deployment)


@pytest.fixture
def transport(declared: Config) -> MemoryTransport:
    transport = MemoryTransport()
    create_topics(transport, declared)
    return transport


@pytest.fixture
def log(transport: MemoryTransport, names: TopicNames) -> Iterator[Log]:
    log = Log(transport, names)
    yield log
    log.close()


Make = Callable[[str], Running]


@pytest.fixture
def controller(transport: MemoryTransport, names: TopicNames) -> Make:
    def join(owner: Controller) -> Group:
        return MemoryGroup(transport, names, owner)

    def make(name: str = "c1") -> Running:
        return Running(
            Controller(
                names=names,
                transport=transport,
                make_core=make_core,
                join=join,
                name=name,
                tick=0.05,
            )
        )

    return make


@pytest.fixture
def client(transport: MemoryTransport, names: TopicNames) -> Iterator[RoomieClient]:
    with RoomieClient(transport, names, source="/test") as client:
        yield client


def test_an_order_becomes_ready_instances_and_its_sender_hears_of_it(
    transport: MemoryTransport,
    names: TopicNames,
    controller: Make,
    client: RoomieClient,
    log: Log,
) -> None:
    with controller("c1"), Node(transport, names, fake_worker("w0"), 0.02):
        order = client.deploy(ModelSpec(model="small", instances=2))
        told = [status.event for status in client.follow(order, timeout=20)]
        assert told[0] == "accepted"
        assert told[-1] == "ready"
        log.poll()
        assert log.ready("small") == 2
        gone = client.undeploy("small")
        assert client.wait(gone, timeout=20).event == "removed"
        log.wait(lambda: "small" not in log.table, "the record is taken away")


def test_an_order_that_nobody_waits_for_any_more_is_acted_on_all_the_same(
    transport: MemoryTransport, names: TopicNames
) -> None:
    controller = Controller(
        names=names,
        transport=transport,
        make_core=make_core,
        join=lambda owner: MemoryGroup(transport, names, owner),
        name="c1",
    )
    order = new_order("undeploy", "small", source="/t", at=1.0)
    sent = encode_order(names, order)
    done = controller.obey(
        Received(sent.topic, 0, 0, sent.key, sent.value, list(sent.headers), 1000)
    )
    assert not done.cancel(), "the term that acts on it could not say so"
    assert not done.cancelled()


def test_an_order_without_controller_has_no_outcome_yet(client: RoomieClient) -> None:
    order = client.scale("small", 2)
    with pytest.raises(NoOutcomeError, match="the order stands"):
        client.wait(order, timeout=0.2)


def test_what_cannot_be_read_is_kept_with_reason_and_origin_and_the_sender_is_told(
    transport: MemoryTransport,
    names: TopicNames,
    controller: Make,
    client: RoomieClient,
    log: Log,
) -> None:
    order = new_order("deploy", "small", source="/t", at=1.0, spec=ModelSpec(model="small"))
    good = encode_order(names, order)
    wrong = Record(topic=good.topic, key=good.key, value=b'{"copies": 3}', headers=good.headers)
    nothing = Record(topic=good.topic, key=b"%", value=None)
    producer = transport.producer()
    with controller("c1"):
        producer.send(wrong)
        producer.send(nothing)
        unknown = client.undeploy("ghost")
        assert client.wait(unknown, timeout=20).event == "refused"
        reader = transport.reader([names.refused])
        dead = [r for _ in range(20) for r in reader.poll(10, 0.05)]
        reader.close()
    producer.close()
    heads = [dict(r.headers) for r in dead]
    assert [h["vj_dead_reason"] for h in heads] == [b"bad-order", b"bad-header", b"refused"]
    assert heads[0]["vj_dead_origin"] == f"{names.deploy}/0/0".encode()
    assert (
        b"copies: unknown key" in heads[0]["vj_dead_detail"]
        or b"model" in heads[0]["vj_dead_detail"]
    )
    assert dead[0].value == wrong.value
    log.poll()
    told = {s.order: (s.event, s.model) for s in log.statuses}
    assert told[order.id] == ("refused", "small")
    assert told[None] == ("refused", "unnamed")


def test_a_standby_goes_on_where_the_active_one_stopped(
    transport: MemoryTransport,
    names: TopicNames,
    controller: Make,
    client: RoomieClient,
    log: Log,
) -> None:
    with Node(transport, names, fake_worker("w0"), 0.02), controller("c2") as second:
        with controller("c1") as first:
            order = client.deploy(ModelSpec(model="small", instances=1))
            client.wait(order, timeout=20)
            assert first.controller.sight.glance().active != second.controller.sight.glance().active
        wait_until(lambda: second.controller.sight.glance().active, "the other one decides")
        again = client.deploy(ModelSpec(model="small", instances=2))
        assert client.wait(again, timeout=20).event == "ready"
        client.send(order)
        log.wait(lambda: any(s.event == "repeated" for s in log.statuses), "the repeat is told")
        assert log.table["small"].spec.instances == 2
    assert log.outcomes(order.id) == ["ready"]


def test_one_that_was_shut_out_writes_nothing_and_stands_by(
    transport: MemoryTransport,
    names: TopicNames,
    controller: Make,
    client: RoomieClient,
    log: Log,
) -> None:
    with Node(transport, names, fake_worker("w0"), 0.02), controller("c1") as running:
        client.wait(client.deploy(ModelSpec(model="small")), timeout=20)
        terms = running.controller.sight.glance().terms
        # As another controller would that had been given the partition.
        usurper = transport.writer(f"{names.deployment}.roomie.controller")
        log.poll()
        newer = log.table["small"].model_copy(update={"generation": 99, "deferred": "by another"})
        usurper.write([Record(topic=names.placements, key=b"small", value=newer.to_json())], 5.0)
        order = client.scale("small", 2)
        # It notices when it wants to write, rejoins, reads what the other wrote, and obeys then.
        assert client.wait(order, timeout=20).event == "scaled"
        assert running.controller.sight.glance().terms > terms
        log.poll()
        assert log.table["small"].generation > 99
    assert log.outcomes(order.id) == ["scaled"]


def test_an_outage_costs_no_instance_its_place(
    transport: MemoryTransport,
    names: TopicNames,
    controller: Make,
    client: RoomieClient,
    log: Log,
) -> None:
    with Node(transport, names, fake_worker("w0"), 0.02), controller("c1"):
        client.wait(client.deploy(ModelSpec(model="small", instances=2)), timeout=20)
        log.poll()
        before = {i.id for i in log.table["small"].instances}
        transport.outage()
        threading.Event().wait(2.5)  # longer than a lease
        transport.restore()
        assert client.wait(client.scale("small", 3), timeout=20).event == "scaled"
        log.poll()
        assert before < {i.id for i in log.table["small"].instances}
    assert not any(s.event == "lost" for s in log.statuses)


class Away:
    """A writer whose cluster is away at its second write, for seconds that nobody waits for.

    Args:
        writer: of the cluster.
        seconds: for so long.
    """

    def __init__(self, writer: AtomicWriter, seconds: float) -> None:
        self._writer = writer
        self._away = [0.0, seconds]

    def write(self, records: Sequence[Record], timeout: float) -> None:
        if self._away and self._away.pop(0) > timeout:
            raise BrokerError("the cluster was not back in time")
        self._writer.write(records, timeout)

    def close(self) -> None:
        self._writer.close()


def test_a_write_outlives_the_restart_of_a_broker(
    transport: MemoryTransport,
    names: TopicNames,
    controller: Make,
    client: RoomieClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make = transport.writer
    # So long is a broker away that is killed, and started 3 s later on a busy machine.
    monkeypatch.setattr(transport, "writer", lambda name: Away(make(name), 14.0))
    with Node(transport, names, fake_worker("w0"), 0.02), controller("c1") as running:
        order = client.deploy(ModelSpec(model="small"))
        assert client.wait(order, timeout=20).event == "ready"
        assert running.controller.sight.glance().terms == 1


def test_a_step_that_cannot_be_written_is_decided_anew(
    transport: MemoryTransport,
    names: TopicNames,
    controller: Make,
    client: RoomieClient,
    log: Log,
) -> None:
    with Node(transport, names, fake_worker("w0"), 0.02), controller("c1") as running:
        wait_until(lambda: running.controller.sight.glance().active, "it decides")
        transport.fail_deliveries(names.status, 1)
        order = client.deploy(ModelSpec(model="small"))
        assert client.wait(order, timeout=20).event == "ready"
    log.poll()
    assert log.outcomes(order.id) == ["ready"]
    assert [s.event for s in log.statuses].count("accepted") == 1


def test_an_order_that_makes_the_core_fail_is_refused_in_the_end_and_the_others_obeyed(
    transport: MemoryTransport,
    names: TopicNames,
    controller: Make,
    client: RoomieClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decide = Core.order

    def failing(core: Core, order: Order, now: float) -> Step:
        if order.model == "cursed":
            core.book.put(Placement(spec=ModelSpec(model="half-done")))
            raise ZeroDivisionError
        return decide(core, order, now)

    monkeypatch.setattr(Core, "order", failing)
    with Node(transport, names, fake_worker("w0"), 0.02), controller("c1"):
        cursed = client.deploy(ModelSpec(model="cursed"))
        good = client.deploy(ModelSpec(model="small"))
        refused = client.wait(cursed, timeout=20)
        assert (refused.event, refused.model) == ("refused", "cursed")
        assert "a fault of ours" in refused.reason
        assert client.wait(good, timeout=20).event == "ready"


def test_a_record_that_is_none_is_passed_over(
    transport: MemoryTransport,
    names: TopicNames,
    controller: Make,
    client: RoomieClient,
) -> None:
    producer = transport.producer()
    for topic in (names.workers, names.placements, names.controller, names.telemetry):
        producer.send(Record(topic=topic, key=b"x", value=b"{"))
    with Node(transport, names, fake_worker("w0"), 0.02), controller("c1"):
        for topic in (names.workers, names.telemetry, names.capacity):
            producer.send(Record(topic=topic, key=b"x", value=b"nonsense"))
        order = client.deploy(ModelSpec(model="small"))
        assert client.wait(order, timeout=20).event == "ready"
    producer.close()


def test_the_records_are_as_published() -> None:
    assert Placement.model_json_schema()["properties"]["instances"]
    assert Status.model_json_schema()["properties"]["event"]
