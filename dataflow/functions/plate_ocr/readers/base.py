"""What every plate reader offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""The characters of a plate's text."""


@runtime_checkable
class PlateReader(Protocol):
    """Reads the serial of plates that have been cut out of their image."""

    name: str
    """As in the function's ``reader`` parameter."""

    def read(self, images: Sequence[NDArray[np.uint8]]) -> list[tuple[str, float]]:
        """Read each crop.

        Args:
            images: uint8 [h, w, 3] BGR or [h, w] grey, one plate each with a small margin.

        Returns:
            For each crop its text (A-Z0-9, empty where none is seen) and a confidence in [0, 1].
        """
        ...


def clean(text: str) -> str:
    """Upper case, and nothing but A-Z and 0-9."""
    return "".join(char for char in text.upper() if char in ALPHABET)
