"""How the two plate networks are trained: settings, and the options that set them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from evaluation.command import writable


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """One training.

    Attributes:
        data: folder of shards that `plate_shards` renders; may grow meanwhile.
        out: ONNX file to write; the weights go beside it.
        start: weights to go on from.
        minutes: wall time to spend.
        batch: pictures a step.
        rate: highest learning rate.
        seed: of weights and order.
        threads: of torch.
        bf16: whether to compute in bfloat16.
    """

    data: Path
    out: Path
    start: Path | None
    minutes: float
    batch: int
    rate: float
    seed: int
    threads: int
    bf16: bool


Data: TypeAlias = Annotated[
    Path,
    typer.Option(
        metavar="FOLDER", exists=True, file_okay=False, help="Shards that plate_shards renders."
    ),
]
Out: TypeAlias = Annotated[
    Path,
    typer.Option(
        metavar="FILE", callback=writable, help="ONNX file to write; weights go beside it, as .pt."
    ),
]
Start: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Weights (.pt) to go on from."),
]
Minutes: TypeAlias = Annotated[float, typer.Option(min=0.1, help="Wall time to spend.")]
Batch: TypeAlias = Annotated[int, typer.Option(min=1, help="Pictures a step.")]
Rate: TypeAlias = Annotated[float, typer.Option(min=0, help="Highest learning rate.")]
Seed: TypeAlias = Annotated[int, typer.Option(min=0, help="Of weights and order.")]
Threads: TypeAlias = Annotated[int, typer.Option(min=1, help="Of torch.")]
Bf16: TypeAlias = Annotated[bool, typer.Option(help="Autocast, where the CPU has it.")]
