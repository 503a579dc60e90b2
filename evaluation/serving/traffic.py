"""Requests: how many a second, when within the second, and for which model (thesis sec. 4.5.1)."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dataflow.errors import ConfigError

Rates = NDArray[np.float64]
"""Requests a second, of each second."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Traffic:
    """Requests in the order in which they come.

    Attributes:
        at_s: when, seconds from the start; ascending.
        model: for which, an index.
        seconds: how long it lasts.
    """

    at_s: NDArray[np.float64]
    model: NDArray[np.intp]
    seconds: int

    def __len__(self) -> int:
        return len(self.at_s)


def read_trace(file: Path) -> Rates:
    """Read requests of each second: CSV with the columns second and requests, gzip or plain.

    Raises:
        ConfigError: it cannot be read, or a line of it is wrong.
    """
    try:
        raw = file.read_bytes()
        text = (gzip.decompress(raw) if file.suffix == ".gz" else raw).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the trace cannot be read: {error}",
            file=file,
            key="--trace",
            remedy="give a CSV file (or .csv.gz) with the columns second,requests, or set "
            "VIDEOJAM_SHARED_DATA to the folder that holds traces/",
        ) from error
    header, *lines = text.splitlines() or [""]
    if header.strip() != "second,requests":
        raise ConfigError(
            "the header is not second,requests", file=file, line=1, value=header[:80],
            remedy="the first line names the columns: second,requests",
        )  # fmt: skip
    rates = np.empty(len(lines))
    for position, line in enumerate(lines):
        _, _, count = line.partition(",")
        if not count.strip().isdecimal():
            raise ConfigError(
                "a count of requests is expected", file=file, line=position + 2, key="requests",
                value=line[:80], remedy="each line is SECOND,REQUESTS, both whole numbers",
            )  # fmt: skip
        rates[position] = float(count)
    if not rates.any():
        raise ConfigError("the trace has no requests", file=file, remedy="record longer")
    return rates


def trace_rates(
    trace: Rates, *, seconds: int, mean: float, generator: np.random.Generator, speed: int = 1
) -> Rates:
    """A stretch of a trace, scaled to a mean rate.

    Where it begins is drawn; stretches with a second without any request are gaps of the recording
    and are not taken while there are others.

    Args:
        trace: requests of each second.
        seconds: how long.
        mean: requests a second over the stretch.
        generator: draws.
        speed: seconds of the trace that pass in one, of which their mean is taken: the day's rise
            and fall within minutes.

    Raises:
        ConfigError: the trace is shorter.
    """
    trace = trace[: len(trace) // speed * speed].reshape(-1, speed).mean(axis=1)
    if seconds > len(trace):
        raise ConfigError(
            f"the trace lasts {len(trace)} s only at this speed", key="--seconds", value=seconds,
            remedy="choose a shorter run, or a longer trace",
        )  # fmt: skip
    sums = np.concatenate([[0.0], np.cumsum(trace)])
    gaps = np.concatenate([[0], np.cumsum(trace == 0)])
    starts = np.arange(len(trace) - seconds + 1)
    whole = starts[gaps[starts + seconds] == gaps[starts]]
    loaded = starts[sums[starts + seconds] > sums[starts]]
    start = int(generator.choice(whole if len(whole) else loaded))
    taken = trace[start : start + seconds]
    scaled: Rates = taken * (mean / taken.mean())
    return scaled


def gaussian_rates(
    *, seconds: int, mean: float, variation: float, generator: np.random.Generator
) -> Rates:
    """A rate of each second from a normal distribution, not below 0.

    Args:
        seconds: how many.
        mean: requests a second.
        variation: standard deviation over the mean.
        generator: draws.
    """
    return np.maximum(0.0, generator.normal(mean, variation * mean, seconds))


def popularity(models: int, exponent: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """Shares of models by Zipf's law, in an order that is drawn; they sum to 1."""
    weights = np.arange(1, models + 1, dtype=np.float64) ** -exponent
    shares: NDArray[np.float64] = generator.permutation(weights / weights.sum())
    return shares


def draw_traffic(
    rates: Rates, shares: NDArray[np.float64], generator: np.random.Generator
) -> Traffic:
    """Poisson arrivals inside each second, each for a model by its share."""
    counts = generator.poisson(rates)
    second = np.repeat(np.arange(len(rates)), counts)
    at = np.sort(second + generator.random(len(second)))
    model = generator.choice(len(shares), size=len(at), p=shares)
    return Traffic(at_s=at, model=model, seconds=len(rates))
