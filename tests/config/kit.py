"""A declaration, and how tests break it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from dataflow.config import parse_config
from dataflow.errors import ConfigError

FILE = Path("topics.yaml")


VALID = """\
version: 1
deployment: demo
cluster:
  bootstrap_servers: localhost:9092
  replication: 1
  security: {protocol: PLAINTEXT}
functions:
  detect:
    replicas: 2
    batch: {max: 4, wait: 10ms}
    queue: {items: 10, size: 1MiB}
  read: {}
pipelines:
  fixed:
    cameras: [fixed]
    steps:
      - function: detect
        then: [{to: read, send: crops, of: vehicle}]
      - function: read
"""


def fault(text: str, environment: Mapping[str, str] | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, file=FILE, environment=environment or {})
    return caught.value


def changed(old: str, new: str) -> str:
    assert VALID.count(old) == 1
    return VALID.replace(old, new)


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1
