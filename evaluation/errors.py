"""Errors of the evaluation, below the tree of `dataflow.errors`.

VideojamError
└── MeasurementError    what is measured ended, or did not do its part in time
"""

from __future__ import annotations

from dataflow.errors import VideojamError


class MeasurementError(VideojamError):
    """A measurement cannot go on: what is measured ended, or did not do its part in time."""
