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
from roomie.control.connections import Connections
from roomie.control.follower import Follower, Table
from roomie.control.no_instance import explain
from roomie.control.patience import Patience
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
        wait: seconds for which a request may be without any instance that can be reached; all its
            pieces together, where it is asked for in pieces.
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
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._spreader = Spreader()
        self._connections = Connections(connect)
        self._counts: Counter[str] = Counter()
        self._items: Counter[str] = Counter()
        self._described: ModelDescription | None = None
        self._version = 0
        """How often what is known of the model has become void."""
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
        self._connections.close()

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
        return self._description(self._patience())

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
        return self._infer(inputs, outputs, self._patience())

    def _infer(
        self, inputs: Tensors, outputs: Sequence[str], patience: Patience
    ) -> dict[str, Tensor]:
        items = 1
        if self._description(patience).max_batch > 0:
            items = max((value.shape[0] for value in inputs.values() if value.ndim), default=1)
        timeout = self._settings.timeout
        try:
            return self._ask(
                items,
                lambda server, name: server.infer(name, inputs, outputs=outputs, timeout=timeout),
                patience,
            )
        except _TooLargeError:
            # One after the other, since this may be one of the threads of `infer_all`; so they are
            # as large as one instance takes, not such that all have work.
            size = max((ready.batch for ready in self.instances()), default=items)
            pieces = _cut(inputs, items, size)
            return _join([self._infer(piece, outputs, patience) for piece in pieces])

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
        patience = self._patience()
        batched = self._description(patience).max_batch > 0
        pieces = _cut(inputs, count, self._piece(count) if batched else 1)
        if not batched:
            pieces = [{name: value[0] for name, value in piece.items()} for piece in pieces]
        if len(pieces) == 1:
            answers = [self._infer(pieces[0], outputs, patience)]
        else:
            answers = list(
                self._executor.map(lambda piece: self._infer(piece, outputs, patience), pieces)
            )
        return _join(answers, batched=batched)

    def _patience(self) -> Patience:
        return Patience(self._monotonic() + self._settings.wait)

    def _description(self, patience: Patience) -> ModelDescription:
        """See `describe`; the patience is that of whoever asks."""
        with self._changed:
            described, version = self._described, self._version
        if described is None:
            described = self._ask(0, lambda server, name: server.describe(name), patience)
            with self._changed:
                if self._version == version:  # or it may be of an instance that is no more
                    self._described = described
        return described

    def _piece(self, count: int) -> int:
        """Items of a request, so that every instance takes it and all of them have work."""
        ready = self.instances()
        if not ready:  # any more; what is too much for those that come is cut again
            return count
        return max(1, min(*(c.batch for c in ready), -(-count // len(ready))))

    def _ask(self, items: int, call: Callable[[InferenceServer, str], T], patience: Patience) -> T:
        """Ask one instance after the other until one answers.

        Args:
            items: of the request; 0 for what is no inference, and says nothing about speed.
            call: does it.
            patience: of the request that it is for.

        Raises:
            _TooLargeError: it is more than any instance that is ready takes at once.
        """
        errors: list[str] = []
        answered_badly = 0
        asked: frozenset[str] = frozenset()
        while True:
            chosen = self._choose(items, asked, patience, errors)
            if chosen is None:
                asked = frozenset()  # all of them have had it: once more, after a pause
                continue
            with self._changed:
                patience.sent(self._monotonic())
            answered = False
            try:
                answer = self._ask_one(chosen, call)
                answered = True
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
            finally:
                with self._changed:
                    patience.ended(self._monotonic(), answered=answered)
            with self._changed:
                if items:
                    self._counts["answered"] += 1
                    self._items[chosen.candidate.id] += items
            return answer

    def _choose(
        self, items: int, asked: frozenset[str], patience: Patience, errors: list[str]
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
                left = patience.until - now
                if left <= 0:
                    self._counts["failed"] += 1
                    break
                chance = self._spreader.next_chance(now, items)
                pause = _LONGEST_PAUSE if chance is None else min(chance, _LONGEST_PAUSE)
                self._changed.wait(max(0.005, min(left, pause)))
                if asked:
                    return None
        raise NoInstanceError(
            explain(
                self.model,
                self._settings.wait,
                self._table.rows() if self._follower.ready() else None,
                errors=errors,
                fault=self._follower.fault(),
            )
        )

    def _ask_one(self, sending: Sending, call: Callable[[InferenceServer, str], T]) -> T:
        outcome: Callable[[], None] = partial(self._spreader.refused, sending)
        try:
            with self._connections.use(sending.candidate.url) as connection:
                warm, sent = connection.warm, self._monotonic()
                answer = call(connection.server, sending.candidate.id)
                now = self._monotonic()
            if sending.items:
                took = now - sent if warm else None
                outcome = partial(self._spreader.succeeded, sending, took, now)
        except UnavailableError as error:
            outcome = partial(self._failed, sending)
            _log.info("%s: %s; asking another one", self.model, error)
            raise
        else:
            return answer
        finally:
            with self._changed:
                outcome()
                if sending.trial:
                    self._changed.notify_all()  # whoever waits for what comes of it

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
        self._connections.keep({candidate.url for candidate in ready})
        with self._changed:
            if {known.id for known in self._spreader.candidates} != {c.id for c in ready}:
                self._described = None  # another version perhaps
                self._version += 1
            self._spreader.update(ready)
            self._changed.notify_all()


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
