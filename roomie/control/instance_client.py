"""Requests to the instances of a model, wherever ROOMIE has placed them."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Self, TypeVar

import numpy as np

from dataflow.config import TopicNames
from dataflow.errors import ConfigError
from dataflow.transport import Transport
from roomie.control.follower import Follower, Table
from roomie.control.records import Placement
from roomie.control.spread import Candidate, Sending, Spreader
from roomie.errors import NoInstanceError, UnavailableError
from roomie.triton.grpc import GrpcTriton
from roomie.triton.server import InferenceServer, ModelDescription, Tensor, Tensors

_log = logging.getLogger("videojam.roomie")

T = TypeVar("T")

_LONGEST_PAUSE = 0.25
"""Between two looks for an instance; a change of the placements is noticed at once."""


@dataclass(frozen=True, kw_only=True)
class ClientSettings:
    """How patient a client is.

    Attributes:
        wait: seconds for which a request may be without any instance that can be reached.
        timeout: seconds that one instance may take to answer.
        attempts: instances that may answer with an error until the request counts as failed:
            an input that no instance can digest is not to be tried for ever.
        parallel: most requests at a time of one `InstanceClient.infer_all`.
    """

    wait: float = 10.0
    timeout: float = 5.0
    attempts: int = 3
    parallel: int = 8

    def __post_init__(self) -> None:
        for key in ("wait", "timeout", "attempts", "parallel"):
            if getattr(self, key) <= 0:
                raise ConfigError("must be more than 0", key=key, value=getattr(self, key))


@dataclass(frozen=True, kw_only=True)
class ClientCounts:
    """What became of a client's requests.

    Attributes:
        answered: well.
        failed: in the end.
        moved: attempts that failed, and after which another instance, or the same later, was asked.
        by_instance: answered items, by instance.
    """

    answered: int
    failed: int
    moved: int
    by_instance: dict[str, int]


class _TooLargeError(Exception):
    """No instance that is ready takes so many items at once."""


class InstanceClient:
    """Finds ready instances of a model through the placements, and spreads requests over them.

    Only for inferences that may be repeated: where an instance goes away or errs, another one is
    asked within the same request. Safe for threads.

    Args:
        model: by the name under which it was deployed.
        transport: where the topics are.
        names: of the deployment's topics.
        settings: how patient it is.
        connect: opens a connection to a server, by its address.
        monotonic: seconds of a clock that never jumps.
    """

    def __init__(
        self,
        model: str,
        transport: Transport,
        names: TopicNames,
        *,
        settings: ClientSettings | None = None,
        connect: Callable[[str], InferenceServer] = GrpcTriton,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model = model
        self._settings = settings or ClientSettings()
        self._connect = connect
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._spreader = Spreader()
        self._servers: dict[str, InferenceServer] = {}
        self._using: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._items: Counter[str] = Counter()
        self._described: ModelDescription | None = None
        self._table = Table(Placement)
        self._follower = Follower(
            transport, {names.placements: self._table}, on_change=self._hear, monotonic=monotonic
        )
        self._executor = ThreadPoolExecutor(
            self._settings.parallel, thread_name_prefix=f"infer-{model}"
        )
        self._follower.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release everything."""
        self._follower.stop()
        self._executor.shutdown(wait=True)
        with self._changed:
            servers, self._servers = self._servers, {}
        for server in servers.values():
            server.close()

    def instances(self) -> tuple[Candidate, ...]:
        """Those that are ready, as far as is known."""
        with self._changed:
            return self._spreader.candidates

    def counts(self) -> ClientCounts:
        """What became of the requests so far."""
        with self._changed:
            return ClientCounts(
                answered=self._counts["answered"],
                failed=self._counts["failed"],
                moved=self._counts["moved"],
                by_instance=dict(self._items),
            )

    def describe(self) -> ModelDescription:
        """What the model takes and gives: of the first instance that answers, then remembered.

        Raises:
            NoInstanceError: none is ready in time.
        """
        return self._description(self._monotonic())

    def infer(self, inputs: Tensors, *, outputs: Sequence[str] = ()) -> dict[str, Tensor]:
        """One request, answered by one instance.

        More items than any instance that is ready takes at once are asked for piece by piece.

        Args:
            inputs: by name; with the batch axis if the model has one.
            outputs: which to return; all when empty.

        Raises:
            NoInstanceError: none was ready in time, or all that were asked failed.
            BadRequestError: the inputs do not fit the model.
        """
        began = self._monotonic()
        items = 1
        if self._description(began).max_batch > 0:
            items = max((value.shape[0] for value in inputs.values() if value.ndim), default=1)
        timeout = self._settings.timeout
        try:
            return self._ask(
                items,
                lambda server, name: server.infer(name, inputs, outputs=outputs, timeout=timeout),
                began,
            )
        except _TooLargeError:
            # One after the other: this may be one of the threads of `infer_all`.
            pieces = _cut(inputs, items, self._piece(items))
            return _join([self.infer(piece, outputs=outputs) for piece in pieces])

    def infer_all(self, inputs: Tensors, *, outputs: Sequence[str] = ()) -> dict[str, Tensor]:
        """Any number of items, cut into requests that run at the same time on several instances.

        Args:
            inputs: by name, with a batch axis, whether or not the model has one.
            outputs: which to return; all when empty.

        Returns:
            Outputs with the batch axis, in the order of the inputs.

        Raises:
            NoInstanceError: none was ready in time, or all that were asked failed.
            BadRequestError: the inputs do not fit the model.
        """
        count = len(next(iter(inputs.values())))
        batched = self.describe().max_batch > 0
        pieces = _cut(inputs, count, self._piece(count) if batched else 1)
        if not batched:
            pieces = [{name: value[0] for name, value in piece.items()} for piece in pieces]
        if len(pieces) == 1:
            answers = [self.infer(pieces[0], outputs=outputs)]
        else:
            answers = list(
                self._executor.map(lambda piece: self.infer(piece, outputs=outputs), pieces)
            )
        return _join(answers, batched=batched)

    def _description(self, began: float) -> ModelDescription:
        """See `describe`; the patience of whoever asks has run since ``began``."""
        described = self._described
        if described is None:
            described = self._ask(0, lambda server, name: server.describe(name), began)
            self._described = described
        return described

    def _piece(self, count: int) -> int:
        """Items of a request, so that every instance takes it and all of them have work."""
        ready = self.instances()
        if not ready:  # any more; what is too much for those that come is cut again
            return count
        return max(1, min(*(c.batch for c in ready), -(-count // len(ready))))

    def _ask(self, items: int, call: Callable[[InferenceServer, str], T], began: float) -> T:
        """Ask one instance after the other until one answers.

        Args:
            items: of the request; 0 for what is no inference, and says nothing about speed.
            call: does it.
            began: since when it is tried.

        Raises:
            _TooLargeError: it is more than any instance that is ready takes at once.
        """
        errors: list[str] = []
        answered_badly = 0
        asked: frozenset[str] = frozenset()
        while True:
            chosen = self._choose(items, asked, began, errors)
            if chosen is None:
                asked = frozenset()  # all of them have had it: once more, after a pause
                continue
            try:
                answer = self._ask_one(chosen, call)
            except UnavailableError as error:
                errors.append(str(error))
                answered_badly += error.answered
                asked |= {chosen.candidate.id}
                if answered_badly >= self._settings.attempts:
                    raise self._give_up(errors) from error
                continue
            except Exception:
                with self._changed:
                    self._counts["failed"] += 1
                raise
            if items:
                with self._changed:
                    self._counts["answered"] += 1
                    self._items[chosen.candidate.id] += items
            return answer

    def _choose(
        self, items: int, asked: frozenset[str], began: float, errors: list[str]
    ) -> Sending | None:
        """An instance that has not had the request; None after a pause where all have.

        Raises:
            NoInstanceError: there was none for too long.
            _TooLargeError: none that is ready takes so many items.
        """
        with self._changed:
            while True:
                if not self._spreader.fits(items):
                    raise _TooLargeError
                now = self._monotonic()
                chosen = self._spreader.choose(items, now, asked)
                if chosen is not None:
                    return chosen
                left = began + self._settings.wait - now
                if left <= 0:
                    self._counts["failed"] += 1
                    break
                chance = self._spreader.next_chance(now, items)
                pause = _LONGEST_PAUSE if chance is None else min(chance, _LONGEST_PAUSE)
                self._changed.wait(max(0.005, min(left, pause)))
                if asked:
                    return None
        raise NoInstanceError(self._why(errors))

    def _ask_one(self, sending: Sending, call: Callable[[InferenceServer, str], T]) -> T:
        url = sending.candidate.url
        with self._changed:
            self._using[url] += 1
        sent = self._monotonic()
        outcome: Callable[[], None] = partial(self._spreader.refused, sending)
        try:
            answer = call(self._server(url), sending.candidate.id)
            if sending.items:
                now = self._monotonic()
                outcome = partial(self._spreader.succeeded, sending, now - sent, now)
        except UnavailableError as error:
            outcome = partial(self._failed, sending)
            _log.info("%s: %s; asking another one", self.model, error)
            raise
        else:
            return answer
        finally:
            with self._changed:
                self._using[url] -= 1
                outcome()
                if sending.trial:
                    self._changed.notify_all()  # whoever waits for what comes of it

    def _server(self, url: str) -> InferenceServer:
        with self._changed:
            server = self._servers.get(url)
            if server is None:
                server = self._servers[url] = self._connect(url)
            return server

    def _failed(self, sending: Sending) -> None:
        self._counts["moved"] += 1
        self._spreader.failed(sending, self._monotonic())

    def _give_up(self, errors: Sequence[str]) -> NoInstanceError:
        with self._changed:
            self._counts["moved"] -= 1
            self._counts["failed"] += 1
        return NoInstanceError(
            f"{len(errors)} attempts to run {self.model} failed; the last one: {errors[-1]}"
        )

    def _why(self, errors: Sequence[str]) -> str:
        """Why there was no instance."""
        wait = self._settings.wait
        if errors:
            return (
                f"no instance of {self.model} has answered within {wait:g} s; "
                f"the last error: {errors[-1]}"
            )
        fault = self._follower.fault()
        if not self._follower.ready():
            return (
                f"the placements could not be read within {wait:g} s"
                f"{'' if fault is None else f': {fault}'}\n"
                "  remedy: see that the broker runs and that `videojam topics apply` was done"
            )
        placement = self._table.rows().get(self.model)
        if placement is None:
            known = ", ".join(sorted(self._table.rows())) or "none"
            return (
                f"the model {self.model!r} is not deployed (deployed: {known})\n"
                f"  remedy: videojam deploy {self.model}"
            )
        states = Counter(placed.state for placed in placement.instances)
        shown = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        return (
            f"no instance of {self.model} was ready within {wait:g} s; its placement has "
            f"{shown or 'none'}{'' if placement.deferred is None else f': {placement.deferred}'}\n"
            "  remedy: `videojam gpus` shows where they are"
        )

    def _hear(self) -> None:
        """The placements have changed."""
        placement = self._table.rows().get(self.model)
        ready = [
            Candidate(
                id=placed.id,
                url=placed.url,
                batch=placed.batch,
                speed=placed.speed,
                weight=placed.weight,
            )
            for placed in (() if placement is None else placement.instances)
            if placed.state == "ready" and placed.url
        ]
        urls = {candidate.url for candidate in ready}
        with self._changed:
            if {known.id for known in self._spreader.candidates} != {c.id for c in ready}:
                self._described = None  # another version perhaps
            self._spreader.update(ready)
            idle = [url for url in self._servers if url not in urls and not self._using[url]]
            closing = [self._servers.pop(url) for url in idle]
            self._changed.notify_all()
        for server in closing:
            server.close()


def _cut(inputs: Tensors, count: int, size: int) -> list[dict[str, Tensor]]:
    """Pieces of at most ``size`` of ``count`` items, in their order."""
    return [
        {name: value[start : start + size] for name, value in inputs.items()}
        for start in range(0, count, size)
    ]


def _join(answers: Sequence[dict[str, Tensor]], *, batched: bool = True) -> dict[str, Tensor]:
    """The answers to pieces, with the batch axis."""
    join = np.concatenate if batched else np.stack
    return {name: join([answer[name] for answer in answers]) for name in answers[0]}
