"""How long a request that was cut into pieces may be without an instance."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Patience:
    """When a request is given up: while any of its pieces is being answered, nobody waits.

    Not safe for threads by itself: hold a lock.

    Attributes:
        until: seconds, by the clock that the other methods are told.
        answering: pieces that have been sent and have not come back.
        since: when the first of these was sent, or the last answer came.
    """

    until: float
    answering: int = 0
    since: float = 0.0

    def sent(self, now: float) -> None:
        """A piece has been sent."""
        if not self.answering:
            self.since = now
        self.answering += 1

    def ended(self, now: float, *, answered: bool) -> None:
        """A piece has come back. What was tried in vain counts as waiting."""
        self.answering -= 1
        if answered:
            self.until += now - self.since
            self.since = now
