"""Vehicle detection by a YOLO-like network."""

from dataflow.functions.yolo.function import Yolo, YoloParams

__all__ = ["Yolo", "YoloParams"]
