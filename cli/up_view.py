"""The live table of `videojam up` and `videojam demo`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from agents.observer import Observer
from agents.state import ReplicaState
from agents.supervisor import Supervisor, Worker
from dataflow.config import Config

_DRAW_SECONDS = 0.5
_PLAIN_SECONDS = 10.0
"""Pause between summaries where there is no terminal to draw a table on."""


class LiveTable:
    """Draws the replicas until it is left; prints a line per function now and then elsewhere.

    Args:
        config: the declaration.
        supervisor: whose workers.
        observer: what they say of themselves.
        console: where to draw.
        caption: a line below the table; may be changed at any time.
    """

    def __init__(
        self,
        config: Config,
        supervisor: Supervisor,
        observer: Observer,
        console: Console,
        *,
        caption: str = "",
    ) -> None:
        self._config = config
        self._supervisor = supervisor
        self._observer = observer
        self._console = console
        self.caption = caption
        self._stack = ExitStack()
        self._live: Live | None = None
        self._due = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live = self._stack.enter_context(live)
        else:
            self._due = time.monotonic() + _PLAIN_SECONDS
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
        self._stack.close()
        if self._live is not None:
            self._console.print(self._table())

    def refresh(self) -> None:
        """Draw again if it is time."""
        now = time.monotonic()
        if now < self._due:
            return
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
            self._due = now + _DRAW_SECONDS
        else:
            for line in self._lines():
                self._console.print(line, markup=False)
            self._due = now + _PLAIN_SECONDS

    def _table(self) -> Table:
        rows, lag = self._observer.rows(), self._observer.lag()
        fault = self._observer.fault()
        caption = self.caption if fault is None else f"[red]{fault}[/red]"
        table = Table(caption=caption or None, expand=False)
        table.add_column("replica")
        table.add_column("state")
        for name in (
            "partitions",
            "items/s",
            "busy",
            "queue",
            "lag",
            "response",
            "processed",
            "dropped",
            "dead",
        ):
            table.add_column(name, justify="right")
        shown = set()
        for worker in self._supervisor.workers:
            first = worker.function not in shown
            shown.add(worker.function)
            waiting = f"{lag[worker.function]}" if first and worker.function in lag else ""
            table.add_row(
                worker.replica, _state(worker), *_cells(rows.get(worker.replica), waiting)
            )
        return table

    def _lines(self) -> Iterable[str]:
        rows, lag = self._observer.rows(), self._observer.lag()
        for function in self._config.functions:
            own = [row for row in rows.values() if row.function == function]
            if own:
                yield (
                    f"{function}: {len(own)} replicas, {sum(r.rate for r in own):.1f} items/s, "
                    f"queue {sum(r.queued for r in own)}, lag {lag.get(function, 0)}, "
                    f"processed {sum(r.processed for r in own)}, "
                    f"dropped {sum(r.dropped for r in own)}, dead {sum(r.dead for r in own)}"
                )
        if self.caption:
            yield self.caption


def _state(worker: Worker) -> str:
    if worker.process is not None:
        restarts = f", {worker.restarts} restarts" if worker.restarts else ""
        return f"[green]pid {worker.pid}[/green]{restarts}"
    if worker.resume_at is None:
        return "[dim]stopped[/dim]"
    left = max(0.0, worker.resume_at - time.monotonic())
    return f"[red]exit {worker.exit_code}, again in {left:.0f} s[/red]"


def _cells(row: ReplicaState | None, waiting: str) -> tuple[str, ...]:
    if row is None:
        return ("", "", "", "", waiting, "", "", "", "")
    response = "" if row.response_seconds is None else seconds(row.response_seconds)
    return (
        ",".join(map(str, row.partitions)),
        f"{row.rate:.1f}",
        f"{row.busy:.0%}",
        str(row.queued),
        waiting,
        response,
        str(row.processed),
        f"[red]{row.dropped}[/red]" if row.dropped else "0",
        f"[red]{row.dead}[/red]" if row.dead else "0",
    )


def seconds(value: float) -> str:
    """A duration as a person reads it: 35 ms, 1.20 s."""
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"
