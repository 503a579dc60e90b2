"""`videojam camera`: publish one camera."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from typing import Annotated

import typer
from rich.live import Live
from rich.text import Text

from cli.common import (
    DEFAULT_CONFIG,
    EXIT_INTERRUPTED,
    BootstrapOption,
    ConfigOption,
    JsonOption,
    stderr,
    with_examples,
)
from dataflow.camera import BufferConfig, CameraProducer, CameraStats, WhenFull
from dataflow.camera.arguments import default_policy
from dataflow.camera.capture import Pace
from dataflow.logs import configure_logging
from dataflow.signals import stop_on_signals

_CLOSE_SECONDS = 10.0
"""How long Ctrl-C waits for deliveries; pressed again it ends at once."""
_REFRESH_PER_SECOND = 4.0

_DEFAULTS = BufferConfig()


def camera(
    *,
    source: Annotated[
        str,
        typer.Option(
            help="Video file, device (0, /dev/video0), URL (rtsp://, http://), folder of pictures, "
            "or a quoted glob pattern.",
            show_default=False,
        ),
    ],
    name: Annotated[str, typer.Option(help="The camera's name.", show_default=False)],
    kind: Annotated[
        str, typer.Option(help="Kind of camera; topics.yaml says which pipelines take it.")
    ] = "fixed",
    config: ConfigOption = DEFAULT_CONFIG,
    bootstrap_servers: BootstrapOption = None,
    fps: Annotated[
        float | None,
        typer.Option(help="Frames per second; all by default. Pictures are played at this rate."),
    ] = None,
    quality: Annotated[int, typer.Option(help="JPEG quality, 1 to 100.")] = 90,
    max_width: Annotated[
        int | None, typer.Option(help="Scale wider frames down to this many pixels.")
    ] = None,
    pace: Annotated[
        Pace, typer.Option(help="Play recordings at their own speed, or as fast as they can be.")
    ] = "realtime",
    loop: Annotated[bool, typer.Option("--loop", help="Begin again when it ends.")] = False,
    duration: Annotated[float | None, typer.Option(help="Stop after so many seconds.")] = None,
    max_frames: Annotated[int | None, typer.Option(help="Stop after so many frames.")] = None,
    buffer_frames: Annotated[
        int, typer.Option(help="Frames that may wait to be sent.")
    ] = _DEFAULTS.frames,
    when_full: Annotated[
        WhenFull | None,
        typer.Option(
            help="What becomes of frames when no more may wait. "
            r"\[default: drop-oldest; block with --pace fast]",
            show_default=False,
        ),
    ] = None,
    wait_for_broker: Annotated[
        float, typer.Option(help="Seconds to wait for the cluster and its topics at the start.")
    ] = 10.0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Publish one camera."""
    configure_logging("WARNING")
    producer = CameraProducer(
        name,
        kind,
        source=source,
        config=config,
        bootstrap_servers=bootstrap_servers,
        fps=fps,
        pace=pace,
        loop=loop,
        jpeg_quality=quality,
        max_width=max_width,
        wait_for_broker=wait_for_broker,
        buffer=BufferConfig(frames=buffer_frames, when_full=when_full or default_policy(pace)),
    )
    interrupted = False
    try:
        with _stopped_by_sigterm(producer), _live_line(producer, shown=not quiet and not as_json):
            producer.run(duration=duration, max_frames=max_frames)
    except KeyboardInterrupt:
        interrupted = True
        if not quiet and not as_json:
            stderr().print("sending what was captured (Ctrl-C again: at once) ...")
    finally:
        report = producer.close(_CLOSE_SECONDS)
    if as_json:
        sys.stdout.write(json.dumps(asdict(report)) + "\n")
    elif not quiet:
        stderr().print(summary(report))
    if interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


def summary(stats: CameraStats) -> str:
    """The final figures, for a person."""
    lines = [
        f"camera {stats.camera}, stream {stats.stream}, to {', '.join(stats.pipelines)}",
        f"  captured  {stats.captured} frames in {stats.seconds:.1f} s"
        + (f", {stats.reconnects} reconnects" if stats.reconnects else ""),
        f"  acked     {stats.acked} records",
        f"  dropped   {stats.lost} records" + _reasons(stats),
    ]
    return "\n".join(lines)


def status_line(stats: CameraStats) -> Text:
    """The figures of this moment, on one line."""
    text = Text(f"{stats.camera}  {stats.fps:5.1f} fps  captured {stats.captured}  ")
    text.append(f"acked {stats.acked}  waiting {stats.open}  ")
    text.append(f"dropped {stats.lost}{_reasons(stats)}", style="red" if stats.lost else "")
    if stats.reconnects:
        text.append(f"  reconnects {stats.reconnects}", style="yellow")
    return text


def _reasons(stats: CameraStats) -> str:
    if not stats.dropped:
        return ""
    return " (" + ", ".join(f"{why} {n}" for why, n in sorted(stats.dropped.items())) + ")"


@contextmanager
def _live_line(producer: CameraProducer, *, shown: bool) -> Iterator[None]:
    console = stderr()
    if not shown or not console.is_terminal:
        yield
        return
    with Live(
        console=console,
        get_renderable=lambda: status_line(producer.stats),
        refresh_per_second=_REFRESH_PER_SECOND,
        transient=True,
    ):
        yield


def _stopped_by_sigterm(producer: CameraProducer) -> AbstractContextManager[None]:
    """A supervisor's SIGTERM ends the camera cleanly, with exit code 0."""
    return stop_on_signals(
        # Not from the handler itself: it may have interrupted the lock that stop() takes.
        lambda _: threading.Thread(target=producer.stop).start(),
        signals=[signal.SIGTERM],
    )


camera.__doc__ = with_examples(
    "Publish a camera's frames until its source ends or Ctrl-C.\n\n"
    "Exit codes: 0; 1 after an error; 130 after Ctrl-C, when what was captured has been sent. "
    "Every frame is either acknowledged by the broker or counted as dropped, with the reason.",
    "videojam camera --name gate-1 --source rtsp://10.0.0.7/stream",
    "videojam camera --name bus-4 --kind mobile --source 0 --fps 10",
    "videojam camera --name test --source street.mp4 --loop --duration 60",
    "videojam camera --name lot --source 'pictures/*.jpg' --fps 2",
)
