"""Trains the vehicle detector that ships with the project, on rendered scenes.

    python -m evaluation.training.train_detector --out build/detector.onnx --cache build/detector

Needs the extra ``train``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from evaluation.command import load, run, writable


def main(
    *,
    out: Annotated[
        Path, typer.Option(metavar="FILE", callback=writable, help="ONNX file to write.")
    ],
    cache: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER", file_okay=False, help="For rendered samples and checkpoints."
        ),
    ],
    seed: Annotated[int, typer.Option(min=0, help="Of samples, weights and order.")] = 11,
    minutes: Annotated[
        float, typer.Option(min=0.1, help="Time to train, without rendering.")
    ] = 40.0,
    samples: Annotated[int, typer.Option(min=1, help="Rendered training pictures.")] = 3600,
    streets: Annotated[int, typer.Option(min=1, help="Rendered streets among them.")] = 22,
    size: Annotated[int, typer.Option(min=32, help="Side of the rendered pictures.")] = 320,
    learning_rate: Annotated[float, typer.Option(min=0, help="Highest of the schedule.")] = 2e-3,
    threads: Annotated[int, typer.Option(min=1, help="Processor threads.")] = 1,
    validation_frames: Annotated[int, typer.Option(min=1, help="Held-out frames.")] = 150,
) -> None:
    """Render samples, train, validate on held-out streets, export, check, write the card."""
    training = load("evaluation.training.detector_training", extra="train")
    training.train(
        out=out,
        cache=cache,
        seed=seed,
        minutes=minutes,
        samples=samples,
        streets=streets,
        size=size,
        learning_rate=learning_rate,
        threads=threads,
        validation_frames=validation_frames,
        console=Console(),
    )


if __name__ == "__main__":
    run(main)
