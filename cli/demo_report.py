"""What the demo keeps of each frame, and what it says at the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cli.account import print_account
from cli.common import stdout, writing
from dataflow.errors import ImageError

if TYPE_CHECKING:
    from dataflow.accounting import Ledger
    from dataflow.viewing import JoinedFrame
    from evaluation.playing import Player
    from evaluation.scoring import Score

_PICTURES = 200
"""Most annotated pictures that are kept."""
_SHEET = 12
"""Pictures on the contact sheet."""


@dataclass(slots=True)
class DemoRun:
    """What the demo has seen so far.

    Attributes:
        out: folder of the pictures.
        players: cameras by name.
        scores: by camera; only those whose truth is known.
        responses: seconds from capture to result, by pipeline.
        vehicles: reported so far.
        plates: reported so far.
        pictures: annotated ones, and whether a plate is on them.
    """

    out: Path
    players: dict[str, Player] = field(default_factory=dict)
    scores: dict[str, Score] = field(default_factory=dict)
    responses: dict[str, list[float]] = field(default_factory=dict)
    vehicles: int = 0
    plates: int = 0
    pictures: list[tuple[bool, Path]] = field(default_factory=list)


def take(run: DemoRun, joined: JoinedFrame) -> None:
    """Count a frame, compare it with its truth, and draw it if it is worth a picture."""
    from evaluation.playing import StreetPlayer
    from evaluation.scoring import Score, score_frame

    camera = joined.frame.camera
    run.vehicles += len(joined.vehicles)
    run.plates += len(joined.plates)
    run.responses.setdefault(joined.pipeline, []).append(joined.response_seconds)
    player = run.players.get(camera)
    if isinstance(player, StreetPlayer) and joined.complete:
        asked = player.asked_of(joined.frame.sequence)
        if asked is not None:
            score = run.scores.setdefault(camera, Score())
            score_frame(score, joined, asked[0], before=asked[1])
    if joined.vehicles:
        _draw(run, joined)


def conclude(run: DemoRun, ledger: Ledger, seconds: float) -> None:
    """Print what was found, how fast, what was lost, and where the pictures lie."""
    import numpy as np
    from rich.table import Table

    console = stdout()
    console.print()
    if run.scores:
        _print_scores(run)
    else:
        console.print(f"{run.vehicles} vehicles and {run.plates} plates were reported")
    times = Table(title="Response time, from capture to result")
    times.add_column("pipeline")
    for name in ("frames", "mean", "median", "95 %", "largest"):
        times.add_column(name, justify="right")
    for pipeline, responses in sorted(run.responses.items()):
        values = np.asarray(responses)
        cells = (values.mean(), *np.percentile(values, (50, 95)), values.max())
        times.add_row(pipeline, str(len(values)), *(f"{value * 1000:.0f} ms" for value in cells))
    console.print(times)
    print_account(ledger, console)
    sheet = _contact_sheet(run)
    if sheet is not None:
        console.print(f"annotated pictures: {run.out} ({len(run.pictures)}), overview: {sheet}")
    console.print(f"the demo took {seconds:.0f} s")


def _print_scores(run: DemoRun) -> None:
    from rich.table import Table

    from evaluation.playing import LEARNING_FRAMES
    from evaluation.scenes import LEGIBLE_PLATE_PX
    from evaluation.scoring import LEAST_WIDTH_PX, total

    table = Table(title="Found, against the truth of the rendered streets")
    table.add_column("camera")
    for name in (
        "frames",
        "vehicles found",
        "of",
        "false",
        "plates read right",
        "of legible",
        "vehicles identified",
        "of",
    ):
        table.add_column(name, justify="right")
    rows = [(camera, score) for camera, score in sorted(run.scores.items())]
    rows.append(("all", total([score for _, score in rows])))
    for camera, score in rows:
        if camera == "all":
            table.add_section()
        table.add_row(
            camera,
            str(score.frames),
            f"{score.found} ({_percent(score.found, score.vehicles)})",
            str(score.vehicles),
            str(score.false),
            f"{score.read_right} ({_percent(score.read_right, score.plates)})",
            str(score.plates),
            f"{score.vehicles_read} ({_percent(score.vehicles_read, score.vehicles_with_plates)})",
            str(score.vehicles_with_plates),
        )
    stdout().print(table)
    stdout().print(
        f"Asked for: vehicles at least {LEAST_WIDTH_PX:.0f} px wide and half visible; of fixed "
        f"cameras those that move, after {LEARNING_FRAMES} frames of learning the background. "
        f"Legible: plates at least {LEGIBLE_PLATE_PX:.0f} px wide.\n",
        style="dim",
    )


def _percent(part: int, whole: int) -> str:
    return "-" if whole == 0 else f"{100 * part / whole:.0f} %"


def _draw(run: DemoRun, joined: JoinedFrame) -> None:
    from dataflow.images import encode_jpeg
    from dataflow.viewing import annotate

    plated = bool(joined.plates)
    if len(run.pictures) >= _PICTURES and not plated:
        return
    if sum(with_plate for with_plate, _ in run.pictures) >= _PICTURES:
        return
    try:
        image = annotate(joined)
    except ImageError:
        return  # Kafka no longer holds the frame; its result counts all the same
    run.out.mkdir(parents=True, exist_ok=True)
    file = run.out / f"{joined.frame.camera}-{joined.frame.sequence:05d}-{joined.pipeline}.jpg"
    with writing(file, "--out"):
        file.write_bytes(encode_jpeg(image))
    run.pictures.append((plated, file))


def _contact_sheet(run: DemoRun) -> Path | None:
    """Pictures spread over the run and the cameras, those with plates first."""
    import cv2
    import numpy as np

    from dataflow.images import encode_jpeg
    from dataflow.viewing import contact_sheet

    by_camera: dict[str, list[tuple[bool, Path]]] = {}
    for plated, file in run.pictures:
        by_camera.setdefault(file.name.rsplit("-", 2)[0], []).append((plated, file))
    chosen: list[Path] = []
    for entries in by_camera.values():
        files = [file for plated, file in entries if plated] or [file for _, file in entries]
        share = max(1, _SHEET // len(by_camera))
        chosen += [files[i] for i in np.linspace(0, len(files) - 1, share).round().astype(int)]
    images = [image for file in chosen if (image := cv2.imread(str(file))) is not None]
    if not images:
        return None
    target = run.out / "contact-sheet.jpg"
    sheet = contact_sheet([np.asarray(image, np.uint8) for image in images], columns=3)
    with writing(target, "--out"):
        target.write_bytes(encode_jpeg(sheet))
    return target
