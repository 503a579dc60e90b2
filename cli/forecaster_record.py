"""Reading from the topics how many vehicles each frame held."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from typing import Literal

from dataflow.accounting.records import DropReport, parse_report
from dataflow.config import Config, TopicNames
from dataflow.errors import ConfigError, RecordError
from dataflow.results import Result
from dataflow.transport import Reader, Received, Transport
from forecasting.recording import FrameTally

_READ_RECORDS = 500


class LoadWatch:
    """Follows results, drops and dead letters, and counts vehicles a frame.

    A sequence is one run of a camera in one pipeline, named ``camera/stream/pipeline``.

    Args:
        config: the declaration.
        transport: where the topics are; the watch opens one reader of its own.
        pipelines: which; all when empty.
        start: ``earliest`` for everything that Kafka holds, ``latest`` for what comes from now on.

    Raises:
        ConfigError: a pipeline is not declared.
        BrokerError: the cluster or the topics are not there.
    """

    def __init__(
        self,
        config: Config,
        transport: Transport,
        *,
        pipelines: Collection[str] = (),
        start: Literal["earliest", "latest"] = "latest",
    ) -> None:
        unknown = [name for name in pipelines if name not in config.pipelines]
        if unknown:
            raise ConfigError(
                f"no pipeline {unknown[0]!r} is declared",
                key="pipelines",
                remedy=f"declared: {', '.join(config.pipelines)}",
            )
        names = TopicNames(config.deployment)
        self.tally = FrameTally()
        self.unreadable = 0
        """Records that are no results, reports or dead letters."""
        self._wanted = set(pipelines or config.pipelines)
        self._readers_of: dict[str, Callable[[Received], None]] = {names.accounting: self._report}
        self._readers_of |= {names.results(name): self._result for name in self._wanted}
        self._readers_of |= {names.dead(name): self._dead_letter for name in config.functions}
        self._reader: Reader = transport.reader(sorted(self._readers_of), start=start)

    def poll(self, timeout: float = 0.2) -> int:
        """Read what is there, up to a few hundred records; return how many."""
        records = self._reader.poll(_READ_RECORDS, timeout)
        for record in records:
            try:
                self._readers_of[record.topic](record)
            except (RecordError, ValueError):
                self.unreadable += 1
        return len(records)

    def caught_up(self) -> bool:
        """Whether everything has been read that was there at the start."""
        return self._reader.caught_up()

    def close(self) -> None:
        """Release the reader."""
        self._reader.close()

    def _result(self, record: Received) -> None:
        result = Result.from_json(record.value)
        places: set[Hashable] = {
            (found.box.x, found.box.y, found.box.w, found.box.h) for found in result.vehicles
        }
        sequence = f"{result.camera}/{result.stream}/{result.pipeline}"
        self.tally.seen(
            sequence,
            result.sequence,
            result.part,
            captured_at=result.captured_at.timestamp(),
            vehicles=places,
        )

    def _report(self, record: Received) -> None:
        report = parse_report(record.value)
        if isinstance(report, DropReport) and report.pipeline in self._wanted:
            sequence = f"{report.camera}/{report.stream}/{report.pipeline}"
            self.tally.lost(sequence, report.sequence, report.part)

    def _dead_letter(self, record: Received) -> None:
        headers = {name: (value or b"").decode() for name, value in record.headers}
        pipeline = headers.get("vj_pipeline", "")
        if pipeline in self._wanted and {"vj_camera", "vj_stream", "vj_sequence"} <= set(headers):
            sequence = f"{headers['vj_camera']}/{headers['vj_stream']}/{pipeline}"
            self.tally.lost(sequence, int(headers["vj_sequence"]), headers.get("vj_part", ""))
