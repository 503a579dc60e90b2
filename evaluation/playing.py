"""Cameras for the demo: rendered streets with known truth, and the user's own videos."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dataflow.camera import CameraProducer
from dataflow.config import Config
from dataflow.errors import VideojamError
from evaluation.scenes import StreetCamera, Truth

Kind = Literal["fixed", "mobile"]


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a rendered camera is to show.

    Attributes:
        name: of the camera.
        kind: ``fixed`` or ``mobile``.
        seed: of the street.
    """

    name: str
    kind: Kind
    seed: int


STREETS = (
    Rendered("junction-north", "fixed", 11),
    Rendered("junction-south", "fixed", 23),
    Rendered("patrol-1", "mobile", 5),
    Rendered("patrol-2", "mobile", 17),
)
"""The demo's four cameras."""

LEARNING_FRAMES = 25
"""Frames of a fixed camera that are not scored: background subtraction reports nothing while it
learns the background (its ``warmup_frames``)."""


class Player(ABC):
    """A camera that plays in a thread of its own.

    Args:
        name: of the camera.
        kind: kind of camera.
        camera: where the frames go.
    """

    def __init__(self, name: str, kind: str, camera: CameraProducer) -> None:
        self.name = name
        self.kind = kind
        self.camera = camera
        self._stop = threading.Event()
        self._fault: VideojamError | None = None
        self._thread = threading.Thread(target=self._run, name=f"camera {name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def playing(self) -> bool:
        """Whether frames still come."""
        return self._thread.is_alive()

    def finish(self, timeout: float) -> None:
        """Stop, flush, and raise what went wrong, if anything did."""
        self._stop.set()
        self.camera.stop()
        self._thread.join(timeout)
        self.camera.close(timeout)
        if self._fault is not None:
            raise self._fault

    def _run(self) -> None:
        try:
            self._play()
        except VideojamError as fault:
            self._fault = fault

    @abstractmethod
    def _play(self) -> None: ...


class StreetPlayer(Player):
    """Renders a street in real time and publishes it.

    Args:
        street: what to render.
        config: topics.yaml.
        fps: frames a second.
        width: pixels.
        height: pixels.
    """

    def __init__(
        self, street: Rendered, config: Config, *, fps: float, width: int = 1280, height: int = 720
    ) -> None:
        super().__init__(
            street.name, street.kind, CameraProducer(street.name, street.kind, config=config)
        )
        self._scene = StreetCamera(street.kind, street.seed, width=width, height=height, fps=fps)
        self._period = 1 / fps
        self.truth: dict[int, Truth] = {}

    def asked_of(self, sequence: int) -> tuple[Truth, Truth | None] | None:
        """The truth of a frame, and for a fixed camera that of a second before.

        None where a pipeline cannot be asked yet: a fixed camera's background is not learnt.
        """
        truth = self.truth.get(sequence)
        if truth is None or self.kind == "mobile":
            return None if truth is None else (truth, None)
        before = self.truth.get(sequence - max(1, round(1 / self._period)))
        return None if before is None or sequence < LEARNING_FRAMES else (truth, before)

    def _play(self) -> None:
        begin = time.monotonic()
        index = 0
        while not self._stop.wait(max(0.0, begin + index * self._period - time.monotonic())):
            image, truth = self._scene.frame(index)
            self.truth[self.camera.send(image)] = truth
            # A machine that cannot render in time shows the moment as it is: frames are left out,
            # and the scene goes on at its own speed.
            index = max(index + 1, int((time.monotonic() - begin) / self._period))


class VideoPlayer(Player):
    """Plays a video of the user's in real time.

    Args:
        file: what OpenCV can open.
        kind: kind of camera.
        name: of the camera.
        config: topics.yaml.
        fps: frames a second; the video's own when None.
        loop: begin again at the end.
    """

    def __init__(
        self,
        file: Path,
        kind: str,
        name: str,
        config: Config,
        *,
        fps: float | None,
        loop: bool,
    ) -> None:
        camera = CameraProducer(name, kind, source=str(file), config=config, fps=fps, loop=loop)
        super().__init__(name, kind, camera)

    def _play(self) -> None:
        self.camera.run()
