"""A rendered data set as arrays, kept in a folder so that it is rendered only once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from evaluation.scenes.dataset import Sample, SampleFactory

MOST_OBJECTS = 40
"""Vehicles kept per picture; further ones are dropped (none of the scenes has that many)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedSet:
    """Pictures and their objects.

    Attributes:
        images: uint8 [n, size, size, 3], BGR; may be a memory map.
        objects: float32 [n, MOST_OBJECTS, 6]: left, top, right, bottom in pixels, label, visible
            fraction; unused rows have label -1.
    """

    images: NDArray[np.uint8]
    objects: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.images)


def render_set(
    folder: Path,
    *,
    seed: int,
    count: int,
    size: int,
    streets: int,
    degraded: bool,
    advance: Callable[[], None] = lambda: None,
) -> RenderedSet:
    """Render a set into ``folder``, or open it where it was rendered before.

    Args:
        folder: for the arrays; made where absent.
        seed: of the scenes; sets with different seeds share no scene.
        count: number of pictures.
        size: side of the pictures, pixels.
        streets: number of rendered streets.
        degraded: True gives training samples, False whole street frames of dash cameras only.
        advance: called after each picture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{'train' if degraded else 'street'}-{seed}-{count}-{size}-{streets}"
    image_file, object_file = folder / f"{name}.images.npy", folder / f"{name}.objects.npy"
    if not object_file.exists():
        images = open_memmap(image_file, "w+", np.uint8, (count, size, size, 3))
        objects = np.full((count, MOST_OBJECTS, 6), -1, np.float32)
        factory = SampleFactory(
            seed, size=size, streets=streets, mobile_share=0.7 if degraded else 1.0
        )
        for index in range(count):
            sample = factory.sample() if degraded else factory.street_sample()
            images[index] = sample.image
            _store(objects[index], sample)
            advance()
        images.flush()
        np.save(object_file, objects)  # written last: its presence says that the set is complete
    return RenderedSet(images=np.load(image_file, mmap_mode="r"), objects=np.load(object_file))


def _store(row: NDArray[np.float32], sample: Sample) -> None:
    kept = min(len(sample.labels), MOST_OBJECTS)
    row[:kept, :4] = sample.boxes[:kept]
    row[:kept, 4] = sample.labels[:kept]
    row[:kept, 5] = sample.visible[:kept]
