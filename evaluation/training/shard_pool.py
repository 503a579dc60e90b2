"""Shards of training material as one set that grows while others still render."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataflow.errors import ConfigError


class ShardPool:
    """All shards rendered so far, in memory.

    The first pictures of the first shard are held out for validation: no batch has them.

    Args:
        folder: of shards that `evaluation.training.plate_shards` writes.
        task: whose material it is: ``reader`` or ``finder``.
        labels: name of the array that goes with ``images``.
        held_out: pictures to keep for validation; of a shorter first shard, all.

    Raises:
        ConfigError: nothing is there besides what is held out, or a shard cannot be read.
    """

    def __init__(self, folder: Path, *, task: str, labels: str, held_out: int) -> None:
        self._folder = folder
        self._label_name = labels
        self._held_out = held_out
        self._remedy = f"render some: python -m evaluation.training.plate_shards {task}"
        self._seen: set[Path] = set()
        self._images: list[NDArray[np.uint8]] = []
        self._labels: list[NDArray[Any]] = []
        self.refresh()
        if not self._drawn():
            raise ConfigError(
                f"{len(self._images)} shard(s) with {self.size} pictures leave nothing to train "
                f"on: the first {held_out} of the first shard are held out",
                file=folder, key="--data", remedy=self._remedy,
            )  # fmt: skip

    @property
    def size(self) -> int:
        """Pictures, with those that are held out."""
        return sum(map(len, self._images))

    def refresh(self) -> None:
        """Take in shards that have been finished since.

        Raises:
            ConfigError: one is no shard, or of the other task.
        """
        for path in sorted(self._folder.glob("????-?????.npz")):
            if path in self._seen:
                continue
            try:
                with np.load(path) as shard:
                    images, labels = shard["images"], shard[self._label_name]
            except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
                raise ConfigError(
                    f"not a shard of this task: {error}", file=path, key="--data",
                    remedy=f"delete it, or {self._remedy}",
                ) from error  # fmt: skip
            self._images.append(images)
            self._labels.append(labels)
            self._seen.add(path)

    def held_out(self) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """Pictures and labels for validation; the same ones whatever is rendered meanwhile."""
        return self._images[0][: self._held_out], self._labels[0][: self._held_out]

    def batch(self, rng: np.random.Generator, size: int) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """Draw pictures and their labels: a shard, then one of it."""
        drawn = self._drawn()
        images, labels = [], []
        for _ in range(size):
            shard = drawn[int(rng.integers(len(drawn)))]
            row = int(rng.integers(self._first(shard), len(self._images[shard])))
            images.append(self._images[shard][row])
            labels.append(self._labels[shard][row])
        return np.stack(images), np.stack(labels)

    def _first(self, shard: int) -> int:
        return self._held_out if shard == 0 else 0

    def _drawn(self) -> list[int]:
        """Shards with anything to train on."""
        return [n for n, images in enumerate(self._images) if len(images) > self._first(n)]
