"""A small plant for engine tests: a declaration, topics, items, engines in threads, the account."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import cv2
import numpy as np

from agents.assembly import build_engine
from agents.engine import Engine
from dataflow.accounting import Account, Auditor
from dataflow.config import Config, TopicNames
from dataflow.functions.base import Box, Detection, Function, FunctionParams, Item
from dataflow.messages import FrameId, WorkItem
from dataflow.topics import create_declared_topics
from dataflow.transport import Received, Record, Transport

DEADLINE = 30.0
"""Seconds that any condition is waited for: generous, for a busy machine."""


def wait_until(condition: Callable[[], object], what: str, seconds: float = DEADLINE) -> None:
    """Wait for a condition; fail with its name."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.02)


def jpeg(width: int = 64, height: int = 48, shade: int = 90) -> bytes:
    done, data = cv2.imencode(".jpg", np.full((height, width, 3), shade, np.uint8))
    assert done
    return data.tobytes()


class Params(FunctionParams):
    """No parameters."""


class Scripted:
    """A function that does what the test says."""

    Params: ClassVar[type[FunctionParams]] = Params

    def __init__(
        self, find: Callable[[Item], Sequence[Detection]] | None = None, seconds: float = 0.0
    ) -> None:
        self._find = find or (lambda _: ())
        self._seconds = seconds
        self.batches: list[list[Item]] = []
        self.closed = False

    def process(self, batch: Sequence[Item]) -> Sequence[Sequence[Detection]]:
        self.batches.append(list(batch))
        if self._seconds:
            time.sleep(self._seconds)
        return [self._find(item) for item in batch]

    def close(self) -> None:
        self.closed = True

    @property
    def seen(self) -> list[Item]:
        return [item for batch in self.batches for item in batch]


def vehicle(x: float = 4, y: float = 4, w: float = 20, h: float = 16) -> Detection:
    return Detection(kind="vehicle", label="car", box=Box(x=x, y=y, w=w, h=h), score=0.9)


class Plant:
    """Topics of a deployment of its own.

    Args:
        transport: where.
        config: a declaration with a function ``find``; by default one of two functions.
        functions: options of these two, ``find`` and ``read``, which follow each other.
    """

    def __init__(
        self, transport: Transport, *, config: Config | None = None, **functions: dict[str, Any]
    ) -> None:
        self.transport = transport
        self.config = config or Config.model_validate(
            {
                "version": 1,
                "deployment": f"t-{uuid.uuid4().hex[:8]}",
                "functions": {
                    "find": {"partitions": 4, **functions.get("find", {})},
                    "read": {"partitions": 4, **functions.get("read", {})},
                },
                "pipelines": {
                    "p": {
                        "cameras": ["any"],
                        "steps": [
                            {
                                "function": "find",
                                "then": [{"to": "read", "send": "crops", "of": "vehicle"}],
                            },
                            {"function": "read"},
                        ],
                    }
                },
            }
        )
        self.names = TopicNames(self.config.deployment)
        create_declared_topics(self.config, transport)
        self.producer = transport.producer()

    def item(self, camera: str, sequence: int, data: bytes | None = None) -> WorkItem:
        return WorkItem(
            frame=FrameId(camera=camera, stream="s", sequence=sequence),
            pipeline="p",
            step="find",
            captured_at=time.time(),
            data=jpeg() if data is None else data,
        )

    def send(self, *items: WorkItem) -> None:
        for item in items:
            self.send_record(item.data, item.headers(), key=item.frame.camera.encode())
        assert self.producer.flush(DEADLINE) == 0

    def send_record(
        self, value: bytes | None, headers: Sequence[tuple[str, bytes]], key: bytes = b"k"
    ) -> None:
        topic = self.names.work("find")
        self.producer.send(Record(topic=topic, key=key, value=value, headers=headers))
        self.producer.poll(0)

    def send_frames(self, count: int, cameras: int = 4) -> None:
        picture = jpeg()
        self.send(*(self.item(f"cam-{n % cameras}", n // cameras, picture) for n in range(count)))

    def engine(self, name: str, function: Function, replica: str | None = None) -> Running:
        return Running(
            build_engine(
                config=self.config,
                name=name,
                function=function,
                transport=self.transport,
                replica=replica or f"{name}-{uuid.uuid4().hex[:4]}",
            )
        )

    @contextmanager
    def auditor(self) -> Iterator[Auditor]:
        auditor = Auditor(self.config, self.transport)
        try:
            yield auditor
        finally:
            auditor.close()

    def wait_for_ends(self, count: int) -> dict[str, Account]:
        """Wait until ``count`` frames have ended and none is open; returns accounts by camera."""
        with self.auditor() as auditor:

            def ended() -> bool:
                auditor.poll(0.05)
                accounts = list(auditor.ledger.accounts())
                done = sum(a.produced - a.open for a in accounts)
                return done + auditor.ledger.unattributed.total() >= count and all(
                    a.balanced for a in accounts
                )

            wait_until(ended, f"{count} frames end")
            return {account.camera: account for account in auditor.ledger.accounts()}

    def read_all(self, topic: str) -> list[Received]:
        reader = self.transport.reader([topic])
        records: list[Received] = []
        while True:
            found = reader.poll(500, 0.1)
            records += found
            if not found and reader.caught_up():
                reader.close()
                return records

    def dead(self, function: str = "find") -> dict[str, int]:
        """Dead letters by reason."""
        reasons: dict[str, int] = {}
        for record in self.read_all(self.names.dead(function)):
            reason = dict(record.headers)["vj_dead_reason"].decode()
            reasons[reason] = reasons.get(reason, 0) + 1
        return reasons


class Running:
    """An engine in a thread."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.fault: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.engine.run()
        except BaseException as fault:  # noqa: BLE001 - handed to the test
            self.fault = fault

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self.engine.stop()
        self.thread.join(DEADLINE)
        assert not self.thread.is_alive(), "the engine does not stop"

    def wait_for_partitions(self, count: int) -> None:
        wait_until(
            lambda: len(self.engine.status().partitions) == count, f"owning {count} partitions"
        )
