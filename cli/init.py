"""`videojam init`: a commented topics.yaml to start from."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

import dataflow
from cli.common import stdout, with_examples
from dataflow.errors import ConfigError

_SHIPPED = "default_topics.yaml"
"""Name of the repository's topics.yaml within an installed `dataflow.config`."""


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to write it.", file_okay=False)
    ] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing one.")] = False,
) -> None:
    """Write a commented topics.yaml."""
    target = folder / "topics.yaml"
    text = default_topics()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with target.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise ConfigError(
            "the file exists already",
            file=target,
            remedy="say --force to overwrite it, or name another folder",
        ) from error
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", file=target) from error
    option = "" if folder == Path() else f" --config {target}"
    stdout().print(f"wrote {target}", markup=False)
    stdout().print(f"next: videojam topics plan{option}", style="dim", markup=False)


init.__doc__ = with_examples(
    "Write a commented topics.yaml with the two pipelines that ship.",
    "videojam init              here",
    "videojam init city-north   in a folder, which is made if need be",
)


def default_topics() -> str:
    """Text of the topics.yaml that ships, without its reference to this repository's schema."""
    shipped = resources.files("dataflow.config") / _SHIPPED
    if not shipped.is_file():  # an editable install: the one copy stands at the repository's root
        shipped = Path(dataflow.__file__).parents[1] / "topics.yaml"
    lines = shipped.read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("# yaml-language-server:"))
