"""The account of frames: what cameras produced, and what was dropped where and why."""

from dataflow.accounting.records import (
    MAX_DROPS,
    CameraReport,
    DroppedFrame,
    DropReport,
    parse_report,
)

__all__ = ["MAX_DROPS", "CameraReport", "DropReport", "DroppedFrame", "parse_report"]
