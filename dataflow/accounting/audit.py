"""Reading the ledger from the topics: results, dead letters, drops and cameras' reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from dataflow.accounting.ledger import End, Ledger, Outcome
from dataflow.accounting.records import CameraReport, parse_report
from dataflow.config import Config, TopicNames
from dataflow.errors import RecordError
from dataflow.messages import MAX_SEQUENCE, FrameId, Part
from dataflow.transport import Reader, Received, Transport

_READ_RECORDS = 500
_READ_SECONDS = 0.2


class _Whose(BaseModel):
    """The identity of a result or a dead letter; whatever else it holds is not looked at."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    pipeline: Annotated[str, Field(min_length=1)]
    camera: Annotated[str, Field(min_length=1)]
    stream: Annotated[str, Field(min_length=1)]
    sequence: Annotated[int, Field(ge=0, le=MAX_SEQUENCE)]
    part: str = ""

    @property
    def frame(self) -> FrameId:
        return FrameId(camera=self.camera, stream=self.stream, sequence=self.sequence)


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
        try:
            whose = _Whose.model_validate_json(record.value or b"", strict=True)
            part = Part.parse(whose.part)
        except ValueError as error:  # pydantic's is one
            raise RecordError("bad-result", str(error)) from error
        self.ledger.end(whose.pipeline, whose.frame, part, End(Outcome.PROCESSED))

    def _dead_letter(self, record: Received) -> None:
        headers = {
            name: (value or b"").decode("utf-8", "replace") for name, value in record.headers
        }
        reason = headers.get("vj_dead_reason", "unknown")
        where = headers.get("vj_dead_function", "unknown")
        ours = {name.removeprefix("vj_"): value for name, value in headers.items()}
        try:
            whose = _Whose.model_validate(ours)
            part = Part.parse(whose.part)
        except ValueError as error:
            raise RecordError(reason, f"a dead letter that names no frame: {error}") from error
        self.ledger.end(
            whose.pipeline, whose.frame, part, End(Outcome.DEAD, f"{reason} at {where}")
        )
