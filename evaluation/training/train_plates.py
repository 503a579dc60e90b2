"""Trains the two small plate networks.

The finder makes of a picture a heatmap of plate centres, with boxes; the reader makes a text of a
plate's crop.

    python -m evaluation.training.train_plates reader --data build/reader --out reader.onnx
    python -m evaluation.training.train_plates finder --data build/finder --out finder.onnx

Needs the extra ``train``, and the shards that `python -m evaluation.training.plate_shards` makes.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

from evaluation.command import load, run, writable
from evaluation.training.plate_settings import TrainSettings

_MINUTES = {"reader": 45.0, "finder": 40.0}
_BATCH = {"reader": 64, "finder": 32}


def main(
    *,
    task: Annotated[Literal["reader", "finder"], typer.Argument(help="Which network.")],
    data: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER", exists=True, file_okay=False, help="Shards that plate_shards renders."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            callback=writable,
            help="ONNX file to write; weights go beside it, as .pt.",
        ),
    ],
    start: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False, help="Weights (.pt) to go on from."
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.1, help="Wall time to spend. Default: 45 for the reader, else 40."),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Pictures a step. Default: 64 for the reader, else 32."),
    ] = None,
    rate: Annotated[float, typer.Option(min=0, help="Highest learning rate.")] = 2e-3,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and order.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Of torch.")] = 1,
    bf16: Annotated[bool, typer.Option(help="Autocast, where the CPU has it.")] = False,
) -> None:
    """Train a plate network."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    training = load(f"evaluation.training.plate_{task}_training", extra="train")
    training.train(
        TrainSettings(
            data=data,
            out=out,
            start=start,
            minutes=_MINUTES[task] if minutes is None else minutes,
            batch=_BATCH[task] if batch is None else batch,
            rate=rate,
            seed=seed,
            threads=threads,
            bf16=bf16,
        )
    )


if __name__ == "__main__":
    run(main)
