"""Every kind of source, whole and broken."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dataflow.camera import Frame, Source, SourceSpec, open_source
from dataflow.errors import SourceEnded, SourceError
from tests.camera.conftest import MakeVideo, Pixels, jpeg, number_of, picture
from tests.camera.mjpeg import MjpegServer


def read_all(source: Source) -> list[Frame]:
    frames = []
    while True:
        try:
            frames.append(source.read())
        except SourceEnded:
            return frames


@pytest.mark.parametrize("name", ["street.avi", "street.mp4"])
def test_a_video_file(make_video: MakeVideo, name: str) -> None:
    source = open_source(make_video(name))
    assert source.finite
    assert not source.live
    assert source.fps == pytest.approx(12.5)
    frames = read_all(source)
    source.close()
    source.close()
    assert [number_of(frame.image) for frame in frames] == list(range(10))
    assert [frame.timestamp for frame in frames] == pytest.approx([i * 0.08 for i in range(10)])


def test_a_file_url(make_video: MakeVideo) -> None:
    path = make_video("one street.avi", frames=2)
    assert len(read_all(open_source(path.as_uri()))) == 2


def test_a_looped_video_goes_on_in_time(make_video: MakeVideo) -> None:
    source = open_source(make_video(frames=3), loop=True)
    assert not source.finite
    frames = [source.read() for _ in range(8)]
    source.close()
    assert [number_of(frame.image) for frame in frames] == [0, 1, 2, 0, 1, 2, 0, 1]
    assert [frame.timestamp for frame in frames] == pytest.approx([i * 0.08 for i in range(8)])


def test_frames_do_not_share_memory(make_video: MakeVideo) -> None:
    first, second, *_ = (f.image for f in read_all(open_source(make_video())))
    assert isinstance(first, np.ndarray)
    assert isinstance(second, np.ndarray)
    assert not np.shares_memory(first, second)


def test_a_folder_is_read_in_natural_order_and_jpeg_is_untouched(folder: Path) -> None:
    source = open_source(folder)
    assert source.finite
    assert source.fps is None
    images = [frame.image for frame in read_all(source)]
    assert [number_of(image) for image in images] == [1, 2, 3, 10]
    assert images[0] == (folder / "frame1.jpg").read_bytes()


def test_a_glob_pattern(folder: Path) -> None:
    images = [frame.image for frame in read_all(open_source(f"{folder}/*.jpg"))]
    assert [number_of(image) for image in images] == [1, 2, 10]


def test_one_picture_in_a_loop(folder: Path) -> None:
    source = open_source(folder / "frame2.jpg", loop=True)
    assert {number_of(source.read().image) for _ in range(5)} == {2}


def test_a_picture_that_vanishes_is_named(folder: Path) -> None:
    source = open_source(folder)
    (folder / "frame1.jpg").unlink()
    with pytest.raises(SourceError, match=r"frame1\.jpg: the picture cannot be read"):
        source.read()


def test_an_iterable_of_arrays_is_copied() -> None:
    reused = picture(1)

    def frames() -> Iterator[Pixels]:
        for number in (1, 2):
            reused[:] = 10 * number
            yield reused

    images = [frame.image for frame in read_all(open_source(frames()))]
    assert [number_of(image) for image in images] == [1, 2]


def test_encoded_pictures_and_grey_ones() -> None:
    data = jpeg(4)
    grey = np.zeros((4, 6), np.uint8)
    encoded, plain = read_all(open_source([data, grey]))
    assert encoded.image is data
    assert isinstance(plain.image, np.ndarray)
    assert plain.image.shape == (4, 6)


def test_a_list_and_a_function_can_loop() -> None:
    def make() -> Iterator[Pixels]:
        yield picture(1)
        yield picture(2)

    for spec in ([picture(1), picture(2)], make):
        source = open_source(spec, loop=True)
        assert [number_of(source.read().image) for _ in range(5)] == [1, 2, 1, 2, 1]


def test_a_source_of_ones_own() -> None:
    class Mine:
        name, fps, finite, live = "mine", 5.0, True, False

        def read(self) -> Frame:
            raise SourceEnded("over")

        def close(self) -> None:
            pass

    mine = Mine()
    assert open_source(mine) is mine


def generator() -> Iterator[Pixels]:
    yield picture()


def failing() -> Iterator[Pixels]:
    yield picture()
    raise ValueError("the sensor is gone")


@pytest.mark.parametrize(
    ("spec", "loop", "message"),
    [
        ("no/such.mp4", False, r"no/such.mp4: no such file; check"),
        ("no/such/*.jpg", False, "no picture matches"),
        ("", False, "name is empty"),
        ("gopher://host/x", False, "unknown kind of URL; known: file, http"),
        ("/dev/video987", False, "/dev/video987: no such device; cameras on this machine"),
        (987, False, "/dev/video987: no such device"),
        ("987", False, "/dev/video987: no such device"),
        (generator(), True, "cannot loop"),
        (3.5, False, "not a source"),
    ],
)
def test_what_cannot_be_opened_is_named_with_a_remedy(
    spec: SourceSpec, loop: bool, message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(spec, loop=loop)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\0" * 5000, "not a video that OpenCV can read"),
        (b"hello\n" * 500, "not a video that OpenCV can read"),  # FFmpeg would play it as ANSI art
    ],
)
@pytest.mark.parametrize("name", ["broken.mp4", "notes.txt"])
def test_files_that_are_no_videos(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        open_source(path)


def test_a_video_cut_short_ends_with_a_warning(
    make_video: MakeVideo, caplog: pytest.LogCaptureFixture
) -> None:
    path = make_video("cut.avi", frames=20)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"movi") + (len(whole) - whole.index(b"movi")) // 2])
    with caplog.at_level(logging.WARNING, "videojam.camera"):
        frames = read_all(open_source(path))
    assert 0 < len(frames) < 18
    assert "it may be damaged" in caplog.text


def test_a_header_without_frames(make_video: MakeVideo) -> None:
    path = make_video("head.avi", frames=20)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"movi") + 4])
    with pytest.raises(SourceError, match=r"head.avi: (the file has a video's header|not a video)"):
        open_source(path).read()


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no pictures in this folder"):
        open_source(tmp_path)


def test_a_file_without_permission(make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video()
    # The tests may run as root, who may read everything.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(SourceError, match="no permission"):
        open_source(path)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 4), np.uint8), "text", np.uint8(3)]
)
def test_elements_that_are_no_images(image: object) -> None:
    source = open_source([image])  # type: ignore[list-item] # the mistake under test
    with pytest.raises(SourceError, match=r"a list: a frame (is|has)"):
        source.read()


def test_an_iterator_that_fails() -> None:
    source = open_source(failing())
    source.read()
    with pytest.raises(SourceError, match="the sensor is gone"):
        source.read()


def test_looping_over_nothing() -> None:
    source = open_source(list[Pixels](), loop=True)
    with pytest.raises(SourceError, match="empty"):
        source.read()


def test_a_network_stream_is_live_until_it_is_lost() -> None:
    with MjpegServer(frames=12) as server:
        source = open_source(server.url, open_timeout=20.0)
        assert source.live
        assert not source.finite
        numbers = [number_of(source.read().image) for _ in range(5)]
        assert numbers == list(range(5))
        with pytest.raises(SourceError, match="sends no more frames"):
            read_all(source)
        source.close()


def test_urls_that_cannot_be_opened_say_why_without_the_password() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        port = taken.getsockname()[1]
        url = f"rtsp://user:secret@127.0.0.1:{port}/stream"
        with pytest.raises(SourceError, match=f"127.0.0.1:{port} cannot be reached") as caught:
            open_source(url)
    assert "secret" not in str(caught.value)
    assert "user:***@" in str(caught.value)


def test_a_server_without_video() -> None:
    with (
        MjpegServer(frames=0, status=404) as server,
        pytest.raises(SourceError, match="answers, but gives no video there"),
    ):
        open_source(server.url)


def test_an_unknown_host() -> None:
    with pytest.raises(SourceError, match=r"nowhere\.invalid is not known"):
        open_source("rtsp://nowhere.invalid/stream")


def test_opencv_is_silent(tmp_path: Path) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"\0" * 5000)
    code = (
        "import sys\n"
        "from dataflow.camera import open_source\n"
        "from dataflow.errors import SourceError\n"
        "try: open_source(sys.argv[1])\n"
        "except SourceError: print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "refused\n"
    assert not done.stderr
