"""`videojam triton`: real Triton servers on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.common import JsonOption, stderr, stdout, with_examples

if TYPE_CHECKING:
    from dataflow.broker.distribution import Progress, ReportProgress
    from roomie.triton.local import TritonState

STOPPED = 3
"""Exit code of `status` when nothing runs, as for init scripts (LSB)."""
_DEFAULT = "triton"

app = typer.Typer(
    add_completion=False,
    name="triton",
    no_args_is_help=True,
    help="Run a real Triton server on this machine.",
    rich_markup_mode="rich",
)

NameOption = Annotated[str, typer.Option("--name", help="Which server: several may run.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")]


@contextmanager
def show_progress(what: str) -> Iterator[ReportProgress]:
    """Show preparations as a spinner on a terminal, and as lines elsewhere."""
    console = stderr()
    if console.is_terminal:
        with console.status(what) as spinner:
            yield lambda step: spinner.update(_line(step))
    else:
        yield lambda step: console.print(_line(step), markup=False)


def _line(step: Progress) -> str:
    return step.message if step.total is None else f"{step.message} ({step.done} of {step.total})"


@app.command("start")
def start(
    *,
    name: NameOption = _DEFAULT,
    models: Annotated[
        Path | None,
        typer.Option(
            help="Its model repository. [dim]Default: triton/NAME/models in the user's data "
            "folder, which VIDEOJAM_HOME moves.[/]",
            show_default=False,
            file_okay=False,
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    grpc_port: Port = 8001,
    http_port: Port = 8000,
    metrics_port: Port = 8002,
    devices: Annotated[
        str | None,
        typer.Option(help="GPUs, or the MIG slice, that it sees (CUDA_VISIBLE_DEVICES)."),
    ] = None,
    executions: Annotated[
        int | None,
        typer.Option(min=1, help="Most executions at a time on each GPU (Triton's rate limiter)."),
    ] = None,
    auto_complete: Annotated[
        bool,
        typer.Option("--auto-complete", help="Let it complete configurations; loads take longer."),
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=1.0, help="Seconds to wait until the server answers.")
    ] = 60.0,
) -> None:
    """Start a server."""
    from dataflow.broker.paths import cache_home, data_home
    from roomie.triton import local

    settings = local.TritonSettings(
        name=name,
        repository=None if models is None else models.expanduser(),
        host=host,
        grpc_port=grpc_port,
        http_port=http_port,
        metrics_port=metrics_port,
        devices=devices,
        executions=executions,
        auto_complete=auto_complete,
    )
    with show_progress("starting tritonserver") as report:
        state = local.start(settings, data_home(), cache_home(), timeout=timeout, report=report)
    console = stdout()
    console.print(f"Triton {name!r} runs at {state.url} (pid {state.pid})", markup=False)
    console.print(f"models: {state.repository}; log: {state.log}", markup=False)


start.__doc__ = with_examples(
    "Start a server with explicit model control, and return when it answers.\n\n"
    "The first start installs tritonserver (nvidia-pytriton, 55 MB, and what Python models need) "
    "into a virtual environment of its own in the user's cache folder; later ones take less than a "
    "second and need no network. Without a GPU it runs models on the processor. It has the Python "
    "backend only: `videojam triton add` makes ONNX networks run in it.",
    "videojam triton start                                      gRPC on localhost:8001",
    "videojam triton start --name b --grpc-port 0 --http-port 0 --metrics-port 0",
    "videojam triton start --executions 2                       two executions at a time on a GPU",
)


@app.command("stop")
def stop(
    *,
    name: NameOption = _DEFAULT,
    timeout: Annotated[
        float, typer.Option(min=0.0, help="Seconds to wait before the server is killed.")
    ] = 20.0,
) -> None:
    """Stop a server. Its model repository stays."""
    from dataflow.broker.paths import data_home
    from roomie.triton import local

    state = local.stop(data_home(), name, timeout=timeout)
    text = f"no Triton {name!r} runs" if state is None else f"stopped Triton {name!r}"
    stdout().print(text, markup=False)


stop.__doc__ = with_examples(
    "Stop a server: what is in flight is answered first. Its model repository stays.",
    "videojam triton stop",
    "videojam triton stop --name b",
)


@app.command("status")
def status(
    *,
    name: Annotated[
        str | None, typer.Option("--name", help="Only this server; all by default.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Tell which servers run."""
    from dataflow.broker.paths import data_home
    from roomie.triton import local
    from roomie.triton.logs import explain

    home = data_home()
    states = [s for s in local.known_servers(home) if name in {None, s.name}]
    shown = [_shown(state) for state in states]
    if as_json:
        typer.echo(json.dumps(shown))
    elif not shown:
        stdout().print("no Triton runs")
    else:
        _print_servers(shown)
        for state, server in zip(states, shown, strict=True):
            if not server["running"]:
                ended = explain(f"Triton {state.name!r} ended by itself", Path(state.log))
                stderr().print(str(ended), markup=False)
    if not any(server["running"] for server in shown):
        raise typer.Exit(STOPPED)


status.__doc__ = with_examples(
    "Tell which servers run, where, and what they have loaded. Exit code 0: one runs, 3: none.",
    "videojam triton status",
    "videojam triton status --name b --json",
)


def _shown(state: TritonState) -> dict[str, Any]:
    from dataclasses import asdict

    from roomie.errors import UnavailableError
    from roomie.triton.grpc import GrpcTriton

    running = state.alive()
    shown: dict[str, Any] = {"running": running, "answers": False, "models": {}, **asdict(state)}
    if running:
        shown["uptime_s"] = max(0.0, time.time() - state.started_at)
        client = GrpcTriton(state.url)
        try:
            shown["answers"] = client.ready()
            shown["models"] = {name: entry.state for name, entry in client.index().items()}
        except UnavailableError:
            pass  # shown as not answering
        finally:
            client.close()
    return shown


def _print_servers(servers: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("server", "state", "gRPC", "pid", "models ready", "repository"):
        table.add_column(column)
    for server in servers:
        ready = [name for name, state in server["models"].items() if state == "ready"]
        state = "stopped" if not server["running"] else "running"
        if server["running"] and not server["answers"]:
            state = "does not answer"
        table.add_row(
            server["name"],
            Text(state, style="green" if state == "running" else "red"),
            server["url"],
            str(server["pid"]),
            f"{len(ready)} of {len(server['models'])}",
            server["repository"],
        )
    stdout().print(table)


@app.command("logs")
def logs(
    *,
    name: NameOption = _DEFAULT,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="Last lines to show.")] = 20,
) -> None:
    """Show a server's log."""
    from dataflow.broker.paths import data_home
    from roomie.triton.install import fault
    from roomie.triton.logs import log_tail

    file = data_home() / "triton" / f"{name}.log"
    if not file.exists():
        raise fault(f"there is no log at {file}", "start the server first, or name it (--name)")
    for line in log_tail(file, lines):
        typer.echo(line)


@app.command("prepare")
def prepare() -> None:
    """Install tritonserver, so that `start` needs no network."""
    from dataflow.broker.paths import cache_home
    from roomie.triton.install import ensure_installed

    with show_progress("preparing") as report:
        found = ensure_installed(cache_home(), report=report)
    stdout().print(f"tritonserver is in {found.folder}", markup=False)


@app.command("add")
def add(
    file: Annotated[Path, typer.Argument(help="An ONNX network.", dir_okay=False)],
    *,
    models: Annotated[Path, typer.Option(help="The model repository.", file_okay=False)],
    name: Annotated[str | None, typer.Option(help="Of the model; the file's by default.")] = None,
    version: Annotated[int, typer.Option(min=1, help="Number of the version's folder.")] = 1,
    max_batch: Annotated[
        int, typer.Option(min=1, help="Largest batch, where the network leaves it open.")
    ] = 32,
    threads: Annotated[int, typer.Option(min=1, help="Processor threads of an instance.")] = 1,
) -> None:
    """Put an ONNX network into a model repository."""
    from roomie.triton.onnx_model import add_onnx

    chosen = name or file.stem
    folder = add_onnx(
        file.expanduser(),
        models.expanduser(),
        chosen,
        version=version,
        max_batch=max_batch,
        threads=threads,
    )
    stdout().print(f"{chosen} version {version} is in {folder}", markup=False)


add.__doc__ = with_examples(
    "Put an ONNX network into a model repository, for the Python backend of `videojam triton`.\n\n"
    "Writes config.pbtxt from the network's inputs and outputs, the network, and a model.py that "
    "runs it in ONNX Runtime. NVIDIA's container has a backend of its own for ONNX and needs none "
    "of this.",
    "videojam triton add detector.onnx --models models --name detector",
    "videojam triton add new.onnx --models models --name detector --version 2",
)
