"""Trains the small plate finder: a heatmap of plate centres, with boxes.

    python -m evaluation.training.plate_finder --data build/finder --out build/plate_finder.onnx

Needs the extra ``train``, and the shards that `python -m evaluation.training.plate_shards finder`
renders.
"""

from __future__ import annotations

import logging

from evaluation.command import load, run
from evaluation.training.plate_settings import (
    Batch,
    Bf16,
    Data,
    Minutes,
    Out,
    Rate,
    Seed,
    Start,
    Threads,
    TrainSettings,
)


def main(
    *,
    data: Data,
    out: Out,
    start: Start = None,
    minutes: Minutes = 40,
    batch: Batch = 32,
    rate: Rate = 2e-3,
    seed: Seed = 0,
    threads: Threads = 1,
    bf16: Bf16 = False,
) -> None:
    """Train the plate finder."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    training = load("evaluation.training.plate_finder_training", extra="train")
    training.train(
        TrainSettings(
            data=data,
            out=out,
            start=start,
            minutes=minutes,
            batch=batch,
            rate=rate,
            seed=seed,
            threads=threads,
            bf16=bf16,
        )
    )


if __name__ == "__main__":
    run(main)
