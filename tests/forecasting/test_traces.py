from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forecasting.errors import TraceError
from forecasting.generators import GENERATORS
from forecasting.traces import Trace, read_traces, rolling_origin
from tests.forecasting.loads import KITTI, SMALL, WINDOW, needs, steady

HEADER = "sequence,frame,vehicles\n"


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "trace.csv"
    file.write_text(text)
    return file


@pytest.mark.parametrize("fps", [5.0, 10.0, 15.0, 20.0, 25.0])
def test_a_steady_street_sends_its_vehicles_times_the_frame_rate(fps: float) -> None:
    assert steady("s", seconds=7.25, vehicles=3).slots(fps).tolist() == [3 * fps] * 7


def test_a_camera_of_twice_the_frame_rate_sends_each_moment_twice() -> None:
    trace = Trace(name="t", vehicles=np.arange(20, dtype=np.float32), fps=10.0)
    assert trace.slots(10.0).tolist() == [sum(range(10)), sum(range(10, 20))]
    assert trace.slots(20.0).tolist() == [2 * sum(range(10)), 2 * sum(range(10, 20))]
    assert trace.slots(10.0, speed=2.0).tolist() == [sum(range(0, 20, 2))]
    assert trace.slots(10.0, slot_seconds=0.5).tolist() == [10, 35, 60, 85]


def test_a_file_is_read_sequence_by_sequence(tmp_path: Path) -> None:
    file = written(tmp_path, HEADER + "a,0,1\na,1,2\nb,5,3\n")
    first, second = read_traces(file, fps=20.0)
    assert (first.name, first.vehicles.tolist(), first.fps) == ("a", [1, 2], 20.0)
    assert (second.name, second.vehicles.tolist()) == ("b", [3])


def test_frames_that_are_missing_count_as_the_one_before(tmp_path: Path) -> None:
    file = written(tmp_path, HEADER + "a,0,1\na,3,4\n")
    assert read_traces(file)[0].vehicles.tolist() == [1, 1, 1, 4]


def test_seconds_say_the_frame_rate_and_where_a_camera_was_off(tmp_path: Path) -> None:
    lines = [f"a,{n},2,{n / 25}" for n in range(50)] + [f"a,{n},7,{n / 25 + 60}" for n in (50, 51)]
    file = written(tmp_path, "sequence,frame,vehicles,seconds\n" + "\n".join(lines) + "\n")
    before, after = read_traces(file)
    assert (before.name, after.name) == ("a#0", "a#1")
    assert before.fps == pytest.approx(25.0)
    assert before.slots(25.0).tolist() == [50, 50]
    assert after.vehicles.tolist() == [7, 7]


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("sequence,frame\na,0\n", 1, None),
        (HEADER + "a,0,1\na,0,2\n", 3, "frame"),
        (HEADER + "a,0,many\n", 2, "vehicles"),
        (HEADER + "a,0,-1\n", 2, "vehicles"),
        (HEADER + "a,0,nan\n", 2, "vehicles"),
        (HEADER + "a,0,1e9\n", 2, "vehicles"),
        (HEADER + "a,inf,1\n", 2, "frame"),
        (HEADER + "a,0\n", 2, "vehicles"),
        (HEADER, None, None),
        ("sequence,frame,vehicles,seconds\na,0,1,5\na,1,1,4\n", None, "seconds"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(
    tmp_path: Path, text: str, line: int | None, key: str | None
) -> None:
    file = written(tmp_path, text)
    with pytest.raises(TraceError) as caught:
        read_traces(file)
    assert (caught.value.file, caught.value.line, caught.value.key) == (file, line, key)
    assert caught.value.remedy


def test_a_file_that_is_absent_or_no_text_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot be read"):
        read_traces(tmp_path / "nothing.csv")
    file = tmp_path / "picture.csv"
    file.write_bytes(b"\xff\xd8\xff\xe0" * 100)
    with pytest.raises(TraceError, match="not CSV text"):
        read_traces(file)


def test_the_origin_rolls_from_the_first_window_to_the_last() -> None:
    windows = rolling_origin(np.arange(1, 10, dtype=np.float32), SMALL)
    assert windows.histories.tolist() == [
        [0, 0, 0, 1, 2, 3],
        [0, 0, 1, 2, 3, 4],
        [0, 1, 2, 3, 4, 5],
        [1, 2, 3, 4, 5, 6],
    ]
    assert windows.targets.tolist() == [[4, 5, 6], [5, 6, 7], [6, 7, 8], [7, 8, 9]]
    assert windows.known.tolist() == [3, 4, 5, 6]


@pytest.mark.parametrize("length", [0, 1, 5])
def test_a_load_too_short_poses_no_problem(length: int) -> None:
    windows = rolling_origin(np.ones(length, np.float32), SMALL)
    assert windows.histories.shape == (0, 6)
    assert windows.targets.shape == (0, 3)


@pytest.mark.parametrize("name", GENERATORS)
def test_generators_give_whole_vehicles_and_the_same_for_a_seed(name: str) -> None:
    one, two, other = (GENERATORS[name](90.0, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert len(one.vehicles) == 900
    assert one.vehicles.tolist() == two.vehicles.tolist() != other.vehicles.tolist()
    assert (one.vehicles >= 0).all()
    assert (one.vehicles == one.vehicles.round()).all()
    assert one.vehicles.std() > 0


def test_the_thesis_load_has_mean_and_median_three() -> None:
    rng = np.random.default_rng(7)
    vehicles = np.concatenate([GENERATORS["thesis"](200.0, rng).vehicles[::10] for _ in range(100)])
    assert vehicles.mean() == pytest.approx(3.0, abs=0.15)
    assert np.median(vehicles) == 3
    assert vehicles.min() == 0
    assert vehicles.max() <= 15


@pytest.mark.shared_data
def test_the_kitti_trace_is_read_whole() -> None:
    needs(KITTI)
    traces = read_traces(KITTI)
    assert len(traces) == 21
    assert sum(len(trace.vehicles) for trace in traces) == 8008
    assert max(trace.vehicles.max() for trace in traces) == 17
    assert sum(len(rolling_origin(trace.slots(20.0), WINDOW)) for trace in traces) == 427
