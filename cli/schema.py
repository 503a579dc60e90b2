"""`videojam schema`: the published JSON Schemas."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer


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
    """Print the JSON Schema of topics.yaml, with which editors check it, or of records."""
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
