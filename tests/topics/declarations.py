"""Declarations for tests."""

from __future__ import annotations

from dataflow.config import Config, parse_config


def declaration(deployment: str = "test", *, functions: str = "", pipelines: str = "") -> Config:
    """A small topics.yaml: stateful `motion`, then `ocr`, in pipeline `fixed`."""
    return parse_config(declaration_text(deployment, functions=functions, pipelines=pipelines))


def declaration_text(deployment: str = "test", *, functions: str = "", pipelines: str = "") -> str:
    """See `declaration`; the texts are further lines, indented by two blanks."""
    return f"""\
version: 1
deployment: {deployment}
functions:
  motion:
    plugin: background-subtraction
    stateful: true
    partitions: 4
  ocr:
    plugin: emulated
    partitions: 2
    partitioning: spread
{functions}
pipelines:
  fixed:
    cameras: [fixed]
    steps: [{{function: motion}}, {{function: ocr}}]
{pipelines}
"""
