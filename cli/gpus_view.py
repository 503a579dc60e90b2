"""How `videojam gpus` shows a cluster: tables on a terminal, lines elsewhere, JSON for programs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from cli.up_view import seconds
from roomie.control.overview import ClusterView, GpuView, InstanceView, ModelView, WorkerView

_COLUMNS = (
    "version",
    "batch",
    "window",
    "items/s",
    "expected",
    "queue",
    "compute",
    "pending",
    "failed/s",
    "slowdown",
    "predicted",
    "memory",
)
_NO_WORKERS = "no workers; `videojam node` on a machine with GPUs adds one"
_STYLES = {"ready": "green", "failed": "bold red", "draining": "yellow"}


def as_tables(view: ClusterView, fault: str | None = None) -> RenderableType:
    """Everything, for a terminal."""
    parts: list[RenderableType] = []
    for worker in view.workers:
        parts.append(_headline(worker))
        for gpu in worker.gpus:
            parts.append(Text.assemble("  ", _gpu_line(gpu)))
            if gpu.instances:
                parts.append(_instances(gpu))
        if worker.leaving:
            parts.append(Text(f"  draining: {', '.join(worker.leaving)}", style="yellow"))
        parts.append(Text(""))
    if not view.workers:
        parts.append(Text(_NO_WORKERS))
    parts += [_model_line(model) for model in view.models]
    if fault is not None:
        parts.append(Text(fault, style="red"))
    return Group(*parts)


def as_lines(view: ClusterView, fault: str | None = None) -> Iterable[str]:
    """A line for each worker, GPU, instance and model."""
    for worker in view.workers:
        yield _headline(worker).plain
        for gpu in worker.gpus:
            yield f"  {_gpu_line(gpu).plain}"
            for instance in gpu.instances:
                cells = zip(_COLUMNS, (cell.plain for cell in _cells(instance)), strict=True)
                told = ", ".join(f"{name} {cell}" for name, cell in cells if cell)
                reason = "" if instance.reason is None else f"; {_first_line(instance.reason)}"
                yield f"    {instance.id} ({instance.model}): {instance.state}; {told}{reason}"
        if worker.leaving:
            yield f"  draining: {', '.join(worker.leaving)}"
    if not view.workers:
        yield _NO_WORKERS
    for model in view.models:
        yield _model_line(model).plain
    if fault is not None:
        yield fault


def as_json(view: ClusterView, at: float, fault: str | None = None) -> dict[str, Any]:
    """Everything, for programs.

    Args:
        view: the cluster.
        at: when this was seen, seconds since the epoch.
        fault: why nothing new is seen, or None.
    """
    return {"at": at, "fault": fault, **_plain(asdict(view))}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value


def _headline(worker: WorkerView) -> Text:
    text = Text(worker.worker, style="bold")
    if worker.node:
        text.append(f"  on {worker.node}", style="not bold")
    if not worker.alive:
        silent = "never heard of" if math.isinf(worker.age) else f"silent for {worker.age:.0f} s"
        text.append(f"  {silent}", style="not bold red")
    elif worker.server_ready:
        text.append(f"  Triton at {worker.url}", style="not bold green")
    else:
        text.append("  its Triton does not answer", style="not bold red")
    return text


def _gpu_line(gpu: GpuView) -> Text:
    text = Text(f"{gpu.id}  {gpu.device}")
    if gpu.memory_bytes is not None:
        text.append(f"  memory {decimal(gpu.memory_bytes)}")
        if gpu.promised_bytes:
            share = gpu.promised_bytes / gpu.memory_bytes
            style = "red" if share > 1 else ""
            text.append(f", {share:.0%} promised", style=style)
        if gpu.used_bytes is not None:
            text.append(f", {gpu.used_bytes / gpu.memory_bytes:.0%} used")
    if not gpu.instances:
        text.append("  empty", style="dim")
    return text


def _instances(gpu: GpuView) -> Table:
    table = Table(box=None, pad_edge=True, header_style="dim")
    for name in ("instance", "model", "state"):
        table.add_column(name)
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    for instance in gpu.instances:
        table.add_row(
            Text(instance.id),
            Text(instance.model),
            Text(instance.state, style=_STYLES.get(instance.state, "")),
            *_cells(instance),
        )
        if instance.reason is not None:
            table.add_row("", Text(_first_line(instance.reason), style="red"))
    return table


def _cells(view: InstanceView) -> tuple[Text, ...]:
    return (
        Text(str(view.version)),
        Text(str(view.batch)),
        Text(seconds(view.window) if view.window else ""),
        _number(view.rate),
        _number(view.expected or None),
        Text("" if view.queue_seconds is None else seconds(view.queue_seconds)),
        Text("" if view.compute_seconds is None else seconds(view.compute_seconds)),
        Text("" if view.pending is None else str(view.pending)),
        Text("" if not view.failures else f"{view.failures:.1f}", style="red"),
        Text("" if view.measured is None else f"{view.measured:+.0%}"),
        Text("" if view.predicted is None else f"{view.predicted:+.0%}"),
        Text(decimal(view.memory_bytes) if view.memory_bytes else ""),
    )


def _number(value: float | None) -> Text:
    return Text("" if value is None else f"{value:.1f}")


def _model_line(model: ModelView) -> Text:
    text = Text(model.model, style="bold")
    text.append(
        f"  version {model.version}: {model.ready} of {model.wanted} ready, {model.placed} placed",
        style="not bold" if model.ready >= model.wanted else "not bold yellow",
    )
    if model.incoming is not None:
        text.append(f"  version {model.incoming} on its way", style="not bold cyan")
    if model.deferred is not None:
        text.append(f"  {model.deferred}", style="not bold red")
    return text


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""
