"""Looking at results: joining the parts of a frame, and drawing them on it."""

from dataflow.viewing.annotate import annotate, contact_sheet
from dataflow.viewing.join import FrameJoin, JoinedFrame
from dataflow.viewing.watch import ResultWatch

__all__ = ["FrameJoin", "JoinedFrame", "ResultWatch", "annotate", "contact_sheet"]
