"""Trains the small plate reader: convolutions and CTC, 1 plate crop -> text.

    python -m evaluation.training.plate_reader --data build/reader --out build/plate_reader.onnx

Needs the extra ``train``, and the shards that `python -m evaluation.training.plate_shards reader`
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
    minutes: Minutes = 45,
    batch: Batch = 64,
    rate: Rate = 2e-3,
    seed: Seed = 0,
    threads: Threads = 1,
    bf16: Bf16 = False,
) -> None:
    """Train the plate reader."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    training = load("evaluation.training.plate_reader_training", extra="train")
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
