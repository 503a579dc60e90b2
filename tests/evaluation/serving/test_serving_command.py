"""`python -m evaluation.benchmarks.serving`."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from evaluation.benchmarks import serving
from tests.evaluation.commands import Ended, end_of


def invoke(*arguments: str) -> Ended:
    return end_of(serving.main, *arguments)


def test_the_benchmark_prints_ratios_and_says_what_is_synthetic(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    lines = "".join(f"{n},{20 + n % 7}\n" for n in range(60))
    file.write_text(f"second,requests\n{lines}")
    out, plot = tmp_path / "new" / "out.json", tmp_path / "plot.png"
    ended = invoke(
        "--figure", "4.4", "--loads", "0.03", "--seconds", "10",
        "--policy", "roomie", "--policy", "infaas", "--trace", str(file),
        "--forecaster", "ewma", "--json", str(out), "--plot", str(plot),
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert "synthetic" in ended.out
    assert "Fig 4.4" in ended.out
    assert "the thesis has up to 8.3 times" in ended.out
    assert '"processed_percent"' in out.read_text()
    assert plot.stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--figure", "4.9"], "4.9"),
        (["--policy", "nobody"], "nobody"),
        (["--loads", "0.1,x"], "--loads"),
        (["--loads", "0"], "--loads"),
        (["--seconds", "-3"], "--seconds"),
        (["--figure", "4.4", "--trace", "nowhere.csv"], "nowhere.csv"),
        (["--forecaster", "nobody"], "remedy: installed: "),
    ],
)
def test_a_wrong_option_is_named(arguments: list[str], says: str) -> None:
    ended = invoke("--figure", "4.5", *arguments)
    assert ended.code == 2
    assert says in ended.err
    assert not ended.out


def test_a_broken_trace_is_an_error_with_the_file_and_the_remedy(tmp_path: Path) -> None:
    file = tmp_path / "broken.csv.gz"
    data = bytearray(gzip.compress(b"second,requests\n" + b"0,1\n" * 99))
    data[12:20] = b"\xff" * 8
    file.write_bytes(data)
    ended = invoke("--trace", str(file))
    assert ended.code == 2
    assert f"error: {file}" in ended.err
    assert "remedy: give a CSV file" in ended.err


def test_a_trace_that_is_too_short_is_told_before_anything_is_served(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("second,requests\n" + "1,5\n" * 20)
    ended = invoke("--figure", "4.3", "--figure", "4.2", "--trace", str(file), "--speed", "3")
    assert ended.code == 2
    assert "lasts 6 s only" in ended.err
    assert not ended.out
