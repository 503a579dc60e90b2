"""Every error that the project raises on purpose.

VideojamError
├── ConfigError            topics.yaml or an option is wrong: file, line, key, value, remedy
├── BrokerError            the cluster cannot be reached, or refused something
│   ├── BufferFullError    the client's local buffer is full; try again later
│   ├── FencedError        another writer of the same name has taken over
│   └── RecordTooLargeError  the client or the topic does not take records so large
├── EmbeddedBrokerError    `videojam broker` cannot start, stop or find its broker
├── SourceError            a camera source cannot be opened or read
│   └── SourceEnded        a finite source has no more frames
├── MissingDependencyError a program or an optional package is absent; carries the remedy
├── ModelError             a network file is missing, corrupt or of an unknown layout
└── RecordError            one record cannot be processed; carries the dead-letter reason
    └── ImageError         its bytes are not an image we accept
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class VideojamError(Exception):
    """Base of all errors of this project."""


@dataclass(eq=False)
class ConfigError(VideojamError):
    """A declaration is wrong.

    Attributes:
        message: what is wrong, one sentence.
        file: the file, or None where the value came from an option.
        line: 1-based line, or None where it is not known.
        key: dotted key path, for example ``functions.yolo.batch.max``.
        value: the offending value, as written.
        remedy: what to do about it.
    """

    message: str
    file: Path | None = None
    line: int | None = None
    key: str | None = None
    value: object = None
    remedy: str | None = None

    def __str__(self) -> str:
        where = "" if self.file is None else str(self.file)
        if self.line is not None:
            where += f":{self.line}"
        parts = [where] if where else []
        if self.key:
            parts.append(self.key)
        head = ": ".join([*parts, self.message])
        if self.value is not None:
            head += f" (got {self.value!r})"
        return head if self.remedy is None else f"{head}\n  remedy: {self.remedy}"


class BrokerError(VideojamError):
    """The Kafka cluster cannot be reached, or refused a request."""


class BufferFullError(BrokerError):
    """The client's local buffer is full; serve delivery reports and try again."""


class FencedError(BrokerError):
    """Another writer of the same name has taken over; this one can write nothing any more."""


class RecordTooLargeError(BrokerError):
    """The record is larger than the client or the topic allows."""


class EmbeddedBrokerError(VideojamError):
    """The embedded broker cannot be started, stopped or found."""


class SourceError(VideojamError):
    """A camera source cannot be opened or read; trying again later may help."""


class SourceEnded(SourceError):  # noqa: N818 - the end of a file is news, not a fault
    """A finite source has delivered its last frame."""


class MissingDependencyError(VideojamError):
    """A program or an optional package is absent. The message ends with the remedy."""


class ModelError(VideojamError):
    """A network file is missing, corrupt, or has inputs or outputs that we cannot decode."""


class RecordError(VideojamError):
    """One record cannot be processed and belongs in the dead-letter topic.

    Attributes:
        reason: a short, stable code, for example ``unknown-version``; the counters group by it.
        detail: a sentence for a person.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class ImageError(RecordError):
    """The bytes of a record are not an image that we accept."""
