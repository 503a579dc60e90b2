"""How `videojam top` shows groups: tables on a terminal, lines elsewhere, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from agents.overview import Flow, GroupView, ReplicaView
from cli.up_view import seconds

_FLOWS = 12
"""Pairs that are listed of each function: the busiest."""
_NARROW = 20
"""Partitions of a replica beyond so many characters are counted instead of listed."""
_COLUMNS = (
    "partitions",
    "in/s",
    "out/s",
    "mu",
    "busy",
    "load",
    "forecast",
    "response",
    "given",
    "taken",
    "signals",
    "processed",
    "dropped",
    "dead",
)


def as_tables(groups: Sequence[GroupView], fault: str | None = None) -> RenderableType:
    """Everything, for a terminal."""
    parts: list[RenderableType] = []
    for group in groups:
        parts += [_headline(group), _replicas(group)]
        if group.flows:
            parts.append(_flows(group.flows))
        parts.append(Text(""))
    if fault is not None:
        parts.append(Text(fault, style="red"))
    return Group(*parts)


def as_lines(groups: Sequence[GroupView], fault: str | None = None) -> Iterable[str]:
    """A line for each function, then one for each of its replicas and busy pairs."""
    for group in groups:
        yield _headline(group).plain
        for view in group.replicas:
            cells = zip(_COLUMNS, (cell.plain for cell in _cells(view)), strict=True)
            told = ", ".join(f"{name} {cell}" for name, cell in cells if cell)
            yield f"  {view.replica}: {_state(view).plain}; {told}"
        for flow in group.flows[:_FLOWS]:
            yield (
                f"  {flow.sender} -> {flow.receiver}: {flow.items} items"
                + (f", {flow.rate:.1f}/s" if flow.rate is not None else "")
                + f", quota {flow.quota}"
                + (f", link {seconds(flow.link_seconds)}" if flow.link_seconds is not None else "")
            )
    if fault is not None:
        yield fault


def as_json(groups: Sequence[GroupView], at: float, fault: str | None = None) -> dict[str, Any]:
    """Everything, for programs.

    Args:
        groups: the functions.
        at: when this was seen, seconds since the epoch.
        fault: why nothing new is seen, or None.
    """
    return {"at": at, "fault": fault, "functions": [_plain(asdict(group)) for group in groups]}


def dump(shown: Mapping[str, Any]) -> str:
    """One line of JSON."""
    return json.dumps(shown, separators=(",", ":"))


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value


def _headline(group: GroupView) -> Text:
    silent = len(group.replicas) - group.alive
    text = Text(group.function, style="bold")
    text.append(f"  {'/'.join(group.policies) or 'no balancer seen'}", style="not bold")
    text.append(f"  {group.alive} of {group.declared} replicas", style="not bold")
    if silent:
        text.append(f", {silent} silent", style="not bold red")
    text.append(f"  in {group.arrivals:.1f}/s", style="not bold")
    if group.coming is not None:
        text.append(f", forecast {group.coming:.1f}/s", style="not bold")
    if group.load is not None:
        style = "not bold red" if group.load > 1 else "not bold"
        text.append(f", {group.load:.0%} of {group.capacity:.1f}/s", style=style)
    text.append(f"  out {group.rate:.1f}/s  waiting {group.waiting}", style="not bold")
    if group.lag is not None:
        text.append(f"  lag {group.lag}", style="not bold")
    if group.shed:
        text.append(f"  shed {group.shed}", style="not bold yellow")
    if group.overloaded_seconds is not None:
        text.append(f"  overloaded for {group.overloaded_seconds:.0f} s", style="bold red")
    return text


def _replicas(group: GroupView) -> Table:
    table = Table(expand=False, box=None, pad_edge=False, header_style="dim")
    table.add_column("replica")
    table.add_column("state")
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    for view in group.replicas:
        table.add_row(
            Text(view.replica),
            _state(view),
            *_cells(view),
            style=None if view.alive else "dim",
        )
    return table


def _state(view: ReplicaView) -> Text:
    if view.alive:
        return Text("alive", style="green")
    return Text(f"silent {view.age:.0f} s", style="red")


def _cells(view: ReplicaView) -> tuple[Text, ...]:
    partitions = ",".join(map(str, view.partitions))
    if len(partitions) > _NARROW:
        partitions = f"{len(view.partitions)} of them"
    dropped = sum(view.dropped.values())
    signals = f"{sum(view.signals_sent.values())}/{sum(view.signals_heard.values())}"
    return (
        Text(partitions or "none"),
        _number(view.arrivals),
        _number(view.rate),
        _number(view.mu),
        Text(f"{view.busy:.0%}"),
        Text(f"{view.waiting}+{view.in_function}"),
        _number(view.forecast, 0),
        Text("" if view.response_seconds is None else seconds(view.response_seconds)),
        Text(str(view.offloaded)),
        Text(str(view.received)),
        Text(signals),
        Text(str(view.processed)),
        _loss(dropped),
        _loss(view.dead),
    )


def _number(value: float | None, digits: int = 1) -> Text:
    return Text("" if value is None else f"{value:.{digits}f}")


def _loss(count: int) -> Text:
    return Text(str(count), style="red" if count else "")


def _flows(flows: Sequence[Flow]) -> Table:
    more = len(flows) - _FLOWS
    table = Table(
        expand=False,
        box=None,
        pad_edge=False,
        header_style="dim",
        caption=f"and {more} more pairs" if more > 0 else None,
    )
    table.add_column("from")
    table.add_column("to")
    for name in ("items/s", "items", "quota", "link"):
        table.add_column(name, justify="right")
    for flow in flows[:_FLOWS]:
        table.add_row(
            Text(flow.sender),
            Text(flow.receiver),
            _number(flow.rate),
            str(flow.items),
            str(flow.quota),
            "" if flow.link_seconds is None else seconds(flow.link_seconds),
        )
    return table
