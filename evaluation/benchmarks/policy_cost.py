"""What a policy costs: Algorithm 1 alone, and a whole evaluation with the table around it.

    python -m evaluation.benchmarks.policy_cost
    python -m evaluation.benchmarks.policy_cost --replicas 10 --replicas 5000 --rounds 50

- ``policy``: from loads and rates to quotas (`compute_policy`).
- ``textbook``: Algorithm 1 as printed, a search for the most and least loaded in every step, with
  the same rounding. Left out above 1,000 replicas.
- ``evaluation``: estimating all loads from the table, forecasting (last window), the policy, and
  looking up one's own quotas: what a replica does each time.

Times are medians of one thread's CPU time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from agents.balancing import Policy, Row, StateTable, compute_policy, last_window
from evaluation.command import run

_SIZES = [10, 100, 1000, 10_000]
_TEXTBOOK_LIMIT = 1000


def main(
    *,
    replicas: Annotated[list[int] | None, typer.Option(min=2, help="Group sizes.")] = None,
    rounds: Annotated[int, typer.Option(min=3, help="Measurements of each.")] = 20,
) -> None:
    """Measure what policies cost."""
    table = Table("replicas", "policy ms", "textbook ms", "ratio", "evaluation ms", "transfers")
    for column in table.columns:
        column.justify = "right"
    for count in replicas or _SIZES:
        generator = np.random.default_rng(count)
        names = [f"replica-{place:05d}" for place in range(count)]
        waiting = generator.integers(0, 150, count).astype(float)
        forecast = generator.gamma(2.0, 20.0, count)
        mus = generator.choice([10.0, 20.0, 40.0, 80.0], count)

        def policy(
            names: list[str] = names,
            waiting: np.ndarray[tuple[int], np.dtype[np.float64]] = waiting,
            forecast: np.ndarray[tuple[int], np.dtype[np.float64]] = forecast,
            mus: np.ndarray[tuple[int], np.dtype[np.float64]] = mus,
        ) -> Policy:
            return compute_policy(
                at=0.0, window=10.0, replicas=names, waiting=waiting, forecast=forecast, mus=mus
            )

        ours = _milliseconds(policy, rounds)
        result = policy()
        book = None
        if count <= _TEXTBOOK_LIMIT:
            shares = _largest_remainder(mus, int(result.loads.sum()))
            theta = shares - result.loads
            book = _milliseconds(lambda theta=theta: _textbook(theta), rounds)  # type: ignore[misc] # mypy cannot infer a lambda with a default
        table.add_row(
            f"{count:,}",
            f"{ours:.2f}",
            "-" if book is None else f"{book:.2f}",
            "-" if book is None else f"{book / ours:.1f}",
            f"{_milliseconds(_evaluation(names, waiting, mus), rounds):.2f}",
            f"{len(result):,}",
        )
    Console().print(table)


def _evaluation(
    names: list[str],
    waiting: np.ndarray[tuple[int], np.dtype[np.float64]],
    mus: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> Callable[[], object]:
    rows = [
        Row(
            replica=name,
            incarnation="i",
            at=100.0,
            load=int(load),
            mu=float(mu),
            slot=100,
            history=(7,) * 50,
        )
        for name, load, mu in zip(names, waiting, mus, strict=True)
    ]
    table = StateTable(names[0])
    for row in rows[1:]:
        table.hear(row, 100.0)
    forecast = last_window(10)

    def evaluate() -> object:
        view = table.view(100.5, rows[0])
        forecasts = forecast(view.histories)
        table.note_forecasts(view, forecasts)
        policy = compute_policy(
            at=100.5,
            window=10.0,
            replicas=view.replicas,
            waiting=view.waiting,
            forecast=forecasts.sum(axis=1),
            mus=view.mus,
        )
        return policy.sent_by(names[0])

    return evaluate


def _largest_remainder(
    mus: np.ndarray[tuple[int], np.dtype[np.float64]], total: int
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    quota = mus / mus.sum() * total
    whole: np.ndarray[tuple[int], np.dtype[np.int64]] = np.floor(quota).astype(np.int64)
    whole[np.argsort(whole - quota, kind="stable")[: total - int(whole.sum())]] += 1
    return whole


def _textbook(
    theta: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> list[tuple[int, int, int]]:
    left = theta.copy()
    transfers = []
    while left.min() < 0 < left.max():
        sender, receiver = int(left.argmin()), int(left.argmax())
        items = min(-int(left[sender]), int(left[receiver]))
        left[sender] += items
        left[receiver] -= items
        transfers.append((sender, receiver, items))
    return transfers


def _milliseconds(call: Callable[[], object], rounds: int) -> float:
    call()
    times = []
    for _ in range(rounds):
        began = time.thread_time()
        call()
        times.append(time.thread_time() - began)
    return 1000 * statistics.median(times)


if __name__ == "__main__":
    run(main)
