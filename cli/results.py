"""`videojam results`: follow what pipelines find."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import (
    DEFAULT_CONFIG,
    BootstrapOption,
    ConfigOption,
    FollowOption,
    Start,
    StartOption,
    effective_config,
    open_transport,
    require_declared,
    stderr,
    stdout,
    with_examples,
    writing,
)
from dataflow.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataflow.results import Result
    from dataflow.viewing import JoinedFrame, ResultWatch


class Form(StrEnum):
    """How results are shown."""

    TABLE = "table"
    JSON = "json"
    PICTURES = "pictures"
    VIDEO = "video"


def results(
    pipelines: Annotated[
        list[str] | None, typer.Argument(metavar="PIPELINE", help="Default: all.")
    ] = None,
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    bootstrap_servers: BootstrapOption = None,
    form: Annotated[
        Form, typer.Option("--as", help="A line or a JSON line a result; pictures; a video.")
    ] = Form.TABLE,
    start: StartOption = Start.LATEST,
    follow: FollowOption = True,
    camera: Annotated[
        list[str] | None, typer.Option(help="Only this camera; may be repeated.")
    ] = None,
    plates_only: Annotated[bool, typer.Option("--plates", help="Only with a plate.")] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", metavar="N", min=1, help="Stop after N.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for pictures and videos; created if need be.")
    ] = Path("out"),
    fps: Annotated[float, typer.Option(min=0.1, max=1000, help="Frame rate of videos.")] = 10.0,
) -> None:
    """Follow results."""
    from dataflow.viewing import ResultWatch

    settings = effective_config(config, bootstrap_servers)
    chosen = pipelines or []
    require_declared(chosen, settings.pipelines, what="pipeline", file=config)
    wanted = set(camera or ())
    drawn = form in (Form.PICTURES, Form.VIDEO)
    with open_transport(settings) as transport:
        transport.check()
        watch = ResultWatch(
            settings, transport, pipelines=chosen, start=start.value, pictures=drawn
        )
        try:
            if drawn:
                frames = (
                    frame
                    for frame in _frames(watch, follow=follow)
                    if (not wanted or frame.frame.camera in wanted)
                    and (frame.plates or not plates_only)
                )
                _draw(frames, form, out, limit, fps)
            else:
                parts = (
                    result
                    for result in _results(watch, follow=follow)
                    if (not wanted or result.camera in wanted)
                    and (result.plates or not plates_only)
                )
                _print(parts, form, limit)
        finally:
            watch.close()


results.__doc__ = with_examples(
    "Follow what pipelines find: vehicles and plates, frame by frame.",
    "videojam results                                   a line a result, as they come",
    "videojam results fixed --plates                    only plates, of one pipeline",
    "videojam results --as json --from earliest --no-follow > results.jsonl",
    "videojam results --as pictures --out found -n 100  annotated frames",
    "videojam results --as video --camera gate-1        one video a camera, until Ctrl-C",
)


def _results(watch: ResultWatch, *, follow: bool) -> Iterator[Result]:
    while True:
        found = watch.results()
        yield from found
        if not found and not follow and watch.caught_up():
            return


def _frames(watch: ResultWatch, *, follow: bool) -> Iterator[JoinedFrame]:
    while True:
        found = list(watch.frames())
        yield from found
        if not found and not follow and watch.caught_up():
            yield from watch.rest()
            return


def _print(results_: Iterator[Result], form: Form, limit: int | None) -> None:
    console = stdout()
    if form is Form.TABLE:
        console.print(
            _line("captured", "camera", "frame", "part", "response", "found"), style="bold"
        )
    for count, result in enumerate(results_, start=1):
        if form is Form.JSON:
            console.file.write(result.to_json().decode() + "\n")
            console.file.flush()
        else:
            found = [f"{v.label or v.kind} {v.score:.2f}" for v in result.vehicles]
            found += [f"plate {p.text} {p.confidence:.2f}" for p in result.plates]
            console.print(
                _line(
                    f"{result.captured_at.astimezone():%H:%M:%S.%f}"[:-3],
                    result.camera,
                    str(result.sequence),
                    result.part,
                    f"{result.response_seconds * 1000:.0f} ms",
                    ", ".join(found) or "-",
                ),
                markup=False,
            )
        if count == limit:
            return


def _line(*cells: str) -> str:
    widths = (12, 16, 7, 9, 9)
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, (*widths, 0), strict=True))


def _draw(
    frames: Iterator[JoinedFrame], form: Form, out: Path, limit: int | None, fps: float
) -> None:
    import cv2

    from dataflow.images import encode_jpeg
    from dataflow.viewing import annotate

    with writing(out, "--out"):
        out.mkdir(parents=True, exist_ok=True)
    writers: dict[str, cv2.VideoWriter] = {}
    count = missing = 0
    shown = time.monotonic()
    try:
        for frame in frames:
            try:
                image = annotate(frame)
            except ImageError:
                missing += 1  # Kafka no longer holds the picture
                continue
            name = f"{frame.pipeline}-{frame.frame.camera}"
            if form is Form.PICTURES:
                file = out / f"{name}-{frame.frame.stream}-{frame.frame.sequence:06d}.jpg"
                with writing(file, "--out"):
                    file.write_bytes(encode_jpeg(image))
            else:
                if name not in writers:
                    size = (image.shape[1], image.shape[0])
                    code = cv2.VideoWriter.fourcc(*"mp4v")
                    file = out / f"{name}.mp4"
                    with writing(file, "--out"):
                        file.open("wb").close()  # OpenCV says nothing where it cannot write
                    writers[name] = cv2.VideoWriter(str(file), code, fps, size)
                writers[name].write(image)
            count += 1
            if time.monotonic() - shown > 1:
                stderr().print(f"{count} frames drawn into {out}", markup=False, end="\r")
                shown = time.monotonic()
            if count == limit:
                break
    finally:
        for writer in writers.values():
            writer.release()
        note = f"; {missing} frames are no longer in Kafka" if missing else ""
        stderr().print(f"{count} frames drawn into {out}{note}", markup=False)
