"""Looking at a site from outside: placements as the topic has them, servers as they answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Self

from evaluation.control_plane.convergence import Index, Look, misplaced, orphans, unanswered
from evaluation.control_plane.models import INPUT, version_of
from evaluation.control_plane.orders import Wish
from evaluation.control_plane.site import Site
from evaluation.errors import MeasurementError
from evaluation.kafka import read_to_end
from evaluation.waiting import wait_until
from roomie.control.follower import Follower, Table
from roomie.control.records import PlacedInstance, Placement, Status, WorkerReport
from roomie.errors import InferenceError
from roomie.triton.grpc import GrpcTriton

_PAUSE_SECONDS = 0.1
_CALL_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Convergence:
    """What came of waiting for a site to converge.

    Attributes:
        at: when it was seen to have converged; None if it was not in time.
        last: what was not as it should be at the look before.
        lacking: what was not as it should be when the time was over; empty if it has converged.
        orphans: instances among that.
    """

    at: float | None
    last: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()


class Watch:
    """An observer of a site, with readers and connections of its own.

    Args:
        site: which one.
        clock: seconds of a clock that never jumps; the site's.
    """

    def __init__(self, site: Site, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._site = site
        self._clock = clock
        self.placements = Table(Placement)
        self.workers = Table(WorkerReport)
        names = site.names
        self._follower = Follower(
            site.transport,
            {names.placements: self.placements, names.workers: self.workers},
            monotonic=clock,
        )
        self._servers: dict[str, GrpcTriton] = {}
        self._executor = ThreadPoolExecutor(len(site.gpus) + 4, thread_name_prefix="watch")

    def __enter__(self) -> Self:
        self._follower.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._follower.stop()
        self._executor.shutdown(cancel_futures=True)
        for server in self._servers.values():
            server.close()

    # -- looks ------------------------------------------------------------------------------------

    def look(self) -> Look:
        """The site now; without inferences."""
        states = {worker: self._site.triton(worker) for worker in self._site.gpus}
        urls = {worker: state.url for worker, state in states.items() if state is not None}
        for url in set(self._servers) - set(urls.values()):
            self._servers.pop(url).close()
        for url in set(urls.values()) - set(self._servers):
            self._servers[url] = GrpcTriton(url, call_seconds=_CALL_SECONDS)
        placements = self.placements.rows()
        found = self._executor.map(lambda w: (w, self._index(urls[w])), urls)
        heard = self.workers.dated()
        return Look(
            placements=placements,
            urls=urls,
            indexes={worker: index for worker, index in found if index is not None},
            silent=tuple(
                worker
                for worker, since in self._site.started.items()
                if worker not in heard
                or heard[worker][1] < since
                or not heard[worker][0].server_ready
            ),
        )

    def ask(self, look: Look) -> Look:
        """The same, with an inference of each placed instance, straight from its server."""
        placed = [i for p in look.placements.values() for i in p.instances]
        versions = self._executor.map(lambda i: (i.id, self._version(look, i)), placed)
        return replace(look, answers={name: v for name, v in versions if v is not None})

    def _index(self, url: str) -> Index | None:
        try:
            return {name: entry.state for name, entry in self._servers[url].index().items()}
        except InferenceError:
            return None

    def _version(self, look: Look, instance: PlacedInstance) -> int | None:
        server = self._servers.get(look.urls.get(instance.worker, ""))
        if server is None:
            return None
        try:
            answer = server.infer(instance.id, {"x": INPUT}, timeout=_CALL_SECONDS)
            return version_of(answer)
        except (InferenceError, ValueError):
            return None

    # -- waiting ----------------------------------------------------------------------------------

    def until_complete(self, seconds: float = 120.0) -> None:
        """Until every worker has reported with a server that answers, and a controller decides.

        Raises:
            MeasurementError: it is not so in time, or a process has ended by itself.
        """

        def complete() -> bool:
            faults = self._site.faults()
            if faults:
                raise MeasurementError("; ".join(faults))
            return not self.look().silent and self._site.controller_decides()

        wait_until(
            complete,
            "not all workers have reported, or the controller does not decide",
            seconds=seconds,
            pause=lambda: time.sleep(_PAUSE_SECONDS),
            clock=self._clock,
        )

    def converge(self, wishes: Mapping[str, Wish], seconds: float) -> Convergence:
        """Wait until a site has converged; see `evaluation.control_plane.convergence`.

        Args:
            wishes: what was asked for.
            seconds: for how long to wait.
        """
        deadline = self._clock() + seconds
        last: tuple[str, ...] = ()
        while True:
            look = self.look()
            lacking = misplaced(look, wishes)
            if not lacking:
                # What is looked at for long may have changed meanwhile: asked only when it counts.
                lacking = unanswered(self.ask(look))
            now = self._clock()
            if not lacking:
                return Convergence(at=now, last=last)
            if now > deadline:
                lacking += self._site.faults()
                told = tuple(lacking)
                return Convergence(at=None, last=last, lacking=told, orphans=orphans(look))
            last = tuple(lacking)
            time.sleep(_PAUSE_SECONDS)

    # -- what was said ----------------------------------------------------------------------------

    def statuses(self) -> list[Status]:
        """All that was ever said of orders.

        Raises:
            MeasurementError: it cannot be read in time.
        """
        records = read_to_end(self._site.transport, [self._site.names.status])
        return [Status.from_json(r.value) for r in records if r.value is not None]
