"""Runs a command of the evaluation in this process."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, NamedTuple

import pytest

from evaluation.command import run


class Ended(NamedTuple):
    """How it ended."""

    code: object
    out: str
    err: str


def end_of(function: Callable[..., Any], *arguments: str) -> Ended:
    """Run it with these arguments."""
    with (
        redirect_stdout(io.StringIO()) as out,
        redirect_stderr(io.StringIO()) as err,
        pytest.raises(SystemExit) as end,
    ):
        run(function, arguments=arguments)
    return Ended(end.value.code, out.getvalue(), err.getvalue())
