"""How plans and topics look: coloured lines and tables for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dataflow.config import Config, TopicSpec
from dataflow.topics import AddPartitions, Change, Create, Plan, Refusal, SetConfig

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from dataflow.topics.apply import Outcome
    from dataflow.transport.base import TopicState

_MILLISECONDS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"))
_BYTES = ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"))


def human(key: str, value: str | None) -> str:
    """A config's value as topics.yaml would write it: ``604800000`` of retention.ms is ``7d``."""
    if value is None:
        return "unset"
    if not value.removeprefix("-").isdecimal():
        return value
    number = int(value)
    if number < 0 and key.startswith("retention."):
        return "unlimited"
    units = _MILLISECONDS if key.endswith(".ms") else _BYTES if key.endswith("bytes") else ()
    for size, unit in units:
        if number and number % size == 0:
            return f"{number // size}{unit}"
    return value


def print_plan(plan: Plan, config: Config, console: Console, *, allow_shrink: bool = False) -> None:
    """Print a plan as a diff: + create, ~ change, ! what stays as it is and why."""
    console.print(
        f"deployment {config.deployment} on {config.cluster.bootstrap_servers}",
        style="dim",
        markup=False,
    )
    for change in plan.changes:
        _print_line(change, console)
    for shrink in plan.shrinks:
        if allow_shrink:
            _print_line(shrink.change, console)
            console.print(f"    {shrink.effect}", style="yellow", markup=False)
        else:
            _print_attention(
                shrink.topic,
                f"{_difference(shrink.change)}: {shrink.effect}",
                "say --allow-shrink to do it",
                console,
            )
    for refusal in plan.refusals:
        _print_attention(refusal.topic, refusal.message, refusal.remedy, console)
    for topic in plan.unmanaged:
        console.print(f"  {topic} is not declared and is left alone", style="dim", markup=False)
    if plan.in_sync:
        console.print("the cluster is as topics.yaml declares", style="green")
        return
    created = sum(isinstance(change, Create) for change in plan.changes)
    changed = len(plan.steps(allow_shrink=allow_shrink)) - created
    left = len(plan.refusals) + (0 if allow_shrink else len(plan.shrinks))
    console.print(f"{created} to create, {changed} to change, {left} need attention", style="bold")


def print_change(change: Change, outcome: Outcome, console: Console) -> None:
    """Print a step that was made; what a new topic looks like stands in the plan."""
    if isinstance(change, Create):
        made = "created" if outcome == "done" else "was created already"
        console.print(f"{change.topic}: {made}", markup=False)
        return
    done = "done" if outcome == "done" else "was made already"
    console.print(f"{change.topic}: {_difference(change)}: {done}", markup=False)


def _print_line(change: Change, console: Console) -> None:
    sign, style = ("+", "bold green") if isinstance(change, Create) else ("~", "bold yellow")
    console.print(sign, style=style, end=" ")
    console.print(f"{change.topic}: {_difference(change)}", markup=False)
    if isinstance(change, AddPartitions) and change.warning:
        console.print(f"    {change.warning}", style="yellow", markup=False)


def _print_attention(topic: str, message: str, remedy: str, console: Console) -> None:
    console.print("!", style="bold red", end=" ")
    console.print(f"{topic}: {message}", markup=False)
    console.print("    remedy:", style="green", end=" ")
    console.print(remedy, markup=False)


def _difference(change: Change) -> str:
    match change:
        case Create(spec=spec):
            configs = ", ".join(f"{key} {human(key, spec.configs[key])}" for key in spec.configs)
            return f"create with partitions {spec.partitions}, copies {spec.replication}, {configs}"
        case AddPartitions(old=old, new=new):
            return f"partitions {old} -> {new}"
        case SetConfig(key=key, old=before, new=after):
            return f"{key} {human(key, before)} -> {human(key, after)}"


def _change_as_json(change: Change) -> dict[str, object]:
    match change:
        case Create(spec=spec):
            return {
                "action": "create",
                "topic": spec.name,
                "partitions": spec.partitions,
                "replication": spec.replication,
                "configs": dict(spec.configs),
            }
        case AddPartitions(topic=topic, old=old, new=new, warning=warning):
            return {
                "action": "add-partitions",
                "topic": topic,
                "old": old,
                "new": new,
                "warning": warning,
            }
        case SetConfig(topic=topic, key=key, old=before, new=after):
            return {
                "action": "set-config",
                "topic": topic,
                "key": key,
                "old": before,
                "new": after,
            }


def _refusal_as_json(refusal: Refusal) -> dict[str, object]:
    return {"topic": refusal.topic, "message": refusal.message, "remedy": refusal.remedy}


def plan_as_json(plan: Plan, config: Config) -> dict[str, object]:
    """A plan for programs; values as Kafka has them."""
    return {
        "deployment": config.deployment,
        "bootstrap_servers": config.cluster.bootstrap_servers,
        "in_sync": plan.in_sync,
        "changes": [_change_as_json(change) for change in plan.changes],
        "shrinks": [
            {**_change_as_json(shrink.change), "effect": shrink.effect} for shrink in plan.shrinks
        ],
        "refusals": [_refusal_as_json(refusal) for refusal in plan.refusals],
        "unmanaged": list(plan.unmanaged),
    }


def _statuses(
    declared: Sequence[TopicSpec], states: Mapping[str, TopicState], plan: Plan
) -> dict[str, str]:
    """By topic: as declared, differs, missing or unmanaged; declared ones first."""
    different = {item.topic for item in (*plan.changes, *plan.shrinks, *plan.refusals)}
    statuses = {
        spec.name: "missing"
        if spec.name not in states
        else "differs"
        if spec.name in different
        else "as declared"
        for spec in declared
    }
    return statuses | dict.fromkeys(plan.unmanaged, "unmanaged")


def states_as_json(
    declared: Sequence[TopicSpec], states: Mapping[str, TopicState], plan: Plan
) -> list[dict[str, object]]:
    """The deployment's topics for programs; numbers are null where a topic is missing."""
    return [
        {
            "topic": topic,
            "status": status,
            "partitions": state.partitions if state else None,
            "replication": state.replication if state else None,
            "configs": {
                key: value
                for key, value in (state.configs.items() if state else ())
                if state and key not in state.defaults
            },
        }
        for topic, status in _statuses(declared, states, plan).items()
        for state in [states.get(topic)]
    ]


def states_table(
    declared: Sequence[TopicSpec], states: Mapping[str, TopicState], plan: Plan
) -> Table:
    """The deployment's topics for people."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("topic", no_wrap=True)
    for name in ("partitions", "copies"):
        table.add_column(name, justify="right")
    for name in ("cleanup", "retention", "size"):
        table.add_column(name)
    table.add_column("status", no_wrap=True)
    colours = {"as declared": "green", "unmanaged": "dim", "differs": "yellow", "missing": "red"}
    for topic, status in _statuses(declared, states, plan).items():
        state = states.get(topic)
        cells = ["-"] * 5
        if state is not None:
            keys = ("cleanup.policy", "retention.ms", "retention.bytes")
            configs = [human(key, state.configs.get(key)) for key in keys]
            cells = [str(state.partitions), str(state.replication), *configs]
        table.add_row(topic, *cells, f"[{colours[status]}]{status}[/]")
    return table
