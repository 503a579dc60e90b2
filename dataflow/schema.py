"""The published JSON Schemas (draft 2020-12) of topics.yaml and of results.

Both are made from the pydantic models; docs/ holds committed copies, which a test compares.
``python -m dataflow.schema docs`` writes them anew.
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path
from typing import Any

from dataflow.config.model import Config
from dataflow.results import Result

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_BASE = "urn:videojam:schema:"
"""Prefix of the schemas' identifiers: they name a schema, nothing is fetched from them."""

Schema = dict[str, Any]

_VARIABLE: Schema = {
    "type": "string",
    "pattern": r"^\$\{[A-Za-z_][A-Za-z0-9_]*\}$",
    "description": "An environment variable: ${NAME}.",
}


def topics_schema() -> Schema:
    """The schema of topics.yaml, for editors and for checks before `videojam topics plan`."""
    schema = published(Config.model_json_schema(), "topics:1", "topics.yaml")
    for key in ("functions", "pipelines"):
        # Without it, a name that breaks the pattern would pass unchecked.
        schema["properties"][key]["additionalProperties"] = False
    for name in ("ClusterConfig", "SecurityConfig"):
        _allow_variables(schema["$defs"][name])
    return schema


def result_schema() -> Schema:
    """The schema of the values on ``results.<pipeline>``, as they are written."""
    return published(Result.model_json_schema(mode="serialization"), "result:1", "videojam result")


def schema_files() -> dict[str, str]:
    """Name and text of each published file."""
    return {
        "topics.schema.json": schema_text(topics_schema()),
        "result.schema.json": schema_text(result_schema()),
    }


def schema_text(schema: Schema) -> str:
    """As it is written into docs/."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def published(model_schema: Schema, name: str, title: str) -> Schema:
    """What pydantic makes of a model, as it is published.

    Args:
        model_schema: pydantic's.
        name: what the schema is called: the last part of its identifier.
        title: for people.
    """
    schema: Schema = {"$schema": DIALECT, "$id": _BASE + name, "title": title}
    schema |= {key: value for key, value in model_schema.items() if key != "title"}
    _tidy(schema)
    return schema


def _tidy(node: Any) -> None:
    """Drop pydantic's titles of properties, which only say the key again; unquote ``code``."""
    if isinstance(node, list):
        for item in node:
            _tidy(item)
    elif isinstance(node, dict):
        if isinstance(node.get("description"), str):
            node["description"] = " ".join(node["description"].replace("``", "`").split())
        for definition in node.get("properties", {}).values():
            definition.pop("title", None)
        for value in node.values():
            _tidy(value)


def _allow_variables(definition: Schema) -> None:
    """Let each value that is not text anyway be an environment variable too."""
    for key, value in definition["properties"].items():
        alternatives = value.get("anyOf", [value])
        if "$ref" in value or any(
            alternative.get("type") == "string" and not {"pattern", "enum"} & alternative.keys()
            for alternative in alternatives
        ):
            continue
        outer = {name: value[name] for name in ("description", "default") if name in value}
        inner = [
            {name: part for name, part in copy.deepcopy(alternative).items() if name not in outer}
            for alternative in alternatives
        ]
        definition["properties"][key] = {**outer, "anyOf": [*inner, dict(_VARIABLE)]}


def main(folder: Path) -> None:
    """Write the schemas into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in schema_files().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="Write the JSON Schemas of topics.yaml and of results."
    )
    parser.add_argument("folder", type=Path, nargs="?", default=Path("docs"), help="Default: docs.")
    main(parser.parse_args().folder)
