"""Renders training material for the plate networks into numbered shards.

    python -m evaluation.training.plate_shards reader --out build/reader --seed 1 --shards 100
    python -m evaluation.training.plate_shards finder --out build/finder --seed 2 --shards 12

Start one process per core with different seeds; the trainers pick up shards as they appear.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

from evaluation.command import run
from evaluation.training.plate_glyphs import load_typefaces
from evaluation.training.plate_render import PlateRenderer
from evaluation.training.plate_scene import (
    SceneRenderer,
    finder_scene,
    load_backgrounds,
    reader_crop,
)

logger = logging.getLogger(__name__)

READER_SIZE = (144, 48)
"""Width and height of the reader network's input, in pixels."""

MOST_PLATES = 2
"""Plates in one finder scene at most."""


def _write(path: Path, **arrays: NDArray[np.generic]) -> None:
    """Write a shard so that nobody reads half of it."""
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, allow_pickle=False, **arrays)
    partial.rename(path)


def reader_shard(
    plates: PlateRenderer, scenes: SceneRenderer, rng: np.random.Generator, path: Path, count: int
) -> None:
    """Write ``images`` uint8 [count, 48, 144] grey and ``texts`` str [count]."""
    images = np.empty((count, READER_SIZE[1], READER_SIZE[0]), np.uint8)
    texts: list[str] = []
    for row in images:
        crop, text = reader_crop(plates, scenes, rng)
        grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
        shrink = crop.shape[1] > READER_SIZE[0]
        row[:] = cv2.resize(
            grey, READER_SIZE, interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
        )
        texts.append(text)
    _write(path, images=images, texts=np.array(texts))


def finder_shard(
    plates: PlateRenderer, scenes: SceneRenderer, rng: np.random.Generator, path: Path, count: int
) -> None:
    """Write ``images`` uint8 [count, 192, 192, 3] and ``boxes`` float32 [count, 2, 4].

    A row of zeros in ``boxes`` is no plate; the others are centre x, centre y, width, height.
    """
    images = np.empty((count, 192, 192, 3), np.uint8)
    boxes = np.zeros((count, MOST_PLATES, 4), np.float32)
    for index in range(count):
        images[index], found = finder_scene(plates, scenes, rng)
        for slot, box in enumerate(found):
            boxes[index, slot] = box
    _write(path, images=images, boxes=boxes)


def main(
    *,
    task: Annotated[Literal["reader", "finder"], typer.Argument(help="Whose material.")],
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", file_okay=False, help="Where the shards go.")
    ],
    seed: Annotated[int, typer.Option(min=0, max=9999, help="Of everything drawn.")] = 0,
    shards: Annotated[int, typer.Option(min=1, help="How many.")] = 100,
    per_shard: Annotated[int, typer.Option(min=1, help="Pictures in each.")] = 2000,
) -> None:
    """Render training material."""
    out.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    cv2.setNumThreads(1)
    rng = np.random.default_rng(seed)
    plates = PlateRenderer(load_typefaces(), rng)
    scenes = SceneRenderer(plates, load_backgrounds(), rng)
    write = reader_shard if task == "reader" else finder_shard
    for number in range(shards):
        path = out / f"{seed:04d}-{number:05d}.npz"
        write(plates, scenes, rng, path, per_shard)
        logger.info("%s", path)


if __name__ == "__main__":
    run(main)
