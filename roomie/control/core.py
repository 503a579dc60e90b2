"""ROOMIE's controller without its connections: events and times in, what is to be written out.

The state is the placements, the workers and the telemetry. All that must survive a controller is
in the placements and in the memory of orders, which are written before anything else happens; the
rest is heard again. Each method applies the event, then all rules to all models, so that an event
that was missed, or heard twice, changes nothing in the end.
"""

from __future__ import annotations

from collections.abc import Mapping

from dataflow.errors import RecordError
from roomie.control.book import Book, Step
from roomie.control.capacity import CapacityReport, Shortages
from roomie.control.elastic import Elastic
from roomie.control.filling import Filler, life_of
from roomie.control.fleet import Fleet
from roomie.control.lifecycle import Lifecycle, needs_reload
from roomie.control.placing import Planner
from roomie.control.records import (
    InstanceReport,
    ModelSpec,
    Order,
    OrderMemory,
    PlacedInstance,
    Placement,
    Telemetry,
    WorkerReport,
)
from roomie.control.scaling_types import Autoscaler, BatchingWindow, ForecastArrivals
from roomie.control.settings import ControlSettings
from roomie.control.windows import Windows


class Core:
    """See the module.

    Args:
        planner: finds places.
        settings: limits and rhythms.
        autoscaler: who grows and shrinks; None for nobody.
        batching: rule of batching windows; None leaves them.
        forecast: of arrivals; None for none.
        functions: the model that each function of topics.yaml calls, for capacity events.
    """

    def __init__(
        self,
        planner: Planner,
        settings: ControlSettings | None = None,
        *,
        autoscaler: Autoscaler | None = None,
        batching: BatchingWindow | None = None,
        forecast: ForecastArrivals | None = None,
        functions: Mapping[str, str] | None = None,
    ) -> None:
        self.settings = settings or ControlSettings()
        self.book = Book()
        self.fleet = Fleet(self.settings.lease / 2)
        self._planner = planner
        self._windows = Windows(self.settings.longest_window)
        self._shortages = Shortages(functions)
        self._lifecycle = Lifecycle(self.book, self.settings, self._windows)
        self._filler = Filler(self.book, self.fleet, planner, self._lifecycle)
        self._elastic = Elastic(
            self.book,
            self._filler,
            self.settings,
            self._windows,
            self._shortages,
            autoscaler=autoscaler,
            batching=batching,
            forecast=forecast,
        )
        self._seen: set[str] = set()
        """Instances that a worker has reported."""

    # -- what was there before ---------------------------------------------------------------------

    def restore_placement(self, placement: Placement) -> None:
        """Take a placement that was written before."""
        self.book.restore(placement)

    def restore_orders(self, memory: OrderMemory) -> None:
        """Take the memory of orders."""
        self.book.remember(memory.ids)

    def restore_worker(self, report: WorkerReport, now: float) -> None:
        """Take a worker's report that was there before; it is heard as one when it comes again."""
        self.fleet.restore(report, now)
        self._seen.update(i.id for i in report.instances)

    def restore_telemetry(self, telemetry: Telemetry) -> None:
        """Take telemetry that was there before."""
        self._windows.hear(telemetry, telemetry.at)

    def resume(self, now: float) -> Step:
        """Go on from what has been restored."""
        self._forgive(now)
        for report in self.fleet.reports():
            self._hear(report, now)
        self._reconcile(now)
        return self.book.close()

    def _forgive(self, now: float) -> None:
        """Time in which nobody decided, or could hear, is held against no instance."""
        for model in self.book.models():
            placement = self.book[model]
            waiting = [i.id for i in placement.instances if i.state in ("pending", "loading")]
            if waiting:
                self.book.edit_instances(model, waiting, since=now)
            rollout = placement.rollout
            if rollout is not None and rollout.proving is None:
                self.book.edit(model, rollout=rollout.model_copy(update={"since": now}))

    # -- orders ------------------------------------------------------------------------------------

    def order(self, order: Order, now: float) -> Step:
        """Act on an order, once."""
        if self.book.knows_order(order.id):
            self.book.say(
                order.model,
                "repeated",
                "an order of this id has been acted on before",
                now,
                order=order.id,
            )
            return self.book.close()
        against = self._against(order)
        if against is not None:
            return self.refuse(order.model, order.id, RecordError("refused", against), now)
        spec = order.spec
        if order.type == "undeploy":
            self._undeploy(order, now)
        elif order.type == "scale":
            self._scale(order, order.instances or 1, now)
        elif spec is not None:
            self._want(order, spec, now)
        self._reconcile(now)
        return self.book.close()

    def refuse(self, model: str, order: str | None, error: RecordError, now: float) -> Step:
        """Say that an order is not obeyed.

        Args:
            model: of which one.
            order: its id, where it has one.
            error: why.
            now: seconds since the epoch.
        """
        if order is not None:
            if self.book.knows_order(order):
                reason = f"an order of this id has been acted on before; this one: {error.detail}"
                self.book.say(model, "repeated", reason, now, order=order)
                return self.book.close()
            self.book.note_order(order)
        self.book.say(model, "refused", error.detail, now, order=order)
        return self.book.close(error)

    def _against(self, order: Order) -> str | None:
        known = order.model in self.book and not self.book[order.model].leaving
        if not known and order.type != "deploy":
            there = [m for m in self.book.models() if not self.book[m].leaving]
            return f"{order.model} is not deployed; deployed: {', '.join(there) or 'nothing'}"
        if order.spec is not None:
            return self._planner.fault(order.spec)
        if order.type == "scale":
            return self._too_many(self.book[order.model], order.instances or 1)
        return None

    def _too_many(self, placement: Placement, instances: int) -> str | None:
        """Why a model may not have so many: each of its versions has its own limit."""
        specs = [placement.spec]
        if placement.rollout is not None:
            specs.append(placement.rollout.spec)
        for spec in specs:
            if spec.max_instances is not None and instances > spec.max_instances:
                return (
                    f"{instances} instances are more than the {spec.max_instances} that "
                    f"max_instances of version {spec.version} allows; update the model first"
                )
        return None

    def _want(self, order: Order, spec: ModelSpec, now: float) -> None:
        """A deploy or an update."""
        model = order.model
        fresh = model not in self.book
        if fresh:
            self.book.put(Placement(spec=spec, life=life_of(order.id)))
        before = self.book[model]
        self.book.supersede(model, order, now)
        self.book.open(order, now)
        self.book.say(
            model, "accepted", f"{order.type} of version {spec.version}", now, order=order.id
        )
        rollout = before.rollout
        first = fresh or before.leaving or (rollout is not None and rollout.first)
        if rollout is not None and not needs_reload(rollout.spec, spec):
            # The same version is on its way in already: it only has another order to answer to.
            rollout = rollout.model_copy(update={"spec": spec, "order": order.id})
            self.book.edit(model, rollout=rollout, spec=spec if first else before.spec)
        elif first:
            self.book.edit(model, spec=spec, leaving=False, extra=0)
            self._lifecycle.begin(order, spec, now, first=True)
        elif needs_reload(before.spec, spec):
            self._lifecycle.begin(order, spec, now, first=False)
        else:
            self._lifecycle.withdraw(model, now)
            extra = before.extra_under(spec)
            base = [i.id for i in self.book[model].instances if not i.extra]
            self.book.edit(model, spec=spec, extra=extra)
            self.book.edit_instances(model, base, reserved=spec.reserved)

    def _scale(self, order: Order, instances: int, now: float) -> None:
        model = order.model
        self.book.supersede(model, order, now, only="scale")
        self.book.open(order, now)
        placement = self.book[model]
        reason = f"{placement.spec.instances} to {instances} instances"
        self.book.say(model, "accepted", reason, now, order=order.id)
        spec = placement.spec.model_copy(update={"instances": instances})
        rollout = placement.rollout
        if rollout is not None:
            incoming = rollout.spec.model_copy(update={"instances": instances})
            rollout = rollout.model_copy(update={"spec": incoming})
        extra = placement.extra_under(spec)
        self.book.edit(model, spec=spec, rollout=rollout, extra=extra)

    def _undeploy(self, order: Order, now: float) -> None:
        model = order.model
        self.book.supersede(model, order, now)
        self.book.open(order, now)
        self.book.say(model, "accepted", "undeploy", now, order=order.id)
        self._lifecycle.withdraw(model, now)
        self.book.edit(model, leaving=True, extra=0)

    # -- workers -----------------------------------------------------------------------------------

    def worker(self, report: WorkerReport, now: float) -> Step:
        """Hear a worker."""
        news = self.fleet.hear(report, now)
        self._hear(report, now)
        if news or self.book.changed:
            self._reconcile(now)
        return self.book.close()

    def _hear(self, report: WorkerReport, now: float) -> None:
        reported = {i.id: i for i in report.instances}
        for placement, instance in list(self.book.instances()):
            if instance.worker == report.worker:
                self._observe(placement, instance, reported.get(instance.id), report, now)
        self._seen.update(reported)

    def worker_gone(self, worker: str, now: float) -> Step:
        """A worker has said that it leaves."""
        self.fleet.forget(worker)
        self._lose(worker, f"the worker {worker} has left", now)
        self._reconcile(now)
        return self.book.close()

    def _observe(
        self,
        placement: Placement,
        instance: PlacedInstance,
        told: InstanceReport | None,
        report: WorkerReport,
        now: float,
    ) -> None:
        """Take over what a worker says of an instance that should be with it."""
        model = placement.spec.model
        if instance.state == "draining":
            # A worker that never spoke of it may not have heard of it yet, and load it soon.
            settled = instance.id in self._seen or now - instance.since > report.lease
            if (told is None and settled) or (told is not None and told.state == "failed"):
                self.book.drop_instances(model, [instance.id])
            return
        if told is None:
            if instance.state in ("loading", "ready"):
                self._set(model, instance, "pending", None, now)
            return
        if told.state == "failed":
            self._lifecycle.reasons[instance.id] = told.reason or "it failed to load"
            self._set(model, instance, "failed", None, now)
        elif told.state == "ready" and report.server_ready:
            if instance.state != "ready" or instance.url != report.url:
                self._lifecycle.shunned.succeeded(model, instance.gpu)
                self._set(model, instance, "ready", report.url, now)
        elif instance.state in ("pending", "ready") and told.state != "draining":
            self._set(model, instance, "loading", None, now)

    def _set(
        self, model: str, instance: PlacedInstance, state: str, url: str | None, now: float
    ) -> None:
        waiting = ("pending", "loading")
        since = instance.since if state in waiting and instance.state in waiting else now
        self.book.edit_instances(model, [instance.id], state=state, url=url, since=since)

    def _lose(self, worker: str, reason: str, now: float) -> None:
        for model in self.book.models():
            lost = [i.id for i in self.book[model].instances if i.worker == worker]
            if lost:
                self.book.drop_instances(model, lost)
                self.book.say(model, "lost", f"{', '.join(lost)}: {reason}", now, instances=lost)

    # -- the rest ----------------------------------------------------------------------------------

    def telemetry(self, telemetry: Telemetry, now: float) -> None:
        """Hear what a worker measured; it is judged at the next tick."""
        self._windows.hear(telemetry, now)

    def capacity(self, report: CapacityReport, now: float) -> None:
        """Hear that the replicas of a function lack capacity, or do so no longer."""
        self._shortages.hear(report, now)

    def tick(self, now: float, heard: float | None = None) -> Step:
        """Look at everything anew.

        Args:
            now: seconds since the epoch.
            heard: when the controller last heard what it had said itself; now when None. Leases
                run only while it hears.
        """
        was_deaf = self.fleet.deaf
        lost = self.fleet.expire(now, now if heard is None else heard)
        if self.fleet.deaf:
            return Step()
        if was_deaf:
            self._forgive(now)
        for report in lost:
            reason = f"the worker {report.worker} has not been heard for {report.lease:g} s"
            self._lose(report.worker, reason, now)
        # Instances whose worker nobody knows any more: it left while no controller was there.
        workers = {i.worker for _, i in self.book.instances()}
        for worker in sorted(workers):
            if worker not in self.fleet:
                self._lose(worker, f"the worker {worker} is not there", now)
        self._elastic.tick(now)
        self._reconcile(now)
        placed = {i.id for _, i in self.book.instances()}
        self._windows.keep_only(placed)
        self._seen &= placed | {i.id for r in self.fleet.reports() for i in r.instances}
        self._filler.measured &= placed
        return self.book.close()

    def _reconcile(self, now: float) -> None:
        for model in self.book.models():
            self._lifecycle.advance(model, now)
        self._filler.fill(now)
