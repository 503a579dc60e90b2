"""What became of the frames of a run, and what balancing cost: read from the topics."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from agents.state import ReplicaState
from dataflow.accounting import Auditor
from dataflow.config import Config, TopicNames
from dataflow.results import Result
from dataflow.transport import Transport
from evaluation.kafka import read_to_end
from evaluation.waiting import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One result, in seconds of the run (0 is its start).

    Attributes:
        identity: of the frame or object.
        captured: when its frame was captured.
        first: when its first step was done.
        finished: when its last step was done.
        replicas: who worked on it, in the order of the steps.
    """

    identity: str
    captured: float
    first: float
    finished: float
    replicas: tuple[str, ...]

    @property
    def response(self) -> float:
        """From capture to the end."""
        return self.finished - self.captured

    @classmethod
    def of(cls, result: Result, started_at: float) -> End:
        """Of a result of a run that began at ``started_at``, seconds since the epoch."""
        captured = result.captured_at.timestamp() - started_at
        stage = result.stages[0]
        return cls(
            identity=result.id,
            captured=captured,
            first=captured + stage.transit + stage.waited + stage.took,
            finished=captured + result.response_seconds,
            replicas=tuple(stage.replica for stage in result.stages),
        )


@dataclass(slots=True)
class Totals:
    """What a run cost and lost.

    Attributes:
        produced: frames.
        processed: frames of which everything was processed.
        dropped: frames that lost something, by reason.
        dead: frames with dead letters.
        open: frames that had not ended.
        offloaded: items handed on.
        offloaded_bytes: their bytes.
        control_records: rows and signals.
        control_bytes: their bytes.
    """

    produced: int = 0
    processed: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    dead: int = 0
    open: int = 0
    offloaded: int = 0
    offloaded_bytes: int = 0
    control_records: int = 0
    control_bytes: int = 0

    @property
    def loss(self) -> float:
        """Fraction of the frames that lost something or had not ended."""
        return 1 - self.processed / self.produced if self.produced else 0.0


def account_for(
    config: Config,
    transport: Transport,
    *,
    cameras: int,
    seconds: float,
    clock: Clock = time.monotonic,
) -> Totals:
    """Wait until all frames have ended, ``seconds`` s at most, and add up; no costs.

    Frames that are open after that count as lost: they were not processed in time.

    Args:
        config: topics.yaml.
        transport: where the topics are.
        cameras: that have sent.
        seconds: how long to wait.
        clock: monotonic, seconds.
    """
    deadline = clock() + seconds
    auditor = Auditor(config, transport)
    try:
        while clock() < deadline:
            auditor.poll()
            accounts = list(auditor.ledger.accounts())
            if (
                auditor.caught_up()
                and len(accounts) == cameras
                and all(account.closed and account.balanced for account in accounts)
            ):
                break
        totals = Totals()
        for account in auditor.ledger.accounts():
            totals.produced += account.produced
            totals.processed += account.processed
            totals.open += account.open
            totals.dead += sum(account.dead.values())
            for reason, count in account.dropped.items():
                totals.dropped[reason] = totals.dropped.get(reason, 0) + count
        return totals
    finally:
        auditor.close()


def newest_rows(config: Config, transport: Transport) -> dict[str, ReplicaState]:
    """The newest row of each replica.

    Raises:
        MeasurementError: they cannot be read in time.
    """
    names = TopicNames(config.deployment)
    found: dict[str, ReplicaState] = {}
    for record in read_to_end(transport, [names.state(f) for f in config.functions]):
        name = (record.key or b"").decode()
        if record.value is None:
            found.pop(name, None)
        else:
            found[name] = ReplicaState.from_json(record.value)
    return found


def add_costs(
    totals: Totals, rows: Iterable[ReplicaState], config: Config, transport: Transport
) -> None:
    """Add what was offloaded, by the replicas' rows, and the rows and signals on the topics.

    Raises:
        MeasurementError: they cannot be read in time.
    """
    for row in rows:
        if row.balance is not None:
            totals.offloaded += sum(row.balance.offloaded.values())
            totals.offloaded_bytes += row.balance.offloaded_bytes
    names = TopicNames(config.deployment)
    topics = [name(f) for name in (names.state, names.signals) for f in config.functions]
    ends: dict[str, int] = {}
    sizes: dict[str, list[int]] = {}
    for record in read_to_end(transport, topics):
        ends[record.topic] = record.offset + 1
        sizes.setdefault(record.topic, []).append(len(record.value or b""))
    for topic, count in ends.items():
        # What has been compacted or has expired was as large as what is still there.
        totals.control_records += count
        totals.control_bytes += int(count * sum(sizes[topic]) / len(sizes[topic]))
