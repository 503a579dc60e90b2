"""What the tests of ROOMIE share."""

from __future__ import annotations

import os
from pathlib import Path

_DATA = os.environ.get("VIDEOJAM_SHARED_DATA", Path(__file__).parents[2].parent / "shared" / "data")
SHARED_TRACE = Path(_DATA) / "gpu-traces" / "alexnet-a100.json.gz"
"""A real PyTorch profiler trace; the repository does not hold it."""
