"""Requests: the trace as it is read, and the traffic that is drawn from it."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from dataflow.errors import ConfigError
from evaluation.serving.traffic import (
    draw_traffic,
    gaussian_rates,
    popularity,
    read_trace,
    trace_rates,
)


def test_a_trace_is_read_scaled_and_does_not_begin_in_a_gap(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv.gz"
    counts = [0, 0, *range(10, 40), 0, *range(10, 15)]
    text = "second,requests\n" + "".join(f"{n},{c}\n" for n, c in enumerate(counts))
    file.write_bytes(gzip.compress(text.encode()))
    trace = read_trace(file)
    assert trace.tolist() == counts
    for seed in range(30):
        rates = trace_rates(trace, seconds=10, mean=100, generator=np.random.default_rng(seed))
        assert rates.mean() == pytest.approx(100)
        assert rates.min() > 0
    fast = trace_rates(trace, seconds=5, mean=7, generator=np.random.default_rng(0), speed=7)
    assert fast.mean() == pytest.approx(7)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a,b\n1,2\n", "header"),
        ("second,requests\n0,3\n1,x\n", "line 3|:3"),
        ("second,requests\n0,0\n", "no requests"),
    ],
)
def test_a_trace_that_is_none_is_an_error_with_its_place(
    tmp_path: Path, content: str, says: str
) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(content)
    with pytest.raises(ConfigError, match=says):
        read_trace(file)


def test_a_trace_that_is_too_short_or_not_there_or_broken_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="3 s only"):
        trace_rates(np.ones(3), seconds=4, mean=1, generator=np.random.default_rng(0))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_trace(tmp_path / "none.csv")
    whole = gzip.compress(b"second,requests\n" + b"0,1\n" * 99)
    broken = tmp_path / "broken.csv.gz"
    # Cut off, no gzip at all, and damaged inside.
    for content in (whole[:-9], b"second,requests\n", whole[:12] + b"\xff" * 8 + whole[20:]):
        broken.write_bytes(content)
        with pytest.raises(ConfigError, match="cannot be read"):
            read_trace(broken)


def test_requests_are_poisson_inside_the_second_and_models_follow_zipf() -> None:
    generator = np.random.default_rng(1)
    shares = popularity(5, 1.0, generator)
    assert sorted(shares / shares.max(), reverse=True) == pytest.approx(
        [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]
    )
    rates = gaussian_rates(seconds=200, mean=500, variation=0.2, generator=generator)
    assert rates.std() / rates.mean() == pytest.approx(0.2, abs=0.03)
    traffic = draw_traffic(rates, shares, generator)
    assert (np.diff(traffic.at_s) >= 0).all()
    counted = np.bincount(traffic.at_s.astype(int), minlength=200)
    # Poisson: the variance about the rate is the rate.
    assert np.mean((counted - rates) ** 2 / rates) == pytest.approx(1, abs=0.25)
    assert np.bincount(traffic.model) / len(traffic) == pytest.approx(shares, abs=0.01)
