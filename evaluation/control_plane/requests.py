"""What became of requests while things were killed. Pure; times in seconds of the run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, from when it was due until its client had an answer or gave up.

    Attributes:
        model: which one was asked.
        sent: when it was due.
        ended: when it had ended.
        version: that answered; None if none did.
        error: why it failed; None if it was answered well.
    """

    model: str
    sent: float
    ended: float
    version: int | None = None
    error: str | None = None

    @property
    def failed(self) -> bool:
        """Whether there was no answer, or a wrong one."""
        return self.error is not None

    @property
    def seconds(self) -> float:
        """Response time."""
        return self.ended - self.sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """From a death until all was as it should be again.

    Attributes:
        began: of it.
        ended: of it.
        excuses: whether requests may fail: those of which all the patience fell into it. Where
            servers go on, none may.
    """

    began: float
    ended: float
    excuses: bool

    def touches(self, request: Request) -> bool:
        """Whether a request was under way in it."""
        return request.ended >= self.began and request.sent <= self.ended

    def hopeless(self, request: Request, patience: float) -> bool:
        """Whether a request could not be answered in time: not before it began, nor after."""
        return self.excuses and self.touches(request) and request.sent + patience <= self.ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Requests of an outage; each counts for the first one that it touches.

    Attributes:
        sent: how many.
        failed: of them.
        bound: how many of them may have failed.
        unexcused: that failed and may not have; with their errors.
        slowest: longest response time of one that was answered; 0 where none was.
        silence: longest time of the outage for which some model did not answer.
    """

    sent: int
    failed: int
    bound: int
    unexcused: tuple[str, ...]
    slowest: float
    silence: float


def account(
    requests: Iterable[Request], outages: Sequence[Outage], patience: float
) -> tuple[list[Served], tuple[str, ...]]:
    """Count what became of requests.

    Args:
        requests: all of a run.
        outages: in their order.
        patience: seconds for which a client tries.

    Returns:
        One account an outage, and the errors of requests that failed outside all of them.
    """
    groups: list[list[Request]] = [[] for _ in outages]
    calm: list[Request] = []
    for request in requests:
        touched = (n for n, outage in enumerate(outages) if outage.touches(request))
        number = next(touched, None)
        (calm if number is None else groups[number]).append(request)
    served = []
    for outage, group in zip(outages, groups, strict=True):
        hopeless = [r for r in group if outage.hopeless(r, patience)]
        failed = [r for r in group if r.failed]
        excused = {id(r) for r in hopeless}
        served.append(
            Served(
                sent=len(group),
                failed=len(failed),
                bound=len(hopeless),
                unexcused=tuple(told(r) for r in failed if id(r) not in excused),
                slowest=max((r.seconds for r in group if not r.failed), default=0.0),
                silence=_silence(group, outage),
            )
        )
    return served, tuple(told(r) for r in calm if r.failed)


def _silence(group: Sequence[Request], outage: Outage) -> float:
    return max(
        (
            longest_silence(
                (r for r in group if r.model == model and not r.failed),
                since=outage.began,
                until=outage.ended,
            )
            for model in {r.model for r in group}
        ),
        default=0.0,
    )


def summed_up(what: str, errors: Sequence[str]) -> list[str]:
    """One sentence about any number of failed requests; none where there are none."""
    if not errors:
        return []
    some = f"{len(errors)} requests" if len(errors) > 1 else "a request"
    return [f"{some} failed {what}; the first: {errors[0]}"]


def told(request: Request) -> str:
    """What became of a failed request, in a line."""
    first = (request.error or "").splitlines()[0]
    return f"{request.model} at {request.sent:.1f} s, after {request.seconds:.1f} s: {first}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    """Requests that were due in one second.

    Attributes:
        start: of it.
        answered: well.
        failed: not.
        slowest: longest response time of those that were answered; 0 without.
    """

    start: int
    answered: int
    failed: int
    slowest: float


def by_second(requests: Iterable[Request]) -> list[Second]:
    """What became of the requests of each second, without a gap from the first to the last."""
    bins: dict[int, list[Request]] = {}
    for request in requests:
        bins.setdefault(math.floor(request.sent), []).append(request)
    if not bins:
        return []
    found = []
    for start in range(min(bins), max(bins) + 1):
        here = bins.get(start, [])
        good = [r.seconds for r in here if not r.failed]
        found.append(
            Second(
                start=start,
                answered=len(good),
                failed=len(here) - len(good),
                slowest=max(good, default=0.0),
            )
        )
    return found


def longest_silence(answered: Iterable[Request], *, since: float, until: float) -> float:
    """Longest time of a span within which none of these had its answer."""
    times = sorted(r.ended for r in answered if since <= r.ended <= until)
    return max(later - earlier for earlier, later in itertools.pairwise([since, *times, until]))
