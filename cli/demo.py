"""`videojam demo`: rendered street cameras, real Kafka, real workers, and the truth beside it."""

from __future__ import annotations

import contextlib
import tempfile
import time
import uuid
from collections import Counter
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml

from cli.common import (
    BootstrapOption,
    effective_config,
    open_transport,
    stderr,
    stdout,
    with_examples,
    writing,
)
from cli.demo_report import DemoRun, conclude, take
from cli.init import default_topics
from cli.service import stopping_on_signals
from cli.up import own_or_outside_broker, prepare_topics, report_end
from dataflow.errors import ModelError, SourceError, VideojamError

if TYPE_CHECKING:
    import threading

    from agents.observer import Observer
    from agents.supervisor import Supervisor
    from cli.up_view import LiveTable
    from dataflow.accounting import Ledger
    from dataflow.config import Config
    from dataflow.transport import Transport
    from dataflow.viewing import ResultWatch
    from evaluation.playing import Player

_TICK_SECONDS = 0.2
_READY_SECONDS = 90.0
"""Deadline for all workers to own partitions."""
_DRAIN_SECONDS = 45.0
"""Deadline for the frames in flight after the cameras have ended."""


class Kind(StrEnum):
    """What kind of camera a video is from."""

    FIXED = "fixed"
    MOBILE = "mobile"
    BOTH = "both"


def demo(
    *,
    video: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Your own video instead; may be repeated."),
    ] = None,
    kind: Annotated[
        Kind, typer.Option(help="Your video's kind of camera: which pipelines it passes.")
    ] = Kind.FIXED,
    model: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Your own detector (.onnx or .pt) for YOLO.")
    ] = None,
    duration: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="How long the cameras play.")
    ] = 60.0,
    fps: Annotated[
        float | None,
        typer.Option(
            min=0.1, max=1000, help="Frames a second of each camera; default 4, a video's own."
        ),
    ] = None,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep", help="Go on until Ctrl-C; on a cluster of yours, leave the topics there."
        ),
    ] = False,
    bootstrap_servers: BootstrapOption = None,
    out: Annotated[Path, typer.Option(help="Folder for annotated pictures.")] = Path("out/demo"),
) -> None:
    """Watch plates being read."""
    from agents.observer import Observer
    from agents.supervisor import Supervisor
    from agents.takeover import Takeover
    from cli.up_view import LiveTable
    from dataflow.viewing import ResultWatch

    for file in video or ():
        if not file.is_file():
            raise SourceError(f"no such video: {file}\n  remedy: name a file that OpenCV can read")
    if model is not None and not model.is_file():
        raise ModelError(f"no such network: {model}\n  remedy: name an .onnx or .pt file")
    began = time.monotonic()
    run = DemoRun(out / time.strftime("%Y%m%d-%H%M%S"))  # runs do not mix, nothing is removed
    with ExitStack() as stack:
        stopping = stack.enter_context(stopping_on_signals())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="videojam-demo-")))
        servers = stack.enter_context(own_or_outside_broker(bootstrap_servers, folder))
        file = _declaration(folder, model, kind if video else None)
        config = effective_config(file, servers)
        transport = stack.enter_context(open_transport(config))
        with writing(out, "--out"):  # before there are topics
            run.out.mkdir(parents=True, exist_ok=True)
        prepare_topics(config, quiet=True)
        if not keep:
            stack.callback(_remove_topics, config)
        hasten = Takeover(config).hasten
        supervisor = Supervisor(file, servers, run.out / "logs", on_end=hasten)
        watch = ResultWatch(config, transport, pictures=True, start="earliest")
        stack.callback(watch.close)
        players = _players(config, video or [], kind, fps)
        run.players = {player.name: player for player in players}
        with Observer(config, transport) as observer, supervisor:
            supervisor.start({name: f.replicas for name, f in config.functions.items()})
            _wait_until_ready(supervisor, observer, config, stopping)
            for player in players:
                player.start()
            with LiveTable(config, supervisor, observer, stdout()) as table:
                stage = _Stage(run, watch, supervisor, table, stopping)
                stage.play(None if keep else duration)
                failed = stage.finish()
                ledger = stage.drain(config, transport)
        for fault in failed:
            stderr().print(f"camera: {fault}", style="red", markup=False)
        conclude(run, ledger, time.monotonic() - began)


demo.__doc__ = with_examples(
    "Watch number plates being read from video that flows through a real Apache Kafka.\n\n"
    "Four street cameras are rendered, two that stand still and two that drive; their frames pass "
    "both pipelines of topics.yaml. It ends by itself after about two minutes with what was found "
    "against the truth, response times, losses, and annotated pictures.",
    "videojam demo                                  one minute of four cameras",
    "videojam demo --keep                           until Ctrl-C",
    "videojam demo --video street.mp4               your own video, as a fixed camera",
    "videojam demo --video dash.mp4 --kind mobile   as a mobile one",
    "videojam demo --video a.mp4 --kind both --model yolov8n.onnx",
)


def _declaration(folder: Path, model: Path | None, kind: Kind | None) -> Path:
    """The shipped topics.yaml under a deployment name of its own."""
    data = yaml.safe_load(default_topics())
    data["deployment"] = f"demo-{uuid.uuid4().hex[:6]}"
    if model is not None:
        data["functions"]["yolo"]["parameters"]["model"] = str(model.resolve())
    if kind is Kind.BOTH:
        for pipeline in data["pipelines"].values():
            pipeline["cameras"] = ["both"]
    file = folder / "topics.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return file


def _players(config: Config, videos: list[Path], kind: Kind, fps: float | None) -> list[Player]:
    from evaluation.playing import STREETS, StreetPlayer, VideoPlayer

    if not videos:
        with stderr().status("building four streets"):
            return [StreetPlayer(street, config, fps=fps or 4.0) for street in STREETS]
    return [
        VideoPlayer(file, kind.value, _camera_name(file), config, fps=fps, loop=False)
        for file in videos
    ]


def _camera_name(file: Path) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in file.stem) or "camera"


def _remove_topics(config: Config) -> None:
    """Leave an outside cluster as it was."""
    from dataflow.config import declared_topics

    with open_transport(config) as transport, contextlib.suppress(VideojamError):
        transport.admin().delete([spec.name for spec in declared_topics(config)])


def _wait_until_ready(
    supervisor: Supervisor, observer: Observer, config: Config, stopping: threading.Event
) -> None:
    """Until each function's partitions have an owner.

    Raises:
        VideojamError: they have not after the deadline; says what the workers' logs end with.
    """
    deadline = time.monotonic() + _READY_SECONDS
    with stderr().status("workers are joining their groups"):
        while not stopping.wait(_TICK_SECONDS):
            for worker in supervisor.watch():
                report_end(worker)
            owned: Counter[str] = Counter()
            for row in observer.rows().values():
                owned[row.function] += len(row.partitions)
            if all(owned[name] >= f.partitions for name, f in config.functions.items()):
                return
            if time.monotonic() > deadline:
                lines = [f"{w.replica}: {' / '.join(w.last_words(2))}" for w in supervisor.workers]
                raise VideojamError(
                    f"workers are not ready after {_READY_SECONDS:.0f} s:\n" + "\n".join(lines)
                )


class _Stage:
    """The running demo: cameras play, results come in, the table is drawn."""

    def __init__(
        self,
        run: DemoRun,
        watch: ResultWatch,
        supervisor: Supervisor,
        table: LiveTable,
        stopping: threading.Event,
    ) -> None:
        self._run = run
        self._watch = watch
        self._supervisor = supervisor
        self._table = table
        self._stopping = stopping

    def play(self, duration: float | None) -> None:
        """Until the time is over, all cameras have ended, or Ctrl-C."""
        begin = time.monotonic()
        while not self._stopping.is_set():
            played = time.monotonic() - begin
            if duration is not None and played >= duration:
                return
            if not any(player.playing() for player in self._run.players.values()):
                return
            left = "until Ctrl-C" if duration is None else f"{duration - played:.0f} s left"
            self._turn(f"cameras play, {left}")

    def finish(self) -> list[VideojamError]:
        """Stop the cameras; returns what went wrong with them."""
        faults = []
        for player in self._run.players.values():
            try:
                player.finish(10)
            except VideojamError as fault:
                faults.append(fault)
        return faults

    def drain(self, config: Config, transport: Transport) -> Ledger:
        """Until every frame has ended, the deadline has come, or a second Ctrl-C."""
        from dataflow.accounting import Auditor

        auditor = Auditor(config, transport)
        deadline = time.monotonic() + _DRAIN_SECONDS
        try:
            while time.monotonic() < deadline:
                auditor.poll()
                entries = list(auditor.ledger.accounts())
                waiting = sum(entry.open for entry in entries)
                if auditor.caught_up() and not waiting and all(e.closed for e in entries):
                    break
                self._turn(f"cameras have ended; {waiting} frames still on their way")
            for frame in (*self._watch.frames(), *self._watch.rest()):
                take(self._run, frame)
        finally:
            auditor.close()
        return auditor.ledger

    def _turn(self, caption: str) -> None:
        run = self._run
        for worker in self._supervisor.watch():
            report_end(worker)
        for frame in self._watch.frames(_TICK_SECONDS):
            take(run, frame)
        self._table.caption = (
            f"{caption}; {run.vehicles} vehicles and {run.plates} plates reported so far"
        )
        self._table.refresh()
