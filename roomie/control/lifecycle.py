"""What becomes of a model's instances: they get ready, fail, drain, and versions follow another.

Level-triggered: each rule looks at what is, not at what happened, and does nothing where all is as
it should be. So it does not matter when a controller was replaced by another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dataflow.backoff import doubled
from roomie.control.book import OUTCOME_OF, Book
from roomie.control.records import ModelSpec, Order, PlacedInstance, Placement, Rollout
from roomie.control.settings import ControlSettings
from roomie.control.windows import Totals, Windows, unproven, verdict

_LONGEST_RETRY = 600.0


def needs_reload(old: ModelSpec, new: ModelSpec) -> bool:
    """Whether instances of one spec cannot serve the other."""
    return (old.version, old.profile, old.batch) != (new.version, new.profile, new.batch)


def serving(placement: Placement, *, incoming: bool = False) -> list[PlacedInstance]:
    """Instances of the version that serves, or of the one on its way in, that are to stay.

    A successor counts only once that which it replaces has gone.
    """
    there = {i.id for i in placement.instances if i.state not in ("draining", "failed")}
    return [
        i
        for i in placement.instances
        if i.id in there and i.incoming is incoming and i.replaces not in there
    ]


class Shunned:
    """GPUs on which a model failed lately.

    Args:
        retry: how long the first failure counts, in seconds; each further one twice as long.
    """

    def __init__(self, retry: float) -> None:
        self._retry = retry
        self._until: dict[tuple[str, str], float] = {}
        self._times: dict[tuple[str, str], int] = {}

    def failed(self, model: str, gpu: str, now: float) -> None:
        """A model failed on a GPU."""
        times = self._times[model, gpu] = self._times.get((model, gpu), 0) + 1
        pause = doubled(self._retry, _LONGEST_RETRY, times - 1)
        self._until[model, gpu] = now + pause

    def succeeded(self, model: str, gpu: str) -> None:
        """It works there after all."""
        self._until.pop((model, gpu), None)
        self._times.pop((model, gpu), None)

    def gpus(self, now: float) -> dict[str, set[str]]:
        """GPUs to be left out, by model."""
        found: dict[str, set[str]] = {}
        for (model, gpu), until in self._until.items():
            if now < until:
                found.setdefault(model, set()).add(gpu)
        return found


class Lifecycle:
    """The rules.

    Args:
        book: what they look at and change.
        settings: limits.
        windows: telemetry.
    """

    def __init__(self, book: Book, settings: ControlSettings, windows: Windows) -> None:
        self._book = book
        self.settings = settings
        self._windows = windows
        self.shunned = Shunned(settings.retry)
        self.reasons: dict[str, str] = {}
        """Why instances failed, by id."""

    def advance(self, model: str, now: float) -> None:
        """Apply all rules to one model."""
        rules: tuple[Callable[[str, float], None], ...] = (
            self._failures,
            self._successors,
            self._rollout,
            self._surplus,
            self._outcomes,
        )
        for rule in rules:
            if model in self._book:
                rule(model, now)

    # -- versions ---------------------------------------------------------------------------------

    def begin(self, order: Order, spec: ModelSpec, now: float, *, first: bool) -> None:
        """Begin to bring a version in; one that was on its way in goes."""
        self.withdraw(order.model, now)
        self._book.edit(
            order.model,
            rollout=Rollout(
                version=spec.version, spec=spec, since=now, order=order.id, first=first
            ),
            deferred=None,
        )

    def roll_back(self, model: str, reason: str, now: float) -> None:
        """Give up the version on its way in; the old one has never stopped serving."""
        placement = self._book[model]
        rollout = placement.rollout
        if rollout is None:
            return
        names = [i.id for i in placement.instances if i.incoming]
        self.withdraw(model, now)
        back = "nothing of it is left" if rollout.first else f"version {placement.spec.version}"
        said = f"version {rollout.version} is rolled back to {back}: {reason}"
        if rollout.first:
            said = f"version {rollout.version} is taken away again: {reason}"
            self._book.edit(model, leaving=True)
        known = any(o.id == rollout.order for o in placement.open)
        if known:
            self._book.end(model, rollout.order, "rolled-back", said, now)
        else:
            self._book.say(model, "rolled-back", said, now, instances=names)

    def withdraw(self, model: str, now: float) -> None:
        """Let the version on its way in go, if there is one."""
        incoming = [i.id for i in self._book[model].instances if i.incoming]
        self._book.drain(model, incoming, now)
        self._book.edit(model, rollout=None, deferred=None)

    def _rollout(self, model: str, now: float) -> None:
        placement = self._book[model]
        rollout = placement.rollout
        if rollout is None:
            return
        new = serving(placement, incoming=True)
        base = [i for i in new if not i.extra]
        ready = len(base) >= rollout.spec.instances and all(i.state == "ready" for i in new)
        if rollout.first:
            if ready:
                self._promote(model, f"{len(base)} instance(s) are ready", now)
            return
        if not ready and rollout.proving is not None:
            # One has gone again. The time to be ready goes on running, so this cannot go on for
            # ever; once it is over, the version is rolled back.
            rollout = rollout.model_copy(update={"proving": None})
            self._book.edit(model, rollout=rollout)
        if ready and rollout.proving is None:
            rollout = rollout.model_copy(update={"proving": now})
            self._book.edit(model, rollout=rollout)
            if self.settings.probation > 0:
                self._book.say(
                    model,
                    "proving",
                    f"version {rollout.version} is ready and serves beside version "
                    f"{placement.spec.version} for {self.settings.probation:g} s",
                    now,
                    instances=[i.id for i in new],
                )
        if rollout.proving is None:
            if now - rollout.since > self.settings.ready_timeout:
                missing = placement.deferred or "its instances are still loading"
                limit = f"not ready within {self.settings.ready_timeout:g} s"
                self.roll_back(model, f"{limit} ({missing})", now)
            return
        self._judge(model, rollout, new, rollout.proving, now)

    def _judge(
        self,
        model: str,
        rollout: Rollout,
        new: Sequence[PlacedInstance],
        since: float,
        now: float,
    ) -> None:
        """Decide on a version that has been on probation since some time."""
        old = [i for i in self._book[model].instances if not i.incoming]
        did = Totals.of(self._windows.totals(i.id, since) for i in new)
        others = Totals.of(self._windows.totals(i.id, since) for i in old)
        least = self.settings.probation_requests
        over = now - since >= self.settings.probation
        against = verdict(did, others, rollout.spec, least=least, over=over)
        if against is not None:
            self.roll_back(model, against, now)
        elif over:
            late = now - since >= self.settings.longest_probation
            # In the end it is promoted where there was hardly anything to answer: a model that is
            # seldom asked has to get new versions too.
            missing = unproven(did, others, least=least if late else 1)
            if missing is None:
                self._promote(model, f"version {rollout.version} has proved itself", now)
            elif late:
                self.roll_back(model, missing, now)

    def _promote(self, model: str, reason: str, now: float) -> None:
        placement = self._book[model]
        rollout = placement.rollout
        if rollout is None:
            return
        old = [i.id for i in placement.instances if not i.incoming]
        new = [i.id for i in placement.instances if i.incoming and i.state != "draining"]
        self._book.drain(model, old, now)
        self._book.edit_instances(model, new, incoming=False, weight=1.0)
        extra = placement.extra_under(rollout.spec)
        self._book.edit(model, spec=rollout.spec, rollout=None, deferred=None, extra=extra)
        kind = next((o.type for o in placement.open if o.id == rollout.order), None)
        if kind is not None:
            event = OUTCOME_OF[kind]
            self._book.end(model, rollout.order, event, f"{reason}: {', '.join(new)}", now)
        elif not rollout.first:
            self._book.say(model, "rolled-out", reason, now, instances=new)

    # -- instances --------------------------------------------------------------------------------

    def _failures(self, model: str, now: float) -> None:
        for instance in self._book[model].instances:
            late = (
                instance.state in ("pending", "loading")
                and now - instance.since > self.settings.ready_timeout
            )
            if instance.state != "failed" and not late:
                continue
            limit = f"not ready within {self.settings.ready_timeout:g} s"
            reason = limit if late else self.reasons.pop(instance.id, "it failed to load")
            self.shunned.failed(model, instance.gpu, now)
            self._book.say(
                model,
                "failed",
                f"{instance.id} on {instance.gpu}: {reason}",
                now,
                instances=[instance.id],
            )
            if late:  # it may still take memory
                self._book.drain(model, [instance.id], now)
            else:
                self._book.drop_instances(model, [instance.id])
            others = serving(self._book[model], incoming=True)
            if instance.incoming and not any(i.state == "ready" for i in others):
                # None of this version has ever become ready: it is the version that is at fault.
                self.roll_back(model, f"{instance.id} on {instance.gpu}: {reason}", now)

    def _successors(self, model: str, now: float) -> None:
        there = {i.id: i for i in self._book[model].instances}
        for instance in there.values():
            if instance.replaces is None or instance.state == "draining":
                continue
            old = there.get(instance.replaces)
            gone = old is None or old.state == "draining"
            if gone:
                self._book.edit_instances(model, [instance.id], replaces=None)
            elif instance.state == "ready":
                self._book.drain(model, [instance.replaces], now)
                self._book.edit_instances(model, [instance.id], replaces=None)
                self._book.say(
                    model,
                    "moved",
                    f"{instance.id} on {instance.gpu} is ready and takes the place of "
                    f"{instance.replaces}",
                    now,
                    instances=[instance.id, instance.replaces],
                )

    def _surplus(self, model: str, now: float) -> None:
        placement = self._book[model]
        if placement.leaving:
            going = [i.id for i in placement.instances if i.state != "draining"]
            self._book.drain(model, going, now)
            return
        first = placement.rollout is not None and placement.rollout.first
        specs = [(False, None if first else placement.spec)]
        if placement.rollout is not None:
            specs.append((True, placement.rollout.spec))
        for incoming, spec in specs:
            if spec is None:
                continue
            self._adopt_extras(model, spec, incoming=incoming)
            placement = self._book[model]
            there = serving(placement, incoming=incoming)
            for extra, most in ((False, spec.instances), (True, placement.extra_under(spec))):
                rows = [i for i in there if i.extra is extra]
                self._shed(model, rows, len(rows) - most, now)

    def _adopt_extras(self, model: str, spec: ModelSpec, *, incoming: bool) -> None:
        """Let instances that autoscaling added take the places of missing ones."""
        placement = self._book[model]
        there = serving(placement, incoming=incoming)
        missing = spec.instances - sum(not i.extra for i in there)
        for instance in [i for i in there if i.extra][: max(0, missing)]:
            self._book.edit_instances(model, [instance.id], extra=False, reserved=spec.reserved)
            if not incoming:
                self._book.give_up_extras(model)

    def _shed(self, model: str, rows: Sequence[PlacedInstance], count: int, now: float) -> None:
        """Let the surplus go: first what is not ready, then what is slowest."""
        if count <= 0:
            return
        order = sorted(rows, key=lambda i: (i.state == "ready", i.speed * i.weight, i.id))
        going = [i.id for i in order[:count]]
        self._book.drain(model, going, now)
        self._book.say(model, "removed", f"{count} more than are wanted", now, instances=going)

    # -- orders -----------------------------------------------------------------------------------

    def _outcomes(self, model: str, now: float) -> None:
        placement = self._book[model]
        if placement.leaving:
            if not placement.instances:
                for order in placement.open:
                    event = OUTCOME_OF[order.type] if order.type == "undeploy" else "superseded"
                    self._book.end(model, order.id, event, "its last instance has gone", now)
                self._book.drop(model)
            return
        if placement.rollout is not None and placement.rollout.first:
            return
        base = [i for i in serving(placement) if not i.extra]
        if len(base) != placement.spec.instances or any(i.state != "ready" for i in base):
            return
        rolling = None if placement.rollout is None else placement.rollout.order
        for order in placement.open:
            if order.id != rolling:
                event = OUTCOME_OF[order.type]
                reason = f"{len(base)} instance(s) are ready: {', '.join(i.id for i in base)}"
                self._book.end(model, order.id, event, reason, now)
