"""The camera's own books: each frame has exactly one outcome per pipeline.

Outcomes are *acknowledged* by the broker or *dropped* with one of these reasons:

- ``buffer-full``: the local buffer's declared policy chose it;
- ``too-large``: the record is larger than the cluster takes;
- ``delivery-failed``: the broker did not acknowledge it in time. It may have been written all the
  same, with only the acknowledgement lost; then it turns up as processed too, and the accountant
  lets processed win;
- ``refused``: the client or the broker will never take it (unknown topic, authorisation);
- ``unsent``: still in the local buffer when the deadline of ``close`` passed;
- ``image-...``: not an image that can be sent (`dataflow.errors.ImageError.reason`).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dataflow.accounting import CameraReport, DroppedFrame

BUFFER_FULL = "buffer-full"
TOO_LARGE = "too-large"
DELIVERY_FAILED = "delivery-failed"
REFUSED = "refused"
UNSENT = "unsent"

MAX_DROPS = 1000
"""Most drops in one report: about 50 kB of JSON, far below Kafka's default limit of 1 MB."""


@dataclass(slots=True)
class _Account:
    """One pipeline's books."""

    open: set[int] = field(default_factory=set)
    acked: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    unlisted: list[DroppedFrame] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Figures over all pipelines.

    Attributes:
        captured: frames numbered so far.
        acked: records acknowledged.
        dropped: records dropped, by reason.
        open: records whose outcome is still to come.
    """

    captured: int
    acked: int
    dropped: Mapping[str, int]
    open: int


class Ledger:
    """Counts frames and their outcomes. Any thread may call it.

    Args:
        camera: the camera's name.
        stream: this run of it.
        kind: its kind.
        pipelines: what its frames enter; each has an outcome of its own for each frame.
    """

    def __init__(self, *, camera: str, stream: str, kind: str, pipelines: Sequence[str]) -> None:
        self.camera, self.stream, self.kind = camera, stream, kind
        self.pipelines = tuple(pipelines)
        self._accounts = {pipeline: _Account() for pipeline in pipelines}
        self._captured = 0
        self._changed = threading.Condition()

    def capture(self) -> int:
        """Number the next frame. It is open until each pipeline has an outcome."""
        with self._changed:
            sequence = self._captured
            self._captured += 1
            for account in self._accounts.values():
                account.open.add(sequence)
            return sequence

    def ack(self, sequence: int, pipeline: str) -> bool:
        """The broker has it. False: it had an outcome already, which stands."""
        return self._close(sequence, pipeline, None)

    def drop(self, sequence: int, reason: str, pipeline: str | None = None) -> bool:
        """It is lost to one pipeline, or to all. False: it had its outcomes already."""
        names = self.pipelines if pipeline is None else (pipeline,)
        return sum(self._close(sequence, name, reason) for name in names) > 0

    def drop_open(self, reason: str) -> int:
        """All that is still open is lost; returns how many outcomes that decided."""
        with self._changed:
            left = [
                (sequence, pipeline)
                for pipeline, account in self._accounts.items()
                for sequence in sorted(account.open)
            ]
        return sum(self._close(sequence, pipeline, reason) for sequence, pipeline in left)

    def wait_settled(self, timeout: float) -> bool:
        """Wait until nothing is open, up to ``timeout`` s; whether that came true."""
        with self._changed:
            return self._changed.wait_for(lambda: self._open() == 0, timeout)

    def reports(self, *, at: float, closed: bool) -> list[CameraReport]:
        """The records to publish now: for each pipeline one, or more where many drops wait.

        Drops are listed once. If a record cannot be delivered, give it to `relist`.
        """
        with self._changed:
            return [
                report
                for pipeline, account in self._accounts.items()
                for report in self._reports(pipeline, account, at, closed)
            ]

    def relist(self, report: CameraReport) -> None:
        """The record was not delivered: its drops are listed again in the next one."""
        with self._changed:
            self._accounts[report.pipeline].unlisted[:0] = report.dropped

    def totals(self) -> Totals:
        """The figures of one moment."""
        with self._changed:
            dropped: Counter[str] = Counter()
            for account in self._accounts.values():
                dropped.update(account.dropped)
            return Totals(
                captured=self._captured,
                acked=sum(account.acked for account in self._accounts.values()),
                dropped=dict(dropped),
                open=self._open(),
            )

    def _open(self) -> int:
        return sum(len(account.open) for account in self._accounts.values())

    def _close(self, sequence: int, pipeline: str, reason: str | None) -> bool:
        with self._changed:
            account = self._accounts[pipeline]
            if sequence not in account.open:
                return False
            account.open.remove(sequence)
            if reason is None:
                account.acked += 1
            else:
                account.dropped[reason] += 1
                account.unlisted.append(DroppedFrame(sequence=sequence, reason=reason))
            if not account.open:
                self._changed.notify_all()
            return True

    def _reports(
        self, pipeline: str, account: _Account, at: float, closed: bool
    ) -> list[CameraReport]:
        drops, account.unlisted = account.unlisted, []
        pages = [drops[i : i + MAX_DROPS] for i in range(0, len(drops), MAX_DROPS)] or [[]]
        return [
            CameraReport(
                camera=self.camera,
                stream=self.stream,
                pipeline=pipeline,
                kind=self.kind,
                produced=self._captured,
                acked=account.acked,
                dropped=tuple(page),
                # Only the last page may say that everything has been told.
                closed=closed and page is pages[-1],
                at=at,
            )
            for page in pages
        ]
