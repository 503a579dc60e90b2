"""Placers: who decides which GPU takes which instance at which batch size."""

from roomie.placers.base import GROUP, Placer, available, build_placer

__all__ = ["GROUP", "Placer", "available", "build_placer"]
