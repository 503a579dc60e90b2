"""Number plates: found in crops or frames, and read."""

from dataflow.functions.plate_ocr.function import PlateOcr, PlateOcrParams

__all__ = ["PlateOcr", "PlateOcrParams"]
