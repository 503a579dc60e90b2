"""The published JSON Schemas (draft 2020-12) of what ROOMIE reads from others and tells them.

``python -m roomie.control.schema docs`` writes the committed copies anew.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dataflow.schema import Schema, published, schema_text
from roomie.control.orders import OrderEvent
from roomie.control.records import Placement, Status


def order_schema() -> Schema:
    """The schema of an order, as a CloudEvent in structured mode.

    In binary mode, which the topic carries, the attributes are ``ce_`` headers, and ``data`` is
    the value.
    """
    schema = published(OrderEvent.model_json_schema(), "order:1", "videojam ROOMIE order")
    specs = {"properties": {"data": {"$ref": "#/$defs/SpecData"}}}
    by_type = {
        "deploy": specs,
        "update": specs,
        "scale": {"properties": {"data": {"$ref": "#/$defs/ScaleData"}}},
        "undeploy": {"properties": {"data": {"$ref": "#/$defs/UndeployData"}}},
    }
    schema["allOf"] = [
        {
            "if": {"properties": {"type": {"const": f"io.videojam.roomie.{kind}.v1"}}},
            "then": then,
        }
        for kind, then in by_type.items()
    ]
    return schema


def placement_schema() -> Schema:
    """The schema of the values on ``roomie.placements``, as they are written."""
    model = Placement.model_json_schema(mode="serialization")
    return published(model, "placement:1", "videojam ROOMIE placement")


def status_schema() -> Schema:
    """The schema of the values on ``roomie.status``, as they are written."""
    model = Status.model_json_schema(mode="serialization")
    return published(model, "status:1", "videojam ROOMIE status")


def schema_files() -> dict[str, str]:
    """Name and text of each published file."""
    return {
        "order.schema.json": schema_text(order_schema()),
        "placement.schema.json": schema_text(placement_schema()),
        "status.schema.json": schema_text(status_schema()),
    }


def main(folder: Path) -> None:
    """Write the schemas into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in schema_files().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the JSON Schemas of ROOMIE's records.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("docs"), help="Default: docs.")
    main(parser.parse_args().folder)
