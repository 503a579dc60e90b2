"""What `videojam roomie` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table

from roomie.devices import DeviceTable
from roomie.interference import Interference, InterferenceSettings
from roomie.pairs import PairReport
from roomie.plans import Plan, Prediction

_GIB = 2**30


def print_plan(plan: Plan, prediction: Prediction, console: Console) -> None:
    """A line an instance, by GPU, with what is predicted of it."""
    new = {d.request.id for d in plan.decisions if d.gpu is not None}
    moved = {move.instance for move in plan.moves}
    table = Table(title=f"Placement by {plan.placer}")
    columns: tuple[tuple[str, JustifyMethod], ...] = (
        ("GPU", "left"), ("memory GiB", "right"), ("instance", "left"), ("model", "left"),
        ("batch", "right"), ("slowdown %", "right"), ("throughput loss %", "right"),
        ("latency ms", "right"), ("items/s", "right"), ("", "left"),
    )  # fmt: skip
    for column, justify in columns:
        table.add_column(column, justify=justify)
    for gpu in prediction.gpus:
        memory = f"{gpu.memory_bytes / _GIB:.1f} of {gpu.memory_limit_bytes / _GIB:.1f}"
        name = escape(gpu.gpu)
        if not gpu.instances:
            table.add_row(name, memory, *[""] * 7, "empty")
        for found in gpu.instances:
            notes = [
                word
                for word, holds in (
                    ("new", found.instance.id in new),
                    ("moved", found.instance.id in moved),
                    ("late", found.late),
                )
                if holds
            ]
            table.add_row(
                name,
                memory,
                escape(found.instance.id),
                escape(found.instance.variant.model),
                str(found.instance.variant.batch),
                f"{100 * found.slowdown:.1f}",
                f"{100 * found.throughput_loss:.1f}",
                f"{1e3 * found.latency_s:.2f}",
                f"{found.throughput:.1f}",
                ", ".join(notes),
            )
            name = memory = ""
        table.add_section()
    console.print(table)
    console.print(
        f"mean throughput loss {100 * prediction.mean_throughput_loss:.2f} %, mean slowdown "
        f"{100 * prediction.mean_slowdown:.2f} %, {prediction.throughput:.1f} items/s in all"
    )
    for removal in plan.removals:
        console.print(f"remove {removal.instance}: {removal.reason}", markup=False)
    for move in plan.moves:
        console.print(
            f"move {move.instance}: {move.source} to {move.target} ({move.reason})", markup=False
        )
    for note in plan.notes:
        console.print(note, markup=False)


def plan_as_json(plan: Plan, prediction: Prediction) -> dict[str, Any]:
    """The placement as plain values."""
    return {
        "placer": plan.placer,
        "decisions": [
            {
                "instance": decision.request.id,
                "model": decision.request.model,
                "gpu": decision.gpu,
                "batch": None if decision.variant is None else decision.variant.batch,
                "reasons": list(decision.reasons),
                "alternatives": [
                    {"gpu": a.gpu, "batch": a.variant.batch, "score": a.score}
                    for a in decision.alternatives
                ],
            }
            for decision in plan.decisions
        ],
        "moves": [
            {
                "instance": move.instance,
                "from": move.source,
                "to": move.target,
                "weight_bytes": move.weight_bytes,
                "reason": move.reason,
            }
            for move in plan.moves
        ],
        "removals": [
            {"instance": r.instance, "gpu": r.gpu, "reason": r.reason} for r in plan.removals
        ],
        "notes": list(plan.notes),
        "gpus": [
            {
                "gpu": gpu.gpu,
                "device": gpu.device,
                "node": gpu.node,
                "memory_bytes": gpu.memory_bytes,
                "memory_limit_bytes": gpu.memory_limit_bytes,
                "throughput": gpu.throughput,
                "instances": [
                    {
                        "instance": found.instance.id,
                        "model": found.instance.variant.model,
                        "batch": found.instance.variant.batch,
                        "slowdown": found.slowdown,
                        "throughput_loss": found.throughput_loss,
                        "latency_s": found.latency_s,
                        "throughput": found.throughput,
                        "memory_bytes": found.memory_bytes,
                    }
                    for found in gpu.instances
                ],
            }
            for gpu in prediction.gpus
        ],
        "mean_throughput_loss": prediction.mean_throughput_loss,
        "mean_slowdown": prediction.mean_slowdown,
        "throughput": prediction.throughput,
    }


def print_comparison(found: Mapping[str, tuple[Plan, Prediction]], console: Console) -> None:
    """A line a placer, the least loss first."""
    table = Table(title="What is predicted of each placer's placement")
    table.add_column("placer")
    for column in (
        "mean throughput loss %", "worst %", "mean slowdown %", "items/s", "GPUs used", "deferred",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    # A placer that defers has fewer instances to disturb each other.
    ranked = sorted(
        found.items(), key=lambda e: (len(e[1][0].deferred), e[1][1].mean_throughput_loss)
    )
    for name, (plan, prediction) in ranked:
        worst = max((i.throughput_loss for i in prediction), default=0.0)
        table.add_row(
            escape(name),
            f"{100 * prediction.mean_throughput_loss:.2f}",
            f"{100 * worst:.2f}",
            f"{100 * prediction.mean_slowdown:.2f}",
            f"{prediction.throughput:.1f}",
            str(sum(bool(gpu.instances) for gpu in prediction.gpus)),
            str(len(plan.deferred)),
        )
    console.print(table)


def comparison_as_json(found: Mapping[str, tuple[Plan, Prediction]]) -> dict[str, Any]:
    """All placements as plain values."""
    return {name: plan_as_json(plan, prediction) for name, (plan, prediction) in found.items()}


def _reading(settings: InterferenceSettings) -> str:
    if settings.alignment == "expected":
        return f"{settings.mode}, expected"
    return f"{settings.mode}, lockstep, gamma by {settings.gamma}"


def print_pair(report: PairReport, console: Console) -> None:
    """Both models alone, their slowdowns by all predictors, and where they collide."""
    first, second = report.profiles
    alone = Table(title=f"Alone on {first.device.name}")
    for column in ("", "inference ms", "kernels", "mean occupancy %", "memory GiB", "profile"):
        alone.add_column(column, justify="left" if column in ("", "profile") else "right")
    for profile, kernels in zip(report.profiles, report.tables, strict=True):
        busy = kernels.signature_times_s @ kernels.resident_occupancy / kernels.inference_time_s
        alone.add_row(
            escape(str(profile.variant)),
            f"{1e3 * profile.inference_time_s:.3f}",
            str(len(profile.kernels)),
            f"{100 * busy:.1f}",
            f"{profile.memory_bytes / _GIB:.2f}",
            profile.origin,
        )
    console.print(alone)
    table = Table(title="Slowdown % (throughput loss %) by the other")
    table.add_column("predictor")
    table.add_column(escape(str(first.variant)), justify="right")
    table.add_column(escape(str(second.variant)), justify="right")
    default = InterferenceSettings()
    for settings, drops in report.predicted.items():
        mark = "  <- default" if settings == default else ""
        table.add_row(f"{_reading(settings)}{mark}", *map(_cell, drops))
    table.add_section()
    for policy, drops in report.referenced.items():
        table.add_row(f"co-execution, {policy}", *map(_cell, drops))
    console.print(table)
    console.print(
        f"kernels interfere in {100 * report.colliding_share:.1f} % of the time in which both run"
    )
    if report.collisions:
        hits = Table(title="Kernels that meet and interfere")
        hits.add_column("of the time %", justify="right")
        hits.add_column("beyond an SM %", justify="right")
        hits.add_column(escape(str(first.variant)))
        hits.add_column(escape(str(second.variant)))
        for collision in report.collisions:
            hits.add_row(
                f"{100 * collision.share:.1f}",
                f"{100 * collision.excess:.0f}",
                *(escape(name[:60]) for name in collision.names),
            )
        console.print(hits)


def _cell(drop: Interference) -> str:
    return f"{100 * drop.slowdown:.1f} ({100 * drop.throughput_loss:.1f})"


def pair_as_json(report: PairReport) -> dict[str, Any]:
    """The two models as plain values."""

    def drops(pair: tuple[Interference, Interference]) -> list[dict[str, float]]:
        return [
            {
                "alone_s": drop.alone_s,
                "slowdown": drop.slowdown,
                "throughput_loss": drop.throughput_loss,
            }
            for drop in pair
        ]

    return {
        "device": report.profiles[0].device.name,
        "models": [str(profile.variant) for profile in report.profiles],
        "origins": [profile.origin for profile in report.profiles],
        "predicted": {_reading(s): drops(pair) for s, pair in report.predicted.items()},
        "co_execution": {policy: drops(pair) for policy, pair in report.referenced.items()},
        "colliding_share": report.colliding_share,
        "collisions": [
            {"kernels": list(c.names), "share": c.share, "excess": c.excess}
            for c in report.collisions
        ],
    }


def print_devices(table: DeviceTable, console: Console) -> None:
    """A line a device."""
    shown = Table(title="GPUs whose limits are known")
    for column in ("device", "capability", "SMs", "memory GiB", "warps/SM", "blocks/SM",
                   "shared memory/SM KiB"):  # fmt: skip
        shown.add_column(column, justify="left" if column == "device" else "right")
    for device in table.devices.values():
        shown.add_row(
            escape(device.name),
            device.compute_capability,
            str(device.sms),
            f"{device.memory_bytes / _GIB:.1f}",
            str(device.limits.warps),
            str(device.limits.blocks),
            str(device.limits.shared_memory // 1024),
        )
    console.print(shown)
    console.print(
        f"limits are known for compute capabilities {', '.join(sorted(table.limits))}", markup=False
    )
