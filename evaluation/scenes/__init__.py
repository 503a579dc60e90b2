"""Rendered street scenes with known truth: vehicles, their boxes, their number plates."""

from evaluation.scenes.street import LEGIBLE_PLATE_PX, StreetCamera, Truth, VehicleTruth

__all__ = ["LEGIBLE_PLATE_PX", "StreetCamera", "Truth", "VehicleTruth"]
