"""The `videojam` command: mounts its sub-commands, each imported when it is used."""

from __future__ import annotations

from importlib import import_module, metadata
from importlib.util import find_spec
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from cli.common import error_boundary, with_examples


class Mount(NamedTuple):
    """A sub-command.

    Attributes:
        name: as typed.
        target: ``module:attribute`` of a `typer.Typer` or of a command function.
        help: the line in `videojam --help`.
    """

    name: str
    target: str
    help: str


MOUNTS = (
    Mount("init", "cli.init:init", "Write a commented topics.yaml to start from."),
    Mount("validate", "cli.validate:validate", "Check topics.yaml and all that it names."),
    Mount("topics", "cli.topics:app", "Compare topics.yaml with the cluster, and apply it."),
    Mount("schema", "cli.schema:schema", "Print the JSON Schemas of topics.yaml and of records."),
    Mount("broker", "cli.broker:app", "Start, stop and inspect a local Apache Kafka."),
    Mount("triton", "cli.triton:app", "Start, stop and inspect a local Triton server."),
    Mount("camera", "cli.camera:camera", "Publish the frames of a camera or a video file."),
    Mount("worker", "cli.worker:worker", "Run one replica of a function."),
    Mount("node", "cli.node:node", "Offer this machine's GPUs to ROOMIE, and run what it places."),
    Mount("up", "cli.up:up", "Run everything that topics.yaml declares on this machine."),
    Mount("top", "cli.top:top", "Show replicas, their load, and who hands how much to whom."),
    Mount("gpus", "cli.gpus:gpus", "Show GPUs, what runs on them, and how it is slowed."),
    Mount("forecaster", "cli.forecaster:app", "Train, compare and feed the forecasters of load."),
    Mount("results", "cli.results:results", "Follow the results of pipelines."),
    Mount("account", "cli.account:account", "Show what became of every frame."),
    Mount("roomie", "cli.roomie:app", "Place models on GPUs where they disturb each other least."),
    Mount("controller", "cli.controller:controller", "Decide which model runs on which GPU."),
    Mount("deploy", "cli.deploy:deploy", "Let a model run, or bring in another version of it."),
    Mount("scale", "cli.deploy:scale", "Change how many instances of a model are wanted."),
    Mount("undeploy", "cli.deploy:undeploy", "Let a model finish what it has, and go."),
    Mount("models", "cli.models:models", "Show the models that run, where, and how they do."),
    Mount("demo", "cli.demo:demo", "Watch plates being read from rendered street cameras."),
)
"""All sub-commands, in the order of `videojam --help`. One whose module is absent is left out."""


class LazyGroup(TyperGroup):
    """A group that knows its commands' names and imports a command when it is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._mounts = {
            mount.name: mount for mount in MOUNTS if find_spec(mount.target.partition(":")[0])
        }
        for mount in self._mounts.values():
            self.add_command(TyperCommand(mount.name, help=mount.help))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Replace the stand-in that `videojam --help` lists by the real command."""
        name, command, rest = super().resolve_command(ctx, args)
        if name in self._mounts:
            command = load_command(self._mounts[name])
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command within the error boundary."""
        with error_boundary(debug=bool(ctx.params.get("debug"))):
            return super().invoke(ctx)


def load_command(mount: Mount) -> Any:
    """Import a sub-command and make it a click command."""
    module, _, attribute = mount.target.partition(":")
    target = getattr(import_module(module), attribute)
    if not isinstance(target, typer.Typer):
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        single.command(mount.name)(target)
        target = single
    return typer.main.get_command(target)


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"videojam {metadata.version('videojam')}")
        raise typer.Exit


@app.callback(
    help=with_examples(
        "Video analytics over Apache Kafka: cameras in, vehicles and number plates out.",
        "videojam demo                  watch it work",
        "videojam init                  write topics.yaml",
        "videojam broker start          a local Kafka",
        "videojam topics apply          create the topics that topics.yaml declares",
        "videojam up                    run its functions",
        "videojam COMMAND --help        more about a command, with examples",
    )
)
def videojam(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print tracebacks of errors.")] = False,
) -> None:
    """Accept the options that stand before the command."""
    del version, debug  # acted on by their callback and by LazyGroup.invoke


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="videojam")
