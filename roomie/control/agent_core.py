"""What a worker does so that its server runs what is placed on it. Pure: it decides, others act.

Level-triggered: `AgentCore.decide` compares what is wanted with what the server has and returns
what is to be done next; it remembers nothing that a new one could not find out by looking, but for
what has failed and since when something drains. Killed at any instant, a new one comes to the same.

An instance goes ``pending -> loading -> ready``: it is loaded, verified by an answer, and ready as
long as the server has it. A load or an answer that fails is tried again a few times with growing
pauses; then the instance is ``failed``, with the reason, until its placement changes. What nobody
wants any more is ``draining``: it goes when its requests have ended and clients had time to hear.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from roomie.control.agent_values import (
    Action,
    AgentSettings,
    Load,
    Remove,
    Seen,
    Unload,
    Verify,
    Wanted,
)
from roomie.control.records import InstanceReport, InstanceState


@dataclass
class _Work:
    """An action that was handed out and has not come back."""

    action: Load | Verify | Unload
    since: float
    limit: float
    serving: bool
    """Whether the instance answered when it was begun, and goes on doing so if it fails."""


@dataclass
class _Entry:
    """What is known of one instance beyond what the server says."""

    wanted: Wanted | None = None
    work: _Work | None = None
    verified: bool = False
    verified_tuning: str | None = None
    failures: int = 0
    retry_at: float = -float("inf")
    failed: bool = False
    failed_generation: int = -1
    reason: str | None = None
    began: float | None = None
    ready_seconds: float | None = None
    losses: int = 0
    ready_since: float | None = None
    draining_since: float | None = None
    activity: int = -1

    def anew(self) -> None:
        """Try as if nothing had failed."""
        self.failed, self.failures, self.reason = False, 0, None
        self.retry_at, self.began = -float("inf"), None


_SETTLED_SECONDS = 60.0
"""An instance that was ready for so long has no share in the server's death."""
_UNLOAD_SECONDS = 60.0


class AgentCore:
    """See the module.

    Args:
        settings: how patient it is.
    """

    def __init__(self, settings: AgentSettings | None = None) -> None:
        self.settings = settings or AgentSettings()
        self._entries: dict[str, _Entry] = {}
        self._ticket = 0
        self._answered_at: float | None = None

    def server_up(self, now: float) -> bool:
        """Whether the server has answered lately."""
        at = self._answered_at
        return at is not None and now - at <= self.settings.silence

    def server_died(self, now: float) -> None:
        """Its process has ended: nothing is loaded, and what was being done has failed."""
        self._answered_at = None
        for entry in self._entries.values():
            work, entry.work = entry.work, None
            interrupted = work is not None and not isinstance(work.action, Unload)
            if interrupted and not entry.verified:
                self._failed(entry, "the server died meanwhile", now)
            self._lost(entry, now)

    def finished(self, action: Action, error: str | None, now: float) -> None:
        """An action has ended; one that was given up meanwhile is ignored.

        Args:
            action: as `decide` returned it.
            error: why it failed; None if it did not.
            now: the time, seconds.
        """
        entry = self._entries.get(action.id)
        if entry is None:
            return
        if isinstance(action, Remove):
            self._removed(action.id, entry, error, now)
            return
        if entry.work is None:
            return
        if entry.work.action.ticket != action.ticket:
            return
        work, entry.work = entry.work, None
        if isinstance(action, Unload):
            entry.retry_at = now if error is None else now + self.settings.backoff
        elif error is not None:
            self._failed(entry, error, now, serving=work.serving)
        elif isinstance(action, Verify):
            self._verified(entry, action.tuning, now)

    def decide(
        self, wanted: Mapping[str, Wanted] | None, seen: Mapping[str, Seen] | None, now: float
    ) -> list[Action]:
        """What to do next.

        Args:
            wanted: instances that should run here, by id; None while that is not known.
            seen: models of the server, by name; None when it does not answer.
            now: the time, seconds.
        """
        if seen is not None:
            self._answered_at = now
        self._take(wanted)
        self._give_up_the_hung(now)
        if seen is None:
            return []
        actions: list[Action] = []
        for name, entry in self._entries.items():
            if entry.wanted is not None:
                actions += self._pursue(name, entry, entry.wanted, seen.get(name), now)
        if wanted is not None:
            actions += self._clear(seen, now)
        return actions

    def looking(self) -> bool:
        """Whether the first look at what runs already is still going on."""
        return self._answered_at is None or any(
            entry.work is not None and isinstance(entry.work.action, Verify) and not entry.began
            for entry in self._entries.values()
        )

    def reports(self, now: float) -> tuple[InstanceReport, ...]:
        """What there is to say of each instance, by id."""
        up = self.server_up(now)
        return tuple(
            InstanceReport(
                id=name,
                state=_state(entry, up=up),
                reason=entry.reason,
                ready_seconds=entry.ready_seconds,
            )
            for name, entry in sorted(self._entries.items())
            if entry.wanted is not None or entry.draining_since is not None
        )

    def _take(self, wanted: Mapping[str, Wanted] | None) -> None:
        """Note what is wanted; what has changed is tried anew."""
        if wanted is None:
            return
        for name, new in wanted.items():
            entry = self._entries.setdefault(name, _Entry())
            old, entry.wanted, entry.draining_since = entry.wanted, new, None
            changed = old is None or old.tuning != new.tuning or old.problem != new.problem
            # A controller that writes down that it has failed is no reason to try again.
            again = new.generation > entry.failed_generation and not new.known_failed
            if changed or (entry.failed and again):
                entry.anew()
            if new.problem is not None:
                entry.failed, entry.reason = True, new.problem
        for name, entry in self._entries.items():
            if name not in wanted and entry.wanted is not None:
                entry.wanted = None
                entry.anew()

    def _give_up_the_hung(self, now: float) -> None:
        for entry in self._entries.values():
            work = entry.work
            if work is None or now - work.since <= work.limit:
                continue
            entry.work = None
            if not isinstance(work.action, Unload):
                what = "load" if isinstance(work.action, Load) else "answer"
                reason = f"it did not {what} within {work.limit:g} s"
                self._failed(entry, reason, now, serving=work.serving)

    def _pursue(
        self, name: str, entry: _Entry, wanted: Wanted, seen: Seen | None, now: float
    ) -> Iterator[Action]:
        """The next step of an instance that should run."""
        if entry.work is not None:
            return
        state = "unavailable" if seen is None else seen.state
        if state in {"loading", "unloading"}:
            return  # somebody's doing, perhaps of an agent before us: it ends by itself
        if state == "unavailable":
            self._lost(entry, now)
        tuning = str(wanted.tuning)
        right = seen is not None and state == "ready" and seen.tuning == tuning
        if right and entry.verified and entry.verified_tuning == tuning:
            self._settle(entry, now)
        elif entry.failed or entry.failures >= self.settings.attempts or now < entry.retry_at:
            return
        elif right:
            verify = Verify(id=name, tuning=tuning, ticket=self._next())
            yield self._hand_out(verify, entry, now)
        elif self._loads() < self.settings.parallel_loads:
            if entry.began is None:
                entry.began = now
            load = Load(id=name, wanted=wanted, ticket=self._next())
            yield self._hand_out(load, entry, now)

    def _clear(self, seen: Mapping[str, Seen], now: float) -> Iterator[Action]:
        """Let go of what nobody wants."""
        for name, found in seen.items():
            if found.ours and name not in self._entries:
                self._entries[name] = _Entry()
        for name in list(self._entries):
            entry = self._entries[name]
            if entry.wanted is not None or entry.work is not None:
                continue
            model = seen.get(name)
            if model is None:
                del self._entries[name]
            elif model.state == "unavailable":
                entry.draining_since = None  # it has gone: only its folder is left
                if now >= entry.retry_at:
                    yield Remove(id=name)
            elif model.state == "ready" and self._drained(entry, model, now):
                yield self._hand_out(Unload(id=name, ticket=self._next()), entry, now)

    def _drained(self, entry: _Entry, model: Seen, now: float) -> bool:
        if entry.draining_since is None:
            entry.draining_since = now
        quiet = model.activity == entry.activity and not model.pending
        entry.activity = model.activity
        lasted = now - entry.draining_since
        if now < entry.retry_at:
            return False
        return (quiet and lasted >= self.settings.drain_seconds) or (
            lasted >= self.settings.longest_drain
        )

    def _removed(self, name: str, entry: _Entry, error: str | None, now: float) -> None:
        if entry.wanted is not None:
            return  # again
        if error is None:
            del self._entries[name]
            return
        entry.failures += 1
        entry.retry_at = now + self.settings.pause(entry.failures)

    def _hand_out(
        self, action: Load | Verify | Unload, entry: _Entry, now: float
    ) -> Load | Verify | Unload:
        # The actor has a deadline of its own; ours only tells a hung actor.
        limit = {
            Load: self.settings.load_seconds,
            Verify: self.settings.verify_seconds,
            Unload: _UNLOAD_SECONDS,
        }[type(action)]
        entry.work = _Work(action, now, 1.5 * limit, isinstance(action, Load) and entry.verified)
        return action

    def _next(self) -> int:
        self._ticket += 1
        return self._ticket

    def _loads(self) -> int:
        return sum(
            entry.work is not None and isinstance(entry.work.action, Load)
            for entry in self._entries.values()
        )

    def _failed(self, entry: _Entry, reason: str, now: float, *, serving: bool = False) -> None:
        entry.failures += 1
        entry.reason = reason
        entry.retry_at = now + self.settings.pause(entry.failures)
        if serving:
            return  # it goes on as it was, though otherwise than it should
        entry.verified = False
        if entry.wanted is not None and entry.failures >= self.settings.attempts:
            entry.failed, entry.failed_generation = True, entry.wanted.generation

    def _verified(self, entry: _Entry, tuning: str, now: float) -> None:
        entry.verified, entry.verified_tuning = True, tuning
        entry.failures, entry.reason = 0, None
        entry.ready_since = now
        if entry.began is not None:
            entry.ready_seconds = now - entry.began
            entry.began = None

    def _settle(self, entry: _Entry, now: float) -> None:
        if entry.ready_since is not None and now - entry.ready_since >= _SETTLED_SECONDS:
            entry.losses = 0

    def _lost(self, entry: _Entry, now: float) -> None:
        """It was ready, and the server has it no longer."""
        if not entry.verified:
            return
        entry.verified = False
        entry.losses += 1
        # Attempts to change how it ran say nothing about one to load it.
        entry.anew()
        if entry.losses > 1:  # it may be what kills the server: do not do so all the time
            entry.retry_at = now + self.settings.pause(entry.losses - 1)


def _state(entry: _Entry, *, up: bool) -> InstanceState:
    if entry.wanted is None:
        return "draining"
    if entry.failed:
        return "failed"
    if entry.verified and up:
        return "ready"
    return "loading" if entry.work is not None and up else "pending"
