"""The plate benchmark: its measures, its list of photographs, and a floor on real ones."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from dataflow.errors import ConfigError
from dataflow.functions.base import Box
from dataflow.functions.plate_ocr import PlateOcr, PlateOcrParams
from evaluation.benchmarks import plate_ocr as benchmark
from tests.evaluation.commands import end_of
from tests.functions.plates import car_picture, item_of, plate_picture

SHARED = Path(
    os.environ.get(
        "VIDEOJAM_SHARED_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"
    )
)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder of two rendered photographs."""
    lines = []
    for number, text in enumerate(("KHX4729", "73TRAW")):
        scene, box = car_picture(plate_picture(text, height=48), np.random.default_rng(number))
        (tmp_path / f"{number}.jpg").write_bytes(item_of(scene).data)
        lines.append(f"{number}.jpg\t{box.x}\t{box.y}\t{box.w}\t{box.h}\t{text}\n")
    (tmp_path / "truth.tsv").write_text("".join(lines))
    return tmp_path


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [("", "", 0), ("ABC", "", 3), ("ABC123", "ABC123", 0), ("ABC123", "AC1234", 2), ("0", "O", 1)],
)
def test_edit_distance(a: str, b: str, distance: int) -> None:
    assert benchmark.edit_distance(a, b) == distance
    assert benchmark.edit_distance(b, a) == distance


def test_character_accuracy_is_not_below_nought() -> None:
    assert benchmark.character_accuracy("ABD123", "ABC123") == pytest.approx(5 / 6)
    assert benchmark.character_accuracy("XXXXXXXXXX", "ABC") == 0


def test_the_list_is_read(photographs: Path) -> None:
    [first, _] = benchmark.load_photographs(photographs)
    assert (first.plate, first.box) == ("KHX4729", Box(x=202, y=216, w=96, h=48))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"0.jpg\t1\t2\t3\n", "truth.tsv:1"),
        (b"none.jpg\t1\t2\t3\t4\tABC\n", "none.jpg"),
        (b"0.jpg\t1\t2\t3\t4\t--\n", "letters or digits"),
        (b"\xff\n", "no text"),
        (b"", "no photograph is listed"),
    ],
)
def test_a_bad_list_is_named(photographs: Path, line: bytes, message: str) -> None:
    (photographs / "truth.tsv").write_bytes(line)
    with pytest.raises(ConfigError, match=message):
        benchmark.load_photographs(photographs)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--data", ".", "--readers", "nobody"], "'nobody' is none of"),
        (["--data", ".", "--locators", "nobody"], "'nobody' is none of"),
        (["--data", ".", "--views", "0"], "--views"),
    ],
)
def test_what_is_wrong_is_an_error_a_person_can_read(arguments: list[str], says: str) -> None:
    ended = end_of(benchmark.main, *arguments)
    assert ended.code == 2
    assert says in ended.err


def test_the_table_is_printed_and_written(photographs: Path) -> None:
    rows, table = photographs / "rows.json", photographs / "table.md"
    arguments = ["--data", str(photographs), "--readers", "crnn", "--locators", "network"]
    ended = end_of(benchmark.main, *arguments, "--json", str(rows), "--markdown", str(table))
    assert ended.code == 0, ended.err
    [row] = json.loads(rows.read_text())
    assert row["photographs"] == 2
    assert row["given_plates"] == row["whole_plates"] == row["whole_recall"] == 1.0
    assert "| crnn | network | 100.0 % |" in table.read_text()
    assert "crnn" in ended.out


@pytest.mark.shared_data
@pytest.mark.timeout(300)
def test_real_plates_are_read_no_worse_than_this() -> None:
    folder = SHARED / "plates"
    if not folder.is_dir():
        pytest.skip(f"NOT TESTED ON REAL PLATES: {folder} is absent (set VIDEOJAM_SHARED_DATA)")
    photographs = benchmark.load_photographs(folder)[::3]
    function = PlateOcr(PlateOcrParams(reader="crnn"))
    row = benchmark.measure(
        function, photographs, locator="network", clock=lambda: 0.0, advance=lambda: None
    )
    assert row.given_plates >= 0.5
    assert row.given_characters >= 0.75
    assert row.whole_plates >= 0.35
    assert row.whole_recall >= 0.6
