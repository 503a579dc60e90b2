"""Models on one GPU, kernel by kernel over time: the reference for `roomie.interference`.

Thesis sec. 4.4.2. At any time each model has one kernel on the GPU; kernels that together ask for
too much run with fewer blocks, and slower in proportion (Eq 4.3); when one ends, the next of the
same model takes its place and the shares are worked out again (Eq 4.4 for any number of models).
Models begin anew at their end, as servers under load do, until each has finished once.

What it does not model: contention for memory bandwidth and caches, and gaps between launches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from roomie.interference import Interference, starting_points
from roomie.tables import OVER, KernelTable

Policy = Literal["proportional", "equal", "first-come"]

POLICIES: tuple[Policy, ...] = get_args(Policy)

_Demand = tuple[float, tuple[float, ...]]
"""Resident blocks that a kernel would have alone, and what a block takes of an SM."""


def adjusted_blocks(demands: Sequence[_Demand], policy: Policy) -> list[float]:
    """Resident blocks of kernels that share the SMs, in the order in which they came.

    Args:
        demands: of each kernel, the first to come first.
        policy:

            - ``proportional``: all shrink by one factor until they fit.
            - ``equal``: all grow alike, by their dominant share, until each has what it asks for
              or a resource that it needs is used up.
            - ``first-come``: who came first keeps all its blocks; others get the whole blocks that
              fit beside them, maybe none: then they wait.
    """
    if policy == "proportional":
        totals = np.sum([blocks * np.array(share) for blocks, share in demands], axis=0)
        worst = float(totals.max())
        factor = 1.0 if worst <= 1 + OVER else 1 / worst
        return [blocks * factor for blocks, _ in demands]
    if policy == "equal":
        return _fill_equally(demands)
    return _fill_in_order(demands)


def _fill_equally(demands: Sequence[_Demand]) -> list[float]:
    shares = np.array([share for _, share in demands])
    wanted = np.array([blocks for blocks, _ in demands])
    rate = 1 / shares.max(axis=1)  # blocks for a unit of dominant share
    got = np.zeros(len(demands))
    free = np.ones(shares.shape[1])
    growing = np.ones(len(demands), dtype=bool)
    while growing.any():
        speed = np.where(growing, rate, 0.0)
        use = speed @ shares
        with np.errstate(divide="ignore", invalid="ignore"):
            until_full = np.where(use > 0, free / use, np.inf).min()
            until_served = np.where(growing, (wanted - got) / rate, np.inf).min()
        step = max(0.0, min(until_full, until_served))
        got += speed * step
        free -= use * step
        full = free <= OVER
        growing &= (got < wanted - OVER) & ~(shares[:, full] > 0).any(axis=1)
    return [float(blocks) for blocks in np.minimum(got, wanted)]


def _fill_in_order(demands: Sequence[_Demand]) -> list[float]:
    # Classes of SMs that hold the same: (share of all SMs, what is free of each resource).
    classes: list[tuple[float, list[float]]] = [(1.0, [1.0] * len(demands[0][1]))]
    granted = []
    for wanted, share in demands:
        left = wanted
        # A block goes where there is most room, as the hardware's distributor does. Blocks are
        # spread evenly: each round gives every SM that has room at most one.
        placed = 0.0
        while left > OVER:
            room = [
                (min(free) if share else 0.0, position)
                for position, (_, free) in enumerate(classes)
                if all(f + OVER >= s for f, s in zip(free, share, strict=True))
            ]
            if not room:
                break
            _, position = max(room, key=lambda entry: (entry[0], -entry[1]))
            extent, free = classes[position]
            amount = min(extent, left)
            taken = [f - s for f, s in zip(free, share, strict=True)]
            classes[position] = (amount, taken)
            if extent - amount > OVER:
                classes.append((extent - amount, free))
            placed += amount
            left -= amount
        granted.append(placed)
    return granted


@dataclass(frozen=True, kw_only=True)
class Span:
    """One kernel in a co-execution.

    Attributes:
        model: its position among the models.
        kernel: its position in the model.
        start_s: when it came.
        end_s: when it ended.
        delay_s: by how much it was longer than alone.
    """

    model: int
    kernel: int
    start_s: float
    end_s: float
    delay_s: float


class CoExecution:
    """Some models on one GPU under a policy; what sets of kernels do to each other is kept.

    Args:
        tables: of the models.
        policy: how kernels share what is too little for all.
    """

    def __init__(self, tables: Sequence[KernelTable], policy: Policy) -> None:
        self._policy: Policy = policy
        self._durations = [table.durations_s.tolist() for table in tables]
        self._signatures = [table.signature.tolist() for table in tables]
        self._demands: list[list[_Demand]] = [
            [
                (float(resident), tuple(map(float, share)))
                for resident, share in zip(table.resident, table.per_block, strict=True)
            ]
            for table in tables
        ]
        self._totals = [table.inference_time_s for table in tables]
        self._known: dict[tuple[tuple[int, int], ...], tuple[float, ...]] = {}

    def run(self, starts: Sequence[int], *, spans: list[Span] | None = None) -> list[Interference]:
        """Run until each model has finished as many kernels as it has.

        Args:
            starts: kernel with which each model begins.
            spans: where to append each kernel that ended.

        Returns:
            Of each model, what the others added to an inference, on average over the run.
        """
        models = range(len(starts))
        at = list(starts)
        left = [self._durations[m][at[m]] for m in models]
        came = [0.0] * len(at)
        order = list(models)  # the first to come first; at equal times, the first model
        done = [0] * len(at)
        work = [0.0] * len(at)
        wanted = [len(durations) for durations in self._durations]
        now = 0.0
        while any(done[m] < wanted[m] for m in models):
            rates = self._rates(order, at)
            step = min(left[m] / rates[m] for m in models if rates[m] > 0)
            now += step
            for m in models:
                progress = rates[m] * step
                left[m] -= progress
                work[m] += progress
            ended = [m for m in order if left[m] <= 1e-15 and rates[m] > 0]
            for m in ended:
                if spans is not None:
                    alone = self._durations[m][at[m]]
                    spans.append(
                        Span(
                            model=m,
                            kernel=at[m],
                            start_s=came[m],
                            end_s=now,
                            delay_s=max(0.0, now - came[m] - alone),
                        )
                    )
                done[m] += 1
                at[m] = (at[m] + 1) % wanted[m]
                left[m] = self._durations[m][at[m]]
                came[m] = now
                order.remove(m)
                order.append(m)
        return [
            Interference(
                alone_s=self._totals[m],
                added_s=max(0.0, self._totals[m] * (now / work[m] - 1)) if work[m] else np.inf,
            )
            for m in models
        ]

    def _rates(self, order: Sequence[int], at: Sequence[int]) -> dict[int, float]:
        """Speed of each model's kernel as a share of its speed alone."""
        key = tuple((m, self._signatures[m][at[m]]) for m in order)
        known = self._known.get(key)
        if known is None:
            demands = [self._demands[m][signature] for m, signature in key]
            blocks = adjusted_blocks(demands, self._policy)
            known = self._known[key] = tuple(
                got / wanted for got, (wanted, _) in zip(blocks, demands, strict=True)
            )
        return dict(zip(order, known, strict=True))


def reference_drop(
    tables: Sequence[KernelTable], *, policy: Policy = "proportional", starts: int = 5
) -> list[Interference]:
    """What models on one GPU do to each other: the median over alignments of co-executions.

    The first model begins with its first kernel, the others together with their t-th of ``starts``
    evenly spaced ones.
    """
    execution = CoExecution(tables, policy)
    points = [starting_points(table.kernels, starts) for table in tables]
    runs = [execution.run([0, *(int(own[turn]) for own in points[1:])]) for turn in range(starts)]
    return [
        Interference(
            alone_s=table.inference_time_s,
            added_s=float(np.median([run[position].added_s for run in runs])),
        )
        for position, table in enumerate(tables)
    ]
