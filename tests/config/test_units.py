"""Durations and sizes as people write them."""

from __future__ import annotations

import pytest

from dataflow.config import parse_config
from dataflow.config.units import parse_duration
from tests.config.kit import changed


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("2s", 2.0),
        ("1.5 s", 1.5),
        (" 10m ", 600.0),
        ("1h", 3600.0),
        ("7d", 604800.0),
        (3, 3.0),
        (0.25, 0.25),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-1s", "1 s s", "1e3s", "5S", True, None, [1], "٣s x"]
)
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="such as 500ms"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("64MiB", 64 * 1024**2), ("1GiB", 1024**3), ("500kB", 500_000), ("7", 7), ("1.5k", 1500)],
)
def test_sizes(text: str, size: int) -> None:
    config = parse_config(changed("size: 1MiB", f"size: {text}"), environment={})
    assert config.functions["detect"].queue.size == size
