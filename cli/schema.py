"""`videojam schema`: the published JSON Schemas."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from dataflow.schema import result_schema, topics_schema


class Which(StrEnum):
    """A published schema."""

    TOPICS = "topics"
    RESULT = "result"


def schema(
    which: Annotated[
        Which, typer.Argument(help="topics: of topics.yaml; result: of a record of results.")
    ] = Which.TOPICS,
) -> None:
    """Print the JSON Schema of topics.yaml, with which editors check it, or of results."""
    made = topics_schema() if which is Which.TOPICS else result_schema()
    typer.echo(json.dumps(made, indent=2, ensure_ascii=False))
