"""`videojam results` where pictures and videos cannot be written."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from cli.results import Form, _draw
from dataflow.errors import ConfigError
from dataflow.messages import FrameId
from dataflow.viewing.join import JoinedFrame
from tests.agents.plant import jpeg

FRAME = JoinedFrame(
    pipeline="p",
    frame=FrameId(camera="gate", stream="s", sequence=7),
    captured_at=1_700_000_000.0,
    response_seconds=0.1,
    vehicles=(),
    plates=(),
    complete=True,
    picture=jpeg(),
)


def test_pictures_are_written(tmp_path: Path) -> None:
    _draw(iter([FRAME]), Form.PICTURES, tmp_path / "out", None, 10)
    (file,) = (tmp_path / "out").iterdir()
    assert file.name == "p-gate-s-000007.jpg"
    assert file.read_bytes().startswith(b"\xff\xd8")


def test_a_full_disk_is_said_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_file: Path, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ConfigError, match="No space left") as fault:
        _draw(iter([FRAME]), Form.PICTURES, tmp_path, None, 10)
    assert fault.value.file == tmp_path / "p-gate-s-000007.jpg"
    assert fault.value.key == "--out"


def test_a_video_that_cannot_be_opened_is_said_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "p-gate.mp4").mkdir()
    with pytest.raises(ConfigError) as fault:
        _draw(iter([FRAME]), Form.VIDEO, tmp_path, None, 10)
    assert fault.value.file == tmp_path / "p-gate.mp4"
