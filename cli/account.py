"""`videojam account`: what became of every frame."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.common import (
    DEFAULT_CONFIG,
    BootstrapOption,
    ConfigOption,
    JsonOption,
    effective_config,
    open_transport,
    stderr,
    stdout,
    with_examples,
)

if TYPE_CHECKING:
    from rich.console import Console

    from dataflow.accounting import Ledger
    from dataflow.config import Config
    from dataflow.transport import Transport

EXIT_OPEN = 2
"""Some frames have not ended: still in the pipeline, or waiting for a worker."""


def account(
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    bootstrap_servers: BootstrapOption = None,
    as_json: JsonOption = False,
    show_open: Annotated[
        int, typer.Option("--open", metavar="N", min=0, help="Name the first N frames not ended.")
    ] = 0,
) -> None:
    """Add up what became of every frame."""
    settings = effective_config(config, bootstrap_servers)
    with open_transport(settings) as transport:
        transport.check()
        ledger = read_account(settings, transport)
    if as_json:
        stdout().print_json(json.dumps(account_as_json(ledger)))
    else:
        print_account(ledger, stdout())
    for _, (pipeline, frame) in zip(range(show_open), ledger.open_frames(), strict=False):
        stderr().print(f"not ended: {pipeline} {frame}", markup=False)
    if not all(entry.balanced for entry in ledger.accounts()):
        raise typer.Exit(EXIT_OPEN)


account.__doc__ = with_examples(
    "Show that every frame that was produced ended as processed, dropped or dead.\n\n"
    "Reads the cameras' reports, results, drops and dead letters that Kafka still holds. Exit "
    "code 0: every frame has ended; 2: some are still open.",
    "videojam account               a line for each camera and pipeline",
    "videojam account --json        for programs",
    "videojam account --open 10     which frames have not ended",
)


def read_account(config: Config, transport: Transport) -> Ledger:
    """The ledger of everything that is on the topics now, with a spinner meanwhile."""
    from dataflow.accounting import Auditor

    auditor = Auditor(config, transport)
    try:
        with stderr().status("reading results, drops and dead letters") as status:
            return auditor.catch_up(
                lambda seen: status.update(f"read {seen} results, drops and dead letters")
            )
    finally:
        auditor.close()


def account_as_json(ledger: Ledger) -> dict[str, Any]:
    """The account as plain values."""
    return {
        "cameras": [
            {
                "pipeline": entry.pipeline,
                "camera": entry.camera,
                "produced": entry.produced,
                "processed": entry.processed,
                "dropped": dict(entry.dropped),
                "dead": dict(entry.dead),
                "open": entry.open,
                "duplicates": entry.duplicates,
                "closed": entry.closed,
            }
            for entry in ledger.accounts()
        ],
        "unattributed": dict(ledger.unattributed),
    }


def print_account(ledger: Ledger, console: Console) -> None:
    """A table with a line for each camera and pipeline, and the sums."""
    from rich.table import Table

    entries = list(ledger.accounts())
    table = Table(title="What became of every frame", show_footer=len(entries) > 1)
    dropped: Counter[str] = sum((e.dropped for e in entries), Counter())
    dead: Counter[str] = sum((e.dead for e in entries), Counter())
    table.add_column("pipeline")
    table.add_column("camera", "all")
    for name, total in (
        ("produced", sum(e.produced for e in entries)),
        ("processed", sum(e.processed for e in entries)),
        ("dropped", dropped.total()),
        ("dead", dead.total()),
        ("open", sum(e.open for e in entries)),
        ("duplicates", sum(e.duplicates for e in entries)),
    ):
        table.add_column(name, str(total), justify="right")
    for entry in entries:
        table.add_row(
            entry.pipeline,
            entry.camera if entry.closed else f"{entry.camera} (still open)",
            str(entry.produced),
            str(entry.processed),
            str(entry.dropped.total()),
            str(entry.dead.total()),
            str(entry.open),
            str(entry.duplicates),
        )
    console.print(table)
    for what, reasons in (("dropped", dropped), ("dead", dead)):
        for reason, count in reasons.most_common():
            console.print(f"{what}: {count} {reason}", markup=False)
    for reason, count in ledger.unattributed.most_common():
        console.print(f"dead, of no frame that can be named: {count} {reason}", markup=False)
    if not entries:
        console.print("nothing has been produced yet")
    elif any(entry.open for entry in entries):
        console.print(
            "open frames are in a pipeline, or wait in Kafka for a worker: `videojam up` goes on "
            "with them"
        )
