"""The account of every frame: produced, and then processed, dropped with a reason, or dead."""

from dataflow.accounting.records import CameraReport, DroppedFrame, DropReport, parse_report

__all__ = ["CameraReport", "DropReport", "DroppedFrame", "parse_report"]
