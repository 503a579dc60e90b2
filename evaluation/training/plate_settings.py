"""How the two plate networks are trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
