"""Reading the ledger from the topics: results, dead letters, drops and cameras' reports."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from dataflow.accounting.ledger import End, Ledger, Outcome
from dataflow.accounting.records import CameraReport, parse_report
from dataflow.config import Config, TopicNames
from dataflow.errors import RecordError
from dataflow.messages import FrameId, Part
from dataflow.transport import Reader, Received, Transport

_READ_RECORDS = 500
_READ_SECONDS = 0.2


class Auditor:
    """Follows all topics that say how frames end, and keeps a ledger.

    Args:
        config: the declaration.
        transport: where the topics are; the auditor opens one reader of its own.
    """

    def __init__(self, config: Config, transport: Transport) -> None:
        names = TopicNames(config.deployment)
        self.ledger = Ledger()
        self._readers_of: dict[str, Callable[[Received], None]] = {names.accounting: self._report}
        self._readers_of |= {names.results(name): self._result for name in config.pipelines}
        self._readers_of |= {names.dead(name): self._dead_letter for name in config.functions}
        self._reader: Reader = transport.reader(list(self._readers_of))

    def poll(self, timeout: float = _READ_SECONDS) -> int:
        """Read what is there, up to a few hundred records; return how many."""
        records = self._reader.poll(_READ_RECORDS, timeout)
        for record in records:
            try:
                self._readers_of[record.topic](record)
            except RecordError as error:
                self.ledger.orphan(error.reason)
        return len(records)

    def caught_up(self) -> bool:
        """Whether everything has been read that was there at the start."""
        return self._reader.caught_up()

    def catch_up(self, on_progress: Callable[[int], None] | None = None) -> Ledger:
        """Read everything that was there at the start."""
        seen = 0
        while not self.caught_up():
            seen += self.poll()
            if on_progress is not None:
                on_progress(seen)
        return self.ledger

    def close(self) -> None:
        """Release the reader."""
        self._reader.close()

    def _report(self, record: Received) -> None:
        report = parse_report(record.value)
        if isinstance(report, CameraReport):
            self.ledger.camera(report)
            return
        try:
            self.ledger.drop(report)
        except ValueError as error:
            raise RecordError("bad-report", f"part {report.part!r}: {error}") from error

    def _result(self, record: Received) -> None:
        # Plain json: results come by the hundred thousand, and only five fields are needed.
        try:
            fields = json.loads(record.value or b"")
            frame = FrameId(
                camera=fields["camera"],
                stream=fields["stream"],
                sequence=int(fields["sequence"]),
            )
            pipeline, part = fields["pipeline"], Part.parse(fields["part"])
        except (KeyError, TypeError, ValueError) as error:
            raise RecordError("bad-result", repr(error)) from error
        self.ledger.end(pipeline, frame, part, End(Outcome.PROCESSED))

    def _dead_letter(self, record: Received) -> None:
        headers: Mapping[str, str] = {
            name: (value or b"").decode("utf-8", "replace") for name, value in record.headers
        }
        reason = headers.get("vj_dead_reason", "unknown")
        try:
            frame = FrameId(
                camera=headers["vj_camera"],
                stream=headers["vj_stream"],
                sequence=int(headers["vj_sequence"]),
            )
            part = Part.parse(headers.get("vj_part", ""))
            pipeline = headers["vj_pipeline"]
        except (KeyError, ValueError):
            self.ledger.orphan(reason)
            return
        where = headers.get("vj_dead_function", "unknown")
        self.ledger.end(pipeline, frame, part, End(Outcome.DEAD, f"{reason} at {where}"))
