"""`videojam roomie profile` and `import`: where profiles come from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import stderr, stdout, with_examples, writing
from cli.values import seconds, size
from dataflow.errors import ConfigError

if TYPE_CHECKING:
    from roomie.profiles import Profile

DevicesOption = Annotated[
    Path | None, typer.Option("--devices", metavar="FILE", help="A table of more kinds of GPUs.")
]
PROFILE_HELP = with_examples(
    "Record kernel profiles of a network on this machine's NVIDIA GPU.\n\n"
    "Needs the extra `profile` (torch and torchvision).",
    "videojam roomie profile resnet152",
    "videojam roomie profile vgg19 --batch 1 --batch 8 --out profiles",
    "videojam roomie profile yolov5s.torchscript",
)


def profile(
    *,
    model: Annotated[str, typer.Argument(help="A network of torchvision, or a TorchScript file.")],
    batch: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            help="Batch size; may be given more than once. [dim]Default: 1, 2, 4, 8, 16, 32.[/]",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of profiles.")] = Path(
        "profiles"
    ),
    device: Annotated[
        str | None, typer.Option(help="The GPU's name in the table of devices.")
    ] = None,
    devices: DevicesOption = None,
    rounds: Annotated[int, typer.Option(min=5, help="Inferences that are measured.")] = 50,
) -> None:
    """See the help, PROFILE_HELP."""
    from roomie.devices import load_devices
    from roomie.profile_files import file_name, write_profiles
    from roomie.profiler import TorchBackend, record_profile
    from roomie.synthetic.models import BATCHES

    table = load_devices(devices)
    backend = TorchBackend()
    recorded: list[Profile] = []
    for batch_size in batch or BATCHES:
        with stderr().status(f"{model} at batch size {batch_size}"):
            recorded.append(
                record_profile(model, batch_size, backend, table, device=device, rounds=rounds)
            )
        _report_profile(recorded[-1])
    file = out / file_name(recorded[0])
    with writing(file, "--out"):
        write_profiles(file, recorded)
    stdout().print(f"wrote {file}", markup=False)


def _report_profile(made: Profile) -> None:
    stdout().print(
        f"{made.variant} on {made.device.name}: {len(made.kernels)} kernels, "
        f"{1e3 * made.inference_time_s:.3f} ms an inference, "
        f"{made.memory_bytes / 2**30:.2f} GiB, profiled over measured time {made.overhead:.3f}",
        markup=False,
    )


IMPORT_HELP = with_examples(
    "Make a profile of a PyTorch profiler trace, an Nsight Systems SQLite export, or an Nsight "
    "Compute CSV.",
    "videojam roomie import trace.json.gz --model alexnet --batch 128 --memory 1.2GiB",
    "videojam roomie import report.sqlite --model vgg19 --batch 8 --memory 1GiB \\",
    "    --inference-time 6.6ms --annotation inference",
)


def import_(
    *,
    file: Annotated[Path, typer.Argument(help="What the profiler wrote.")],
    model: Annotated[str, typer.Option(help="Which network was profiled.")],
    batch: Annotated[int, typer.Option(min=1, help="Its batch size.")],
    memory: Annotated[str, typer.Option(help="Memory that an instance needs, such as 1.2GiB.")],
    weights: Annotated[str, typer.Option(help="Of it, the network's weights.")] = "0",
    inference_time: Annotated[
        str | None,
        typer.Option(help="Of one batch, measured without a profiler, such as 6.6ms."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="The GPU's name in the table of devices.")
    ] = None,
    annotation: Annotated[
        str | None, typer.Option(help="Range that encloses one inference, or a part of its name.")
    ] = None,
    devices: DevicesOption = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of profiles.")] = Path(
        "profiles"
    ),
) -> None:
    """See the help, IMPORT_HELP."""
    from roomie.devices import load_devices
    from roomie.importers import ImportSettings, import_profile
    from roomie.profile_files import file_name, write_profiles

    settings = ImportSettings(
        model=model,
        batch=batch,
        memory_bytes=size("--memory", memory),
        weight_bytes=size("--weights", weights),
        inference_time_s=None if inference_time is None else _time(inference_time),
        device=device,
        annotation=annotation,
    )
    made = import_profile(file, settings, load_devices(devices))
    _report_profile(made)
    stdout().print(made.note, markup=False)
    target = out / file_name(made).replace(".jsonl.gz", f"-{batch}.jsonl.gz")
    with writing(target, "--out"):
        write_profiles(target, [made])
    stdout().print(f"wrote {target}", markup=False)


def _time(text: str) -> float:
    found = seconds("--inference-time", text)
    if found <= 0:
        raise ConfigError("must be above 0", key="--inference-time", value=text)
    return found
