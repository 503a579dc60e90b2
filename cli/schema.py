"""`videojam schema`: the published JSON Schemas."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from cli.common import with_examples


class Which(StrEnum):
    """A published schema."""

    TOPICS = "topics"
    RESULT = "result"
    ORDER = "order"
    PLACEMENT = "placement"
    STATUS = "status"


def schema(
    which: Annotated[
        Which,
        typer.Argument(
            help="topics: of topics.yaml; result: of a record of results; order, placement, "
            "status: of ROOMIE's records."
        ),
    ] = Which.TOPICS,
) -> None:
    """Print a JSON Schema."""
    from dataflow.schema import result_schema, topics_schema
    from roomie.control.schema import order_schema, placement_schema, status_schema

    make = {
        Which.TOPICS: topics_schema,
        Which.RESULT: result_schema,
        Which.ORDER: order_schema,
        Which.PLACEMENT: placement_schema,
        Which.STATUS: status_schema,
    }
    typer.echo(json.dumps(make[which](), indent=2, ensure_ascii=False))


schema.__doc__ = with_examples(
    "Print the JSON Schema of topics.yaml, with which editors check it, or of records.",
    "videojam schema > topics.schema.json",
    "videojam schema result      of what `videojam results --as json` prints",
)
