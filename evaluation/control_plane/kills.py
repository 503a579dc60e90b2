"""Controller, worker agent, Triton, node and broker killed under load, in turn and together.

Each kill strikes within milliseconds of two orders that the broker has just acknowledged, the
deploy of one model and the undeploy of another, so that none of the parts has had time to act on
them. While the dead part is away, requests go on, and another order comes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias, get_args

import numpy as np

from evaluation.control_plane.deploying import SOURCE, SPECS, deploy_all
from evaluation.control_plane.load import SETTINGS, Load
from evaluation.control_plane.models import BATCH, write_model
from evaluation.control_plane.orders import Ledger, broken_promises
from evaluation.control_plane.requests import Outage, Request, Served, account, summed_up
from evaluation.control_plane.site import Site
from evaluation.control_plane.watching import Convergence, Watch
from roomie.control.client import RoomieClient
from roomie.control.records import ModelSpec

Kind: TypeAlias = Literal["controller", "agent", "triton", "node", "broker", "everything"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_SERVERS_DIE: frozenset[Kind] = frozenset({"triton", "node", "everything"})
_BROKER_DIES: frozenset[Kind] = frozenset({"broker", "everything"})
_OF_ONE: frozenset[Kind] = frozenset({"agent", "triton", "node"})

_BEYOND_LEASE = 3.0
"""A node stays away for so long after its lease: its instances have to go elsewhere, and be given
up where it comes back."""
_CALM_SECONDS = 2.0
_GROWING = SPECS[-1].model
"""Its number of instances changes while others are dead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One kill; times in seconds of the run.

    Attributes:
        kind: what died.
        victim: whose, where it is one worker's.
        killed: when.
        begun: when the first restart began.
        restarted: when the last restart began. A Triton is restarted by its agent: when it died.
        convergence: what came of waiting.
        remains: processes that should have died with it, or been ended since.
    """

    kind: Kind
    victim: str | None
    killed: float
    begun: float
    restarted: float
    convergence: Convergence
    remains: tuple[str, ...]

    @property
    def seconds(self) -> float | None:
        """From the last restart until all had converged; None if it has not."""
        return None if self.convergence.at is None else self.convergence.at - self.restarted


@dataclass(frozen=True, slots=True, kw_only=True)
class Killing:
    """What came of a run.

    Attributes:
        kills: in their order.
        served: the account of requests, one a kill.
        stray: errors of requests that failed while nothing was dead.
        promises: orders that were not kept.
        orders: how many were acknowledged.
        requests: all of them.
        limit: seconds within which it has to converge.
    """

    kills: tuple[Kill, ...]
    served: tuple[Served, ...]
    stray: tuple[str, ...]
    promises: tuple[str, ...]
    orders: int
    requests: tuple[Request, ...]
    limit: float

    def faults(self) -> list[str]:
        """What should not have been, a sentence each."""
        found = list(self.promises)
        for number, (kill, served) in enumerate(zip(self.kills, self.served, strict=True), 1):
            what = f"kill {number} ({kill.kind}{f' {kill.victim}' if kill.victim else ''})"
            if kill.seconds is None:
                lacking = "; ".join(kill.convergence.lacking)
                found.append(f"{what}: it has not converged: {lacking}")
            elif kill.seconds > self.limit:
                found.append(
                    f"{what}: converged {kill.seconds:.1f} s after the last restart, "
                    f"more than {self.limit:g} s"
                )
            found += (f"{what}: {orphan} is an orphan" for orphan in kill.convergence.orphans)
            found += (f"{what}: {remnant} still runs" for remnant in kill.remains)
            found += summed_up(f"that could have been answered in {what}", served.unexcused)
        return found + summed_up("while nothing was dead", self.stray)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is done to a site.

    Attributes:
        kinds: what is killed, in this order.
        rounds: how often.
        rate: requests a second to each model.
        away: seconds for which what was killed is away.
        limit: seconds after the last restart within which it has to converge.
        patience: seconds for which convergence is waited for.
        seed: of the choice of victims.
    """

    kinds: Sequence[Kind] = KINDS
    rounds: int = 1
    rate: float = 8.0
    away: float = 3.0
    limit: float = 10.0
    patience: float = 90.0
    seed: int = 1


class _Killer:
    """Strikes one part after the other, and keeps the ledger of what was asked for meanwhile."""

    def __init__(
        self,
        site: Site,
        watch: Watch,
        roomie: RoomieClient,
        plan: Plan,
        *,
        clock: Callable[[], float],
    ) -> None:
        self.ledger = Ledger()
        self._site = site
        self._watch = watch
        self._roomie = roomie
        self._plan = plan
        self._clock = clock
        self._rng = np.random.default_rng(plan.seed)

    def strike(self, number: int, kind: Kind) -> Kill:
        """Send orders, kill, restart, and wait until all is as it should be."""
        site, clock, ledger = self._site, self._clock, self.ledger
        victim = self._victim() if kind in _OF_ONE else None
        self._send_errands(number)
        killed = clock()
        _kill(site, kind, victim)
        if kind not in _BROKER_DIES:
            order = self._roomie.scale(_GROWING, 2 - number % 2)
            ledger.acknowledged(order)
        begun = killed
        if kind != "triton":
            away = site.lease + _BEYOND_LEASE if kind == "node" else self._plan.away
            time.sleep(max(0.0, killed + away - clock()))
            begun = clock()
        restarted = begun
        for restart in _restarts(site, kind, victim):
            restarted = clock()
            restart()
        came = self._watch.converge(ledger.wishes(), self._plan.patience)
        return Kill(
            kind=kind,
            victim=victim,
            killed=killed,
            begun=begun,
            restarted=restarted,
            convergence=came,
            remains=tuple(site.remains()),
        )

    def _victim(self) -> str:
        """A worker that has something to lose."""
        placements = self._watch.placements.rows().values()
        return str(self._rng.choice(sorted({i.worker for p in placements for i in p.instances})))

    def _send_errands(self, number: int) -> None:
        if number:
            self.ledger.acknowledged(self._roomie.undeploy(f"errand-{number - 1}"))
        spec = ModelSpec(model=f"errand-{number}", profile=SPECS[0].model, batch=BATCH)
        self.ledger.acknowledged(self._roomie.deploy(spec))


def kill(
    site: Site,
    watch: Watch,
    plan: Plan,
    *,
    clock: Callable[[], float],
    say: Callable[[str], None],
) -> Killing:
    """Deploy models, keep asking them, and kill.

    Args:
        site: without models.
        watch: of it.
        plan: what is done.
        clock: seconds of the run; the site's and the watch's.
        say: is told what happens.

    Raises:
        MeasurementError: the models never came to serve.
    """
    kinds = [kind for _ in range(plan.rounds) for kind in plan.kinds]
    for number in range(len(kinds)):
        write_model(site.models, f"errand-{number}")
    models = [spec.model for spec in SPECS]
    kills: list[Kill] = []
    with ExitStack() as stack:
        roomie = stack.enter_context(RoomieClient(site.transport, site.names, source=SOURCE))
        killer = _Killer(site, watch, roomie, plan, clock=clock)
        say(f"{len(SPECS)} models are deployed")
        deploy_all(site, watch, killer.ledger)
        load = stack.enter_context(
            Load(models, rate=plan.rate, transport=site.transport, names=site.names, clock=clock)
        )
        load.wait_for_answers(models, plan.patience)
        for number, kind in enumerate(kinds):
            time.sleep(_CALM_SECONDS)
            kills.append(killer.strike(number, kind))
            say(f"{len(kills)} of {len(kinds)}: {_told(kills[-1])}")
        time.sleep(_CALM_SECONDS)
        requests = load.finish()
    served, stray = account(requests, [_outage(k, plan) for k in kills], SETTINGS.wait)
    orders = killer.ledger.orders
    return Killing(
        kills=tuple(kills),
        served=tuple(served),
        stray=stray,
        promises=tuple(broken_promises(orders, watch.statuses())),
        orders=len(orders),
        requests=tuple(requests),
        limit=plan.limit,
    )


def _outage(kill: Kill, plan: Plan) -> Outage:
    at = kill.convergence.at
    return Outage(
        began=kill.killed,
        ended=kill.restarted + plan.patience if at is None else at,
        excuses=kill.kind in _SERVERS_DIE,
    )


def _kill(site: Site, kind: Kind, victim: str | None) -> None:
    if kind == "controller":
        site.controller.kill()
    elif kind == "broker":
        site.broker.kill()
    elif kind == "everything":
        site.kill_everything()
    elif victim is not None:
        if kind == "agent":
            site.agents[victim].kill()
        elif kind == "triton":
            site.kill_triton(victim)
        else:
            site.kill_node(victim)


def _restarts(site: Site, kind: Kind, victim: str | None) -> Iterator[Callable[[], None]]:
    """What has to be started again, in the order of a machine that boots."""
    if kind in ("broker", "everything"):
        yield site.broker.start
    if kind in ("controller", "everything"):
        yield site.start_controller
    workers = list(site.gpus) if kind == "everything" else []
    if kind in ("agent", "node") and victim is not None:
        workers = [victim]
    for worker in workers:
        yield partial(site.start_agent, worker)


def _told(kill: Kill) -> str:
    whose = f" of {kill.victim}" if kill.victim else ""
    if kill.seconds is None:
        return f"{kill.kind}{whose}: NOT converged: {'; '.join(kill.convergence.lacking)}"
    last = (
        f" (the last of it: {'; '.join(kill.convergence.last[:2])})"
        if kill.convergence.last
        else ""
    )
    return f"{kill.kind}{whose}: converged {kill.seconds:.1f} s after the last restart{last}"
