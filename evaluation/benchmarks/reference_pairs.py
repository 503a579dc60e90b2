"""Slowdowns of pairs by the event-driven co-execution, kept in a file: they take minutes."""

from __future__ import annotations

import json
from itertools import combinations_with_replacement
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from rich.progress import track

from dataflow.errors import ConfigError
from roomie.coexecution import Policy, reference_drop
from roomie.costs import PairCosts
from roomie.devices import Device
from roomie.profiles import ProfileStore, Variant
from roomie.tables import KernelTable, kernel_table

Pairs = dict[tuple[Variant, Variant], tuple[float, float]]
"""Slowdowns of the first by the second, and of the second by the first."""


def reference_pairs(
    store: ProfileStore,
    device: Device,
    variants: tuple[Variant, ...],
    *,
    policy: Policy,
    cache: Path,
) -> Pairs:
    """Slowdowns of all pairs of some variants, from the file where it has them.

    Args:
        store: profiles.
        device: on which.
        variants: which.
        policy: how kernels share.
        cache: folder of such files; delete it when profiles change.

    Raises:
        ConfigError: the file is damaged.
    """
    file = cache / f"pairs-{device.name}-{policy}.json"
    known = _read(file) if file.is_file() else {}
    tables = {variant: _table(store, device, variant) for variant in variants}
    wanted = list(combinations_with_replacement(variants, 2))
    lacking = [pair for pair in wanted if _name(pair) not in known]
    try:
        for first, second in track(lacking, f"reference pairs ({policy})", disable=not lacking):
            drops = reference_drop([tables[first], tables[second]], policy=policy)
            known[_name((first, second))] = (drops[0].slowdown, drops[1].slowdown)
    finally:  # after Ctrl-C too: the rest is left for the next time
        if lacking:
            _write(file, known)
    return {pair: known[_name(pair)] for pair in wanted}


def _read(file: Path) -> dict[str, tuple[float, float]]:
    try:
        return TypeAdapter(dict[str, tuple[float, float]]).validate_json(file.read_bytes())
    except ValidationError as error:
        raise ConfigError(
            f"the reference pairs cannot be read: {error.errors()[0]['msg']}", file=file,
            key="--cache", remedy="delete the file: it is worked out again, which takes minutes",
        ) from error  # fmt: skip


def _write(file: Path, known: dict[str, tuple[float, float]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(known), encoding="utf-8")
    partial.replace(file)  # at once: others may read it


def reference_costs(store: ProfileStore, device: Device, pairs: Pairs) -> PairCosts:
    """Costs in which the reference stands where else a prediction does."""
    tables: dict[KernelTable, Variant] = {}
    signatures = {
        (table.kernels, table.inference_time_s): variant
        for variant in {v for pair in pairs for v in pair}
        for table in [_table(store, device, variant)]
    }

    def look_up(first: KernelTable, second: KernelTable) -> tuple[float, float]:
        own, other = (
            tables.setdefault(t, signatures[t.kernels, t.inference_time_s]) for t in (first, second)
        )
        if (own, other) in pairs:
            return pairs[own, other]
        return pairs[other, own][::-1]

    return PairCosts(store, pair=look_up)


def _table(store: ProfileStore, device: Device, variant: Variant) -> KernelTable:
    profile = store.find(variant, device)
    if profile is None:
        raise ConfigError(f"there is no profile of {variant} for {device.name}", key="--batches")
    return kernel_table(profile)


def _name(pair: tuple[Variant, Variant]) -> str:
    return f"{pair[0]} {pair[1]}"
