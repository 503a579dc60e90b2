"""Versions that cannot serve: each is rolled back while the old one goes on serving."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from evaluation.control_plane.deploying import PATIENCE, SOURCE
from evaluation.control_plane.load import Load
from evaluation.control_plane.models import BATCH, Behaviour, write_model
from evaluation.control_plane.orders import Ledger
from evaluation.control_plane.requests import Request, longest_silence, summed_up, told
from evaluation.control_plane.site import Site
from evaluation.control_plane.watching import Watch
from roomie.control.client import RoomieClient
from roomie.control.records import ModelSpec

MODEL = "squeezenet1_1"
CASES: tuple[Behaviour, ...] = ("broken", "slow", "erring", "good")
"""Of the versions that follow version 1. The last one shows that what is good is let in."""
RATE = 30.0
"""Requests a second, by default."""
_SETTLE_SECONDS = 30.0
"""For the version that was given up to be gone."""
SILENCE_SECONDS = 1.0
"""Longest time for which the old version may not have answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One version on its way in; times in seconds of the run.

    Attributes:
        behaviour: of the version.
        version: its number.
        began: when its order was sent.
        ended: when its outcome was heard.
        outcome: of the order.
        reason: of it.
        kept: whether the instances of the old version were the same before and after.
        lacking: what was not as it should be afterwards.
        old: answers of version 1 meanwhile.
        new: answers of this version meanwhile.
        errors: of requests that failed meanwhile.
        silence: longest time for which version 1 did not answer meanwhile.
    """

    behaviour: Behaviour
    version: int
    began: float
    ended: float
    outcome: str
    reason: str
    kept: bool
    lacking: tuple[str, ...]
    old: int = 0
    new: int = 0
    errors: tuple[str, ...] = ()
    silence: float = 0.0

    def faults(self) -> list[str]:
        """What should not have been, a sentence each."""
        what = f"version {self.version} ({self.behaviour})"
        found = [f"{what}: {lack}" for lack in self.lacking]
        found += summed_up(f"while {what} was on its way in", self.errors)
        wanted = expected(self.behaviour)
        if self.outcome != wanted:
            found.append(f"{what} is {self.outcome}, not {wanted}: {self.reason}")
        if self.behaviour != "good":
            if not self.kept:
                found.append(f"{what}: instances of the old version were replaced")
            if self.silence > SILENCE_SECONDS:
                found.append(
                    f"{what}: the old version did not answer for {self.silence:.1f} s, "
                    f"more than {SILENCE_SECONDS:g} s"
                )
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingBack:
    """What came of a run.

    Attributes:
        attempts: one a version.
        requests: all of them.
    """

    attempts: tuple[Attempt, ...]
    requests: tuple[Request, ...]

    def faults(self) -> list[str]:
        """What should not have been, a sentence each."""
        found = [fault for attempt in self.attempts for fault in attempt.faults()]
        known = {error for attempt in self.attempts for error in attempt.errors}
        calm = [told(r) for r in self.requests if r.failed and told(r) not in known]
        found += summed_up("while no version was on its way in", calm)
        untried = [case for case in CASES if case not in {a.behaviour for a in self.attempts}]
        if untried:
            found.append(f"not tried after that: {', '.join(untried)}")
        return found


def roll_back(
    site: Site,
    watch: Watch,
    *,
    rate: float,
    clock: Callable[[], float],
    say: Callable[[str], None],
) -> RollingBack:
    """Bring in one version after the other, under load.

    Args:
        site: without models.
        watch: of it.
        rate: requests a second.
        clock: seconds of the run; the site's and the watch's.
        say: is told what happens.

    Raises:
        NoOutcomeError: an order has no outcome in time.
        MeasurementError: the first version never came to serve.
    """
    versions: dict[int, Behaviour] = {1: "good", **dict(enumerate(CASES, 2))}
    write_model(site.models, MODEL, versions)
    ledger = Ledger()
    attempts = []
    with RoomieClient(site.transport, site.names, source=SOURCE) as roomie:
        first = ledger.acknowledged(roomie.deploy(_spec(1)))
        roomie.wait(first, timeout=PATIENCE)
        load = Load([MODEL], rate=rate, transport=site.transport, names=site.names, clock=clock)
        with load:
            load.wait_for_answers([MODEL], PATIENCE)
            for version, behaviour in enumerate(CASES, 2):
                time.sleep(1.0)
                attempt = _attempt(watch, roomie, ledger, version, clock=clock)
                attempts.append(attempt)
                say(f"version {version} ({behaviour}) is {attempt.outcome}: {attempt.reason}")
                if attempt.outcome != expected(behaviour):
                    break  # what serves now is not what the others are to be held against
            requests = load.finish()
    return RollingBack(
        attempts=tuple(seen(attempt, requests) for attempt in attempts), requests=tuple(requests)
    )


def _spec(version: int) -> ModelSpec:
    return ModelSpec(model=MODEL, version=version, instances=2, batch=BATCH, spread="prefer")


def _attempt(
    watch: Watch,
    roomie: RoomieClient,
    ledger: Ledger,
    version: int,
    *,
    clock: Callable[[], float],
) -> Attempt:
    behaviour = CASES[version - 2]
    before = _instances(watch)
    began = clock()
    order = roomie.update(_spec(version))
    ledger.acknowledged(order, succeeds=behaviour == "good")
    outcome = roomie.wait(order, timeout=PATIENCE)
    ended = clock()
    came = watch.converge(ledger.wishes(), _SETTLE_SECONDS)
    return Attempt(
        behaviour=behaviour,
        version=version,
        began=began,
        ended=ended,
        outcome=outcome.event,
        reason=outcome.reason.splitlines()[0],
        kept=_instances(watch) == before,
        lacking=came.lacking,
    )


def _instances(watch: Watch) -> set[str]:
    placement = watch.placements.rows().get(MODEL)
    return set() if placement is None else {i.id for i in placement.instances}


def expected(behaviour: Behaviour) -> str:
    """How the order for a version of it is to end."""
    return "rolled-out" if behaviour == "good" else "rolled-back"


def seen(attempt: Attempt, requests: list[Request]) -> Attempt:
    """Add what clients saw while a version was on its way in. Pure."""
    meanwhile = [r for r in requests if attempt.began <= r.ended <= attempt.ended]
    return replace(
        attempt,
        old=sum(r.version == 1 for r in meanwhile),
        new=sum(r.version == attempt.version for r in meanwhile),
        errors=tuple(told(r) for r in meanwhile if r.failed),
        silence=longest_silence(
            (r for r in meanwhile if r.version == 1), since=attempt.began, until=attempt.ended
        ),
    )
