"""What each model at each batch size costs, alone and beside each other: a decision is look-ups.

Pairs are predicted when they are first needed and kept, by device. Eq 4.12 adds pairs up, so that
the slowdown of a model among any others is a sum over this matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from roomie.devices import Device
from roomie.errors import PlacementError
from roomie.interference import InterferenceSettings, added_time_s
from roomie.profiles import Profile, ProfileStore, Variant
from roomie.tables import Floats, KernelTable, kernel_table

PairSlowdowns = Callable[[KernelTable, KernelTable], tuple[float, float]]
"""Slowdowns (T~ - T) / T of two models by each other."""


class DeviceCosts:
    """Costs on one device, by index of a variant in ``PairCosts.variants``.

    What is not known yet is NaN (or, of memory, infinite: it fits nowhere).

    Attributes:
        device: the device.
        slowdown: of variant i by a neighbour j, (T~ - T) / T, shape (v, v).
        alone_s: inference time, shape (v,).
        memory_bytes: shape (v,).
        weight_bytes: shape (v,).
        throughput: items a second alone, shape (v,).
        occupancy: mean share of the GPU's warps over an inference, shape (v,).
    """

    def __init__(self, device: Device, size: int) -> None:
        self.device = device
        self.slowdown: Floats = np.full((size, size), np.nan)
        self.alone_s: Floats = np.full(size, np.nan)
        self.memory_bytes: Floats = np.full(size, np.inf)
        self.weight_bytes: Floats = np.full(size, np.nan)
        self.throughput: Floats = np.full(size, np.nan)
        self.occupancy: Floats = np.full(size, np.nan)
        self.tables: dict[int, KernelTable] = {}
        self.lacking: set[int] = set()
        """Variants that have no profile for this device."""


class PairCosts:
    """The cache of predictions.

    Args:
        store: profiles.
        settings: how pairs are predicted.
        pair: another way to tell how two models slow each other, in place of ``settings``.
    """

    def __init__(
        self,
        store: ProfileStore,
        settings: InterferenceSettings | None = None,
        *,
        pair: PairSlowdowns | None = None,
    ) -> None:
        self.store = store
        self.settings = settings or InterferenceSettings()
        self._pair = pair or self._predict
        self.variants: tuple[Variant, ...] = store.variants
        self._index = {variant: position for position, variant in enumerate(self.variants)}
        self._devices: dict[str, DeviceCosts] = {}

    def index(self, variant: Variant) -> int:
        """Position of a variant in the arrays.

        Raises:
            PlacementError: no profile of it is known for any device.
        """
        found = self._index.get(variant)
        if found is None:
            raise self._unknown(variant)
        return found

    def batches(self, model: str) -> tuple[Variant, ...]:
        """Variants of a model on any device, by batch size.

        Raises:
            PlacementError: there is none.
        """
        found = tuple(variant for variant in self.variants if variant.model == model)
        if not found:
            raise self._unknown(Variant(model, 0))
        return found

    def _unknown(self, variant: Variant) -> PlacementError:
        what = (
            f"{variant.model} at batch size {variant.batch}"
            if variant.model in self.store.models
            else f"the model {variant.model!r}"
        )
        return PlacementError(f"no profile of {what}\n  remedy: {self.store.remedy(variant.model)}")

    def on(self, device: Device, variants: Iterable[int]) -> DeviceCosts:
        """Costs on a device, in which these variants and all pairs of them are filled in."""
        costs = self._devices.get(device.name)
        if costs is None:
            costs = self._devices[device.name] = DeviceCosts(device, len(self.variants))
        for index in variants:
            if index not in costs.tables and index not in costs.lacking:
                self._fill(costs, index)
        return costs

    def _fill(self, costs: DeviceCosts, index: int) -> None:
        profile = self.store.find(self.variants[index], costs.device)
        if profile is None:
            costs.lacking.add(index)
            return
        table = kernel_table(profile)
        costs.tables[index] = table
        _note_alone(costs, index, profile, table)
        for other, neighbour in costs.tables.items():
            of, by = self._pair(table, neighbour)
            costs.slowdown[index, other] = of
            costs.slowdown[other, index] = by

    def _predict(self, first: KernelTable, second: KernelTable) -> tuple[float, float]:
        of = added_time_s(first, second, self.settings) / first.inference_time_s
        if first is second or self.settings.symmetric:
            return of, of
        return of, added_time_s(second, first, self.settings) / second.inference_time_s


def _note_alone(costs: DeviceCosts, index: int, profile: Profile, table: KernelTable) -> None:
    costs.alone_s[index] = table.inference_time_s
    costs.memory_bytes[index] = profile.memory_bytes
    costs.weight_bytes[index] = profile.weight_bytes
    costs.throughput[index] = profile.variant.batch / table.inference_time_s
    costs.occupancy[index] = (
        table.signature_times_s @ table.resident_occupancy / table.inference_time_s
    )
