"""The account of every frame: produced, and then processed, dropped with a reason, or dead."""

from dataflow.accounting.audit import Auditor
from dataflow.accounting.ledger import Account, End, Ledger, Outcome, PartTree
from dataflow.accounting.records import CameraReport, DroppedFrame, DropReport, parse_report

__all__ = [
    "Account",
    "Auditor",
    "CameraReport",
    "DropReport",
    "DroppedFrame",
    "End",
    "Ledger",
    "Outcome",
    "PartTree",
    "parse_report",
]
